#!/usr/bin/env python3
"""What the whole program costs: `evaluate` on a file, `serve` with the file replayed into it, and a receiver and a
worker between RabbitMQ and PostgreSQL with the same; with what others need for less, in the same run.

    benches/whole.py [--traces N] [--rounds R] [--fleet] [--peers] [--latency SECONDS] [--binary PATH] [--profile dev]

Builds the binary that is shipped, makes N traces of 12 spans and about 25 KB, and prints, for each round, traces per
CPU-second (user and system, of our processes alone) and peak resident memory. `serve` is timed from its start until all
traces are evaluated, and their scores delivered to a tracing backend that takes everything; of `written` they are in the
outbox for a backend that answers nothing, and of `stored` there is no backend. It listens on loopback, in a folder that
is removed afterwards. CPU-seconds repeat where wall time does not, so they are what to compare. `--fleet` adds RabbitMQ and PostgreSQL. `--peers` adds Phoenix, installed below
`target/`, storing the same traces, and the floor: the bare prost decode of the same bytes. `--latency` sends at
half the rate that was reached for so many seconds: the time to the answer, beside what this disk alone takes for as many
small commits, and from the end of a trace to its scores.
Needs Linux, cargo and Python 3.9; Phoenix needs 3.11.
"""

import json
import os
import re
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from stand import REPOSITORY, Backend, Process, cpu_seconds, free_port, get, installed, memory, parser, queue, stand, store, tool

GRACE_SECONDS = 0.2
SETTINGS = f'[complete]\nroot_grace = "{GRACE_SECONDS * 1000:.0f}ms"\n'
PATIENCE_SECONDS = 3600


def main():
    arguments = parse_arguments()
    with stand(arguments) as at:
        traces = make_traces(arguments.profile, arguments.traces, at.folder / "traces.jsonl")
        print(f"{arguments.traces} traces, {traces.stat().st_size / 1e6:.1f} MB as OTLP/JSON, {os.cpu_count()} cores")
        backend, mute = at.start(Backend()), at.start(Mute())
        postgres, broker = (at.postgres(), at.rabbitmq()) if arguments.fleet else (None, None)
        for number in range(arguments.rounds):
            work = at.folder / str(number)
            work.mkdir()
            report("evaluate", arguments.traces, *evaluate(at.binary, traces, arguments.traces, work))
            serve(at, "stored", embedded(at), traces, arguments, [])
            serve(at, "written", embedded(at, mute), traces, arguments, [])
            rates = {"serve": serve(at, "serve", embedded(at, backend), traces, arguments)}
            if arguments.fleet:
                services = fleet(at, postgres, broker, f"round_{number}", backend)
                rates["fleet"] = serve(at, "fleet", services, traces, arguments)
        if arguments.latency:
            latency(at, "serve", embedded(at, backend), rates["serve"], arguments)
            if arguments.fleet:
                services = fleet(at, postgres, broker, "latency", backend)
                latency(at, "fleet", services, rates["fleet"], arguments, postgres)
        if arguments.peers:
            phoenix(at, traces, arguments.traces)
            floor()


def parse_arguments():
    made = parser(__doc__)
    made.add_argument("--traces", type=int, default=10_000)
    made.add_argument("--rounds", type=int, default=3)
    made.add_argument("--fleet", action="store_true")
    made.add_argument("--peers", action="store_true")
    made.add_argument("--latency", type=float, default=0, help="seconds at half load")
    return made.parse_args()


def embedded(at, backend=None):
    """One process, which delivers scores to the backend if there is one."""
    return [at.service(SETTINGS + store("sqlite://driftline.db") + (backend.settings() if backend else ""))]


def fleet(at, postgres, broker, name, backend):
    """A receiver and a worker, which delivers."""
    settings = SETTINGS + store(postgres.database(name)) + queue(broker) + f'name = "{name}"\n' + backend.settings()
    return [at.service(settings, roles) for roles in ("receive,web", "evaluate,deliver,watch,web")]


def make_traces(profile, count, file):
    subprocess.run([tool("traces", profile), str(count), str(file), str(int(time.time()))], check=True)
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


def serve(at, name, services, traces, arguments, beside=("deliveries_total",)):
    """Prints what the services cost from their start until all is evaluated, and what is `beside` that, is counted; gives
    traces a second."""
    with Started(services) as (receiver, worker):
        # What scrapers are told is estimated once in a quarter of an hour, which is none of a run of seconds.
        worker.metric("evaluated_traces_total")
        started = time.monotonic()
        replay(at, traces, receiver)
        finish(worker, arguments.traces, beside)
        seconds = time.monotonic() - started
        cpu = sum(service.cpu_seconds() for service in services)
        peak = sum(service.memory("VmHWM") for service in services)
        report(name, arguments.traces, cpu, seconds, peak)
        return arguments.traces / seconds


def finish(worker, count, beside):
    """Waits until so many traces are evaluated, and what is beside that is counted."""
    counters = ["evaluated_traces_total", *beside]
    worker.wait(lambda: all((worker.metric(counter) or 0) >= count for counter in counters), "all is done",
                PATIENCE_SECONDS)


class Started:
    """Services for the time of a block: gives the one that receives and the one that evaluates."""

    def __init__(self, services):
        self.services = services

    def __enter__(self):
        for service in self.services:
            service.__enter__()
        return self.services[0], self.services[-1]

    def __exit__(self, *_):
        for service in self.services:
            service.__exit__()


