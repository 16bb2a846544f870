//! OpenLLMetry (Traceloop): its own span kinds and entities around GenAI attributes, old or new.

use super::attributes::Attributes;
use super::convention::{Convention, FactNames, NO_NAMES, Role};
use super::gen_ai;
use super::messages::{self, Message};

pub(super) const CONVENTION: Convention = Convention {
    name: "openllmetry",
    fallback: Some(&gen_ai::CONVENTION),
    detect: |attributes| attributes.any_starts_with("traceloop.") || attributes.value(REQUEST_TYPE).is_some(),
    role,
    input: |attributes| read(attributes, INPUT, gen_ai::CONVENTION.input, "user"),
    output: |attributes| read(attributes, OUTPUT, gen_ai::CONVENTION.output, "assistant"),
    documents: gen_ai::CONVENTION.documents,
    names: FactNames {
        agent: &["traceloop.workflow.name"],
        conversation: &["traceloop.association.properties.session_id"],
        user: &["traceloop.association.properties.user_id"],
        prompt_version: &["traceloop.prompt.version", "traceloop.prompt.version_hash"],
        tool_name: &["traceloop.entity.name"],
        tool_arguments: &[INPUT],
        tool_result: &[OUTPUT],
        query: &[INPUT],
        ..NO_NAMES
    },
};

const KIND: &str = "traceloop.span.kind";
const REQUEST_TYPE: &str = "llm.request.type";
const INPUT: &str = "traceloop.entity.input";
const OUTPUT: &str = "traceloop.entity.output";

fn role(attributes: Attributes<'_>) -> Role {
    match (attributes.text(&[KIND]).as_deref(), attributes.text(&[REQUEST_TYPE]).as_deref()) {
        (Some("workflow" | "agent"), _) => Role::Agent,
        (Some("tool"), _) => Role::Tool,
        (_, Some("chat" | "completion")) => Role::Model,
        (_, Some("rerank")) => Role::Retrieval,
        (_, Some(_)) | (Some("task"), _) => Role::Other,
        _ => (gen_ai::CONVENTION.role)(attributes),
    }
}

/// The GenAI messages, else the text that the entity's input or output wraps.
fn read<'a>(
    attributes: Attributes<'a>,
    entity: &str,
    gen_ai: for<'b> fn(Attributes<'b>) -> Vec<Message<'b>>,
    speaker: &'static str,
) -> Vec<Message<'a>> {
    let messages = gen_ai(attributes);
    match attributes.json(&[entity]) {
        Some(json) if messages.is_empty() => vec![Message::plain(speaker, messages::unwrapped_text(&json))],
        _ => messages,
    }
}
