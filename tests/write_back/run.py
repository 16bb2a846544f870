#!/usr/bin/env python3
"""Scores in a real Phoenix and a real MLflow, read back through their own APIs.

    tests/write_back/run.py BINARY

Both are installed below `target/write_back` (some minutes, once) and hold the traces that `serve` evaluates. While the
scores are on their way, `serve` is killed with `kill -9` and started again, some times over; then another one, with an
empty store, evaluates the same traces and sends every score once more. Each score must stand once, on its span, with its
value. Needs Python 3.11 and the package registry.
"""

import collections
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from processes import Process, free_port, get, installed  # noqa: E402

HERE = Path(__file__).parent
TRACES = 120
KILLS = 6


def main():
    binary = Path(sys.argv[1]).resolve() if len(sys.argv) == 2 else sys.exit(__doc__)
    with tempfile.TemporaryDirectory(prefix="driftline-write-back-") as folder:
        folder = Path(folder)
        traces = folder / "traces.jsonl"
        run(binary, "simulate", "--traces", TRACES, "-o", traces)
        with Phoenix(folder) as phoenix, Mlflow(folder) as mlflow:
            backends = [phoenix, mlflow]
            for backend in backends:
                backend.take(binary, traces)
            expected = send(binary, folder / "first", traces, backends, KILLS)
            problems = list(compare("after the kills", expected, backends))
            again = send(binary, folder / "second", traces, backends, 0)
            if again != expected:
                problems.append("the second service scored otherwise")
            problems += compare("sent once more", expected, backends)
    for problem in problems:
        print(f"wrong: {problem}")
    sys.exit(1 if problems else 0)


def send(binary, folder, traces, backends, kills):
    """Evaluates the traces, kills the service so many times meanwhile, and gives each score when all are delivered."""
    with Service(binary, folder, backends) as service:
        run(binary, "replay", traces, "--to", f"http://{service.receiver}")
        for _ in range(kills):
            service.wait(lambda: service.depth("outbox") != 0, "there is something to send")
            time.sleep(0.1)
            service.kill_and_restart()
        service.wait(lambda: len(service.api(f"/traces?limit={TRACES}")["traces"]) == TRACES, "all is evaluated")
        service.wait(lambda: service.depth("pending") == 0 and service.depth("outbox") == 0, "all is delivered")
        return service.scores()


def compare(when, expected, backends):
    for backend in backends:
        found = backend.scores({trace for trace, _, _ in expected})
        stands = collections.Counter((trace, span, name) for trace, span, name, _ in found)
        values = {(trace, span, name): value for trace, span, name, value in found}
        doubled = sum(count - 1 for count in stands.values())
        missing, strange = expected.keys() - stands.keys(), stands.keys() - expected.keys()
        wrong = [key for key, value in expected.items() if key in values and abs(values[key] - value) > 1e-9]
        name = type(backend).__name__
        print(f"{name}, {when}: {len(expected)} scores of {TRACES} traces; {len(found)} stand there, {doubled} doubled, "
              f"{len(missing)} missing, {len(strange)} strange, {len(wrong)} with another value")
        if doubled or missing or strange or wrong:
            yield f"{name}, {when}: for example {list(missing | strange | set(wrong))[:3]}"