def latency(at, name, services, rate, arguments, postgres=None):
    """At half the rate, the time to the answer, what a trace costs, and the time from its end until it has its scores."""
    with Started(services) as (receiver, worker):
        idle = sum(service.cpu_seconds() for service in services)
        said = at.load(receiver, int(rate / 2 * arguments.latency), rate / 2).result()
        finish(worker, said["accepted"], ["deliveries_total"])
        cpu = sum(service.cpu_seconds() for service in services) - idle
        delays = sorted(seconds_to_scores(worker, postgres))
    over = delays[int(len(delays) * 0.95)] - GRACE_SECONDS
    print(f"{name:9} at {rate / 2:.0f} traces a second: answered in {said['p50_ms']:.1f} ms, p99 {said['p99_ms']:.1f} ms; "
          f"{said['accepted'] / cpu:.0f} traces per CPU-second; scored {over:.2f} s after its end and the grace (p95); "
          f"the disk alone, p99 {disk_p99(at.folder / 'commits', rate / 2, arguments.latency):.1f} ms", flush=True)


def disk_p99(file, rate, seconds):
    """Milliseconds in which all but one in a hundred of so many requests are on the disk, 8 KiB each, those together
    that came during the last commit: nobody who answers when something is stored answers sooner."""
    taken, count, block = [], int(rate * seconds), os.urandom(8_192)
    with file.open("wb", buffering=0) as log:
        started = time.monotonic()
        while len(taken) < count:
            time.sleep(max(0, started + len(taken) / rate - time.monotonic()))
            came = min(count, int((time.monotonic() - started) * rate) + 1)
            log.write(block * (came - len(taken)))
            os.fdatasync(log.fileno())
            now = time.monotonic()
            taken.extend(now - started - place / rate for place in range(len(taken), came))
    file.unlink()
    return sorted(taken)[int(count * 0.99)] * 1e3


def seconds_to_scores(worker, postgres):
    """Of each trace, as its store has it."""
    statement = "SELECT recorded_at - ended_at FROM trace"
    address = re.search(r'url = "(.+)"', worker.settings)[1]
    if address.startswith("sqlite://"):
        with sqlite3.connect(worker.folder / "driftline.db") as database:
            return [nanos / 1e9 for nanos, in database.execute(statement)]
    return [int(nanos) / 1e9 for nanos in postgres.sql(address.rpartition("/")[2], statement).splitlines()]


class Mute:
    """A tracing backend that takes connections, and answers nothing."""

    def __enter__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        return self

    def settings(self):
        return f'[[write_back]]\nkind = "otlp"\nendpoint = "http://127.0.0.1:{self.listener.getsockname()[1]}"\n'

    def __exit__(self, *_):
        self.listener.close()


class Phoenix(Process):
    """Phoenix, which stores spans."""

    def __init__(self, folder):
        self.folder, self.port = folder, free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.program = installed("write_back/phoenix", REPOSITORY / "tests" / "write_back" / "phoenix.txt") / "phoenix"

    def __enter__(self):
        self.start([self.program, "serve"], self.folder, "phoenix", PHOENIX_HOST="127.0.0.1",
                   PHOENIX_PORT=str(self.port), PHOENIX_GRPC_PORT=str(free_port()),
                   PHOENIX_WORKING_DIR=str(self.folder), PHOENIX_TELEMETRY_ENABLED="false")
        self.wait(lambda: get(f"{self.url}/healthz") is not None, "Phoenix listens")
        return self

    def spans(self):
        query = json.dumps({"query": "{ projects { edges { node { recordCount } } } }"}).encode()
        request = urllib.request.Request(f"{self.url}/graphql", query, {"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            projects = json.load(answer)["data"]["projects"]["edges"]
        return sum(project["node"]["recordCount"] for project in projects)


def phoenix(at, traces, count):
    """What storing the same traces costs Phoenix. A tenth of them is enough, at less than ten a CPU-second."""
    few, count = at.folder / "few.jsonl", max(count // 10, 1)
    with traces.open() as lines:
        few.write_text("".join(line for _, line in zip(range(count), lines)))
    spans = few.read_text().count('"startTimeUnixNano"')
    with Phoenix(at.folder) as peer:
        idle, started = cpu_seconds(peer.process.pid), time.monotonic()
        subprocess.run([at.binary, "replay", few, "--to", peer.url], check=True, stdout=subprocess.DEVNULL)
        peer.wait(lambda: peer.spans() >= spans, "Phoenix has stored all", PATIENCE_SECONDS)
        cpu, peak = cpu_seconds(peer.process.pid) - idle, memory(peer.process.pid, "VmHWM")
        report("Phoenix", count, cpu, time.monotonic() - started, peak)


def floor():
    """The bare decode, beside decode and rules, in one process."""
    command = ["cargo", "bench", "--quiet", "--locked", "--bench", "ratio", "--", "2000"]
    print(subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True, text=True).stdout, end="")


def replay(at, traces, receiver):
    subprocess.run([at.binary, "replay", traces, "--to", f"http://{receiver.receiver}"], check=True, cwd=at.folder,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def report(name, count, cpu, seconds, peak):
    rate = f"{count / cpu:8.0f} traces per CPU-second" if cpu else "too quick to tell"
    print(f"{name:9} {rate}   {cpu:7.2f} CPU-s   {seconds:7.2f} s   {peak / 1e6:6.0f} MB peak", flush=True)


if __name__ == "__main__":
    main()
