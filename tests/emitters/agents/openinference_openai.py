"""OpenInference: its tracer for agent and tool spans, and its instrumentation of the OpenAI client."""

import otel_setup
from openinference.instrumentation import OITracer, TraceConfig, using_attributes
from openinference.instrumentation.openai import OpenAIInstrumentor

from conversation import SCENARIO, both, client, converse, get_weather

OpenAIInstrumentor().instrument(tracer_provider=otel_setup.traces)
tracer = OITracer(otel_setup.traces.get_tracer(__name__), TraceConfig())
weather = tracer.tool(name=SCENARIO["tool"]["name"])(get_weather)


def run(question):
    @tracer.agent(name=SCENARIO["agent"])
    def agent(question):
        return converse(client(), question, lambda _, city: weather(city))

    with using_attributes(session_id=SCENARIO["conversation"], user_id=SCENARIO["user"]):
        agent(question)


both(run)
otel_setup.send_all()
