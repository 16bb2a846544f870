//! The OpenTelemetry GenAI conventions: since 1.37, the renames of 1.42-dev, and the names of 1.36 and before.

use super::attributes::Attributes;
use super::convention::{Convention, FactNames, Role};
use super::general;
use super::json::Json;
use super::messages::{self, FlatNames, Message};

pub(super) const CONVENTION: Convention = Convention {
    name: "gen_ai",
    fallback: Some(&general::CONVENTION),
    detect: |attributes| attributes.any_starts_with("gen_ai.") || attributes.any_starts_with("mcp."),
    role,
    input,
    output,
    documents,
    names: FactNames {
        agent: &["gen_ai.agent.name"],
        agent_version: &["gen_ai.agent.version"],
        conversation: &[CONVERSATION],
        user: &[],
        prompt_version: &["gen_ai.prompt.version"],
        system_instructions: &["gen_ai.system_instructions"],
        model: &["gen_ai.response.model", REQUEST_MODEL],
        input_tokens: &[INPUT_TOKENS, "gen_ai.usage.prompt_tokens"],
        output_tokens: &[OUTPUT_TOKENS, "gen_ai.usage.completion_tokens"],
        reasoning_tokens: &["gen_ai.usage.reasoning.output_tokens", "gen_ai.usage.reasoning_tokens"],
        cost_usd: &["gen_ai.usage.cost", "operation.cost"],
        finish_reasons: &[FINISH_REASONS],
        tool_name: &["gen_ai.tool.name"],
        tool_call_id: &["gen_ai.tool.call.id"],
        tool_arguments: &[TOOL_ARGUMENTS, "tool_arguments"],
        tool_result: &[TOOL_RESULT, "tool_response"],
        query: &["gen_ai.retrieval.query.text"],
        error: &[],
    },
};

pub(super) const CONVERSATION: &str = "gen_ai.conversation.id";
pub(super) const REQUEST_MODEL: &str = "gen_ai.request.model";
pub(super) const INPUT_MESSAGES: &str = "gen_ai.input.messages";
pub(super) const OUTPUT_MESSAGES: &str = "gen_ai.output.messages";
pub(super) const INPUT_TOKENS: &str = "gen_ai.usage.input_tokens";
pub(super) const OUTPUT_TOKENS: &str = "gen_ai.usage.output_tokens";
pub(super) const FINISH_REASONS: &str = "gen_ai.response.finish_reasons";
pub(super) const TOOL_ARGUMENTS: &str = "gen_ai.tool.call.arguments";
pub(super) const TOOL_RESULT: &str = "gen_ai.tool.call.result";
pub(super) const RETRIEVED_DOCUMENTS: &str = "gen_ai.retrieval.documents";

/// What precedes a tool's name in the name of its span.
pub(super) const TOOL_SPAN_NAMES: [&str; 3] = ["execute_tool ", "tools/call ", "running tool: "];

const MCP_METHOD: &str = "mcp.method.name";

fn role(attributes: Attributes<'_>) -> Role {
    match attributes.text(&["gen_ai.operation.name"]).as_deref() {
        Some("chat" | "generate_content" | "text_completion" | "completion" | "generate" | "llm_request") => {
            Role::Model
        }
        Some("invoke_agent" | "invoke_workflow" | "plan" | "agent_step" | "execute_task") => Role::Agent,
        Some("execute_tool") => Role::Tool,
        Some("retrieval" | "vector_db_retrieve" | "search_memory") => Role::Retrieval,
        Some(_) => Role::Other,
        None => role_without_operation(attributes),
    }
}

fn role_without_operation(attributes: Attributes<'_>) -> Role {
    let has = |keys: &[&str]| attributes.text(keys).is_some();
    if has(&["gen_ai.tool.name"]) || attributes.text(&[MCP_METHOD]).is_some_and(|method| method == "tools/call") {
        Role::Tool
    } else if has(&[MCP_METHOD]) {
        Role::Other
    } else if has(CONVENTION.names.model) {
        Role::Model
    } else if has(CONVENTION.names.agent) {
        Role::Agent
    } else {
        Role::Other
    }
}

fn input(attributes: Attributes<'_>) -> Vec<Message<'_>> {
    read(attributes, INPUT_MESSAGES, "gen_ai.prompt", "gen_ai.prompt.", "user")
}

fn output(attributes: Attributes<'_>) -> Vec<Message<'_>> {
    read(attributes, OUTPUT_MESSAGES, "gen_ai.completion", "gen_ai.completion.", "assistant")
}

/// Messages under their own name, else under the name of 1.36 whole, else flattened.
fn read<'a>(
    attributes: Attributes<'a>,
    key: &str,
    legacy: &str,
    flattened: &'static str,
    speaker: &'static str,
) -> Vec<Message<'a>> {
    if let Some(json) = attributes.json(&[key, legacy]) {
        return messages::read(&json, speaker);
    }
    messages::read_flattened(attributes, &FlatNames { list: flattened, message: "", call: "", function: "" }, speaker)
}

fn documents(attributes: Attributes<'_>) -> Option<Vec<String>> {
    let documents = attributes.json(&[RETRIEVED_DOCUMENTS])?;
    Some(documents.items().iter().map(document_text).collect())
}

fn document_text(document: &Json<'_>) -> String {
    document.get_any(&["content", "text", "page_content"]).unwrap_or(document).to_text()
}
