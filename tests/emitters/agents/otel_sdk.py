"""OpenTelemetry's GenAI utilities for agent and tool spans, and its instrumentation of the OpenAI client."""

import otel_setup
from opentelemetry.instrumentation.openai_v2 import OpenAIInstrumentor
from opentelemetry.util.genai.handler import get_telemetry_handler

from conversation import SCENARIO, both, client, converse, get_weather

OpenAIInstrumentor().instrument()
handler = get_telemetry_handler()


def call_tool(call_id, city):
    with handler.tool(SCENARIO["tool"]["name"], tool_call_id=call_id) as span:
        span.arguments = {"city": city}
        span.tool_result = get_weather(city)
        return span.tool_result


def run(question):
    with handler.invoke_local_agent(agent_name=SCENARIO["agent"]) as span:
        span.conversation_id = SCENARIO["conversation"]
        span.attributes["user.id"] = SCENARIO["user"]
        converse(client(), question, call_tool)


both(run)
otel_setup.send_all()
