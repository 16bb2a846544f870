"""The agent that all instrumentations of the OpenAI client watch: it asks the model, runs tools, and asks again."""

import json
import os
import pathlib

SCENARIO = json.loads((pathlib.Path(__file__).parent.parent / "scenario.json").read_text())


class ToolError(Exception):
    pass


def get_weather(city):
    """The temperature in a city."""
    call = next(call for call in SCENARIO["calls"] if call["city"] == city)
    if "error" in call:
        raise ToolError(call["error"])
    return call["result"]


def client():
    """An OpenAI client that does not try again: each error is told once."""
    from openai import OpenAI

    return OpenAI(base_url=os.environ["MODEL_URL"], api_key="none", max_retries=0)


def converse(openai, question, call_tool=lambda call_id, city: get_weather(city)):
    """Talks with the model until it answers; the first turn comes whole, the second as a stream."""
    messages = [{"role": "system", "content": SCENARIO["instructions"]}, {"role": "user", "content": question}]
    request = {"model": SCENARIO["requested_model"], "tools": [{"type": "function", "function": SCENARIO["tool"]}]}
    message = openai.chat.completions.create(messages=messages, **request).choices[0].message
    messages.append(message.model_dump(exclude_none=True))
    for call in message.tool_calls:
        content = told(call_tool, call.id, json.loads(call.function.arguments)["city"])
        messages.append({"role": "tool", "tool_call_id": call.id, "content": content})
    stream = openai.chat.completions.create(
        messages=messages, stream=True, stream_options={"include_usage": True}, **request
    )
    deltas = [chunk.choices[0].delta.content for chunk in stream if chunk.choices]
    return "".join(delta for delta in deltas if delta)


def told(call_tool, call_id, city):
    """What the model is told of a call."""
    try:
        return json.dumps(call_tool(call_id, city))
    except ToolError as error:
        return f"Error: {error}"


def both(run):
    """Runs the conversation that ends in an answer and the one that the model refuses, each in a trace of its own."""
    run(SCENARIO["question"])
    try:
        run(SCENARIO["refused_question"])
    except Exception as error:
        if SCENARIO["refusal"] not in repr(error) + repr(error.__cause__):
            raise
    else:
        raise AssertionError("the model should have refused")
