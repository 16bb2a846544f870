//! How the run's tool calls ended: the label is the worst status, the explanation counts all of them.
//!
//! A retry is a call with the tool and arguments of the call right before it, after that one failed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Built, Finding, Rule, Source};
use crate::domain::trace::{ToolCall, ToolStatus, Trace};
use crate::evaluate::measure::repeats_previous_call;
use crate::evaluate::mistake::Mistake;

pub(super) const DOC: &str = "whether every tool call succeeded; the label is the worst status of the run";

/// From best to worst. Wrong arguments are worst: they are the agent's own doing.
const SEVERITY: [ToolStatus; 5] =
    [ToolStatus::Success, ToolStatus::RateLimited, ToolStatus::Timeout, ToolStatus::Error, ToolStatus::InvalidArgs];

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Settings {}

pub(super) fn build(source: &Source<'_>) -> Result<Built, Vec<Mistake>> {
    let settings: Settings = source.settings()?;
    Ok(Built::rule(ToolOutcomeRule, &settings))
}

#[derive(Debug)]
struct ToolOutcomeRule;

impl Rule for ToolOutcomeRule {
    fn check(&self, trace: &Trace) -> Finding {
        let calls: Vec<&ToolCall> = trace.tool_calls().collect();
        let Some(worst) = calls.iter().max_by_key(|call| severity(call.status)) else {
            return Finding::NotApplicable("no tool calls".to_owned());
        };
        let is_success = worst.status == ToolStatus::Success;
        Finding::Scored {
            value: if is_success { 1.0 } else { 0.0 },
            label: worst.status.as_str().to_owned(),
            explanation: explanation(&calls),
            span: (!is_success).then_some(worst.span_id),
        }
    }
}

fn severity(status: ToolStatus) -> usize {
    SEVERITY.iter().position(|other| *other == status).unwrap_or(SEVERITY.len())
}

fn explanation(calls: &[&ToolCall]) -> String {
    let mut counts: BTreeMap<ToolStatus, usize> = BTreeMap::new();
    for call in calls {
        *counts.entry(call.status).or_default() += 1;
    }
    let counts: Vec<String> = counts.iter().map(|(status, count)| format!("{count} {}", status.as_str())).collect();
    let retries = (1..calls.len()).filter(|index| is_retry(calls, *index)).count();
    format!("{} tool calls: {}; {retries} retries", calls.len(), counts.join(", "))
}

fn is_retry(calls: &[&ToolCall], index: usize) -> bool {
    calls[index - 1].status != ToolStatus::Success && repeats_previous_call(calls, index)
}
