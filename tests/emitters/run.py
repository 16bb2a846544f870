#!/usr/bin/env python3
"""Runs agents that real instrumentations watch against a driftline of our own, and asks it what it understood.

    python3 tests/emitters/run.py DRIFTLINE [EMITTER...]

DRIFTLINE is the program. Without names all emitters run. Each installs its packages, in the versions of `packages/`,
into `target/emitters` once. Every fact of the conversation in `scenario.json` must be in what driftline understood,
but for those that the emitter does not send: these are listed in `emitters.py` with the reason, and the recording of what was
really sent must not hold them either. Ends with 1 and a list of everything that is wrong; what the emitter sent then
is in `target/emitters/sent`.
"""

import json
import os
import pathlib
import subprocess
import sys

from emitters import EMITTERS
from environments import INSTALLED, prepare
from facts import answered, refused, wrong
from recorder import Recorder
from service import Service, wait_for

import model

HERE = pathlib.Path(__file__).parent
SCENARIO = json.loads((HERE / "scenario.json").read_text())
PATIENCE_SECONDS = 120
LATE_SECONDS = 10
"""How long what comes after the rest of its trace may take to be understood."""


def main(program, names):
    unknown = set(names) - EMITTERS.keys()
    if unknown:
        sys.exit(f"no such emitter: {', '.join(sorted(unknown))}; there are {', '.join(EMITTERS)}")
    model_url = model.start(SCENARIO)
    problems = []
    with Service(program) as service:
        recorder = Recorder(service.receiver)
        for name in names or EMITTERS:
            found = watch(name, service, recorder, model_url)
            print(f"{name}: {'; '.join(found) or 'every fact that was sent is understood'}", flush=True)
            problems += found
            if found:
                recorder.save(INSTALLED / "sent" / name)
    sys.exit(1 if problems else 0)


def watch(name, service, recorder, model_url):
    """Runs one emitter; gives everything that is wrong with what driftline understood."""
    emitter = EMITTERS[name]
    recorder.clear()
    ended = subprocess.run(
        prepare(emitter.packages, HERE / "agents" / emitter.program),
        env=environment(name, emitter, service, recorder, model_url),
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
    )
    if ended.returncode != 0:
        return [f"the agent ended with {ended.returncode}:\n{ended.stdout}{ended.stderr}"]
    if recorder.refusals:
        return [f"driftline refused {refusal}" for refusal in recorder.refusals]

    def problems():
        return list(misunderstood(emitter, service.runs_of(name, 2), service, recorder))

    wait_for(lambda: not problems() or None, LATE_SECONDS)
    return problems()


def misunderstood(emitter, runs, service, recorder):
    """Everything that is wrong with what driftline now makes of the two conversations."""
    if len(runs) != 2:
        yield f"2 traces were sent, and {len(runs)} read: {[run['input'] for run in runs]}"
        return
    runs.sort(key=lambda run: len(run["tools"]), reverse=True)
    for run, conversation in zip(runs, [answered, refused]):
        missing, told = emitter.missing(conversation), emitter.told(conversation)
        problems = list(wrong(run, conversation(SCENARIO), missing, told, recorder))
        problems += [f"no row of {evaluator}" for evaluator in sorted(service.evaluators - run["scored"])]
        yield from (f"{conversation.__name__}: {problem}" for problem in problems)


def environment(name, emitter, service, recorder, model_url):
    receiver = service.grpc if emitter.protocol == "grpc" else recorder.url
    otlp = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": receiver,
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{receiver}/v1/traces",
        "OTEL_EXPORTER_OTLP_PROTOCOL": emitter.protocol,
        "OTEL_SERVICE_NAME": name,
        "OTEL_RESOURCE_ATTRIBUTES": "service.version=1.4.2",
        "OTEL_METRICS_EXPORTER": "none",
    }
    return os.environ | otlp | {"MODEL_URL": model_url, "SCENARIO": str(HERE / "scenario.json")} | emitter.environment


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2:])
