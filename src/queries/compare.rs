//! Comparisons of what a store holds: the drift report and the gate.

use super::source::{Side, side};
use super::{QueryError, Store};
use crate::domain::measurement::TraceRecord;
use crate::domain::report::{DriftReport, GateReport};
use crate::domain::time::Timestamp;
use crate::normalize::AttributeMapping;
use crate::watch::drift::{DriftOptions, drift as compare};
use crate::watch::gate::{Tasks, gate as judge};
use crate::watch::gate_policy::GatePolicy;

/// Compares two sources series by series.
///
/// # Errors
/// A source means nothing, alpha is no error rate, or the store failed.
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
    Ok(compare(&baseline.summary, &current.summary, options))
}

/// Judges a candidate against a baseline. Traces are paired by the policy's attribute where both sides have traces.
///
/// # Errors
/// A source means nothing, or the store failed.
pub async fn gate(
    store: &Store,
    sources: (&str, &str),
    policy: &GatePolicy,
    names: &AttributeMapping,
    now: Timestamp,
) -> Result<GateReport, QueryError> {
    let (baseline, candidate) = sides(store, sources, names, now).await?;
    let task = |record: &TraceRecord| record.segments.get(policy.pair_by.as_ref()?).cloned();
    let tasks = match (&policy.pair_by, &baseline.records, &candidate.records) {
        (Some(_), Some(baseline), Some(candidate)) => Some(Tasks { baseline, candidate, task: &task }),
        _ => None,
    };
    Ok(judge(policy, &baseline.summary, &candidate.summary, tasks.as_ref()))
}

async fn sides(
    store: &Store,
    (baseline, other): (&str, &str),
    names: &AttributeMapping,
    now: Timestamp,
) -> Result<(Side, Side), QueryError> {
    Ok((side(store, baseline, names, now).await?, side(store, other, names, now).await?))
}
