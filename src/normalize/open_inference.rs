//! OpenInference (Arize), `spec/semantic_conventions.md`.

use std::collections::BTreeMap;

use super::attributes::{Attributes, text_of};
use super::convention::{Convention, FactNames, NO_NAMES, Names, Role, SAYS_NOTHING};
use super::flat_messages::{FlatNames, read_flattened};
use super::gen_ai;
use super::json::Json;
use super::message_json;
use super::messages::{Message, Side};

pub(super) const CONVENTION: Convention = Convention {
    name: "openinference",
    signs: &[KIND],
    role,
    messages,
    value,
    documents,
    names: FactNames {
        agent: &["agent.name"],
        conversation: &["session.id"],
        user: &["user.id"],
        prompt_version: &["llm.prompt_template.version"],
        tool_definitions: &["llm.tools."],
        model: &[
            "llm.response.model_name",
            "llm.model_name",
            "llm.request.model_name",
            // All that a call which failed says of its model.
            "llm.invocation_parameters#/model",
        ],
        input_tokens: &["llm.token_count.prompt"],
        cached_tokens: &["llm.token_count.prompt_details.cache_read"],
        cache_write_tokens: &["llm.token_count.prompt_details.cache_write"],
        output_tokens: &["llm.token_count.completion"],
        reasoning_tokens: &["llm.token_count.completion_details.reasoning"],
        cost_usd: &["llm.cost.total"],
        finish_reasons: &["llm.finish_reason"],
        tool_name: &["tool.name"],
        tool_call_id: &["tool.id", "tool_call.id"],
        query: &["reranker.query"],
        input_value: &["input.value", "tool.parameters"],
        output_value: &[OUTPUT],
        ..NO_NAMES
    },
    ..SAYS_NOTHING
};

const KIND: &str = "openinference.span.kind";
const OUTPUT: &str = "output.value";

/// Lists of documents, the final choice first.
const DOCUMENT_LISTS: [&str; 2] = ["reranker.output_documents.", "retrieval.documents."];

fn role(attributes: Attributes<'_>) -> Option<Role> {
    Some(match attributes.text(&[KIND])?.as_ref() {
        "LLM" => Role::Model,
        "AGENT" => Role::Agent,
        "TOOL" => Role::Tool,
        "RETRIEVER" | "RERANKER" => Role::Retrieval,
        // A chain may be anything: what another convention says of it is more.
        "CHAIN" | "UNKNOWN" => gen_ai::stated_role(attributes).unwrap_or(Role::Other),
        _ => Role::Other,
    })
}

fn messages(attributes: Attributes<'_>, side: Side) -> Vec<Message<'_>> {
    let list = side.pick("llm.input_messages.", "llm.output_messages.");
    let names = FlatNames { list, message: "message.", call: "tool_call.", function: "function." };
    read_flattened(attributes, &names, side.speaker())
}

/// A text as it stands, or JSON that holds messages or wraps a text.
fn value<'a>(attributes: Attributes<'a>, names: Names, side: Side) -> Vec<Message<'a>> {
    // An answer may be JSON and still be a text: only the type says that it is a wrapping.
    let mime_type = attributes.text(&[side.pick("input.mime_type", "output.mime_type")]);
    if mime_type.as_deref() == Some("application/json") {
        return message_json::read_value(attributes, names, side);
    }
    attributes.content(names).into_iter().map(|text| Message::plain(side.speaker(), text)).collect()
}

fn documents(attributes: Attributes<'_>) -> Option<Vec<String>> {
    let recorded = DOCUMENT_LISTS.iter().map(|list| document_list(attributes, list)).find(|list| !list.is_empty());
    // A retriever that found nothing has no document attributes, but an output that says so.
    recorded.or_else(|| {
        let output = attributes.json(&[OUTPUT])?;
        let documents = output.get("documents").unwrap_or(&output);
        matches!(documents, Json::Array(items) if items.is_empty()).then(Vec::new)
    })
}

fn document_list(attributes: Attributes<'_>, list: &str) -> Vec<String> {
    let contents = attributes.flattened(list).filter(|(_, field, _)| *field == "document.content");
    let by_index: BTreeMap<usize, String> =
        contents.map(|(index, _, value)| (index, text_of(value).into_owned())).collect();
    by_index.into_values().collect()
}
