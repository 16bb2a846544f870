//! What one run may take: time, money, tokens and steps. Each limit is optional; a run at its limit passes.

use serde::{Deserialize, Serialize};

use super::{Built, Finding, Rule, Source};
use crate::domain::trace::Trace;
use crate::evaluate::mistake::Mistake;

pub(super) const DOC: &str = "latency, cost, tokens, steps and tool calls of one run against limits";

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Settings {
    latency_seconds: Option<f64>,
    cost_usd: Option<f64>,
    input_tokens: Option<f64>,
    output_tokens: Option<f64>,
    total_tokens: Option<f64>,
    steps: Option<f64>,
    tool_calls: Option<f64>,
}

/// One limit: its key, the attribute it is read from, the setting and what the run took.
struct Limit {
    name: &'static str,
    attribute: &'static str,
    setting: fn(&Settings) -> Option<f64>,
    taken: fn(&Trace) -> Option<f64>,
}

const LIMITS: &[Limit] = &[
    Limit {
        name: "latency_seconds",
        attribute: "span timestamps",
        setting: |settings| settings.latency_seconds,
        taken: Trace::latency_seconds,
    },
    Limit {
        name: "cost_usd",
        attribute: "gen_ai.usage.cost",
        setting: |settings| settings.cost_usd,
        taken: Trace::cost_usd,
    },
    Limit {
        name: "input_tokens",
        attribute: "gen_ai.usage.input_tokens",
        setting: |settings| settings.input_tokens,
        taken: |trace| count(trace.input_tokens()),
    },
    Limit {
        name: "output_tokens",
        attribute: "gen_ai.usage.output_tokens",
        setting: |settings| settings.output_tokens,
        taken: |trace| count(trace.output_tokens()),
    },
    Limit {
        name: "total_tokens",
        attribute: "gen_ai.usage.input_tokens",
        setting: |settings| settings.total_tokens,
        taken: |trace| Some(count(trace.input_tokens())? + count(trace.output_tokens())?),
    },
    Limit {
        name: "steps",
        attribute: "gen_ai.operation.name",
        setting: |settings| settings.steps,
        taken: |trace| Some(trace.steps.len() as f64),
    },
    Limit {
        name: "tool_calls",
        attribute: "gen_ai.operation.name",
        setting: |settings| settings.tool_calls,
        taken: |trace| Some(trace.tool_calls().count() as f64),
    },
];

fn count(tokens: Option<u64>) -> Option<f64> {
    tokens.map(|tokens| tokens as f64)
}

pub(super) fn build(source: &Source<'_>) -> Result<Built, Vec<Mistake>> {
    let settings: Settings = source.settings()?;
    let set: Vec<(&Limit, f64)> =
        LIMITS.iter().filter_map(|limit| (limit.setting)(&settings).map(|most| (limit, most))).collect();
    if set.is_empty() {
        return Err(vec![source.mistake("limits", "no limit is set", "set at least one key of [limits]")]);
    }
    let mistakes: Vec<Mistake> = set
        .iter()
        .filter(|(_, most)| !(most.is_finite() && *most >= 0.0))
        .map(|(limit, most)| source.mistake(limit.name, &format!("{} is {most}", limit.name), "set it to zero or more"))
        .collect();
    if mistakes.is_empty() { Ok(Built::rule(LimitsRule(settings.clone()), &settings)) } else { Err(mistakes) }
}

#[derive(Debug)]
struct LimitsRule(Settings);

impl Rule for LimitsRule {
    fn check(&self, trace: &Trace) -> Finding {
        let (mut exceeded, mut within, mut unknown) = (Vec::new(), Vec::new(), Vec::new());
        for limit in LIMITS {
            let Some(most) = (limit.setting)(&self.0) else { continue };
            match (limit.taken)(trace).filter(|taken| taken.is_finite()) {
                Some(taken) if taken > most => {
                    exceeded.push(format!("{} {} is over {most}", limit.name, rounded(taken)))
                }
                Some(_) => within.push(limit.name),
                None => unknown.push(limit),
            }
        }
        match (exceeded.is_empty(), within.is_empty(), unknown.first()) {
            (false, _, _) => Finding::fail(exceeded.join("; "), None),
            (true, true, Some(limit)) => Finding::NotEvaluable(limit.attribute.to_owned()),
            (true, _, None) => Finding::pass(format!("within limits: {}", within.join(", "))),
            (true, false, Some(_)) => {
                let unknown: Vec<&str> = unknown.iter().map(|limit| limit.name).collect();
                Finding::pass(format!("within limits: {}; not recorded: {}", within.join(", "), unknown.join(", ")))
            }
        }
    }
}

/// Four decimals are enough for seconds and dollars, and hide binary noise.
fn rounded(taken: f64) -> f64 {
    (taken * 1e4).round() / 1e4
}
