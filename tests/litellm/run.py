#!/usr/bin/env python3
"""Judges through a real LiteLLM proxy, in both wire formats, and holds outcomes and ledger against the proxy's own log.

    tests/litellm/run.py BINARY

The proxy, pinned in `packages.txt`, is installed below `target/litellm` (some minutes, once) and answers from a
configuration with mock responses: nothing leaves the machine. `serve` judges simulated traces with one evaluator for each
model and format: one that answers, one that wraps its answer in prose, one that limits calls, one that fails. Each
judgement must end as its model makes it end, and each request in the proxy's log must be in the ledger, at no less than
the tokens that the proxy reported. Needs Python 3.11 and the package registry.
"""

import json
import os
import re
import secrets
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from processes import Process, free_port, get, installed  # noqa: E402

TRACES = 12
VERDICT = '{"reason": "all of it is there", "verdict": "YES"}'
PATHS = {"openai": "/v1/chat/completions", "anthropic": "/v1/messages"}
PRICES = {"input": 2.0, "output": 10.0}
# What the proxy answers as each model, and how a judgement by it ends.
MODELS = {
    "good": (VERDICT, "scored"),
    "prose": (f"Well, let me see.\n```json\n{VERDICT}\n```\nThat is all.", "scored"),
    "limited": ("litellm.RateLimitError", "failed"),
    "broken": ("litellm.InternalServerError", "failed"),
}


def main():
    binary = Path(sys.argv[1]).resolve() if len(sys.argv) == 2 else sys.exit(__doc__)
    with tempfile.TemporaryDirectory(prefix="driftline-litellm-") as folder:
        folder = Path(folder)
        with Proxy(folder) as proxy, Service(binary, folder, proxy) as service:
            service.judge()
            problems = [problem for check in (outcomes, ledger) for problem in check(service, proxy)]
    for problem in problems:
        print(f"wrong: {problem}")
    sys.exit(1 if problems else 0)


def lanes():
    return [(f"{model}_{provider}", model, provider) for model in MODELS for provider in PATHS]


class Proxy(Process):
    def __init__(self, folder):
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        config = folder / "litellm.json"
        program = installed("litellm", Path(__file__).parent / "packages.txt") / "litellm"
        model = lambda name, answer: {  # noqa: E731
            "model_name": name,
            "litellm_params": {"model": "openai/gpt-4o-mini", "api_key": "none", "mock_response": answer},
        }
        models = [model(name, answer) for name, (answer, _) in MODELS.items()]
        # JSON is YAML. Retries and cool-downs of its own would hide what we are here to see.
        settings = {"num_retries": 0, "disable_cooldowns": True}
        config.write_text(json.dumps({"model_list": models, "router_settings": settings}))
        command = [program, "--config", config, "--host", "127.0.0.1", "--port", str(port), "--telemetry", "False"]
        # It starts with no key or a weak one only when it is begged to.
        self.key = f"sk-{secrets.token_hex(32)}"
        self.start(command, folder, "litellm", LITELLM_LOCAL_MODEL_COST_MAP="True", LITELLM_MASTER_KEY=self.key)

    def __enter__(self):
        self.wait(lambda: get(f"{self.url}/health/liveliness") is not None, "the proxy listens")
        return self

    def requests(self):
        """Status codes by path, as its access log has them."""
        found = re.findall(r'"POST (\S+) HTTP/1.1" (\d+)', self.log.read_text())
        return {path: [int(status) for of, status in found if of.split("?")[0] == path] for path in PATHS.values()}


