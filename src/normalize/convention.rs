//! What a span convention has to say: how to recognise its spans, and under which names it keeps which fact.

use super::attributes::Attributes;
use super::messages::Message;
use super::{gen_ai, general, open_inference, openllmetry, plain, vercel_ai};

/// Every convention that is understood, the more specific first: a span belongs to the first that recognises it.
pub(super) const CONVENTIONS: [&Convention; 6] = [
    &open_inference::CONVENTION,
    &vercel_ai::CONVENTION,
    &openllmetry::CONVENTION,
    &gen_ai::CONVENTION,
    &plain::CONVENTION,
    &general::CONVENTION,
];

/// What a span does in an agent run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// An agent, or a workflow of agents.
    Agent,
    /// A language model inference, or a call that wraps several.
    Model,
    /// A tool call.
    Tool,
    /// A retrieval of documents.
    Retrieval,
    /// Anything else.
    Other,
}

/// Names of attributes that hold one fact, best first.
pub(super) type Names = &'static [&'static str];

/// One span convention.
pub(super) struct Convention {
    /// Its name, as reports show it.
    pub(super) name: &'static str,
    /// Where a fact is looked for that this convention has no name for.
    pub(super) fallback: Option<&'static Convention>,
    /// Whether a span is written in it.
    pub(super) detect: fn(Attributes<'_>) -> bool,
    /// What such a span does.
    pub(super) role: fn(Attributes<'_>) -> Role,
    /// Messages given to a model or agent.
    pub(super) input: for<'a> fn(Attributes<'a>) -> Vec<Message<'a>>,
    /// Messages that a model or agent answered.
    pub(super) output: for<'a> fn(Attributes<'a>) -> Vec<Message<'a>>,
    /// Texts of retrieved documents; `None` when none were recorded.
    pub(super) documents: fn(Attributes<'_>) -> Option<Vec<String>>,
    /// Names of single facts.
    pub(super) names: FactNames,
}

/// Under which attributes a convention keeps single facts.
pub(super) struct FactNames {
    pub(super) agent: Names,
    pub(super) agent_version: Names,
    pub(super) conversation: Names,
    pub(super) user: Names,
    pub(super) prompt_version: Names,
    pub(super) system_instructions: Names,
    pub(super) model: Names,
    pub(super) input_tokens: Names,
    pub(super) output_tokens: Names,
    pub(super) reasoning_tokens: Names,
    pub(super) cost_usd: Names,
    pub(super) finish_reasons: Names,
    pub(super) tool_name: Names,
    pub(super) tool_call_id: Names,
    pub(super) tool_arguments: Names,
    pub(super) tool_result: Names,
    pub(super) query: Names,
    pub(super) error: Names,
}

/// No names at all, for conventions to start from.
pub(super) const NO_NAMES: FactNames = FactNames {
    agent: &[],
    agent_version: &[],
    conversation: &[],
    user: &[],
    prompt_version: &[],
    system_instructions: &[],
    model: &[],
    input_tokens: &[],
    output_tokens: &[],
    reasoning_tokens: &[],
    cost_usd: &[],
    finish_reasons: &[],
    tool_name: &[],
    tool_call_id: &[],
    tool_arguments: &[],
    tool_result: &[],
    query: &[],
    error: &[],
};

/// For conventions that carry no messages.
pub(super) const fn no_messages(_: Attributes<'_>) -> Vec<Message<'_>> {
    Vec::new()
}

/// For conventions that carry no documents.
pub(super) const fn no_documents(_: Attributes<'_>) -> Option<Vec<String>> {
    None
}
