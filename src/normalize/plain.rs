//! Bare names that small home-grown instrumentations use.

use super::attributes::Attributes;
use super::convention::{Convention, FactNames, NO_NAMES, Role, SAYS_NOTHING};

pub(super) const CONVENTION: Convention = Convention {
    name: "plain",
    signs: &["llm.", "decision.", ENDPOINT, RATIONALE, SOURCES],
    role,
    names: FactNames {
        agent: &["agent.name"],
        agent_version: &["agent.version"],
        prompt_version: &["prompt.version", "prompt_version"],
        system_instructions: &["llm.system_prompt"],
        model: &["llm.model", "llm.model_name"],
        input_tokens: &["llm.prompt_tokens", "llm.input_tokens", "llm.usage.prompt_tokens"],
        output_tokens: &["llm.completion_tokens", "llm.output_tokens", "llm.usage.completion_tokens"],
        cost_usd: &["llm.cost_usd", "llm.cost"],
        finish_reasons: &["llm.finish_reason"],
        tool_name: &["tool.name", ENDPOINT],
        result_size: &["response.size"],
        input_value: &["llm.prompt", "request.body"],
        output_value: &["llm.response", "llm.completion", "response.body", DECISION],
        decision: &[DECISION],
        decision_confidence: &["decision.confidence"],
        decision_rationale: &[RATIONALE],
        decision_sources: &[SOURCES],
        ..NO_NAMES
    },
    ..SAYS_NOTHING
};

const ENDPOINT: &str = "api.endpoint";
const DECISION: &str = "decision.result";
const SOURCES: &str = "context.sources";
pub(super) const RATIONALE: &str = "agent.decision_rationale";

/// A call of a model may name its endpoint, and an agent may name its model once for all.
fn role(attributes: Attributes<'_>) -> Option<Role> {
    let has_any = |lists: &[&[&str]]| lists.iter().any(|names| attributes.text(names).is_some());
    let names = &CONVENTION.names;
    if has_any(&[names.input_tokens, names.output_tokens]) {
        Some(Role::Model)
    } else if has_any(&[names.decision, names.decision_rationale]) {
        Some(Role::Agent)
    } else if has_any(&[names.model]) {
        Some(Role::Model)
    } else {
        has_any(&[&[ENDPOINT]]).then_some(Role::Tool)
    }
}
