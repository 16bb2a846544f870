#!/usr/bin/env python3
"""How fast judgements are made, against a model that answers after 50 ms: driftline with everything on (prompt, cache,
budget, ledger, store), beside a loop that does nothing but ask, and beside peers.

    benches/judges.py [--traces N] [--in-flight 64,256] [--rounds R] [--peers] [--binary PATH]

Builds the release binary and the model, has `serve` evaluate N traces without judging them, and then times a process
that has nothing to do but their judgements. Rates are the model's: requests between the first that it saw and the last
that it answered. CPU-seconds (user and system) are the whole process's, start and imports included; they repeat where
rates do not. `--peers` installs phoenix-evals and inspect-ai, in the versions of `peers/packages.txt`, below
`target/peers`, and lets them judge 2,000 items of 1.6 KB. Needs Linux, cargo and Python 3.11 or later.
"""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

from whole import REPOSITORY, build, cpu_seconds, free_port, get, peak_bytes, target_folder, wait_until

PATIENCE_SECONDS = 300
PAUSE_MILLISECONDS = 50
PEER_ITEMS = 2_000
PEERS = {"phoenix-evals": "phoenix_classifier.py", "inspect-ai": "inspect_graded.py"}


def main():
    arguments = parse_arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("told to end"))
    binary = arguments.binary.resolve() if arguments.binary else build()
    tool = build_tool()
    with tempfile.TemporaryDirectory(prefix="driftline-bench-") as folder, Model(tool) as model:
        traces = Path(folder) / "traces.jsonl"
        simulate = [binary, "simulate", "--traces", str(arguments.traces), "-o", traces]
        subprocess.run(simulate, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for in_flight in map(int, arguments.in_flight.split(",")):
            for number in range(arguments.rounds):
                work = Path(folder) / f"{in_flight}-{number}"
                work.mkdir()
                measure(binary, tool, model, traces, arguments.traces, in_flight, work)
            if arguments.peers:
                peers(model, in_flight)


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--traces", type=int, default=4_000)
    parser.add_argument("--in-flight", default="64,256")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peers", action="store_true", help="install and measure peers too")
    parser.add_argument("--binary", type=Path, help="measure this one instead of building")
    return parser.parse_args()


def build_tool():
    command = ["cargo", "bench", "--locked", "--bench", "judge_model", "--no-run", "--message-format", "json"]
    messages = subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True, text=True).stdout
    found = [json.loads(line) for line in messages.splitlines()]
    return next(it["executable"] for it in found if it.get("target", {}).get("name") == "judge_model")


class Model:
    """The judge model, as a process of its own."""

    def __init__(self, tool):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.process = subprocess.Popen([tool, "serve", str(self.port), str(PAUSE_MILLISECONDS)])

    def __enter__(self):
        wait_until(lambda: get(f"{self.url}/stats") is not None, self.process, "the model listens", PATIENCE_SECONDS)
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def reset(self):
        get(f"{self.url}/reset")

    def stats(self):
        return json.loads(get(f"{self.url}/stats"))


def measure(binary, tool, model, traces, count, in_flight, work):
    settings(work, model, in_flight)
    with Service(binary, work, "receive,evaluate,web") as service:
        replay = [binary, "replay", traces, "--to", f"http://{service.receiver}"]
        subprocess.run(replay, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(lambda: service.metric("evaluated_traces_total") >= count, service.process, "all are evaluated",
                   PATIENCE_SECONDS)
    model.reset()
    with Service(binary, work, "judge,web") as service:
        wait_until(lambda: service.has_judged(), service.process, "all is judged", PATIENCE_SECONDS)
        cpu, peak = cpu_seconds(service.process.pid), peak_bytes(service.process.pid)
    ours = model.stats()
    body = work / "body.json"
    body.write_text(get(f"{model.url}/body"))
    model.reset()
    loop = [tool, "loop", f"{model.url}/v1/chat/completions", str(ours["requests"]), str(in_flight), body]
    subprocess.run(loop, check=True, stdout=subprocess.DEVNULL)
    bare = model.stats()
    share = rate(ours) / rate(bare)
    report("driftline", in_flight, ours, cpu, peak, f"{share:.0%} of the bare loop's {rate(bare):.0f}/s")


def settings(work, model, in_flight):
    (work / "driftline.toml").write_text(f"""
[complete]
root_grace = "50ms"
[sampling]
healthy_rate = 1.0
[judge.budget]
daily_usd = 1000.0
[judge.models.default]
base_url = "{model.url}/v1"
model = "m"
concurrency = {in_flight}
input_usd_per_mtok = 0.4
output_usd_per_mtok = 1.6
""")


class Service:
    """`serve` with some of its roles, on the store in a folder."""

    def __init__(self, binary, work, roles):
        self.receiver, self.web = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
        listening = {"DRIFTLINE__RECEIVE__HTTP": self.receiver, "DRIFTLINE__WEB__LISTEN": self.web}
        environment = {**os.environ, **listening, "DRIFTLINE__RECEIVE__GRPC": ""}
        command = [binary, "serve", "--roles", roles, "--data-dir", work / "data"]
        self.log = work / "serve.log"
        with self.log.open("a") as log:
            self.process = subprocess.Popen(command, cwd=work, env=environment, stdout=log, stderr=log)

    def __enter__(self):
        ready = f"http://{self.web}/readyz"
        wait_until(lambda: get(ready) is not None, self.process, "the service is ready", PATIENCE_SECONDS)
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(timeout=60)

    def metric(self, name):
        found = re.search(rf"^driftline_{re.escape(name)} ([0-9.e+]+)$", get(f"http://{self.web}/metrics") or "", re.M)
        return float(found[1]) if found else -1

    def has_judged(self):
        return self.metric('queue_depth{queue="judge"}') == 0


def rate(stats):
    return stats["requests"] / stats["seconds"] if stats["seconds"] else float("nan")


def peers(model, in_flight):
    python = peer_python()
    for name, program in PEERS.items():
        model.reset()
        command = [python, Path(__file__).parent / "peers" / program, f"{model.url}/v1", str(PEER_ITEMS), str(in_flight)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        scored = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        if os.waitstatus_to_exitcode(status) != 0 or int(scored.split()[-1]) != PEER_ITEMS:
            sys.exit(f"{name} scored {scored!r} of {PEER_ITEMS}")
        report(name, in_flight, model.stats(), usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024, "")


def peer_python():
    folder = target_folder() / "peers"
    python, packages = folder / "bin" / "python", Path(__file__).parent / "peers" / "packages.txt"
    if not (folder / "complete").exists():
        venv.create(folder, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "-r", packages], check=True)
        (folder / "complete").touch()
    return python


def report(name, in_flight, stats, cpu, peak, remark):
    each = f"{stats['requests'] / cpu:7.0f} a CPU-second" if cpu else "too quick to tell"
    print(f"{in_flight:4} in flight  {name:14} {stats['requests']:6} judgements {rate(stats):6.0f}/s {each} "
          f"{peak / 1e6:5.0f} MB  most at once {stats['most_in_flight']:4}  {remark}", flush=True)


if __name__ == "__main__":
    main()
