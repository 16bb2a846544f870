//! The JSON and protobuf shapes that spans carry.

use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::Status;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use serde_json::{Value, json};

use super::agent::{Agent, Release};
use super::attributes::text;

/// A retrieved document.
#[derive(Debug, Clone)]
pub(crate) struct Document {
    /// Where it is found.
    pub(crate) url: String,
    /// Its title.
    pub(crate) title: String,
    /// Its text.
    pub(crate) content: String,
}

/// Why the model stopped writing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Finish {
    /// It had said everything.
    Stop,
    /// It ran into its token limit.
    Length,
    /// It waits for a tool.
    ToolCall,
}

impl Finish {
    /// As the message schema writes it, and as the provider does.
    pub(crate) const fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Stop => ("stop", "stop"),
            Self::Length => ("length", "length"),
            Self::ToolCall => ("tool_call", "tool_calls"),
        }
    }
}

/// The resource of an agent's spans.
pub(crate) fn resource(agent: Agent, release: &Release) -> Resource {
    let attributes = vec![
        text("service.name", agent.service()),
        text("service.version", release.version),
        text("deployment.environment.name", "production"),
        text("telemetry.sdk.language", "python"),
    ];
    Resource { attributes, ..Resource::default() }
}

/// The status of a tool call that failed with this body.
pub(crate) fn failure(body: &Value) -> Status {
    let message = body["error"].as_str().unwrap_or_default().to_owned();
    Status { code: StatusCode::Error.into(), message }
}

/// A retrieved document and its place in the ranking.
pub(crate) fn scored(rank: usize, document: &Document) -> Value {
    let score = 0.92 - 0.07 * rank as f64;
    json!({ "id": document.url, "score": score, "title": document.title, "content": document.content })
}

/// `gen_ai.system_instructions`.
pub(crate) fn instructions(prompt: &str) -> String {
    json!([{ "type": "text", "content": prompt }]).to_string()
}

/// `gen_ai.tool.definitions`.
pub(crate) fn definitions(tools: &[(&str, &str)]) -> String {
    let definitions: Vec<Value> = tools
        .iter()
        .map(|(name, description)| json!({ "type": "function", "name": name, "description": description }))
        .collect();
    Value::from(definitions).to_string()
}

/// Characters the model wrote: the text, or the arguments of its calls.
pub(crate) fn output_characters(output: &Value) -> usize {
    output[0]["parts"].as_array().map_or(0, |parts| parts.iter().map(part_characters).sum())
}

fn part_characters(part: &Value) -> usize {
    part["content"].as_str().map_or_else(|| part["arguments"].to_string().len(), str::len)
}
