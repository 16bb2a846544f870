"""OpenLLMetry: Traceloop's SDK with its decorators, and its instrumentation of the OpenAI client."""

import os

from traceloop.sdk import Traceloop
from traceloop.sdk.decorators import tool, workflow

from conversation import SCENARIO, both, client, converse, get_weather

Traceloop.init(
    app_name=os.environ["OTEL_SERVICE_NAME"],
    api_endpoint=os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"],
    resource_attributes={"service.version": "1.4.2"},
    telemetry_enabled=False,
    disable_batch=True,
)
weather = tool(name=SCENARIO["tool"]["name"])(get_weather)


@workflow(name=SCENARIO["agent"])
def run(question):
    Traceloop.set_association_properties({"session_id": SCENARIO["conversation"], "user_id": SCENARIO["user"]})
    return converse(client(), question, lambda _, city: weather(city=city))


both(run)
