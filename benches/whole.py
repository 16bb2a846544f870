#!/usr/bin/env python3
"""What the whole program costs: `evaluate` on a file, and `serve` with the same file replayed into it.

    benches/whole.py [--traces N] [--rounds R] [--binary PATH]

Builds the release binary, makes N traces of 12 spans and about 25 KB, and prints, for each round, traces per
CPU-second (user and system) and peak resident memory. `serve` is timed from its start until all traces are
evaluated; it listens on loopback, in a folder that is removed afterwards. CPU-seconds repeat where wall time does not,
so they are what to compare. Needs Linux, cargo and Python 3.9 or later.
"""

import argparse
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
START_SECONDS = 60
PATIENCE_SECONDS = 600
POLL_SECONDS = 0.2


def main():
    arguments = parse_arguments()
    # So that the service does not outlive a script that is told to end.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("told to end"))
    binary = arguments.binary.resolve() if arguments.binary else build()
    with tempfile.TemporaryDirectory(prefix="driftline-bench-") as folder:
        traces = make_traces(arguments.traces, Path(folder) / "traces.jsonl")
        print(f"{arguments.traces} traces, {traces.stat().st_size / 1e6:.1f} MB as OTLP/JSON, {os.cpu_count()} cores")
        for number in range(arguments.rounds):
            work = Path(folder) / str(number)
            work.mkdir()
            report("evaluate", arguments.traces, *evaluate(binary, traces, arguments.traces, work))
            report("serve", arguments.traces, *serve(binary, traces, arguments.traces, work))


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--traces", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--binary", type=Path, help="measure this one instead of building")
    return parser.parse_args()


def build():
    subprocess.run(["cargo", "build", "--release", "--locked"], cwd=REPOSITORY, check=True)
    return target_folder() / "release" / "driftline"


def target_folder():
    command = ["cargo", "metadata", "--format-version", "1", "--no-deps", "--locked"]
    metadata = subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True, text=True).stdout
    return Path(json.loads(metadata)["target_directory"])


def make_traces(count, file):
    command = ["cargo", "bench", "--quiet", "--locked", "--bench", "traces", "--"]
    subprocess.run([*command, str(count), str(file), str(int(time.time()))], cwd=REPOSITORY, check=True)
    return file


def evaluate(binary, traces, count, work):
    """CPU-seconds, wall seconds and peak bytes of one offline run."""
    scores, started = work / "scores.jsonl", time.monotonic()
    process = subprocess.Popen([binary, "evaluate", traces, "-o", scores], cwd=work)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.monotonic() - started
    if os.waitstatus_to_exitcode(status) != 0:
        sys.exit("evaluate failed")
    with scores.open() as lines:
        scored = {re.search(r'"trace_id":\s*"(\w+)"', line)[1] for line in lines}
    if len(scored) != count:
        sys.exit(f"evaluate wrote scores of {len(scored)} traces, not {count}")
    # In kilobytes on Linux, and never under what this script held when it started the process (some 20 MB).
    return usage.ru_utime + usage.ru_stime, seconds, usage.ru_maxrss * 1024


def serve(binary, traces, count, work):
    """CPU-seconds, wall seconds and peak bytes of a service from its start until all traces are evaluated."""
    receiver, web = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
    environment = {**os.environ, "DRIFTLINE__RECEIVE__HTTP": receiver, "DRIFTLINE__WEB__LISTEN": web}
    command = [binary, "serve", "--data-dir", work / "data"]
    log = (work / "serve.log").open("w")
    service = subprocess.Popen(command, cwd=work, env=environment, stdout=log, stderr=log)
    try:
        wait_until(lambda: get(f"http://{web}/readyz") is not None, service, "the service is ready", START_SECONDS)
        started = time.monotonic()
        subprocess.run([binary, "replay", traces, "--to", f"http://{receiver}"], cwd=work, check=True)
        wait_until(lambda: evaluated(web) >= count, service, f"{count} traces are evaluated", PATIENCE_SECONDS)
        return cpu_seconds(service.pid), time.monotonic() - started, peak_bytes(service.pid)
    finally:
        service.terminate()
        try:
            service.wait(timeout=60)
        except subprocess.TimeoutExpired:
            service.kill()
            service.wait()


def wait_until(condition, service, what, patience):
    deadline = time.monotonic() + patience
    while not condition():
        if service.poll() is not None:
            sys.exit(f"serve ended with {service.returncode} before {what}")
        if time.monotonic() > deadline:
            sys.exit(f"gave up after {patience} s waiting until {what}")
        time.sleep(POLL_SECONDS)


def evaluated(web):
    found = re.search(r"^driftline_evaluated_traces_total ([0-9.e+]+)$", get(f"http://{web}/metrics") or "", re.M)
    return float(found[1]) if found else 0


def get(url):
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.read().decode()
    except (urllib.error.URLError, OSError):
        return None


def cpu_seconds(pid):
    # The second field is the program's name in brackets, which may hold spaces; user and system time are 14 and 15.
    after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(int(ticks) for ticks in after_name[11:13]) / os.sysconf("SC_CLK_TCK")


def peak_bytes(pid):
    return int(re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())[1]) * 1024


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def report(name, count, cpu, seconds, peak):
    rate = f"{count / cpu:8.0f} traces per CPU-second" if cpu else "too quick to tell"
    print(f"{name:9} {rate}   {cpu:7.2f} CPU-s   {seconds:7.2f} s   {peak / 1e6:6.0f} MB peak", flush=True)


if __name__ == "__main__":
    main()
