//! Have the shares of categories or of tool transitions changed in an hour, and by how much evidence?
//!
//! The p-value of the hour's conversations against the baseline's becomes an e-value, which counts as no evidence (at
//! most 1) while the distance is too small to matter. It is approximate: a large-sample test against one estimated
//! baseline.

use super::comparison::{distance_matters, moved, traces_of_risen};
use super::detect::{Guarantee, Hour, Reading, Test};
use super::dispersion::OverDispersion;
use super::summary::{Distribution, SeriesSummary};
use crate::domain::ids::TraceId;
use crate::domain::measurement::SeriesKind;
use crate::domain::time::Timestamp;
use crate::stats::e_process::log_calibrated;
use crate::stats::sequence::{SessionComparison, compare_sessions};
use crate::stats::session::{Cell, SessionCounts};

/// Fewest conversations for a p-value.
const LEAST_CONVERSATIONS: u64 = 20;

type TracesByCell = [(Cell, Vec<TraceId>)];

/// Compares the hours from `at` to `until` with the baseline; `None` when either has no cells.
pub(super) fn reading(
    (at, until): (Timestamp, Timestamp),
    window: &SeriesSummary,
    baseline: &SeriesSummary,
    dispersion: OverDispersion,
) -> Option<Reading> {
    let ((before, _), (after, traces_by_cell)) = (cells(baseline)?, cells(window)?);
    let result = compare_sessions(before, after)?;
    let matters = distance_matters(result.jensen_shannon_distance);
    let log_e_value = log_calibrated(result.p_value) / dispersion.at_least_one();
    let (cell, share, baseline_share) = leading_cell(&result, before, after)?;
    let test = Some(Test { p_value: result.p_value, until });
    let reason = "p-values against one estimated baseline, by a large-sample test".to_owned();
    Some(Reading {
        at,
        log_factors: vec![if matters { log_e_value } else { log_e_value.min(0.0) }],
        // Half of the tests at most have p > 0.2 while the change lasts: a fair bet on those that do.
        log_factors_of_recovery: vec![if result.p_value > 0.2 || !matters { 1.5_f64.ln() } else { 0.5_f64.ln() }],
        hour: Hour { at, traces: window.traces, weight: after.weight, estimate: share, test },
        over_dispersion: dispersion.at_least_one(),
        measure: cell,
        baseline: baseline_share,
        transitions: moved(&result.shifts),
        trace_ids: traces_of_risen(&result.shifts, traces_by_cell),
        guarantee: Guarantee { is_exact: false, reason }.knowing([window, baseline]),
    })
}

/// Whether a summary of categories or sequences is large enough for a p-value.
pub(super) fn suffices(summary: &SeriesSummary) -> bool {
    let least_traces = if summary.kind() == SeriesKind::Sequence { 100 } else { 50 };
    summary.traces >= least_traces && cells(summary).is_some_and(|(counts, _)| counts.sessions >= LEAST_CONVERSATIONS)
}

fn cells(summary: &SeriesSummary) -> Option<(&SessionCounts, &TracesByCell)> {
    match &summary.distribution {
        Distribution::Categorical { counts, traces_by_cell } | Distribution::Sequence { counts, traces_by_cell } => {
            Some((counts, traces_by_cell))
        }
        Distribution::Boolean { .. } | Distribution::Number { .. } => None,
    }
}

/// The cell that moved most, else the most frequent one: what it is called, its share now, and in the baseline.
fn leading_cell(
    result: &SessionComparison,
    before: &SessionCounts,
    after: &SessionCounts,
) -> Option<(String, f64, f64)> {
    let cell = result.shifts.first().map(|shift| shift.cell.clone()).or_else(|| before.largest_cell())?;
    let name = if cell.0.is_empty() { cell.1.clone() } else { format!("{} → {}", cell.0, cell.1) };
    Some((format!("share of {name}"), after.share_of(&cell)?.0, before.share_of(&cell)?.0))
}
