"""OpenTelemetry's instrumentation of the OpenAI client as it was in the GenAI conventions up to 1.36: each message is
an event of its own, sent as a log record. It had no spans for agents and tools yet: they are the user's own."""

import otel_setup
from opentelemetry._events import set_event_logger_provider
from opentelemetry.instrumentation.openai_v2 import OpenAIInstrumentor
from opentelemetry.sdk._events import EventLoggerProvider

from conversation import SCENARIO, both, client, converse, get_weather

set_event_logger_provider(EventLoggerProvider(otel_setup.logs))
OpenAIInstrumentor().instrument()
tracer = otel_setup.traces.get_tracer(__name__)


def span(operation, name, attributes):
    return tracer.start_as_current_span(f"{operation} {name}", attributes={"gen_ai.operation.name": operation} | attributes)


def call_tool(call_id, city):
    name = SCENARIO["tool"]["name"]
    with span("execute_tool", name, {"gen_ai.tool.name": name, "gen_ai.tool.call.id": call_id}):
        return get_weather(city)


def run(question):
    name = SCENARIO["agent"]
    who = {"gen_ai.conversation.id": SCENARIO["conversation"], "user.id": SCENARIO["user"]}
    with span("invoke_agent", name, {"gen_ai.agent.name": name} | who):
        converse(client(), question, call_tool)


both(run)
otel_setup.send_all()