class Phoenix(Process):
    kind = "phoenix"

    def __init__(self, folder):
        self.url = f"http://127.0.0.1:{(port := free_port())}"
        program = installed("write_back/phoenix", HERE / "phoenix.txt") / "phoenix"
        self.start([program, "serve"], folder, "phoenix", PHOENIX_HOST="127.0.0.1", PHOENIX_PORT=str(port),
                   PHOENIX_GRPC_PORT=str(free_port()), PHOENIX_WORKING_DIR=str(folder), PHOENIX_TELEMETRY_ENABLED="false")

    def __enter__(self):
        self.wait(lambda: get(f"{self.url}/healthz") is not None, "Phoenix listens")
        return self

    def take(self, binary, traces):
        run(binary, "replay", traces, "--to", self.url)
        self.trace_of = {span["spanId"]: span["traceId"] for span in spans(traces)}

    def scores(self, _):
        spans = list(self.trace_of)
        rows = [row for start in range(0, len(spans), 50) for row in self.annotations(spans[start:start + 50])]
        return [(self.trace_of[row["span_id"]], row["span_id"], row["name"], row["result"]["score"]) for row in rows]

    def annotations(self, spans):
        query, cursor = [("span_ids", span) for span in spans] + [("limit", 1000)], []
        while cursor is not None:
            url = f"{self.url}/v1/projects/default/span_annotations?{urllib.parse.urlencode(query + cursor)}"
            page = json.loads(get(url))
            yield from page["data"]
            cursor = [("cursor", page["next_cursor"])] if page["next_cursor"] else None


class Mlflow(Process):
    kind = "mlflow"

    def __init__(self, folder):
        self.url = f"http://127.0.0.1:{(port := free_port())}"
        program = installed("write_back/mlflow", HERE / "mlflow.txt") / "mlflow"
        command = [program, "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
                   "--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", folder / "artifacts"]
        self.start(command, folder, "mlflow", PATH=f"{program.parent}:{os.environ['PATH']}")

    def __enter__(self):
        self.wait(lambda: get(f"{self.url}/health") is not None, "MLflow listens")
        return self

    def take(self, _, traces):
        headers = {"content-type": "application/json", "x-mlflow-experiment-id": "0"}
        for line in traces.read_text().splitlines():
            request = urllib.request.Request(f"{self.url}/v1/traces", line.encode(), headers)
            urllib.request.urlopen(request, timeout=30).read()

    def scores(self, traces):
        rows = []
        for trace in traces:
            answer = json.loads(get(f"{self.url}/api/3.0/mlflow/traces/tr-{trace}"))
            for row in answer["trace"]["trace_info"].get("assessments", []):
                rows.append((trace, row["span_id"], row["assessment_name"], row["feedback"]["value"]))
        return rows


class Service(Process):
    def __init__(self, binary, folder, backends):
        folder.mkdir()
        self.binary, self.folder = binary, folder
        self.receiver, self.web = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
        destinations = "".join(
            f'[[write_back]]\nkind = "{backend.kind}"\nendpoint = "{backend.url}"\n' for backend in backends)
        (folder / "driftline.toml").write_text(
            f'[receive]\nhttp = "{self.receiver}"\ngrpc = ""\n[web]\nlisten = "{self.web}"\n'
            f'[complete]\nroot_grace = "100ms"\n{destinations}')

    def __enter__(self):
        self.start([self.binary, "serve"], self.folder, "driftline")
        self.wait(lambda: get(f"http://{self.web}/readyz") is not None, "the service is ready")
        return self

    def kill_and_restart(self):
        self.process.kill()
        self.process.wait()
        self.__enter__()

    def depth(self, queue):
        found = re.search(rf'^driftline_queue_depth\{{queue="{queue}"\}} (\d+)$', get(f"http://{self.web}/metrics"), re.M)
        return int(found[1])

    def api(self, path):
        return json.loads(get(f"http://{self.web}/api/v1{path}"))

    def scores(self):
        traces = [trace["trace_id"] for trace in self.api(f"/traces?limit={TRACES}")["traces"]]
        rows = [row for trace in traces for row in self.api(f"/traces/{trace}/scores")["scores"]]
        scored = [row for row in rows if row["outcome"] == "scored"]
        return {(row["trace_id"], row["span_id"], row["evaluator"]): row["value"] for row in scored}


def run(binary, *arguments):
    command = [str(part) for part in (binary, *arguments)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def spans(traces):
    for line in traces.read_text().splitlines():
        for resource in json.loads(line)["resourceSpans"]:
            for scope in resource["scopeSpans"]:
                yield from scope["spans"]


if __name__ == "__main__":
    main()