class Service(Process):
    def __init__(self, binary, folder, proxy):
        self.binary, self.folder = binary, folder
        self.receiver, self.web = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
        (folder / "driftline.toml").write_text(configuration(proxy, self.receiver, self.web))
        for lane, _, _ in lanes():
            of = folder / "evaluators" / lane
            of.mkdir(parents=True)
            judge = f'[llm_judge]\ninputs = ["answer"]\nmodel = "{lane}"\n'
            (of / "evaluator.toml").write_text(f'kind = "llm_judge"\ndescription = "YES when polite"\n{judge}')
            (of / "prompt.md").write_text("# System\nIs it polite?\n\n# User\n{{answer}}\n")
        self.start([binary, "serve", "--data-dir", folder / "data"], folder, "driftline", PROXY_KEY=proxy.key)

    def __enter__(self):
        self.wait(lambda: get(f"http://{self.web}/readyz") is not None, "the service is ready")
        return self

    def judge(self):
        traces = self.folder / "traces.jsonl"
        quiet = {"check": True, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": self.folder,
                 "env": {**os.environ, "PROXY_KEY": "unused"}}
        subprocess.run([self.binary, "simulate", "--traces", str(TRACES), "-o", traces], **quiet)
        subprocess.run([self.binary, "replay", traces, "--to", f"http://{self.receiver}"], **quiet)
        self.wait(lambda: len(self.api("/traces")["traces"]) == TRACES, "every trace is evaluated")
        waiting = re.compile(r'^driftline_queue_depth\{queue="judge"\} 0$', re.M)
        self.wait(lambda: waiting.search(get(f"http://{self.web}/metrics") or ""), "every judgement is made")

    def api(self, path):
        return json.loads(get(f"http://{self.web}/api/v1{path}"))


def configuration(proxy, receiver, web):
    models = "".join(f"""
[judge.models.{lane}]
provider = "{provider}"
base_url = "{proxy.url}/v1"
model = "{model}"
api_key_env = "PROXY_KEY"
input_usd_per_mtok = {PRICES["input"]}
output_usd_per_mtok = {PRICES["output"]}
""" for lane, model, provider in lanes())
    return f"""
[receive]
http = "{receiver}"
grpc = ""
[web]
listen = "{web}"
[complete]
root_grace = "100ms"
[evaluators]
directory = "evaluators"
[sampling]
healthy_rate = 1.0
[judge]
attempts = 2
give_up_after = "20s"
[judge.budget]
daily_usd = 50.0
{models}"""


def outcomes(service, _):
    """Every trace has one row of every evaluator, which ended as its model makes it end."""
    rows = [row for trace in service.api("/traces")["traces"]
            for row in service.api(f"/traces/{trace['trace_id']}/scores")["scores"]]
    for lane, model, _ in lanes():
        expected = MODELS[model][1]
        ended = [row["outcome"] for row in rows if row["evaluator"] == lane]
        print(f"{lane:18} {len(ended)} judgements, {ended.count(expected)} {expected}")
        if ended != [expected] * TRACES:
            yield f"{lane}: {ended} instead of {TRACES} times {expected}"


def ledger(service, proxy):
    """The proxy's log and the ledger name the same requests, and what was answered is paid for."""
    parts = {part["name"]: part for part in service.api("/costs?by=judge_model")["parts"]}
    for provider, path in PATHS.items():
        of = [parts[lane] for lane, _, of_lane in lanes() if of_lane == provider]
        received, noted = proxy.requests()[path], sum(part["requests"] for part in of)
        answered, charged = received.count(200), sum(part["cost_usd"] for part in of)
        tokens = {kind: sum(part[f"{kind}_tokens"] for part in of) for kind in PRICES}
        price = sum(tokens[kind] * PRICES[kind] / 1e6 for kind in PRICES)
        print(f"{path:22} {len(received)} requests, {answered} answered; in the ledger {noted}, ${charged:.4f}")
        if noted != len(received) or sum(part["answered"] for part in of) != answered:
            yield f"{path}: {received} are in the proxy's log, {noted} requests in the ledger"
        if charged < price or min(tokens.values()) == 0:
            yield f"{path}: ${charged} are charged for {tokens}"
        if sum(part["unsettled_usd"] for part in of) != 0:
            yield f"{path}: requests are not settled"


if __name__ == "__main__":
    main()
