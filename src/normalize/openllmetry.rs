//! OpenLLMetry (Traceloop): its own span kinds and entities around GenAI attributes, old or new.

use super::attributes::Attributes;
use super::convention::{Convention, FactNames, NO_NAMES, Names, Role, SAYS_NOTHING};
use super::gen_ai;
use super::message_json;
use super::messages::{Message, Side};

pub(super) const CONVENTION: Convention = Convention {
    name: "openllmetry",
    signs: &["traceloop.", REQUEST_TYPE],
    role,
    value,
    names: FactNames {
        agent: &["traceloop.workflow.name"],
        conversation: &[
            "traceloop.association.properties.session_id",
            "traceloop.association.properties.thread_id",
            "traceloop.association.properties.conversation_id",
        ],
        user: &["traceloop.association.properties.user_id"],
        prompt_version: &["traceloop.prompt.version", "traceloop.prompt.version_hash"],
        tool_definitions: &["llm.request.functions."],
        tool_name: &["traceloop.entity.name"],
        input_value: &["traceloop.entity.input"],
        output_value: &["traceloop.entity.output"],
        ..NO_NAMES
    },
    ..SAYS_NOTHING
};

const KIND: &str = "traceloop.span.kind";
const REQUEST_TYPE: &str = "llm.request.type";

fn role(attributes: Attributes<'_>) -> Option<Role> {
    match (attributes.text(&[KIND]).as_deref(), attributes.text(&[REQUEST_TYPE]).as_deref()) {
        (Some("workflow" | "agent"), _) => Some(Role::Agent),
        (Some("tool"), _) => Some(Role::Tool),
        (_, Some("chat" | "completion")) => Some(Role::Model),
        (_, Some("rerank")) => Some(Role::Retrieval),
        // A task may be anything: what another convention says of it is more.
        (_, Some(_)) | (Some("task"), _) => Some(gen_ai::stated_role(attributes).unwrap_or(Role::Other)),
        _ => None,
    }
}

/// The text that the entity's input or output wraps.
fn value<'a>(attributes: Attributes<'a>, names: Names, side: Side) -> Vec<Message<'a>> {
    let entity = attributes.json(names);
    entity.map(|json| Message::plain(side.speaker(), message_json::unwrapped_text(&json))).into_iter().collect()
}
