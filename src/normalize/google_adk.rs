//! Google's Agent Development Kit: GenAI attributes, and requests and responses of Gemini whole as JSON.

use super::attributes::Attributes;
use super::convention::{Convention, FactNames, NO_NAMES, Role, SAYS_NOTHING};
use super::gen_ai;
use super::json::Json;
use super::message_json;
use super::messages::{Message, Side};

pub(super) const CONVENTION: Convention = Convention {
    name: "google_adk",
    signs: &["gcp.vertex.agent."],
    role,
    messages,
    not_recorded: &["{}"],
    names: FactNames {
        conversation: &["gcp.vertex.agent.session_id"],
        system_instructions: &["gcp.vertex.agent.llm_request#/config/system_instruction"],
        tool_definitions: &["gcp.vertex.agent.llm_request#/config/tools"],
        input_tokens: &["gcp.vertex.agent.llm_response#/usage_metadata/prompt_token_count"],
        cached_tokens: &["gcp.vertex.agent.llm_response#/usage_metadata/cached_content_token_count"],
        output_tokens: &["gcp.vertex.agent.llm_response#/usage_metadata/candidates_token_count"],
        // Gemini counts its thoughts beside the candidates.
        output_tokens_apart: &[THOUGHTS],
        reasoning_tokens: &[THOUGHTS],
        finish_reasons: &["gcp.vertex.agent.llm_response#/finish_reason"],
        tool_arguments: &[TOOL_ARGUMENTS],
        tool_result: &["gcp.vertex.agent.tool_response"],
        ..NO_NAMES
    },
    ..SAYS_NOTHING
};

const REQUEST: &str = "gcp.vertex.agent.llm_request";
const RESPONSE: &str = "gcp.vertex.agent.llm_response";
const THOUGHTS: &str = "gcp.vertex.agent.llm_response#/usage_metadata/thoughts_token_count";
const TOOL_ARGUMENTS: &str = "gcp.vertex.agent.tool_call_args";

fn role(attributes: Attributes<'_>) -> Option<Role> {
    // Stands beside the spans of calls made at once, and tells of them again.
    if attributes.text(&[gen_ai::TOOL_NAME]).is_some_and(|name| name == "(merged tools)") {
        return Some(Role::Other);
    }
    let recorded = |key| attributes.text(&[key]).is_some_and(|text| text != "{}");
    if attributes.value(TOOL_ARGUMENTS).is_some() { Some(Role::Tool) } else { recorded(REQUEST).then_some(Role::Model) }
}

fn messages(attributes: Attributes<'_>, side: Side) -> Vec<Message<'_>> {
    match attributes.json(&[side.pick(REQUEST, RESPONSE)]) {
        Some(Json::Object(members)) if members.is_empty() => Vec::new(),
        Some(json) => message_json::read_whole(json, side),
        None => Vec::new(),
    }
}
