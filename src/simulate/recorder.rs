//! Turns a story, told call by call, into the spans an instrumented agent would have sent.
//!
//! Names follow the OpenTelemetry GenAI semantic conventions (1.37 and later). `gen_ai.input.messages` of a model
//! call holds what is new since the call before, as agents on a stateful model API record it; token counts are of
//! the whole context.

use fastrand::Rng;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use serde_json::{Value, json};

use super::agent::{Agent, Release};
use super::attributes::{double, integer, text, texts};
use super::chance::{hex_word, id, log_normal};
use super::fault::Fault;
use super::wire::{Document, Finish, definitions, failure, instructions, output_characters, resource, scored};
use crate::domain::ids::TraceId;
use crate::domain::time::Timestamp;

/// Who the agent is and what it was told.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setting {
    /// The agent.
    pub(crate) agent: Agent,
    /// What is deployed.
    pub(crate) release: Release,
    /// The system prompt.
    pub(crate) instructions: &'static str,
    /// Name and description of each tool.
    pub(crate) tools: &'static [(&'static str, &'static str)],
    /// Median reasoning tokens of a model call.
    pub(crate) reasoning_tokens: f64,
}

/// Who talks to the agent, over one conversation.
#[derive(Debug, Clone)]
pub(crate) struct Session {
    /// `gen_ai.conversation.id`.
    pub(crate) conversation_id: String,
    /// `user.id`.
    pub(crate) user_id: String,
    /// `user_tier`.
    pub(crate) user_tier: &'static str,
    /// `org_id`.
    pub(crate) organisation: &'static str,
}

/// What a tool gave back, and how long it takes by half.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    body: Value,
    error: Option<&'static str>,
    median_seconds: f64,
}

impl Reply {
    /// A tool's usual answer.
    pub(crate) fn ok(body: Value) -> Self {
        Self { body, error: None, median_seconds: 0.25 }
    }

    /// A failure; `error_type` is what `error.type` says.
    pub(crate) fn failed(error_type: &'static str, message: &str) -> Self {
        let median_seconds = if error_type == "timeout" { 10.0 } else { 0.1 };
        Self { body: json!({ "error": message }), error: Some(error_type), median_seconds }
    }

    /// The same answer with another median latency.
    pub(crate) fn after(self, median_seconds: f64) -> Self {
        Self { median_seconds, ..self }
    }
}

/// A finished recording.
pub(crate) struct Recording {
    pub(crate) trace_id: TraceId,
    pub(crate) request: ExportTraceServiceRequest,
    pub(crate) ended_at: Timestamp,
    pub(crate) faults: Vec<Fault>,
}

/// Records one run while its story is told.
pub(crate) struct Recorder<'a> {
    /// The run's own random numbers, which the story shares.
    pub(crate) rng: &'a mut Rng,
    setting: Setting,
    session: &'a Session,
    trace_id: TraceId,
    root_id: [u8; 8],
    started: u64,
    clock: u64,
    spans: Vec<Span>,
    root_attributes: Vec<KeyValue>,
    user_messages: Vec<Value>,
    unseen_messages: Vec<Value>,
    context_characters: usize,
    context_tokens_before: u64,
    last_output: Value,
    faults: Vec<Fault>,
}

impl<'a> Recorder<'a> {
    /// Starts a run; `trace_id` and `start` are its own, `session` may span several runs.
    pub(crate) fn new(
        setting: Setting,
        session: &'a Session,
        trace_id: TraceId,
        start: Timestamp,
        rng: &'a mut Rng,
    ) -> Self {
        let started = u64::try_from(start.0).unwrap_or(0);
        Self {
            root_id: id(rng),
            rng,
            setting,
            session,
            trace_id,
            started,
            clock: started,
            spans: Vec::new(),
            root_attributes: Vec::new(),
            user_messages: Vec::new(),
            unseen_messages: Vec::new(),
            context_characters: setting.instructions.len(),
            context_tokens_before: 0,
            last_output: Value::Null,
            faults: Vec::new(),
        }
    }

