"""Installs what the emitters need, in the versions of `packages/`, below `target/emitters`."""

import hashlib
import pathlib
import shutil
import subprocess
import sys
import venv

PACKAGES = pathlib.Path(__file__).parent / "packages"
INSTALLED = pathlib.Path(__file__).parent.parent.parent / "target" / "emitters"


def prepare(packages, program):
    """The command that runs a program with these packages, which are installed first if they are not yet."""
    wanted = PACKAGES / packages
    digest = hashlib.sha256(wanted.read_bytes()).hexdigest()[:12]
    folder = INSTALLED / f"{wanted.stem}-{digest}"
    install, command = (npm, node) if wanted.suffix == ".json" else (pip, python)
    if not (folder / "complete").exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        print(f"installing {packages}", flush=True)
        install(wanted, folder)
        (folder / "complete").touch()
    return command(folder, program)


def pip(wanted, folder):
    venv.create(folder, with_pip=True)
    run([folder / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "-r", wanted], folder)


def python(folder, program):
    return [folder / "bin" / "python", program]


def npm(wanted, folder):
    shutil.copy(wanted, folder / "package.json")
    run(["npm", "install", "--no-package-lock", "--no-audit", "--no-fund", "--loglevel=error"], folder)


def node(folder, program):
    # Packages are looked for from where the program is.
    return ["node", shutil.copy(program, folder)]


def run(command, folder):
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if ended.returncode != 0:
        sys.exit(f"cannot install packages; is their registry reachable?\n{ended.stdout}{ended.stderr}")
