//! OpenInference (Arize), `spec/semantic_conventions.md`.

use std::collections::BTreeMap;

use super::attributes::{Attributes, text_of};
use super::convention::{Convention, FactNames, Role};
use super::general;
use super::json::Json;
use super::messages::{self, FlatNames, Message};

pub(super) const CONVENTION: Convention = Convention {
    name: "openinference",
    fallback: Some(&general::CONVENTION),
    detect: |attributes| attributes.value(KIND).is_some(),
    role,
    input,
    output,
    documents,
    names: FactNames {
        agent: &["agent.name"],
        agent_version: &[],
        conversation: &["session.id"],
        user: &["user.id"],
        prompt_version: &["llm.prompt_template.version"],
        system_instructions: &[],
        model: &["llm.response.model_name", "llm.model_name", "llm.request.model_name"],
        input_tokens: &["llm.token_count.prompt"],
        output_tokens: &["llm.token_count.completion"],
        reasoning_tokens: &["llm.token_count.completion_details.reasoning"],
        cost_usd: &["llm.cost.total"],
        finish_reasons: &["llm.finish_reason"],
        tool_name: &["tool.name"],
        tool_call_id: &["tool.id", "tool_call.id"],
        tool_arguments: &[INPUT, "tool.parameters"],
        tool_result: &[OUTPUT],
        query: &[INPUT, "reranker.query"],
        error: &[],
    },
};

const KIND: &str = "openinference.span.kind";
const INPUT: &str = "input.value";
const OUTPUT: &str = "output.value";

/// Lists of documents, the final choice first.
const DOCUMENT_LISTS: [&str; 2] = ["reranker.output_documents.", "retrieval.documents."];

fn role(attributes: Attributes<'_>) -> Role {
    match attributes.text(&[KIND]).as_deref() {
        Some("LLM") => Role::Model,
        Some("AGENT") => Role::Agent,
        Some("TOOL") => Role::Tool,
        Some("RETRIEVER" | "RERANKER") => Role::Retrieval,
        _ => Role::Other,
    }
}

fn input(attributes: Attributes<'_>) -> Vec<Message<'_>> {
    read(attributes, "llm.input_messages.", [INPUT, "input.mime_type"], "user")
}

fn output(attributes: Attributes<'_>) -> Vec<Message<'_>> {
    read(attributes, "llm.output_messages.", [OUTPUT, "output.mime_type"], "assistant")
}

/// The flattened messages, else the span's value: a text as it stands, or JSON that holds messages or wraps a text.
fn read<'a>(
    attributes: Attributes<'a>,
    list: &'static str,
    [value, mime_type]: [&str; 2],
    speaker: &'static str,
) -> Vec<Message<'a>> {
    let names = FlatNames { list, message: "message.", call: "tool_call.", function: "function." };
    let messages = messages::read_flattened(attributes, &names, speaker);
    if !messages.is_empty() {
        return messages;
    }
    // An answer may be JSON and still be a text: only the type says that it is a wrapping.
    if attributes.text(&[mime_type]).as_deref() != Some("application/json") {
        return attributes.content(&[value]).into_iter().map(|text| Message::plain(speaker, text)).collect();
    }
    match attributes.json(&[value]) {
        Some(json @ Json::Object(_)) if json.get("messages").is_none() => {
            vec![Message::plain(speaker, messages::unwrapped_text(&json))]
        }
        Some(json) => messages::read(&json, speaker),
        None => Vec::new(),
    }
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
