"""What driftline must have understood of a conversation, and what proves that an emitter did not send it."""

import json
from dataclasses import dataclass


@dataclass
class Fact:
    """A fact under the name that the list of absent facts uses."""

    understood: object
    """Reads it from driftline's answer."""
    expected: object
    traces: tuple = ()
    """Texts and numbers of which one at least was sent if the fact was."""


def wrong(run, facts, absent, told, recorder):
    """Each fact that was sent and is not understood, and each that is called absent and was sent after all.

    What an emitter tells otherwise than it was is expected as it tells it.
    """
    for name, fact in facts.items():
        found = fact.understood(run)
        expected = told.get(name, (fact.expected,))[0]
        if name not in absent:
            if found != expected:
                yield f"{name} is {found!r}, not {expected!r}"
        elif found == fact.expected:
            yield f"{name} is understood, though listed as absent"
        elif sent := [trace for trace in fact.traces if recorder.was_sent(run["trace_id"], trace)]:
            yield f"{name} is listed as absent, but {sent[0]!r} was sent"
    for name in (absent.keys() | told.keys()) - facts.keys():
        yield f"{name} is listed, but is no fact"


def everywhere(scenario, question):
    """Facts of both conversations."""
    return {
        "release": Fact(lambda run: run["release"], "1.4.2", ["1.4.2"]),
        "conversation": Fact(
            lambda run: run["conversation_id"], scenario["conversation"], [scenario["conversation"]]
        ),
        "user": Fact(lambda run: run["user_id"], scenario["user"], [scenario["user"]]),
        "input": Fact(lambda run: run["input"], question, [question]),
        "agent_version": Fact(lambda run: run["agent_version"] is not None, True, [scenario["instructions"]]),
    }


def answered(scenario):
    """The conversation that ends in an answer."""
    usage, calls = scenario["usage"], scenario["calls"]
    fails = ["error" in call for call in calls]

    def total(kind):
        return sum(turn[kind] for turn in usage)

    def counts(kind):
        return [turn[kind] for turn in usage]

    def of_tools(read):
        # Both run at once: which starts first is chance.
        return lambda run: [read(tool) for tool in sorted(run["tools"], key=lambda tool: tool["arguments"] or "")]

    return everywhere(scenario, scenario["question"]) | {
        "error": Fact(lambda run: run["error"], None),
        "output": Fact(lambda run: run["output"], scenario["answer"], [scenario["answer"]]),
        "model_calls": Fact(lambda run: run["model_calls"], 2),
        "model": Fact(lambda run: run["models"], [scenario["model"]], [scenario["model"]]),
        "input_tokens": Fact(lambda run: run["input_tokens"], total("input"), counts("input")),
        "output_tokens": Fact(lambda run: run["output_tokens"], total("output"), counts("output")),
        "reasoning_tokens": Fact(lambda run: run["reasoning_tokens"], total("reasoning"), counts("reasoning")),
        "cached_tokens": Fact(
            lambda run: run["cost_usd"] and round(run["cost_usd"], 9), scenario["cost_usd"], counts("cached")
        ),
        "finish_reasons": Fact(
            lambda run: run["finish_reasons"], ["tool_call", "stop"], ["finish", "tool_calls", "tool-calls"]
        ),
        "tool_names": Fact(of_tools(lambda tool: tool["name"]), [scenario["tool"]["name"]] * len(calls)),
        "tool_arguments": Fact(
            of_tools(lambda tool: tool["arguments"] and json.loads(tool["arguments"])),
            [{"city": call["city"]} for call in calls],
            ['"city": "', '"city":"'],
        ),
        "tool_statuses": Fact(of_tools(lambda tool: tool["status"] != "success"), fails),
        "tool_errors": Fact(
            of_tools(lambda tool: "station" in (tool["error"] or "")), fails, [calls[1]["error"]]
        ),
        "tool_results": Fact(
            lambda run: [tool["result_empty"] is not None for tool in run["tools"] if tool["status"] == "success"],
            [not failed for failed in fails if not failed],
            [calls[0]["result"]["station"]],
        ),
    }


def refused(scenario):
    """The conversation that the model refuses."""
    return everywhere(scenario, scenario["refused_question"]) | {
        "error": Fact(lambda run: run["error"] is not None, True, [scenario["refusal"]]),
        "model_calls": Fact(lambda run: run["model_calls"], 1),
        "tool_names": Fact(lambda run: run["tools"], []),
        "model": Fact(lambda run: run["models"], [scenario["requested_model"]], [scenario["requested_model"]]),
    }