    /// The user writes; from the second time on the agent waits for it.
    pub(crate) fn user(&mut self, words: &str) {
        let wait = if self.user_messages.is_empty() { 0.05 } else { 6.0 };
        self.wait(wait, 0.5);
        let message = json!({ "role": "user", "parts": [{ "type": "text", "content": words }] });
        self.user_messages.push(message.clone());
        self.show(message);
    }

    /// The model calls a tool and the tool replies.
    pub(crate) fn call(&mut self, tool: &str, arguments: &Value, reply: Reply) {
        let call_id = self.ask(tool, arguments);
        let mut attributes = vec![
            text("gen_ai.operation.name", "execute_tool"),
            text("gen_ai.tool.name", tool),
            text("gen_ai.tool.type", "function"),
            text("gen_ai.tool.call.id", call_id.as_str()),
            text("gen_ai.tool.call.arguments", arguments.to_string()),
            text("gen_ai.tool.call.result", reply.body.to_string()),
        ];
        attributes.extend(reply.error.map(|error_type| text("error.type", error_type)));
        let status = reply.error.map(|_| failure(&reply.body));
        let start = self.wait(reply.median_seconds, 0.35);
        self.push_span(format!("execute_tool {tool}"), SpanKind::Internal, start, attributes, status);
        self.show_reply(&call_id, reply.body);
    }

    /// A request below the last tool call fails, and the tool does not say so.
    pub(crate) fn fail_below(&mut self, request: &str, error_type: &str) {
        let Some(tool) = self.spans.last().cloned() else { return };
        self.spans.push(Span {
            span_id: id::<8>(self.rng).to_vec(),
            parent_span_id: tool.span_id,
            name: request.to_owned(),
            kind: SpanKind::Client.into(),
            attributes: vec![text("error.type", error_type)],
            status: Some(failure(&json!({ "error": "bad gateway" }))),
            ..tool
        });
    }

    /// The agent hands its task to itself, and that one to itself again.
    pub(crate) fn recurse(&mut self, levels: u32) {
        let mut parent = self.root_id.to_vec();
        for _ in 0..levels {
            parent = self.agent_span(self.setting.agent.name(), parent);
        }
    }

    /// Another agent does a part of the work, and the spans between the two are lost.
    pub(crate) fn delegate_out_of_sight(&mut self, agent: &str) {
        let lost = id::<8>(self.rng).to_vec();
        self.agent_span(agent, lost);
    }

    /// The model is called and does not answer.
    pub(crate) fn fail_to_infer(&mut self, error_type: &str) {
        let model = self.setting.release.model;
        let attributes = vec![
            text("gen_ai.operation.name", "chat"),
            text("gen_ai.provider.name", "aster"),
            text("gen_ai.agent.name", self.setting.agent.name()),
            text("gen_ai.request.model", model.name),
            text("error.type", error_type),
        ];
        let start = self.wait(1.0, 0.5);
        let status = Some(failure(&json!({ "error": "the model did not answer" })));
        self.push_span(format!("chat {}", model.name), SpanKind::Client, start, attributes, status);
    }

    /// The model asks the document collection.
    pub(crate) fn retrieve(&mut self, query: &str, documents: &[Document]) {
        let call_id = self.ask("retrieve_documents", &json!({ "query": query }));
        let found: Vec<Value> = documents.iter().enumerate().map(|(rank, found)| scored(rank, found)).collect();
        let attributes = vec![
            text("gen_ai.operation.name", "retrieval"),
            text("gen_ai.data_source.id", "open-reports"),
            text("gen_ai.retrieval.query.text", query),
            text("gen_ai.retrieval.documents", Value::from(found.clone()).to_string()),
        ];
        let start = self.wait(0.3, 0.4);
        self.push_span("retrieval open-reports".to_owned(), SpanKind::Client, start, attributes, None);
        self.show_reply(&call_id, found.into());
    }

    /// The model answers the user.
    pub(crate) fn say(&mut self, words: &str) {
        self.infer(vec![json!({ "type": "text", "content": words })], Finish::Stop);
    }

