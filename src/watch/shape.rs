//! Have the shares of categories or of tool transitions changed in an hour, and by how much evidence?
//!
//! **Question.** An agent that finishes, answers or goes about its work differently shows it in shares: of finish reasons,
//! of answer formats, of steps from tool to tool. Are this hour's those of the baseline?
//!
//! **Statistic.** The p-value of the hour's conversations against the baseline's ([`crate::stats::sequence`]), where the mix
//! has a day against the same hours of the day ([`super::day`]), becomes an e-value
//! ([`crate::stats::e_process::log_calibrated`]), is tempered by the over-dispersion, and counts as no evidence (at most 1)
//! while the distance is too small to matter.
//!
//! **When it fires.** When the detector's evidence reaches its threshold, as for scores ([`super::detect`]).
//!
//! **Where the guarantee ends.** It is approximate: a large-sample test, again and again against one estimated baseline.
//!
//! **Cold start.** 20 conversations, and 50 traces of categories or 100 of sequences, in the baseline and in the hour; hours
//! that are too thin are joined. Hours of the day that the baseline hardly has are compared with all of it. Of a baseline
//! whose day is too large to keep by hour, hours are joined to whole days: against all hours every night would be a change.
//!
//! **Recovery.** Bets that fewer than half of the tests have p > 0.2 while the change lasts.
//!
//! Sources: those of [`crate::stats::sequence`]; Vovk and Wang 2021 for e-values from p-values.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::time::Duration;

use super::comparison::{distance_matters, moved, traces_of_risen};
use super::day::hour_of_day;
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

const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

type TracesByCell = [(Cell, Vec<TraceId>)];

/// Compares the hours from `at` to `until` with the baseline; `None` when either has no cells.
pub(super) fn reading(
    (at, until): (Timestamp, Timestamp),
    window: &SeriesSummary,
    baseline: &SeriesSummary,
    dispersion: OverDispersion,
) -> Option<Reading> {
    let (after, traces_by_cell) = cells(&window.distribution)?;
    let before = &*of_hours(baseline, at, until)?;
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
        hour: Hour {
            at,
            traces: window.traces,
            weight: after.weight,
            estimate: share,
            worth: 0.0,
            expected: 0.0,
            test,
        },
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
    summary.traces >= least_traces
        && cells(&summary.distribution).is_some_and(|(counts, _)| counts.sessions >= LEAST_CONVERSATIONS)
}

/// Whether hours from `since` to `at` are comparable with the baseline: of some baselines only whole days are.
pub(super) fn spans_enough(baseline: &SeriesSummary, since: Timestamp, at: Timestamp) -> bool {
    !baseline.compares_by_day || at.plus(HOUR) >= since.plus(DAY)
}

/// What the baseline counted in the hours of the day from that of `at` to that of `until`; in all of them where no day
/// is visible, and where those are too thin.
fn of_hours(baseline: &SeriesSummary, at: Timestamp, until: Timestamp) -> Option<Cow<'_, SessionCounts>> {
    let (whole, _) = cells(&baseline.distribution)?;
    let mut hours: BTreeSet<u8> = BTreeSet::new();
    let mut hour = at;
    while hour <= until && hours.insert(hour_of_day(hour)) {
        hour = hour.plus(HOUR);
    }
    let parts = baseline.by_hour_of_day.iter().filter(|part| hours.contains(&part.hour));
    let counts = parts.filter_map(|part| Some(cells(&part.distribution)?.0.clone()));
    let matched = counts.reduce(|sum, part| sum.merge(&part));
    let matched = matched.filter(|counts| counts.sessions >= LEAST_CONVERSATIONS);
    Some(matched.map_or(Cow::Borrowed(whole), Cow::Owned))
}

fn cells(distribution: &Distribution) -> Option<(&SessionCounts, &TracesByCell)> {
    match distribution {
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
