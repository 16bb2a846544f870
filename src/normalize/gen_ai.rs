//! The OpenTelemetry GenAI conventions: since 1.37, the renames of 1.42-dev, and the names of 1.36 and before.

use super::attributes::Attributes;
use super::convention::{Convention, FactNames, NO_NAMES, Role, SAYS_NOTHING};
use super::flat_messages::{FlatNames, read_flattened};
use super::json::Json;
use super::message_json;
use super::messages::{Message, Side};
use crate::otlp::span::Event;

pub(super) const CONVENTION: Convention = Convention {
    name: "gen_ai",
    signs: &["gen_ai.", "mcp."],
    role: |attributes| stated_role(attributes).or_else(|| likely_role(attributes)),
    messages,
    documents: |attributes| attributes.json(&[RETRIEVED_DOCUMENTS]).map(document_texts),
    names: FactNames {
        agent: &["gen_ai.agent.name", "gen_ai.main_agent.name"],
        agent_version: &["gen_ai.agent.version"],
        conversation: &[CONVERSATION],
        prompt_version: &["gen_ai.prompt.version"],
        system_instructions: &["gen_ai.system_instructions"],
        tool_definitions: &["gen_ai.tool.definitions"],
        model: &["gen_ai.response.model", REQUEST_MODEL],
        input_tokens: &[INPUT_TOKENS, "gen_ai.usage.prompt_tokens"],
        cached_tokens: &["gen_ai.usage.cache_read.input_tokens", "gen_ai.usage.cache_read_input_tokens"],
        cache_write_tokens: &[
            "gen_ai.usage.cache_write.input_tokens",
            "gen_ai.usage.cache_creation.input_tokens",
            "gen_ai.usage.cache_creation_input_tokens",
        ],
        output_tokens: &[OUTPUT_TOKENS, "gen_ai.usage.completion_tokens"],
        reasoning_tokens: &["gen_ai.usage.reasoning.output_tokens", "gen_ai.usage.reasoning_tokens"],
        cost_usd: &[COST],
        finish_reasons: &[FINISH_REASONS],
        tool_name: &[TOOL_NAME],
        tool_call_id: &["gen_ai.tool.call.id"],
        tool_arguments: &[TOOL_ARGUMENTS],
        tool_result: &[TOOL_RESULT],
        query: &["gen_ai.retrieval.query.text", "gen_ai.memory.query.text"],
        ..NO_NAMES
    },
    ..SAYS_NOTHING
};

pub(super) const CONVERSATION: &str = "gen_ai.conversation.id";
pub(super) const REQUEST_MODEL: &str = "gen_ai.request.model";
pub(super) const INPUT_MESSAGES: &str = "gen_ai.input.messages";
pub(super) const OUTPUT_MESSAGES: &str = "gen_ai.output.messages";
pub(super) const INPUT_TOKENS: &str = "gen_ai.usage.input_tokens";
pub(super) const OUTPUT_TOKENS: &str = "gen_ai.usage.output_tokens";
pub(super) const COST: &str = "gen_ai.usage.cost";
pub(super) const FINISH_REASONS: &str = "gen_ai.response.finish_reasons";
pub(super) const TOOL_NAME: &str = "gen_ai.tool.name";
pub(super) const TOOL_ARGUMENTS: &str = "gen_ai.tool.call.arguments";
pub(super) const TOOL_RESULT: &str = "gen_ai.tool.call.result";
pub(super) const RETRIEVED_DOCUMENTS: &str = "gen_ai.retrieval.documents";

/// The whole input and output in one text, as it was until 1.36; others still write them.
pub(super) const PROMPT: &str = "gen_ai.prompt";
pub(super) const PROMPT_QUERY: &str = "gen_ai.prompt#/query";
pub(super) const COMPLETION: &str = "gen_ai.completion";

/// Event with what a model answered, as it was until 1.36.
pub(super) const CHOICE: &str = "gen_ai.choice";

/// What precedes a tool's name in the name of its span.
pub(super) const TOOL_SPAN_NAMES: [&str; 3] = ["execute_tool ", "tools/call ", "running tool: "];

const MCP_METHOD: &str = "mcp.method.name";

/// What is in the name of an operation that calls no model to answer, whatever else its span carries.
const NO_ANSWER: [&str; 9] =
    ["embed", "rerank", "memory", "create_agent", "fetch_response", "evaluat", "guardrail", "moderat", "count_tokens"];

