#!/usr/bin/env python3
"""Runs agents that real instrumentations watch against a driftline of our own, and asks it what it understood.

    python3 tests/emitters/run.py DRIFTLINE [EMITTER...]

DRIFTLINE is the program. Without names all emitters run. Each installs its packages, in the versions of `packages/`,
into `target/emitters` once. Every fact of the conversation in `scenario.json` must be in what driftline understood,
but for those that the emitter does not send: these are listed below with the reason, and the recording of what was
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
from service import Service

import model

HERE = pathlib.Path(__file__).parent
SCENARIO = json.loads((HERE / "scenario.json").read_text())
PATIENCE_SECONDS = 120


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
        env=environment(name, emitter, recorder.url, model_url),
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
    )
    if ended.returncode != 0:
        return [f"the agent ended with {ended.returncode}:\n{ended.stdout}{ended.stderr}"]
    if recorder.refusals:
        return [f"driftline refused {refusal}" for refusal in recorder.refusals]
    runs = service.runs_of(name, 2)
    if len(runs) != 2:
        inputs = [run["input"] for run in runs]
        return [f"2 traces were sent, and {len(runs)} read: {inputs}"]
    runs.sort(key=lambda run: len(run["tools"]), reverse=True)
    found = []
    for run, conversation in zip(runs, [answered, refused]):
        missing, told = emitter.missing(conversation), emitter.told(conversation)
        problems = list(wrong(run, conversation(SCENARIO), missing, told, recorder))
        problems += [f"no row of {evaluator}" for evaluator in sorted(service.evaluators - run["scored"])]
        found += [f"{conversation.__name__}: {problem}" for problem in problems]
    return found


def environment(name, emitter, receiver, model_url):
    otlp = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": receiver,
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{receiver}/v1/traces",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_SERVICE_NAME": name,
        "OTEL_RESOURCE_ATTRIBUTES": "service.version=1.4.2",
        "OTEL_METRICS_EXPORTER": "none",
    }
    return os.environ | otlp | {"MODEL_URL": model_url, "SCENARIO": str(HERE / "scenario.json")} | emitter.environment


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2:])
