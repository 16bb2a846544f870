//! The comparison of two selections that ran the same tasks: each task is its own control.
//!
//! Several traces of one task on one side are averaged first, so a task counts once. A series with fewer than
//! `LEAST_PAIRS` tasks on both sides is compared unpaired, and says so. Tests: McNemar's exact test for shares with
//! one answer per task, otherwise a sign-flip permutation of the tasks' differences; magnitudes by their relative
//! difference (b - a)/(b + a), so that one long run does not decide; sequences and categories by the share of each cell
//! within the task, with the largest |z| over cells (max-T), which names the transitions that moved.

use std::collections::{BTreeMap, BTreeSet};

use fastrand::Rng;

use super::baseline::Baseline;
use super::comparison::{CONFIDENCE, Comparison, EVIDENCE, Label, distance_matters, moved, share_matters};
use super::drift::{self, DriftOptions, Matched};
use super::key::{ALL, SeriesKey};
use super::summary::{SeriesSummary, cell_counts, number};
use super::unpaired;
use crate::domain::ids::TraceId;
use crate::domain::measurement::{Measurement, SeriesKind, TraceRecord};
use crate::domain::report::{DriftReport, Estimate};
use crate::domain::time::Timestamp;
use crate::stats::contingency::jensen_shannon_distance;
use crate::stats::distribution::student_quantile;
use crate::stats::moments::Moments;
use crate::stats::paired::{mcnemar_exact, sign_flip};
use crate::stats::sequence::CellShift;
use crate::stats::session::{CELL_LIMIT, Cell};

/// Fewest tasks on both sides for a paired verdict.
const LEAST_PAIRS: usize = 25;
/// Relative difference of magnitudes that matters: a twentieth is a ratio of about 1.1.
const LEAST_RELATIVE_DIFFERENCE: f64 = 0.05;

/// Compares two selections task by task, where `task` says which task a trace ran.
pub fn paired(
    baseline: &[TraceRecord],
    current: &[TraceRecord],
    task: impl Fn(&TraceRecord) -> Option<String>,
    options: &DriftOptions,
) -> DriftReport {
    let summary = |name, records| Baseline::from_records(name, Timestamp::default(), "", records);
    drift::report(
        &summary("baseline", baseline),
        &summary("current", current),
        options,
        |matched, before, after, rng| match pairs(matched, before, baseline, current, &task) {
            Some(pairs) => compare(&matched.label, before.kind(), &pairs, rng),
            None => unpaired::compare(&matched.label, before, after, rng).note(&too_few(before, after)),
        },
    )
}

fn too_few(before: &SeriesSummary, after: &SeriesSummary) -> String {
    if before.kind() == after.kind() {
        format!("compared unpaired: fewer than {LEAST_PAIRS} tasks have a value on both sides")
    } else {
        "compared unpaired: the kinds differ".to_owned()
    }
}

/// One task on both sides.
pub(crate) struct Pair {
    pub(crate) before: TaskValue,
    pub(crate) after: TaskValue,
}

/// One task on one side, averaged over its traces.
#[derive(Debug, Clone, Default)]
pub(crate) struct TaskValue {
    /// Mean of a boolean or numeric series.
    pub(crate) mean: f64,
    /// Share of each cell of a categorical or sequence series.
    shares: BTreeMap<Cell, f64>,
    traces: Vec<TraceId>,
}

/// The tasks that have a value on both sides; `None` when they are too few or the kinds differ.
fn pairs(
    matched: &Matched,
    like: &SeriesSummary,
    baseline: &[TraceRecord],
    current: &[TraceRecord],
    task: &impl Fn(&TraceRecord) -> Option<String>,
) -> Option<Vec<Pair>> {
    let (before, after) =
        (by_task(&matched.baseline, like, baseline, task), by_task(&matched.current, like, current, task));
    let pairs = join(before, after);
    (pairs.len() >= LEAST_PAIRS).then_some(pairs)
}

/// Both sides of every task that has two.
pub(crate) fn join(before: BTreeMap<String, TaskValue>, mut after: BTreeMap<String, TaskValue>) -> Vec<Pair> {
    before.into_iter().filter_map(|(key, before)| after.remove(&key).map(|after| Pair { before, after })).collect()
}

/// Each task's value in one series of one service and segment.
fn by_task(
    key: &SeriesKey,
    like: &SeriesSummary,
    records: &[TraceRecord],
    task: &impl Fn(&TraceRecord) -> Option<String>,
) -> BTreeMap<String, TaskValue> {
    let chosen = records.iter().filter(|record| record.service == key.service && is_in(record, &key.segment));
    values_by_task(&key.series, like, chosen, task)
}

