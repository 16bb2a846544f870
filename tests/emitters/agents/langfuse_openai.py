"""Langfuse: its decorators, and its own OpenAI client; sent to driftline by an exporter of OpenTelemetry's."""

import os

from langfuse import Langfuse, observe, propagate_attributes
from langfuse.openai import OpenAI
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

from conversation import SCENARIO, both, converse, get_weather

langfuse = Langfuse(
    public_key="none",
    secret_key="none",
    base_url=os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"],
    span_exporter=OTLPSpanExporter(),
)
weather = observe(name=SCENARIO["tool"]["name"], as_type="tool")(get_weather)


@observe(name=SCENARIO["agent"], as_type="agent")
def agent(question):
    openai = OpenAI(base_url=os.environ["MODEL_URL"], api_key="none", max_retries=0)
    return converse(openai, question, lambda _, city: weather(city=city))


def run(question):
    with propagate_attributes(session_id=SCENARIO["conversation"], user_id=SCENARIO["user"]):
        agent(question)


both(run)
langfuse.flush()
