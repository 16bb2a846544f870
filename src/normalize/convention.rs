//! What a span convention has to say: how to recognise its spans, and under which names it keeps which fact.

use std::sync::LazyLock;

use super::attributes::Attributes;
use super::message_json;
use super::messages::{Message, Side};
use super::{
    claude_code, gen_ai, general, google_adk, langfuse, langsmith, mlflow, open_inference, openllmetry, plain,
    pydantic_ai, vercel_ai,
};

/// Every convention that is understood, the more specific first. A span may be written in several at once: each fact
/// is read from the first that carries it.
pub(super) const CONVENTIONS: [&Convention; 12] = [
    &open_inference::CONVENTION,
    &vercel_ai::CONVENTION,
    &openllmetry::CONVENTION,
    &langfuse::CONVENTION,
    &langsmith::CONVENTION,
    &mlflow::CONVENTION,
    &claude_code::CONVENTION,
    &google_adk::CONVENTION,
    &pydantic_ai::CONVENTION,
    &gen_ai::CONVENTION,
    &plain::CONVENTION,
    &general::CONVENTION,
];

/// The conventions that one span is written in, one bit each.
#[derive(Debug, Clone, Copy)]
pub(super) struct Recognised(u16);

impl Recognised {
    /// Looks at every attribute once for the signs of all conventions.
    pub(super) fn of(attributes: Attributes<'_>) -> Self {
        let mut bits = 0;
        for key in attributes.keys() {
            let first = key.as_bytes().first().map_or(0, |first| usize::from(*first));
            for (sign, bit) in &SIGNS_BY_FIRST_BYTE[first] {
                bits |= if key.starts_with(sign) { *bit } else { 0 };
            }
        }
        let sure = Self(bits).iter().filter(|convention| (convention.confirm)(attributes));
        Self(sure.fold(0, |bits, convention| bits | bit(convention)) | bit(&general::CONVENTION))
    }

    /// The conventions, the more specific first; the last is [`general`].
    pub(super) fn iter(self) -> impl Iterator<Item = &'static Convention> {
        CONVENTIONS.into_iter().enumerate().filter(move |(index, _)| self.0 & (1 << index) != 0).map(|(_, it)| it)
    }
}

/// Signs of all conventions with their bits, by the first byte of the sign: most attributes are a sign of nothing.
static SIGNS_BY_FIRST_BYTE: LazyLock<[Vec<(&str, u16)>; 256]> = LazyLock::new(|| {
    let mut table = [const { Vec::new() }; 256];
    for convention in CONVENTIONS {
        for sign in convention.signs {
            let first = sign.as_bytes().first().map_or(0, |first| usize::from(*first));
            table[first].push((*sign, bit(convention)));
        }
    }
    table
});

fn bit(convention: &Convention) -> u16 {
    let index = CONVENTIONS.iter().position(|listed| listed.name == convention.name);
    index.map_or(0, |index| 1 << index)
}

/// What a span does in an agent run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
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

/// Names of attributes that hold one fact, best first. A name may reach into JSON: `usage#/output/reasoning`.
pub(super) type Names = &'static [&'static str];

/// One span convention.
pub(super) struct Convention {
    /// Its name, as reports show it.
    pub(super) name: &'static str,
    /// Starts of attribute names that only its spans carry.
    pub(super) signs: Names,
    /// Whether a span with such a sign is written in it.
    pub(super) confirm: fn(Attributes<'_>) -> bool,
    /// What such a span does; `None` when the convention does not say.
    pub(super) role: fn(Attributes<'_>) -> Option<Role>,
    /// Messages to and from a model or agent.
    pub(super) messages: for<'a> fn(Attributes<'a>, Side) -> Vec<Message<'a>>,
    /// Reads as messages what stands under [`FactNames::input_value`] or [`FactNames::output_value`].
    pub(super) value: for<'a> fn(Attributes<'a>, Names, Side) -> Vec<Message<'a>>,
    /// Texts of retrieved documents; `None` when none were recorded.
    pub(super) documents: fn(Attributes<'_>) -> Option<Vec<String>>,
    /// Texts that stand where content was left out.
    pub(super) not_recorded: &'static [&'static str],
    /// Names of single facts.
    pub(super) names: FactNames,
}

/// Under which attributes a convention keeps single facts.
pub(super) struct FactNames {
    pub(super) release: Names,
    pub(super) environment: Names,
    pub(super) agent: Names,
    pub(super) agent_version: Names,
    pub(super) conversation: Names,
    pub(super) user: Names,
    pub(super) prompt_version: Names,
    pub(super) system_instructions: Names,
    /// A name that ends in a dot is what precedes the index in a flattened list.
    pub(super) tool_definitions: Names,
    pub(super) model: Names,
    pub(super) input_tokens: Names,
    /// Prompt tokens that the convention does not count among the input tokens.
    pub(super) input_tokens_apart: Names,
    /// Prompt tokens that were read from a cache and cost less.
    pub(super) cached_tokens: Names,
    /// Prompt tokens that were written to a cache and may cost more.
    pub(super) cache_write_tokens: Names,
    pub(super) output_tokens: Names,
    /// Completion tokens that the convention does not count among the output tokens.
    pub(super) output_tokens_apart: Names,
    pub(super) reasoning_tokens: Names,
    pub(super) cost_usd: Names,
    pub(super) finish_reasons: Names,
    pub(super) tool_name: Names,
    pub(super) tool_call_id: Names,
    pub(super) tool_arguments: Names,
    pub(super) tool_result: Names,
    /// Bytes of a tool's result.
    pub(super) result_size: Names,
    pub(super) http_status: Names,
    pub(super) query: Names,
    /// Whatever a span of any role took, when no name above says it better.
    pub(super) input_value: Names,
    /// Whatever a span of any role gave, when no name above says it better.
    pub(super) output_value: Names,
    pub(super) decision: Names,
    pub(super) decision_confidence: Names,
    pub(super) decision_rationale: Names,
    pub(super) decision_sources: Names,
    pub(super) error: Names,
}

/// No names at all, for conventions to start from.
pub(super) const NO_NAMES: FactNames = FactNames {
    release: &[],
    environment: &[],
    agent: &[],
    agent_version: &[],
    conversation: &[],
    user: &[],
    prompt_version: &[],
    system_instructions: &[],
    tool_definitions: &[],
    model: &[],
    input_tokens: &[],
    input_tokens_apart: &[],
    cached_tokens: &[],
    cache_write_tokens: &[],
    output_tokens: &[],
    output_tokens_apart: &[],
    reasoning_tokens: &[],
    cost_usd: &[],
    finish_reasons: &[],
    tool_name: &[],
    tool_call_id: &[],
    tool_arguments: &[],
    tool_result: &[],
    result_size: &[],
    http_status: &[],
    query: &[],
    input_value: &[],
    output_value: &[],
    decision: &[],
    decision_confidence: &[],
    decision_rationale: &[],
    decision_sources: &[],
    error: &[],
};

/// A convention that says nothing, for conventions to start from.
pub(super) const SAYS_NOTHING: Convention = Convention {
    name: "unknown",
    signs: &[],
    confirm: |_| true,
    role: |_| None,
    messages: |_, _| Vec::new(),
    value: message_json::read_value,
    documents: |_| None,
    not_recorded: &[],
    names: NO_NAMES,
};
