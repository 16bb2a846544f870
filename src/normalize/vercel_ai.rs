//! The Vercel AI SDK up to version 6 (scope `ai`): outer spans of a generation around inner ones of each step. From
//! version 7 it writes GenAI attributes, and of its own only the context that the caller chose to send.

use super::attributes::Attributes;
use super::convention::{Convention, FactNames, NO_NAMES, Role, SAYS_NOTHING};
use super::json::Json;
use super::message_json;
use super::messages::{Message, Part, Side};

pub(super) const CONVENTION: Convention = Convention {
    name: "vercel_ai",
    signs: &[OPERATION, "ai.settings.context."],
    role,
    messages: |attributes, side| match side {
        Side::Input => input(attributes),
        Side::Output => output(attributes),
    },
    names: FactNames {
        agent: &["ai.telemetry.functionId"],
        conversation: &["ai.telemetry.metadata.sessionId", "ai.settings.context.sessionId"],
        user: &["ai.telemetry.metadata.userId", "ai.settings.context.userId"],
        system_instructions: &["ai.prompt#/system"],
        tool_definitions: &["ai.prompt.tools"],
        model: &["ai.response.model", "ai.model.id"],
        input_tokens: &["ai.usage.inputTokens", "ai.usage.promptTokens"],
        cached_tokens: &["ai.usage.cachedInputTokens"],
        output_tokens: &["ai.usage.outputTokens", "ai.usage.completionTokens"],
        reasoning_tokens: &["ai.usage.reasoningTokens"],
        finish_reasons: &["ai.response.finishReason"],
        tool_name: &["ai.toolCall.name"],
        tool_call_id: &["ai.toolCall.id"],
        tool_arguments: &["ai.toolCall.args"],
        tool_result: &["ai.toolCall.result"],
        ..NO_NAMES
    },
    ..SAYS_NOTHING
};

const OPERATION: &str = "ai.operationId";

/// The outer spans (`ai.generateText`) are model calls too: with an inner one below them they are no leaf.
fn role(attributes: Attributes<'_>) -> Option<Role> {
    Some(match attributes.text(&[OPERATION])?.as_ref() {
        "ai.toolCall" => Role::Tool,
        operation if operation.contains("generate") || operation.contains("stream") => Role::Model,
        _ => Role::Other,
    })
}

fn input(attributes: Attributes<'_>) -> Vec<Message<'_>> {
    let Some(json) = attributes.json(&["ai.prompt.messages", "ai.prompt"]) else { return Vec::new() };
    message_json::read(json.get("prompt").unwrap_or(&json), "user")
}

fn output(attributes: Attributes<'_>) -> Vec<Message<'_>> {
    let said = attributes.text(&["ai.response.text", "ai.response.object", "ai.result.text", "ai.result.object"]);
    let calls = attributes.json(&["ai.response.toolCalls", "ai.result.toolCalls"]).unwrap_or(Json::Null);
    let calls = calls.items().iter().filter_map(message_json::read_tool_call).map(Part::ToolCall);
    let parts: Vec<Part<'_>> = said.map(Part::Text).into_iter().chain(calls).collect();
    let message = Message { role: "assistant".into(), parts, finish_reason: None };
    Some(message).filter(|message| !message.parts.is_empty()).into_iter().collect()
}