    /// The model answers and hits its token limit.
    pub(crate) fn say_cut_off(&mut self, words: &str) {
        self.infer(vec![json!({ "type": "text", "content": words })], Finish::Length);
    }

    /// Puts a fact on the root span.
    pub(crate) fn note(&mut self, attribute: KeyValue) {
        self.root_attributes.push(attribute);
    }

    /// Puts a decision and its grounds on the root span.
    pub(crate) fn decide(&mut self, result: &str, rationale: &str, sources: &[&str]) {
        let confidence = (80 + self.rng.u32(..20)) as f64 / 100.0;
        self.note(text("decision.result", result));
        self.note(double("decision.confidence", confidence));
        self.note(text("agent.decision_rationale", rationale));
        self.note(texts("context.sources", sources));
    }

    /// States that this run has a fault; called where the story goes wrong.
    pub(crate) fn mark(&mut self, fault: Fault) {
        self.faults.push(fault);
    }

    /// Scales the reasoning of the calls that follow.
    pub(crate) fn reason_less(&mut self, factor: f64) {
        self.setting.reasoning_tokens *= factor;
    }

    /// Ends the run.
    pub(crate) fn finish(mut self) -> Recording {
        self.wait(0.02, 0.3);
        let root = self.root_span();
        self.spans.insert(0, root);
        let scope = InstrumentationScope { name: "simulated-agents".to_owned(), ..InstrumentationScope::default() };
        let scope_spans = ScopeSpans { scope: Some(scope), spans: self.spans, ..ScopeSpans::default() };
        let resource = Some(resource(self.setting.agent, &self.setting.release));
        let resource_spans = ResourceSpans { resource, scope_spans: vec![scope_spans], ..ResourceSpans::default() };
        Recording {
            trace_id: self.trace_id,
            request: ExportTraceServiceRequest { resource_spans: vec![resource_spans] },
            ended_at: Timestamp(i64::try_from(self.clock).unwrap_or(i64::MAX)),
            faults: self.faults,
        }
    }

    /// One inference whose output is a tool call; gives the call's id.
    fn ask(&mut self, tool: &str, arguments: &Value) -> String {
        let call_id = format!("call_{}", hex_word::<8>(self.rng));
        let part = json!({ "type": "tool_call", "id": call_id.as_str(), "name": tool, "arguments": arguments });
        self.infer(vec![part], Finish::ToolCall);
        call_id
    }

    fn infer(&mut self, parts: Vec<Value>, finish: Finish) {
        let (finish_in_message, finish_of_provider) = finish.names();
        let output = json!([{ "role": "assistant", "parts": parts, "finish_reason": finish_in_message }]);
        let written = output.to_string();
        let model = self.setting.release.model;
        let input_tokens = self.tokens(self.context_characters);
        let reasoning_tokens = log_normal(self.rng, self.setting.reasoning_tokens, 0.5) as u64;
        let output_tokens = self.tokens(output_characters(&output)) + reasoning_tokens;
        let cost = input_tokens as f64 * model.input_usd_per_mtok + output_tokens as f64 * model.output_usd_per_mtok;
        let attributes = vec![
            text("gen_ai.operation.name", "chat"),
            text("gen_ai.provider.name", "aster"),
            text("gen_ai.agent.name", self.setting.agent.name()),
            text("gen_ai.conversation.id", self.session.conversation_id.as_str()),
            text("gen_ai.request.model", model.name),
            text("gen_ai.response.model", model.name),
            text("gen_ai.response.id", format!("resp_{}", hex_word::<8>(self.rng))),
            texts("gen_ai.response.finish_reasons", &[finish_of_provider]),
            integer("gen_ai.usage.input_tokens", input_tokens),
            integer("gen_ai.usage.cache_read.input_tokens", self.context_tokens_before),
            integer("gen_ai.usage.output_tokens", output_tokens),
            integer("gen_ai.usage.reasoning.output_tokens", reasoning_tokens),
            double("gen_ai.usage.cost", cost / 1e6),
            text("gen_ai.input.messages", Value::from(std::mem::take(&mut self.unseen_messages)).to_string()),
            text("gen_ai.output.messages", written.as_str()),
        ];
        let writing = 0.35 + input_tokens as f64 * 1e-5 + output_tokens as f64 / model.tokens_per_second;
        let start = self.wait(writing, 0.25);
        self.push_span(format!("chat {}", model.name), SpanKind::Client, start, attributes, None);
        self.context_characters += written.len();
        self.context_tokens_before = input_tokens;
        self.last_output = output;
    }