/// The role that the operation names, when the span names one. Senders may name their own: such is a model call when
/// the span carries a model and what it answered.
pub(super) fn stated_role(attributes: Attributes<'_>) -> Option<Role> {
    let operation = attributes.text(&["gen_ai.operation.name"])?;
    Some(match operation.as_ref() {
        "chat" | "generate_content" | "text_completion" | "completion" | "generate" | "llm_request" => Role::Model,
        "invoke_agent" | "invoke_workflow" | "plan" | "agent_step" | "execute_task" => Role::Agent,
        "execute_tool" => Role::Tool,
        "retrieval" | "vector_db_retrieve" | "search_memory" => Role::Retrieval,
        operation if NO_ANSWER.iter().any(|part| operation.contains(part)) => Role::Other,
        _ if answered(attributes) => Role::Model,
        _ => Role::Other,
    })
}

/// Whether a span carries a model and tokens or messages that it gave.
fn answered(attributes: Attributes<'_>) -> bool {
    let has = |key: &&'static str| attributes.value(key).is_some();
    let names = CONVENTION.names;
    let said = [OUTPUT_MESSAGES, COMPLETION];
    names.model.iter().any(has) && names.output_tokens.iter().chain(&said).any(has)
}

/// What a span is likely to do that names no operation.
fn likely_role(attributes: Attributes<'_>) -> Option<Role> {
    let has = |keys: &[&str]| attributes.text(keys).is_some();
    if has(&[TOOL_NAME]) || attributes.text(&[MCP_METHOD]).is_some_and(|method| method == "tools/call") {
        Some(Role::Tool)
    } else if has(&[MCP_METHOD]) {
        Some(Role::Other)
    } else if has(CONVENTION.names.model) {
        Some(Role::Model)
    } else {
        has(CONVENTION.names.agent).then_some(Role::Agent)
    }
}

/// Messages under their own name, else under the name of 1.36 whole, else flattened.
fn messages(attributes: Attributes<'_>, side: Side) -> Vec<Message<'_>> {
    if let Some(json) = attributes.json(&[side.pick(INPUT_MESSAGES, OUTPUT_MESSAGES)]) {
        return message_json::read(&json, side.speaker());
    }
    if let Some(json) = attributes.json(&[side.pick(PROMPT, COMPLETION)]) {
        return message_json::read_whole(json, side);
    }
    let list = side.pick("gen_ai.prompt.", "gen_ai.completion.");
    read_flattened(attributes, &FlatNames { list, message: "", call: "", function: "" }, side.speaker())
}

/// Messages that events carry one each, as it was until 1.36; a converted log record carries its body like attributes.
pub(super) fn event_messages(events: &[Event], side: Side) -> Vec<Message<'_>> {
    let message = |event| {
        let (role, event_side) = event_kind(event)?;
        (event_side == side).then(|| event_message(event, role))
    };
    events.iter().filter_map(message).flatten().collect()
}

fn event_kind(event: &Event) -> Option<(&'static str, Side)> {
    match event.name.as_str() {
        "gen_ai.system.message" => Some(("system", Side::Input)),
        "gen_ai.user.message" => Some(("user", Side::Input)),
        "gen_ai.assistant.message" => Some(("assistant", Side::Input)),
        "gen_ai.tool.message" => Some(("tool", Side::Input)),
        CHOICE => Some(("assistant", Side::Output)),
        _ => None,
    }
}

fn event_message<'a>(event: &'a Event, role: &'static str) -> Vec<Message<'a>> {
    let attributes = Attributes(&event.attributes);
    let body = attributes.json(&["gen_ai.event.content", "body"]);
    let body = body.filter(|body| matches!(body, Json::Object(_)));
    message_json::read(&body.unwrap_or_else(|| attributes.as_message()), role)
}

/// The texts of retrieved documents: of a list, of one inside of an object, or of what then is the only document.
pub(super) fn document_texts(found: Json<'_>) -> Vec<String> {
    match found.get_any(&["documents", "results", "output"]).unwrap_or(&found) {
        Json::Array(documents) => documents.iter().map(document_text).collect(),
        Json::Null => Vec::new(),
        document => vec![document_text(document)],
    }
}

fn document_text(document: &Json<'_>) -> String {
    document.get_any(&["content", "text", "page_content"]).unwrap_or(document).to_text()
}
