//! The Vercel AI SDK up to version 6 (scope `ai`): outer spans of a generation around inner ones of each step.

use super::attributes::Attributes;
use super::convention::{Convention, FactNames, NO_NAMES, Role};
use super::gen_ai;
use super::json::Json;
use super::messages::{self, Message, Part};

pub(super) const CONVENTION: Convention = Convention {
    name: "vercel_ai",
    fallback: Some(&gen_ai::CONVENTION),
    detect: |attributes| attributes.value(OPERATION).is_some(),
    role,
    input,
    output,
    documents: gen_ai::CONVENTION.documents,
    names: FactNames {
        agent: &["ai.telemetry.functionId"],
        conversation: &["ai.telemetry.metadata.sessionId"],
        user: &["ai.telemetry.metadata.userId"],
        model: &["ai.response.model", "ai.model.id"],
        input_tokens: &["ai.usage.inputTokens", "ai.usage.promptTokens"],
        output_tokens: &["ai.usage.outputTokens", "ai.usage.completionTokens"],
        reasoning_tokens: &["ai.usage.reasoningTokens"],
        finish_reasons: &["ai.response.finishReason"],
        tool_name: &["ai.toolCall.name"],
        tool_call_id: &["ai.toolCall.id"],
        tool_arguments: &["ai.toolCall.args"],
        tool_result: &["ai.toolCall.result"],
        ..NO_NAMES
    },
};

const OPERATION: &str = "ai.operationId";

/// The outer spans (`ai.generateText`) are model calls too: with an inner one below them they are no leaf.
fn role(attributes: Attributes<'_>) -> Role {
    match attributes.text(&[OPERATION]).as_deref() {
        Some("ai.toolCall") => Role::Tool,
        Some(operation) if operation.contains("generate") || operation.contains("stream") => Role::Model,
        _ => Role::Other,
    }
}

fn input(attributes: Attributes<'_>) -> Vec<Message<'_>> {
    match attributes.json(&["ai.prompt.messages", "ai.prompt"]) {
        Some(json) => match json.get("prompt") {
            Some(prompt) => messages::read(prompt, "user"),
            None => messages::read(&json, "user"),
        },
        None => (gen_ai::CONVENTION.input)(attributes),
    }
}

fn output(attributes: Attributes<'_>) -> Vec<Message<'_>> {
    let said = attributes.text(&["ai.response.text", "ai.response.object", "ai.result.text", "ai.result.object"]);
    let calls = attributes.json(&["ai.response.toolCalls", "ai.result.toolCalls"]).unwrap_or(Json::Null);
    let calls = calls.items().iter().filter_map(messages::read_tool_call).map(Part::ToolCall);
    let parts: Vec<Part<'_>> = said.map(Part::Text).into_iter().chain(calls).collect();
    if parts.is_empty() {
        return (gen_ai::CONVENTION.output)(attributes);
    }
    vec![Message { role: "assistant".into(), parts, finish_reason: None }]
}
