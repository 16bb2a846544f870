"""Programs that a test starts, waits for and ends; imported by the `run.py` beside."""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import venv
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
PATIENCE_SECONDS = 180


class Process:
    """A program of which the log is kept, ended with the block."""

    def start(self, command, folder, name, **environment):
        self.log = folder / f"{name}.log"
        with self.log.open("a") as log:
            whole = {**os.environ, **environment}
            self.process = subprocess.Popen(command, cwd=folder, env=whole, stdout=log, stderr=log)

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def wait(self, condition, what, patience=PATIENCE_SECONDS):
        deadline = time.monotonic() + patience
        while not condition():
            if self.process.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"waited in vain until {what}:\n{self.log.read_text()[-3000:]}")
            time.sleep(0.2)


def installed(name, packages):
    """The folder of programs of an environment below `target/` that holds these packages; made once."""
    folder = REPOSITORY / "target" / name
    if not (folder / "complete").exists():
        print(f"installing {packages.name}", flush=True)
        venv.create(folder, with_pip=True)
        subprocess.run([folder / "bin" / "pip", "install", "--quiet", "-r", packages], check=True)
        (folder / "complete").touch()
    return folder / "bin"


def get(url):
    try:
        with urllib.request.urlopen(url, timeout=20) as answer:
            return answer.read().decode()
    except (urllib.error.URLError, OSError):
        return None


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