    fn show_reply(&mut self, call_id: &str, body: Value) {
        let part = json!({ "type": "tool_call_response", "id": call_id, "response": body });
        self.show(json!({ "role": "tool", "parts": [part] }));
    }

    /// Puts a message before the model, to be read in its next call.
    fn show(&mut self, message: Value) {
        self.context_characters += message.to_string().len();
        self.unseen_messages.push(message);
    }

    fn tokens(&self, characters: usize) -> u64 {
        (characters as f64 / self.setting.release.model.characters_per_token).ceil() as u64
    }

    /// Lets time pass, and gives the instant before.
    fn wait(&mut self, median_seconds: f64, sigma: f64) -> u64 {
        let before = self.clock;
        self.clock += (log_normal(self.rng, median_seconds, sigma) * 1e9) as u64;
        before
    }

    /// Adds the span of an agent below another span, and gives its id.
    fn agent_span(&mut self, agent: &str, parent_span_id: Vec<u8>) -> Vec<u8> {
        let start = self.wait(0.4, 0.3);
        let attributes = vec![text("gen_ai.operation.name", "invoke_agent"), text("gen_ai.agent.name", agent)];
        self.push_span(format!("invoke_agent {agent}"), SpanKind::Internal, start, attributes, None);
        let Some(span) = self.spans.last_mut() else { return parent_span_id };
        span.parent_span_id = parent_span_id;
        span.span_id.clone()
    }

    /// Adds a child of the root that ends now.
    fn push_span(
        &mut self,
        name: String,
        kind: SpanKind,
        start: u64,
        attributes: Vec<KeyValue>,
        status: Option<Status>,
    ) {
        self.spans.push(Span {
            trace_id: self.trace_id.as_bytes().to_vec(),
            span_id: id::<8>(self.rng).to_vec(),
            parent_span_id: self.root_id.to_vec(),
            name,
            kind: kind.into(),
            start_time_unix_nano: start,
            end_time_unix_nano: self.clock,
            attributes,
            status,
            ..Span::default()
        });
    }

    fn root_span(&mut self) -> Span {
        let mut attributes = vec![
            text("gen_ai.operation.name", "invoke_agent"),
            text("gen_ai.provider.name", "aster"),
            text("gen_ai.agent.name", self.setting.agent.name()),
            text("gen_ai.agent.version", self.setting.release.version),
            text("gen_ai.prompt.version", self.setting.release.prompt_version),
            text("gen_ai.conversation.id", self.session.conversation_id.as_str()),
            text("gen_ai.request.model", self.setting.release.model.name),
            text("gen_ai.system_instructions", instructions(self.setting.instructions)),
            text("gen_ai.tool.definitions", definitions(self.setting.tools)),
            text("gen_ai.input.messages", Value::from(std::mem::take(&mut self.user_messages)).to_string()),
            text("gen_ai.output.messages", self.last_output.to_string()),
            text("user.id", self.session.user_id.as_str()),
            text("user_tier", self.session.user_tier),
            text("org_id", self.session.organisation),
        ];
        attributes.append(&mut self.root_attributes);
        Span {
            trace_id: self.trace_id.as_bytes().to_vec(),
            span_id: self.root_id.to_vec(),
            name: format!("invoke_agent {}", self.setting.agent.name()),
            kind: SpanKind::Internal.into(),
            start_time_unix_nano: self.started,
            end_time_unix_nano: self.clock,
            // Nothing is left out before it is sent: a threshold of zero (tracestate handling) says so.
            trace_state: "ot=th:0".to_owned(),
            attributes,
            ..Span::default()
        }
    }
}