/// Each task's value in one series, of the kind and revision of a summary; values that a summary would reject are left
/// out.
pub(crate) fn values_by_task<'a>(
    series: &str,
    like: &SeriesSummary,
    records: impl Iterator<Item = &'a TraceRecord>,
    task: &dyn Fn(&TraceRecord) -> Option<String>,
) -> BTreeMap<String, TaskValue> {
    let mut tasks: BTreeMap<String, TaskValue> = BTreeMap::new();
    let kind = like.kind();
    let is_like = |it: &&Measurement| it.kind == kind && (like.revision.is_none() || it.revision == like.revision);
    for record in records {
        let measured = record.measurement(series).filter(is_like);
        let (Some(key), Some(measurement)) = (task(record), measured) else { continue };
        let value = number(&measurement.value);
        let cells = cell_counts(&measurement.value);
        let is_usable = match kind {
            SeriesKind::Boolean | SeriesKind::Ordinal => value.is_some_and(|x| (0.0..=1.0).contains(&x)),
            SeriesKind::Numeric => value.is_some_and(|x| x.is_finite() && x >= 0.0),
            SeriesKind::Categorical | SeriesKind::Sequence => !cells.is_empty(),
        };
        if is_usable {
            let entry = tasks.entry(key).or_default();
            entry.traces.push(record.trace_id);
            entry.mean += value.unwrap_or_default();
            cells.into_iter().for_each(|(cell, count)| *entry.shares.entry(cell).or_default() += count);
        }
    }
    tasks.values_mut().for_each(TaskValue::average);
    tasks
}

impl TaskValue {
    /// Turns sums over the task's traces into means and shares.
    fn average(&mut self) {
        self.mean /= self.traces.len() as f64;
        let events: f64 = self.shares.values().sum();
        self.shares.values_mut().for_each(|share| *share /= events);
    }
}

fn is_in(record: &TraceRecord, segment: &str) -> bool {
    let is_value = |(dimension, value): (&String, &String)| {
        segment.strip_prefix(dimension.as_str()).and_then(|rest| rest.strip_prefix('=')) == Some(value)
    };
    segment == ALL || record.segments.iter().any(is_value)
}

fn compare(label: &Label, kind: SeriesKind, pairs: &[Pair], rng: &mut Rng) -> Comparison {
    let mut comparison = match kind {
        SeriesKind::Categorical | SeriesKind::Sequence => compare_cells(label, kind, pairs, rng),
        SeriesKind::Boolean | SeriesKind::Ordinal | SeriesKind::Numeric => compare_numbers(label, kind, pairs, rng),
    };
    comparison.report.pairs = Some(pairs.len() as u64);
    comparison
}

fn compare_numbers(label: &Label, kind: SeriesKind, pairs: &[Pair], rng: &mut Rng) -> Comparison {
    let (before, after) = (side(pairs, |pair| &pair.before), side(pairs, |pair| &pair.after));
    let value = |task: &TaskValue| task.mean;
    let row = Comparison::new(label, kind, estimate(kind, &before, value), estimate(kind, &after, value));
    let mean = |tasks: &[&TaskValue]| tasks.iter().map(|task| task.mean).sum::<f64>() / tasks.len() as f64;
    let (before, after) = (mean(&before), mean(&after));
    let differences: Vec<f64> = pairs.iter().map(|pair| difference(kind, pair)).collect();
    let change = differences.iter().sum::<f64>() / differences.len() as f64;
    let mut flip = || sign_flip(&differences.iter().map(|d| vec![*d]).collect::<Vec<_>>(), rng).p_value;
    let mut row = match kind {
        SeriesKind::Numeric => {
            let matters = change.abs() >= LEAST_RELATIVE_DIFFERENCE;
            row.tested("sign_flip", flip(), Some(after / before), matters)
        }
        SeriesKind::Boolean if differences.iter().all(|d| [-1.0, 0.0, 1.0].contains(d)) => {
            let count = |sign: f64| differences.iter().filter(|d| **d == sign).count() as u64;
            let p_value = mcnemar_exact(count(1.0), count(-1.0));
            row.tested("mcnemar_exact", p_value, Some(change), share_matters(before, after))
        }
        _ => row.tested("sign_flip", flip(), Some(change), change.abs() >= 0.02),
    };
    row.report.evidence = most_changed(pairs, change.signum(), |pair| difference(kind, pair));
    row
}

/// A task's difference, positive when it rose; relative for magnitudes.
fn difference(kind: SeriesKind, pair: &Pair) -> f64 {
    let (before, after) = (pair.before.mean, pair.after.mean);
    match kind {
        SeriesKind::Numeric if before + after > 0.0 => (after - before) / (after + before),
        _ => after - before,
    }
}

