"""MLflow's tracing: its decorators, and its instrumentation of the OpenAI client, exported over OTLP."""

import mlflow

from conversation import SCENARIO, both, client, converse, get_weather

mlflow.openai.autolog()
weather = mlflow.trace(get_weather, name=SCENARIO["tool"]["name"], span_type="TOOL")


@mlflow.trace(name=SCENARIO["agent"], span_type="AGENT")
def run(question):
    mlflow.update_current_trace(
        metadata={"mlflow.trace.session": SCENARIO["conversation"], "mlflow.trace.user": SCENARIO["user"]}
    )
    return converse(client(), question, lambda _, city: weather(city=city))


both(run)
mlflow.flush_trace_async_logging()
