//! Claude Code's traces (beta): bare names, told by the type of the span.

use super::attributes::Attributes;
use super::convention::{Convention, FactNames, NO_NAMES, Role, SAYS_NOTHING};

pub(super) const CONVENTION: Convention = Convention {
    name: "claude_code",
    signs: &[TYPE],
    confirm: |attributes| role(attributes).is_some(),
    role,
    not_recorded: &["<REDACTED>"],
    names: FactNames {
        release: &["app.version"],
        user: &["user.account_uuid"],
        model: &["model"],
        input_tokens: &["input_tokens"],
        input_tokens_apart: &["cache_read_tokens", "cache_creation_tokens"],
        cached_tokens: &["cache_read_tokens"],
        cache_write_tokens: &["cache_creation_tokens"],
        output_tokens: &["output_tokens"],
        finish_reasons: &["stop_reason"],
        tool_name: &["tool_name"],
        tool_call_id: &["tool_use_id"],
        tool_arguments: &["tool_input", "full_command", "file_path"],
        tool_result: &["output", "content"],
        input_value: &["user_prompt"],
        output_value: &["response.model_output"],
        error: &["error"],
        ..NO_NAMES
    },
    ..SAYS_NOTHING
};

const TYPE: &str = "span.type";

fn role(attributes: Attributes<'_>) -> Option<Role> {
    match attributes.text(&[TYPE])?.as_ref() {
        "interaction" => Some(Role::Agent),
        "llm_request" => Some(Role::Model),
        // The execution stands inside of the tool's span and alone says how it ended.
        "tool" | "tool.execution" => Some(Role::Tool),
        "tool.blocked_on_user" | "hook" => Some(Role::Other),
        _ => None,
    }
}
