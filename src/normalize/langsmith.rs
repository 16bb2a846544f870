//! LangSmith's OpenTelemetry exporter: runs as spans, their inputs and outputs whole under names of GenAI 1.36.
//!
//! What it calls a session is a project; a conversation is a thread in the metadata.

use super::attributes::Attributes;
use super::convention::{Convention, FactNames, NO_NAMES, Role, SAYS_NOTHING};
use super::gen_ai;

pub(super) const CONVENTION: Convention = Convention {
    name: "langsmith",
    signs: &["langsmith."],
    role,
    documents: |attributes| attributes.json(&[gen_ai::COMPLETION]).map(gen_ai::document_texts),
    names: FactNames {
        conversation: &[
            "langsmith.metadata.thread_id",
            "langsmith.metadata.session_id",
            "langsmith.metadata.conversation_id",
        ],
        user: &["langsmith.metadata.user_id"],
        prompt_version: &["langsmith.metadata.lc_hub_commit_hash"],
        model: &["langsmith.metadata.ls_model_name"],
        input_tokens: &["langsmith.usage_metadata#/input_tokens"],
        cached_tokens: &["langsmith.usage_metadata#/input_token_details/cache_read"],
        cache_write_tokens: &["langsmith.usage_metadata#/input_token_details/cache_creation"],
        output_tokens: &["langsmith.usage_metadata#/output_tokens"],
        reasoning_tokens: &["langsmith.usage_metadata#/output_token_details/reasoning"],
        cost_usd: &["langsmith.usage_metadata#/total_cost"],
        tool_name: &[gen_ai::TOOL_NAME, "langsmith.trace.name"],
        input_value: &[gen_ai::PROMPT],
        output_value: &[gen_ai::COMPLETION],
        query: &[gen_ai::PROMPT_QUERY, gen_ai::PROMPT],
        ..NO_NAMES
    },
    ..SAYS_NOTHING
};

fn role(attributes: Attributes<'_>) -> Option<Role> {
    match attributes.text(&["langsmith.span.kind"])?.as_ref() {
        "llm" => Some(Role::Model),
        "tool" => Some(Role::Tool),
        "retriever" => Some(Role::Retrieval),
        // A chain may be anything: what another convention says of it is more.
        _ => Some(gen_ai::stated_role(attributes).unwrap_or(Role::Other)),
    }
}
