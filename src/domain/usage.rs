//! What a run used: calls of models and of tools, and what they came to.

use std::collections::BTreeMap;

use super::money::NanoUsd;
use super::trace::{ModelCall, ToolCall, ToolStatus, Trace};

/// Models, and tools, of one run that are told apart; the others are together.
const MOST_NAMES: usize = 100;
/// Bytes of a name that are kept.
const LONGEST_NAME: usize = 512;
/// What stands for the names beyond them.
const OTHER: &str = "other";
/// The most that is believed of one run: sums over all of them must not overflow.
const MOST_TOKENS: u64 = 1_000_000_000_000;
const MOST_COST: NanoUsd = NanoUsd(1_000_000_000_000_000);

/// What a run used.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Usage {
    /// What the agent was doing: the feature, else the agent's name.
    pub operation: Option<String>,
    /// By model; empty where the spans name none.
    pub models: BTreeMap<String, ModelUsage>,
    /// By tool.
    pub tools: BTreeMap<String, ToolUsage>,
}

/// What the calls of one model came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ModelUsage {
    /// Calls.
    pub calls: u64,
    /// Answered calls of which no price is known.
    pub unpriced: u64,
    /// Prompt tokens, as far as spans say.
    pub input_tokens: u64,
    /// Completion tokens, as far as spans say.
    pub output_tokens: u64,
    /// Prompt tokens that were read from a cache, as far as spans say.
    pub cached_tokens: u64,
    /// What they cost; never below zero, whatever a span says.
    pub cost: NanoUsd,
}

/// What came of the calls of one tool.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ToolUsage {
    /// Calls.
    pub calls: u64,
    /// Calls that did not succeed.
    pub failed: u64,
    /// Calls that succeeded and returned nothing.
    pub empty: u64,
}

impl Usage {
    /// What a run used.
    #[must_use]
    pub fn of(trace: &Trace) -> Self {
        let mut usage = Self { operation: trace.operation().map(named), ..Self::default() };
        for call in trace.model_calls() {
            slot(&mut usage.models, call.model.as_deref().unwrap_or_default()).add(call);
        }
        for call in trace.tool_calls() {
            slot(&mut usage.tools, &call.name).add(call);
        }
        usage
    }

    /// What all calls of models cost.
    #[must_use]
    pub fn cost(&self) -> NanoUsd {
        self.models.values().map(|model| model.cost).sum::<NanoUsd>().min(MOST_COST)
    }
}

impl ModelUsage {
    fn add(&mut self, call: &ModelCall) {
        let add = |sum: &mut u64, tokens: Option<u64>| {
            *sum = sum.saturating_add(tokens.unwrap_or_default()).min(MOST_TOKENS);
        };
        self.calls += 1;
        self.unpriced += u64::from(call.cost_usd.is_none() && call.error.is_none());
        add(&mut self.input_tokens, call.input_tokens);
        add(&mut self.output_tokens, call.output_tokens);
        add(&mut self.cached_tokens, call.cached_tokens);
        let cost = NanoUsd::from_usd(call.cost_usd.unwrap_or_default()).max(NanoUsd::ZERO);
        self.cost = (self.cost + cost).min(MOST_COST);
    }
}

impl ToolUsage {
    fn add(&mut self, call: &ToolCall) {
        let has_failed = call.status != ToolStatus::Success;
        self.calls += 1;
        self.failed += u64::from(has_failed);
        self.empty += u64::from(!has_failed && call.result_empty == Some(true));
    }
}

/// The place of a name, while there are places.
fn slot<'u, T: Default>(names: &'u mut BTreeMap<String, T>, name: &str) -> &'u mut T {
    let name = named(name);
    let has_place = names.len() < MOST_NAMES || names.contains_key(&name);
    names.entry(if has_place { name } else { OTHER.to_owned() }).or_default()
}

/// A name as it is stored, so that no two of one run meet there.
fn named(name: &str) -> String {
    let name = name.replace('\0', "\u{fffd}");
    name[..name.floor_char_boundary(LONGEST_NAME)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::SpanId;
    use crate::domain::time::Timestamp;

    fn call(cost_usd: Option<f64>, input_tokens: Option<u64>) -> ModelCall {
        ModelCall {
            span_id: SpanId::from_bytes(&[1; 8]).unwrap(),
            started_at: Timestamp(0),
            ended_at: Timestamp(0),
            model: None,
            input_tokens,
            output_tokens: Some(5),
            cached_tokens: Some(3),
            reasoning_tokens: None,
            cost_usd,
            finish_reasons: Vec::new(),
            error: None,
            error_class: None,
            output_text: None,
            user_text: None,
        }
    }

    #[test]
    fn what_spans_claim_can_neither_overflow_nor_lower_a_sum() {
        let mut usage = ModelUsage::default();
        for (cost, tokens) in
            [(Some(-5.0), None), (Some(f64::NAN), Some(u64::MAX)), (Some(f64::MAX), Some(7)), (None, None)]
        {
            usage.add(&call(cost, tokens));
        }
        let expected = ModelUsage {
            calls: 4,
            unpriced: 1,
            input_tokens: MOST_TOKENS,
            output_tokens: 20,
            cached_tokens: 12,
            cost: MOST_COST,
        };
        assert_eq!(usage, expected);
    }

    #[test]
    fn names_beyond_the_first_hundred_are_together_and_none_is_longer_than_a_column() {
        let mut names: BTreeMap<String, ToolUsage> = BTreeMap::new();
        for number in 0..300 {
            slot(&mut names, &format!("{number}{}", "é".repeat(600))).calls += 1;
        }
        assert_eq!((names.len(), names[OTHER].calls), (MOST_NAMES + 1, 200));
        assert!(names.keys().all(|name| name.len() <= LONGEST_NAME));
        assert_eq!(named("a\0b"), "a\u{fffd}b");
    }
}
