//! What a gate counts once: a task, or a conversation, each with its value on one side or on both.
//!
//! Runs of one task, or turns of one conversation, depend on each other, so they make one unit. A canary's conversations
//! are paired with the baseline's of the same hour and stratum, in the order in which they came: a pseudo-pair, which
//! takes from the difference what the hour and the stratum explain. A conversation belongs whole to its first hour.

use std::collections::BTreeMap;

use super::gate_policy::{GatePolicy, Goal};
use super::summary::number;
use crate::domain::measurement::{SeriesKind, TraceRecord};
use crate::domain::time::Timestamp;

/// Which task a trace ran, if known.
pub type TaskOf<'a> = dyn Fn(&TraceRecord) -> Option<String> + 'a;

/// The traces of both sides, for a gate that pairs or that looks again as they arrive.
pub struct Traces<'a> {
    /// The baseline's records; none when only its summary is kept.
    pub baseline: Option<&'a [TraceRecord]>,
    /// The candidate's records.
    pub candidate: &'a [TraceRecord],
    /// Which task a trace ran, if known; absent when the policy does not pair by task.
    pub task: Option<&'a TaskOf<'a>>,
    /// Whether they are production traffic, which may have been assigned to the sides by who it came from.
    pub is_production: bool,
}

/// One task or conversation of one side.
#[derive(Debug, Clone, Default)]
pub(crate) struct Unit {
    /// Mean over its traces.
    pub(crate) value: f64,
    /// How many it stands for.
    pub(crate) weight: f64,
    /// When its first trace ended.
    pub(crate) first_at: Timestamp,
    /// When its last trace ended.
    pub(crate) last_at: Timestamp,
    traces: f64,
    stratum: Vec<String>,
}

/// A task or a pseudo-pair on both sides.
#[derive(Debug, Clone, Copy)]
pub(crate) struct UnitPair {
    pub(crate) before: f64,
    pub(crate) after: f64,
    pub(crate) weight: f64,
    /// When both were known.
    pub(crate) at: Timestamp,
}

/// The units of one series, by a name that `unit` gives to each trace. Values that a summary would reject are left out.
pub(crate) fn units(
    series: &str,
    kind: SeriesKind,
    records: &[TraceRecord],
    strata: &[String],
    unit: impl Fn(&TraceRecord) -> Option<String>,
) -> BTreeMap<String, Unit> {
    let mut units: BTreeMap<String, Unit> = BTreeMap::new();
    for record in records {
        let measured = record.measurement(series).filter(|measurement| measurement.kind == kind);
        let (Some(name), Some(measurement)) = (unit(record), measured) else { continue };
        let Some(value) = number(&measurement.value).filter(|value| is_usable(kind, *value)) else { continue };
        units.entry(name).or_default().add(value, record.weight(measurement), record, strata);
    }
    units.retain(|_, unit| unit.weight > 0.0 && unit.weight.is_finite());
    for unit in units.values_mut() {
        unit.value /= unit.weight;
        unit.weight /= unit.traces;
    }
    units
}

fn is_usable(kind: SeriesKind, value: f64) -> bool {
    match kind {
        SeriesKind::Boolean | SeriesKind::Ordinal => (0.0..=1.0).contains(&value),
        _ => value.is_finite() && value >= 0.0,
    }
}

impl Unit {
    fn add(&mut self, value: f64, weight: f64, record: &TraceRecord, strata: &[String]) {
        if self.traces == 0.0 || record.ended_at < self.first_at {
            self.first_at = record.ended_at;
            self.stratum = strata.iter().map(|name| record.segments.get(name).cloned().unwrap_or_default()).collect();
        }
        self.last_at = self.last_at.max(record.ended_at);
        self.value += weight * value;
        self.weight += weight;
        self.traces += 1.0;
    }
}

/// The pairs that the policy asks for: tasks, or conversations of the same time.
pub(crate) fn pairs(
    policy: &GatePolicy,
    goal: &Goal,
    kind: SeriesKind,
    before: &[TraceRecord],
    traces: &Traces<'_>,
) -> Vec<UnitPair> {
    if let Some(task) = traces.task {
        let side = |records| units(&goal.series, kind, records, &[], task);
        return task_pairs(&side(before), &side(traces.candidate));
    }
    let conversation = |record: &TraceRecord| Some(record.conversation.clone());
    let side = |records| units(&goal.series, kind, records, &policy.strata, conversation);
    concurrent_pairs(&side(before), &side(traces.candidate))
}

/// The tasks that both sides ran, in the order in which they were known.
fn task_pairs(before: &BTreeMap<String, Unit>, after: &BTreeMap<String, Unit>) -> Vec<UnitPair> {
    let both = before.iter().filter_map(|(name, before)| after.get(name).map(|after| (before, after)));
    in_order(both.map(|(before, after)| UnitPair { weight: 1.0, ..pair(before, after) }).collect())
}

/// Conversations of both sides in the same hour and stratum, one with one in the order in which they came. What has no
/// counterpart is left out.
fn concurrent_pairs(before: &BTreeMap<String, Unit>, after: &BTreeMap<String, Unit>) -> Vec<UnitPair> {
    let (before, after) = (by_stratum(before), by_stratum(after));
    let both = before.iter().filter_map(|(stratum, before)| after.get(stratum).map(|after| (before, after)));
    in_order(both.flat_map(|(before, after)| before.iter().zip(after).map(|(one, other)| pair(one, other))).collect())
}

fn pair(before: &Unit, after: &Unit) -> UnitPair {
    let at = before.last_at.max(after.last_at);
    UnitPair { before: before.value, after: after.value, weight: before.weight * after.weight, at }
}

fn by_stratum(units: &BTreeMap<String, Unit>) -> BTreeMap<(Timestamp, &[String]), Vec<&Unit>> {
    let mut strata: BTreeMap<(Timestamp, &[String]), Vec<&Unit>> = BTreeMap::new();
    for unit in units.values() {
        strata.entry((unit.first_at.hour(), &unit.stratum)).or_default().push(unit);
    }
    strata.values_mut().for_each(|units| units.sort_by_key(|unit| unit.first_at));
    strata
}

fn in_order(mut pairs: Vec<UnitPair>) -> Vec<UnitPair> {
    pairs.sort_by_key(|pair| pair.at);
    pairs
}
