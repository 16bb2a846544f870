#!/usr/bin/env python3
"""How fast judgements are made, against a model that answers after 50 ms: driftline with everything on (prompt, cache,
budget, ledger, store), beside a loop that does nothing but ask, and beside peers.

    benches/judges.py [--traces N] [--in-flight 64,256] [--rounds R] [--peers] [--binary PATH] [--profile dev]

Builds the binary that is shipped and the model, has `serve` evaluate N traces without judging them, and then times a process
that has nothing to do but their judgements. Rates are the model's: requests between the first that it saw and the last
that it answered. CPU-seconds (user and system) are the whole process's, start and imports included; they repeat where
rates do not. `--peers` installs phoenix-evals and inspect-ai, in the versions of `peers/packages.txt`, below
`target/peers`, and lets them judge 2,000 items of 1.6 KB. Needs Linux, cargo and Python 3.11 or later.
"""

import os
import subprocess
import sys
import venv
from pathlib import Path

from stand import cpu_seconds, get, memory, parser, stand, store, target_folder

PATIENCE_SECONDS = 300
PAUSE_MILLISECONDS = 50
EVERYTHING = "[complete]\nroot_grace = \"50ms\"\n[sampling]\nhealthy_rate = 1.0\n"
PEER_ITEMS = 2_000
PEERS = {"phoenix-evals": "phoenix_classifier.py", "inspect-ai": "inspect_graded.py"}


def main():
    arguments = parse_arguments()
    with stand(arguments) as at:
        model = at.model(PAUSE_MILLISECONDS)
        traces = at.folder / "traces.jsonl"
        simulate = [at.binary, "simulate", "--traces", str(arguments.traces), "-o", traces]
        subprocess.run(simulate, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for in_flight in map(int, arguments.in_flight.split(",")):
            for number in range(arguments.rounds):
                measure(at, model, traces, arguments.traces, in_flight, at.folder / f"{in_flight}-{number}.db")
            if arguments.peers:
                peers(model, in_flight)


def parse_arguments():
    made = parser(__doc__)
    made.add_argument("--traces", type=int, default=4_000)
    made.add_argument("--in-flight", default="64,256")
    made.add_argument("--rounds", type=int, default=3)
    made.add_argument("--peers", action="store_true", help="install and measure peers too")
    return made.parse_args()


def measure(at, model, traces, count, in_flight, database):
    settings = EVERYTHING + store(f"sqlite://{database}") + model.settings(in_flight)
    with at.service(settings, "receive,evaluate,web") as service:
        replay = [at.binary, "replay", traces, "--to", f"http://{service.receiver}"]
        subprocess.run(replay, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        service.wait(lambda: (service.metric("evaluated_traces_total") or 0) >= count, "all is evaluated", PATIENCE_SECONDS)
    model.reset()
    with at.service(settings, "judge,web") as service:
        service.wait(lambda: service.depths().get("judge") == 0, "all is judged", PATIENCE_SECONDS)
        cpu, peak = cpu_seconds(service.process.pid), memory(service.process.pid, "VmHWM")
    ours = model.stats()
    body = at.folder / "body.json"
    body.write_text(get(f"{model.url}/body"))
    model.reset()
    loop = [model.program, "loop", f"{model.url}/v1/chat/completions", str(ours["requests"]), str(in_flight), body]
    subprocess.run(loop, check=True, stdout=subprocess.DEVNULL)
    bare = model.stats()
    share = rate(ours) / rate(bare)
    report("driftline", in_flight, ours, cpu, peak, f"{share:.0%} of the bare loop's {rate(bare):.0f}/s")


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
