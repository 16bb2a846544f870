"""The emitters: what each runs with, which facts it does not send, and which it tells otherwise than they were."""

from dataclasses import dataclass, field

from facts import answered, refused


@dataclass
class Emitter:
    packages: str
    """File below `packages`."""
    program: str
    """File below `agents`."""
    environment: dict = field(default_factory=dict)
    protocol: str = "http/protobuf"
    """As `OTEL_EXPORTER_OTLP_PROTOCOL` calls it. What goes over gRPC is not recorded."""
    absent: dict = field(default_factory=dict)
    """Facts that it does not send, each with the reason; of the answered conversation, or both where the fact is."""
    absent_when_refused: dict = field(default_factory=dict)
    """Facts that it does not send of the refused conversation."""
    otherwise: dict = field(default_factory=dict)
    """Facts that it tells otherwise of the answered conversation: what, and the reason."""
    otherwise_when_refused: dict = field(default_factory=dict)
    """Facts that it tells otherwise of the refused conversation."""

    def missing(self, conversation):
        return {answered: self.absent, refused: self.absent_when_refused}[conversation]

    def told(self, conversation):
        return {answered: self.otherwise, refused: self.otherwise_when_refused}[conversation]


NO_DETAILS = "the instrumentation reads no details of usage"
NO_USER = {"user": "it has no name for the user"}
NO_METADATA = {
    "conversation": "spans sent over OTLP lack the metadata of the trace",
    "user": "spans sent over OTLP lack the metadata of the trace",
}

CONTENT = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
NO_COUNTS = {"reasoning_tokens": NO_DETAILS, "cached_tokens": NO_DETAILS}

EMITTERS = {
    "otel-spans": Emitter("otel.txt", "otel_sdk.py", {CONTENT: "SPAN_ONLY"}, absent=NO_COUNTS),
    "otel-events": Emitter("otel.txt", "otel_sdk.py", {CONTENT: "EVENT_ONLY"}, absent=NO_COUNTS),
    # The trace has been evaluated when its messages arrive.
    "otel-grpc": Emitter(
        "otel.txt", "otel_sdk.py", {CONTENT: "EVENT_ONLY", "LOGS_LATE_SECONDS": "1"}, "grpc", absent=NO_COUNTS
    ),
    "otel-legacy": Emitter("otel-legacy.txt", "otel_legacy.py", {CONTENT: "true"}, absent=NO_COUNTS),
    "openinference": Emitter("openinference.txt", "openinference_openai.py"),
    "openai-agents": Emitter(
        "openai-agents.txt",
        "openai_agents.py",
        absent={"tool_errors": "the SDK redacts them"},
        otherwise={
            "finish_reasons": (["stop"], "the Responses API gives none; the instrumentation says stop of every answer")
        },
        absent_when_refused={
            "input": "the span of a failed call holds nothing but the error",
            "agent_version": "the span of a failed call holds nothing but the error",
            "model": "the span of a failed call holds nothing but the error",
        },
        otherwise_when_refused={"error": (False, "the span of the workflow says that all went well")},
    ),
    "openllmetry": Emitter(
        "openllmetry.txt",
        "openllmetry.py",
        {"TRACELOOP_METRICS_ENABLED": "false"},
        otherwise={"reasoning_tokens": (167, "the instrumentation reads no details of a stream's usage")},
    ),
    "pydantic-ai": Emitter("pydantic-ai.txt", "pydantic_ai_agent.py", absent=NO_USER, absent_when_refused=NO_USER),
    "langfuse": Emitter(
        "langfuse.txt",
        "langfuse_openai.py",
        otherwise={"finish_reasons": (["stop"], "it is sent of streams alone")},
    ),
    "mlflow": Emitter(
        "mlflow.txt",
        "mlflow_openai.py",
        # It neither keeps traces itself nor sends metrics.
        {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9", "OTEL_EXPORTER_OTLP_ENDPOINT": ""},
        absent=NO_METADATA,
        absent_when_refused=NO_METADATA,
    ),
    "vercel": Emitter(
        "vercel.json",
        "vercel.mjs",
        absent={"reasoning_tokens": "the integration does not send them"},
    ),
    "vercel-legacy": Emitter("vercel.json", "vercel.mjs", {"LEGACY": "1"}),
}
