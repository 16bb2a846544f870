//! Bare names that small home-grown instrumentations use.

use super::convention::{Convention, FactNames, NO_NAMES, Role, no_documents, no_messages};
use super::general;

pub(super) const CONVENTION: Convention = Convention {
    name: "plain",
    fallback: Some(&general::CONVENTION),
    detect: |attributes| [MODEL, INPUT_TOKENS, OUTPUT_TOKENS].iter().any(|key| attributes.value(key).is_some()),
    role: |_| Role::Model,
    input: no_messages,
    output: no_messages,
    documents: no_documents,
    names: FactNames { model: &[MODEL], input_tokens: &[INPUT_TOKENS], output_tokens: &[OUTPUT_TOKENS], ..NO_NAMES },
};

const MODEL: &str = "llm.model";
const INPUT_TOKENS: &str = "llm.prompt_tokens";
const OUTPUT_TOKENS: &str = "llm.completion_tokens";
