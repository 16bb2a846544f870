//! The trace that everything is measured on: 12 spans and about 25 KB, with the attributes that two conventions put on
//! an agent's run. Peers are measured on traces of this shape.

mod text;

use driftline::domain::ids::TraceId;
use driftline::otlp::{
    AnyValue, InstrumentationScope, KeyValue, Resource, ResourceSpans, ScopeSpans, Span, Status, any_value, span,
    status,
};
use fastrand::Rng;

use text::{answer, documents, instructions, question, record};

const MILLISECOND: u64 = 1_000_000;
const TRACES_PER_CONVERSATION: u64 = 3;

/// The trace of that number, the same for the same number and start: an agent in a chain, five model calls, three
/// tool calls, a retrieval and a guardrail.
pub(crate) fn trace(number: u64, start_nanos: u64) -> Vec<ResourceSpans> {
    let mut run = Run::new(number, start_nanos);
    let question = question(&mut run.rng);
    run.guardrail(&question);
    run.retrieval(&question);
    let mut tools = ["get_order", "list_shipments", "check_policy"];
    run.rng.shuffle(&mut tools);
    for tool in tools {
        run.model_call(&question, None);
        run.tool_call(tool);
    }
    run.model_call(&question, None);
    let answer = answer(&mut run.rng);
    run.model_call(&question, Some(&answer));
    run.finish(&question, &answer)
}

struct Run {
    rng: Rng,
    trace_id: [u8; 16],
    root_id: Vec<u8>,
    conversation: String,
    started: u64,
    clock: u64,
    spans: Vec<Span>,
}

impl Run {
    fn new(number: u64, start_nanos: u64) -> Self {
        let mut rng = Rng::with_seed(number);
        let trace_id = rng.u128(1..).to_be_bytes();
        let root_id = span_id(&mut rng);
        let conversation = format!("conversation-{}", number / TRACES_PER_CONVERSATION);
        Self { rng, trace_id, root_id, conversation, started: start_nanos, clock: start_nanos, spans: Vec::new() }
    }

    fn span(&mut self, name: &str, milliseconds: std::ops::Range<u64>, attributes: Vec<KeyValue>) {
        let started = self.clock;
        self.clock += self.rng.u64(milliseconds) * MILLISECOND;
        self.spans.push(Span {
            trace_id: self.trace_id.to_vec(),
            span_id: span_id(&mut self.rng),
            parent_span_id: self.root_id.clone(),
            name: name.to_owned(),
            kind: span::SpanKind::Internal.into(),
            start_time_unix_nano: started,
            end_time_unix_nano: self.clock,
            attributes,
            status: Some(Status { code: status::StatusCode::Ok.into(), ..Status::default() }),
            ..Span::default()
        });
    }