fn compare_cells(label: &Label, kind: SeriesKind, pairs: &[Pair], rng: &mut Rng) -> Comparison {
    let cells = most_frequent_cells(pairs);
    let share = |task: &TaskValue, cell: &Cell| task.shares.get(cell).copied().unwrap_or(0.0);
    let differences: Vec<Vec<f64>> = pairs
        .iter()
        .map(|pair| cells.iter().map(|cell| share(&pair.after, cell) - share(&pair.before, cell)).collect())
        .collect();
    let result = sign_flip(&differences, rng);
    let mean = |side: fn(&Pair) -> &TaskValue, cell: &Cell| {
        pairs.iter().map(|pair| share(side(pair), cell)).sum::<f64>() / pairs.len() as f64
    };
    let mut shifts: Vec<CellShift> = cells
        .iter()
        .zip(&result.z)
        .map(|(cell, z)| CellShift {
            cell: cell.clone(),
            baseline: mean(|pair| &pair.before, cell),
            current: mean(|pair| &pair.after, cell),
            z: *z,
        })
        .collect();
    let shares = |of: fn(&CellShift) -> f64| shifts.iter().map(of).collect::<Vec<f64>>();
    let distance = jensen_shannon_distance(&shares(|shift| shift.baseline), &shares(|shift| shift.current));
    let largest = shifts.iter().max_by(|a, b| a.baseline.total_cmp(&b.baseline)).map(|shift| shift.cell.clone());
    let value = |task: &TaskValue| largest.as_ref().map_or(0.0, |cell| share(task, cell));
    let (before, after) = (side(pairs, |pair| &pair.before), side(pairs, |pair| &pair.after));
    let row = Comparison::new(label, kind, estimate(kind, &before, value), estimate(kind, &after, value));
    let mut row = row.tested("sign_flip_max_t", result.p_value, Some(distance), distance_matters(distance));
    shifts.sort_by(|a, b| b.z.abs().total_cmp(&a.z.abs()));
    if let Some(CellShift { cell, z, .. }) = shifts.first() {
        let change = |pair: &Pair| share(&pair.after, cell) - share(&pair.before, cell);
        row.report.evidence = most_changed(pairs, z.signum(), change);
    }
    row.report.transitions = moved(&shifts);
    row
}

/// The cells that occur, the most frequent when there are more than a summary would keep.
fn most_frequent_cells(pairs: &[Pair]) -> Vec<Cell> {
    let mut totals: BTreeMap<&Cell, f64> = BTreeMap::new();
    for (cell, share) in pairs.iter().flat_map(|pair| pair.before.shares.iter().chain(&pair.after.shares)) {
        *totals.entry(cell).or_default() += share;
    }
    let mut by_share: Vec<(&Cell, f64)> = totals.into_iter().collect();
    by_share.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(b.0)));
    by_share.into_iter().take(CELL_LIMIT).map(|(cell, _)| cell.clone()).collect::<BTreeSet<_>>().into_iter().collect()
}

fn side(pairs: &[Pair], of: fn(&Pair) -> &TaskValue) -> Vec<&TaskValue> {
    pairs.iter().map(of).collect()
}

/// Mean over tasks, with a Student interval; tasks are independent.
fn estimate(kind: SeriesKind, tasks: &[&TaskValue], value: impl Fn(&TaskValue) -> f64) -> Estimate {
    let values: Vec<[(f64, f64); 1]> = tasks.iter().map(|task| [(value(task), 1.0)]).collect();
    let moments = Moments::of_clusters(values.iter().map(<[(f64, f64); 1]>::as_slice));
    let t = student_quantile(f64::midpoint(1.0, CONFIDENCE), moments.clusters as f64 - 1.0);
    let half_width = t * moments.standard_error();
    let highest = if kind == SeriesKind::Numeric { f64::INFINITY } else { 1.0 };
    Estimate {
        n: tasks.iter().map(|task| task.traces.len() as u64).sum(),
        estimate: Some(moments.mean),
        low: Some((moments.mean - half_width).max(0.0)),
        high: Some((moments.mean + half_width).min(highest)),
        // Tasks count alike however often they were sampled.
        upstream_unknown: 0,
    }
}

/// Traces of the current side, from the tasks that changed most in the direction of the whole.
fn most_changed(pairs: &[Pair], sign: f64, change: impl Fn(&Pair) -> f64) -> Vec<TraceId> {
    let mut by_change: Vec<(f64, &Pair)> = pairs.iter().map(|pair| (sign * change(pair), pair)).collect();
    by_change.retain(|(change, _)| *change > 0.0);
    by_change.sort_by(|a, b| b.0.total_cmp(&a.0));
    by_change.into_iter().flat_map(|(_, pair)| pair.after.traces.iter().copied()).take(EVIDENCE).collect()
}
