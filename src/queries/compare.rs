//! Comparisons of what a store holds: the drift report and the gate.

use std::collections::BTreeSet;

use super::calibration::standings;
use super::source::{Side, side};
use super::{QueryError, Store, compute};
use crate::domain::measurement::TraceRecord;
use crate::domain::report::{DriftReport, GateReport};
use crate::domain::time::Timestamp;
use crate::normalize::AttributeMapping;
use crate::watch::baseline::Baseline;
use crate::watch::drift::{DriftOptions, drift as compare};
use crate::watch::gate::{Traces, gate as judge, gate_sequentially};
use crate::watch::gate_policy::GatePolicy;
use crate::watch::history::add_history;

/// Compares two sources series by series.
///
/// # Errors
/// A source means nothing, alpha is no error rate, no trace has the dimension, or the store failed.
pub async fn drift(
    store: &Store,
    sources: (&str, &str),
    options: &DriftOptions,
    names: &AttributeMapping,
    now: Timestamp,
) -> Result<DriftReport, QueryError> {
    if !(options.alpha > 0.0 && options.alpha < 1.0) {
        return Err(QueryError::OutOfRange { name: "alpha", value: options.alpha, expected: "between 0 and 1" });
    }
    let (baseline, current) = sides(store, sources, names, now).await?;
    check_dimension(options.by.as_deref(), dimensions([&baseline.summary, &current.summary]))?;
    let (options, standings) = (options.clone(), standings(store).await?);
    compute(move || {
        let mut report = compare(&baseline.summary, &current.summary, &options);
        standings.mark_drift(&mut report, [&baseline.summary, &current.summary]);
        let (before, after) = (baseline.records.unwrap_or_default(), current.records.unwrap_or_default());
        add_history(&mut report, &before, &after);
        report
    })
    .await
}

/// Refuses to compare by what no trace has; where there is no trace at all, that is what the report says.
///
/// # Errors
/// Names the dimensions that there are.
pub fn check_dimension(by: Option<&str>, known: BTreeSet<String>) -> Result<(), QueryError> {
    match by {
        Some(name) if !known.is_empty() && !known.contains(name) => {
            Err(QueryError::UnknownDimension { name: name.to_owned(), known })
        }
        _ => Ok(()),
    }
}

/// What the traces of both sides can be split by.
#[must_use]
pub fn dimensions(sides: [&Baseline; 2]) -> BTreeSet<String> {
    sides.into_iter().flat_map(|side| side.mix.keys().cloned()).collect()
}

/// Judges a candidate against a baseline. Traces are paired by the policy's attribute where both sides have traces. With
/// `is_sequential` the answer holds however often it is asked for, as more traces arrive.
///
/// # Errors
/// A source means nothing, the candidate is a summary without traces that is to be asked for again, or the store failed.
pub async fn gate(
    store: &Store,
    sources: (&str, &str),
    policy: &GatePolicy,
    is_sequential: bool,
    names: &AttributeMapping,
    now: Timestamp,
) -> Result<GateReport, QueryError> {
    let (baseline, candidate) = sides(store, sources, names, now).await?;
    if is_sequential && candidate.records.is_none() {
        return Err(QueryError::NoTraces { text: sources.1.to_owned() });
    }
    let (policy, standings) = (policy.clone(), standings(store).await?);
    compute(move || {
        let mut report = judge_sides(&policy, &baseline, &candidate, is_sequential);
        standings.mark_gate(&mut report, [&baseline.summary, &candidate.summary]);
        report
    })
    .await
}

fn judge_sides(policy: &GatePolicy, baseline: &Side, candidate: &Side, is_sequential: bool) -> GateReport {
    let task = |record: &TraceRecord| record.segments.get(policy.pair_by.as_ref()?).cloned();
    let Some(records) = &candidate.records else { return judge(policy, &baseline.summary, &candidate.summary, None) };
    let is_paired = policy.pair_by.is_some() && baseline.records.is_some();
    let traces = Traces {
        baseline: baseline.records.as_deref(),
        candidate: records,
        task: is_paired.then_some(&task),
        is_production: true,
    };
    if is_sequential {
        gate_sequentially(policy, &baseline.summary, &candidate.summary, &traces)
    } else {
        judge(policy, &baseline.summary, &candidate.summary, Some(&traces))
    }
}

async fn sides(
    store: &Store,
    (baseline, other): (&str, &str),
    names: &AttributeMapping,
    now: Timestamp,
) -> Result<(Side, Side), QueryError> {
    Ok((side(store, baseline, names, now).await?, side(store, other, names, now).await?))
}
