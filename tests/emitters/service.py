"""`driftline serve` on ports and in a folder of its own."""

import contextlib
import json
import pathlib
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request

PATIENCE_SECONDS = 60
SETTINGS = """
[store]
url = "sqlite://{folder}/driftline.db"
[receive]
http = "{receiver}"
grpc = "{grpc}"
[web]
listen = "{web}"
[complete]
root_grace = "200ms"
quiet_period = "1s"
[sampling]
healthy_rate = 1.0
"""


class Service:
    """Runs inside of `with`."""

    def __init__(self, program):
        self.program = pathlib.Path(program).resolve()

    def __enter__(self):
        self.folder = tempfile.TemporaryDirectory()
        self.evaluators = self.loaded_evaluators()
        receiver, grpc, self.web = free_addresses(3)
        self.receiver, self.grpc = f"http://{receiver}", f"http://{grpc}"
        path = pathlib.Path(self.folder.name)
        settings = SETTINGS.format(folder=path, receiver=receiver, grpc=grpc, web=self.web)
        (path / "driftline.toml").write_text(settings)
        with (path / "log").open("w") as log:
            self.process = subprocess.Popen([self.program, "serve"], cwd=path, stdout=log, stderr=log)
        if wait_for(lambda: self.ask("/readyz")) is None:
            said = (path / "log").read_text()
            self.__exit__()
            raise SystemExit(f"driftline does not start:\n{said}")
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()
        self.folder.cleanup()

    def loaded_evaluators(self):
        command = [self.program, "evaluators", "list", "--json"]
        listed = subprocess.run(command, cwd=self.folder.name, check=True, capture_output=True, text=True).stdout
        return {evaluator["name"] for evaluator in json.loads(listed) if evaluator["enabled"]}

    def runs_of(self, name, count):
        """What driftline understood of the traces of a service, with the names of the evaluators that have a row."""

        def all_evaluated():
            found = (self.ask("/api/v1/traces", service=name) or {}).get("traces", [])
            return found if len(found) >= count else None

        return [self.run(trace["trace_id"]) for trace in wait_for(all_evaluated) or []]

    def run(self, trace_id):
        path = f"/api/v1/traces/{trace_id}"
        scores = self.ask(f"{path}/scores")
        return self.ask(f"{path}/inspect") | {"scored": {row["evaluator"] for row in scores["scores"]}}

    def ask(self, path, **parameters):
        """The JSON of an answer; nothing when there is no success yet."""
        url = f"http://{self.web}{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url) as answer:
                return json.loads(answer.read() or b"{}")
        except (urllib.error.URLError, ConnectionError):
            return None


def wait_for(condition, seconds=PATIENCE_SECONDS):
    """What the condition gives once that is something; after a while nothing."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = condition()
        if found is not None:
            return found
        time.sleep(0.1)
    return None


def free_addresses(count):
    """Loopback addresses that nobody listens on, no two the same."""
    with contextlib.ExitStack() as taken:
        sockets = [taken.enter_context(socket.socket()) for _ in range(count)]
        for free in sockets:
            free.bind(("127.0.0.1", 0))
        return [f"127.0.0.1:{free.getsockname()[1]}" for free in sockets]