    fn guardrail(&mut self, question: &str) {
        let attributes = vec![
            text("openinference.span.kind", "GUARDRAIL"),
            text("input.value", question),
            text("output.value", r#"{"allowed":true}"#),
        ];
        self.span("guardrail input_policy", 5..20, attributes);
    }

    fn retrieval(&mut self, question: &str) {
        let documents = documents(&mut self.rng);
        let attributes = vec![
            text("gen_ai.operation.name", "retrieval"),
            text("gen_ai.data_source.id", "policies"),
            text("gen_ai.retrieval.query.text", question),
            text("gen_ai.retrieval.documents", &documents),
            text("input.value", question),
        ];
        self.span("retrieval policies", 20..80, attributes);
    }

    fn model_call(&mut self, question: &str, answer: Option<&str>) {
        let input = self.rng.i64(900..2_500);
        let output = self.rng.i64(60..400);
        let said = answer.map_or_else(|| record(&mut self.rng, 3), str::to_owned);
        let finish = if answer.is_some() { "stop" } else { "tool_calls" };
        let messages = message("user", &format!("{question} {}", record(&mut self.rng, 18)));
        let attributes = vec![
            text("gen_ai.operation.name", "chat"),
            text("gen_ai.provider.name", "openai"),
            text("gen_ai.request.model", "gpt-5-mini"),
            text("gen_ai.response.model", "gpt-5-mini-2026-05-01"),
            text("gen_ai.response.id", &format!("resp_{:016x}", self.rng.u64(..))),
            integer("gen_ai.usage.input_tokens", input),
            integer("gen_ai.usage.output_tokens", output),
            integer("llm.token_count.prompt", input),
            integer("llm.token_count.completion", output),
            texts("gen_ai.response.finish_reasons", &[finish]),
            text("gen_ai.system_instructions", &instructions()),
            text("gen_ai.input.messages", &messages),
            text("gen_ai.output.messages", &message("assistant", &said)),
        ];
        self.span("chat gpt-5-mini", 300..2_000, attributes);
    }

    fn tool_call(&mut self, tool: &str) {
        let arguments = format!(r#"{{"order_id":"A-{}"}}"#, self.rng.u32(10_000..99_999));
        let result = record(&mut self.rng, 30);
        let attributes = vec![
            text("gen_ai.operation.name", "execute_tool"),
            text("gen_ai.tool.name", tool),
            text("gen_ai.tool.type", "function"),
            text("gen_ai.tool.call.id", &format!("call_{:012x}", self.rng.u64(..1 << 48))),
            text("gen_ai.tool.call.arguments", &arguments),
            text("gen_ai.tool.call.result", &result),
        ];
        self.span(&format!("execute_tool {tool}"), 20..400, attributes);
    }

    fn finish(mut self, question: &str, answer: &str) -> Vec<ResourceSpans> {
        let chain = vec![text("openinference.span.kind", "CHAIN"), text("session.id", &self.conversation)];
        self.span("plan", 1..3, chain);
        let attributes = vec![
            text("gen_ai.operation.name", "invoke_agent"),
            text("gen_ai.agent.name", "support"),
            text("gen_ai.conversation.id", &self.conversation),
            text("user.id", &format!("user-{}", self.rng.u32(..5_000))),
            text("user_tier", "standard"),
            text("gen_ai.input.messages", &message("user", question)),
            text("gen_ai.output.messages", &message("assistant", answer)),
        ];
        self.span("invoke_agent support", 1..3, attributes);
        if let Some(root) = self.spans.last_mut() {
            root.span_id = self.root_id;
            root.parent_span_id.clear();
            root.start_time_unix_nano = self.started;
        }
        vec![ResourceSpans {
            resource: Some(Resource {
                attributes: vec![text("service.name", "support-agent"), text("service.version", "4.2.0")],
                ..Resource::default()
            }),
            scope_spans: vec![ScopeSpans {
                scope: Some(InstrumentationScope { name: "bench".to_owned(), ..InstrumentationScope::default() }),
                spans: self.spans,
                ..ScopeSpans::default()
            }],
            ..ResourceSpans::default()
        }]
    }
}

/// The id of the trace of that number.
pub(crate) fn trace_id(number: u64) -> TraceId {
    TraceId::from_bytes(&Run::new(number, 0).trace_id).expect("the generator makes no zero id")
}

/// Random, as the SDKs make them: what stores spans by their ids alone holds two traces with the same ones for repeats.
fn span_id(rng: &mut Rng) -> Vec<u8> {
    rng.u64(1..).to_be_bytes().to_vec()
}

fn message(role: &str, content: &str) -> String {
    serde_json::json!([{"role": role, "parts": [{"type": "text", "content": content}]}]).to_string()
}

fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, string(value))
}

fn texts(key: &str, values: &[&str]) -> KeyValue {
    let values = values.iter().map(|value| AnyValue { value: Some(string(value)) }).collect();
    attribute(key, any_value::Value::ArrayValue(driftline::otlp::ArrayValue { values }))
}

fn integer(key: &str, value: i64) -> KeyValue {
    attribute(key, any_value::Value::IntValue(value))
}

fn string(value: &str) -> any_value::Value {
    any_value::Value::StringValue(value.to_owned())
}

fn attribute(key: &str, value: any_value::Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}
