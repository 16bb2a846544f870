//! Simulated records for the tests of this module.

use std::collections::BTreeMap;

use crate::domain::ids::TraceId;
use crate::domain::measurement::{Measurement, SeriesKind, TraceRecord, Value};
use crate::domain::time::Timestamp;

/// An empty record of service `agent`, ten an hour.
pub(crate) fn record(index: usize, conversation: &str) -> TraceRecord {
    let id = (index as u128 + 1).to_be_bytes();
    TraceRecord {
        trace_id: TraceId::from_bytes(&id).unwrap(),
        conversation: conversation.to_owned(),
        service: "agent".to_owned(),
        segments: BTreeMap::new(),
        ended_at: Timestamp(index as i64 * Timestamp::NANOS_PER_HOUR / 10),
        upstream_probability: Some(1.0),
        notes: Vec::new(),
        measurements: Vec::new(),
    }
}

/// A measurement that was certain to be made.
pub(crate) fn measurement(series: &str, kind: SeriesKind, value: Value) -> Measurement {
    Measurement { series: series.to_owned(), kind, value, probability: 1.0, revision: None }
}

/// What a simulated agent is like.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Agent {
    pub(crate) success: f64,
    pub(crate) token_factor: f64,
    pub(crate) search_again: f64,
    pub(crate) cut_off: f64,
}

/// An agent that nothing is wrong with.
pub(crate) const HEALTHY: Agent = Agent { success: 0.8, token_factor: 1.0, search_again: 0.25, cut_off: 0.03 };

/// Simulated traces with ids from `first`: `per_conversation` turns share a conversation, whose difficulty moves all
/// of their values together; a task's difficulty moves every agent that runs it.
pub(crate) fn traces(
    agent: Agent,
    first: usize,
    count: usize,
    per_conversation: usize,
    rng: &mut fastrand::Rng,
) -> Vec<TraceRecord> {
    let mut difficulty = 0.0;
    (0..count)
        .map(|offset| {
            if offset % per_conversation == 0 {
                difficulty = rng.f64() - 0.5;
            }
            let task = (offset as f64 * 0.618).fract() - 0.5;
            let mut one = record(first + offset, &format!("{first}-{}", offset / per_conversation));
            one.measurements = values(agent, difficulty + task, rng);
            one
        })
        .collect()
}

fn values(agent: Agent, difficulty: f64, rng: &mut fastrand::Rng) -> Vec<Measurement> {
    let mut tools = vec!["find_user".to_owned(), "search".to_owned()];
    while rng.f64() < agent.search_again + 0.2 * difficulty.max(0.0) {
        tools.push("search".to_owned());
    }
    if rng.f64() < 0.6 {
        tools.push("book".to_owned());
    }
    let tokens = agent.token_factor * (difficulty + rng.f64() * 2.0).exp() * 100.0;
    let finish = if rng.f64() < agent.cut_off { "length" } else { "stop" };
    let success = rng.f64() < agent.success - 0.2 * difficulty;
    let grade = (rng.f64() * 1.5 + 0.25 - 0.2 * difficulty).clamp(0.0, 1.0);
    vec![
        measurement("success", SeriesKind::Boolean, Value::Boolean(success)),
        measurement("grade", SeriesKind::Ordinal, Value::Number((grade * 4.0).round() / 4.0)),
        measurement("output_tokens", SeriesKind::Numeric, Value::Number(tokens.round())),
        measurement("tool_calls", SeriesKind::Numeric, Value::Number(tools.len() as f64)),
        measurement("finish_reason", SeriesKind::Categorical, Value::Counts([(finish.to_owned(), 1)].into())),
        measurement("tool_transitions", SeriesKind::Sequence, Value::Sequence(tools)),
    ]
}
