//! Langfuse SDKs, which also mark the spans of other instrumentations with environment, release, session and user.

use super::attributes::Attributes;
use super::convention::{Convention, FactNames, NO_NAMES, Role, SAYS_NOTHING};
use super::gen_ai;

pub(super) const CONVENTION: Convention = Convention {
    name: "langfuse",
    signs: &["langfuse."],
    role,
    documents: |attributes| attributes.json(&[OUTPUT]).map(gen_ai::document_texts),
    names: FactNames {
        release: &["langfuse.release", "langfuse.version"],
        environment: &["langfuse.environment"],
        conversation: &["langfuse.session.id"],
        user: &["langfuse.user.id"],
        prompt_version: &["langfuse.observation.prompt.version"],
        finish_reasons: &["langfuse.observation.metadata.finish_reason"],
        model: &["langfuse.observation.model.name"],
        input_tokens: &[
            "langfuse.observation.usage_details#/input",
            "langfuse.observation.usage_details#/prompt_tokens",
            "langfuse.observation.usage_details#/input_tokens",
        ],
        // Usage types do not overlap: `input` is what no other type counts.
        input_tokens_apart: &[CACHED[0], CACHED[1], CACHED[2], CACHE_WRITES[0], CACHE_WRITES[1]],
        cached_tokens: &[
            CACHED[0],
            CACHED[1],
            CACHED[2],
            // As OpenAI counts, in which they are part of the prompt tokens.
            "langfuse.observation.usage_details#/prompt_tokens_details/cached_tokens",
            "langfuse.observation.usage_details#/input_tokens_details/cached_tokens",
        ],
        cache_write_tokens: &CACHE_WRITES,
        output_tokens: &[
            "langfuse.observation.usage_details#/output",
            "langfuse.observation.usage_details#/completion_tokens",
            "langfuse.observation.usage_details#/output_tokens",
        ],
        reasoning_tokens: &[
            "langfuse.observation.usage_details#/output_reasoning_tokens",
            "langfuse.observation.usage_details#/completion_tokens_details/reasoning_tokens",
            "langfuse.observation.usage_details#/output_tokens_details/reasoning_tokens",
        ],
        cost_usd: &["langfuse.observation.cost_details#/total"],
        input_value: &[INPUT, "langfuse.trace.input"],
        output_value: &[OUTPUT, "langfuse.trace.output"],
        query: &[INPUT],
        ..NO_NAMES
    },
    ..SAYS_NOTHING
};

const INPUT: &str = "langfuse.observation.input";
const OUTPUT: &str = "langfuse.observation.output";
const CACHED: [&str; 3] = [
    "langfuse.observation.usage_details#/input_cached_tokens",
    "langfuse.observation.usage_details#/input_cache_read",
    "langfuse.observation.usage_details#/cache_read_input_tokens",
];

const CACHE_WRITES: [&str; 2] = [
    "langfuse.observation.usage_details#/input_cache_creation",
    "langfuse.observation.usage_details#/cache_creation_input_tokens",
];

fn role(attributes: Attributes<'_>) -> Option<Role> {
    match attributes.text(&["langfuse.observation.type"])?.as_ref() {
        "generation" => Some(Role::Model),
        "agent" => Some(Role::Agent),
        "tool" => Some(Role::Tool),
        "retriever" => Some(Role::Retrieval),
        "embedding" | "evaluator" | "guardrail" => Some(Role::Other),
        // A plain span may be anything: what another convention says of it is more.
        _ => gen_ai::stated_role(attributes),
    }
}
