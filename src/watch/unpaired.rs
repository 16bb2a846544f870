//! The comparison of two summaries of one series: which test answers, and what it takes for an answer to matter.
//!
//! | kind | test | matters when |
//! |---|---|---|
//! | boolean | score z on effective sizes; Fisher when small | 2 points and Cohen's h 0.1 |
//! | ordinal, 10 levels | Wasserstein-1 with its bridge law, and G | Cliff's delta 0.1, or Jensen-Shannon 0.05 |
//! | ordinal, finer | Wasserstein-1 | distance 0.1 baseline deviations, or mean 2 points |
//! | numeric | Wasserstein-1 on a logarithmic scale | distance or mean 0.1 baseline deviations |
//! | categorical, sequence | Rao-Scott and largest z over conversations | Jensen-Shannon distance 0.05 |
//!
//! Below 50 traces a side there is no verdict but by an exact test, which may show drift and never its absence.

use std::collections::BTreeSet;

use fastrand::Rng;

use super::comparison::{
    CONFIDENCE, Comparison, EVIDENCE, Label, Standing, distance_matters, moved, share_matters, traces_of_risen,
};
use super::summary::{Distribution, Extremes, SeriesSummary};
use crate::domain::ids::TraceId;
use crate::domain::measurement::SeriesKind;
use crate::domain::report::Estimate;
use crate::stats::contingency::{jensen_shannon_distance, likelihood_ratio, pool_levels};
use crate::stats::distribution::student_quantile;
use crate::stats::histogram::{Histogram, Scale};
use crate::stats::interval::{Interval, wilson};
use crate::stats::mann_whitney::mann_whitney;
use crate::stats::moments::Moments;
use crate::stats::proportion::{fisher_exact, score_test};
use crate::stats::sequence::compare_sessions;
use crate::stats::session::{Cell, SessionCounts};
use crate::stats::wasserstein::Distance;

/// Fewest traces on a side for a verdict by an approximate test.
const LEAST_TRACES: u64 = 50;
/// Fewest traces on a side for a verdict on tool sequences.
const LEAST_SEQUENCES: u64 = 100;
/// Fewest conversations on a side: standard errors over clusters need some.
const LEAST_CLUSTERS: u64 = 20;
/// Most distinct scores that are compared as levels.
const MOST_LEVELS: usize = 10;
/// Expected count below which the normal approximation of a share gives way to Fisher's test.
const LEAST_EXPECTED: f64 = 5.0;

/// Compares two summaries of one series.
pub(crate) fn compare(label: &Label, baseline: &SeriesSummary, current: &SeriesSummary, rng: &mut Rng) -> Comparison {
    let mut comparison = match (&baseline.distribution, &current.distribution) {
        (Distribution::Boolean { moments: before, .. }, Distribution::Boolean { moments: after, extremes }) => {
            let row = Comparison::new(label, SeriesKind::Boolean, share_estimate(before), share_estimate(after));
            let evidence = ends(extremes, after.mean - before.mean);
            with_evidence(compare_shares(row, before, after), evidence)
        }
        (
            Distribution::Number { moments: before, histogram, .. },
            Distribution::Number { moments: after, histogram: other, extremes },
        ) if histogram.scale() == other.scale() => {
            let row = Comparison::new(label, current.kind(), mean_estimate(before), mean_estimate(after));
            let evidence = ends(extremes, after.mean - before.mean);
            with_evidence(compare_numbers(row, (before, histogram), (after, other), rng), evidence)
        }
        (
            Distribution::Categorical { counts: before, .. },
            Distribution::Categorical { counts: after, traces_by_cell },
        )
        | (Distribution::Sequence { counts: before, .. }, Distribution::Sequence { counts: after, traces_by_cell }) => {
            let traces = (baseline.traces, current.traces);
            compare_cells(label, current.kind(), traces, (before, after), traces_by_cell)
        }
        _ => Comparison::new(label, current.kind(), estimate(baseline), estimate(current))
            .note("the series changed its kind between the sides"),
    };
    comparison.report.baseline.upstream_unknown = baseline.upstream_unknown;
    comparison.report.current.upstream_unknown = current.upstream_unknown;
    note_rejected(comparison, baseline.rejected + current.rejected)
}

/// The estimate of a series by itself.
pub(crate) fn estimate(summary: &SeriesSummary) -> Estimate {
    let estimate = match &summary.distribution {
        Distribution::Boolean { moments, .. } => share_estimate(moments),
        Distribution::Number { moments, .. } => mean_estimate(moments),
        Distribution::Categorical { counts, .. } | Distribution::Sequence { counts, .. } => {
            cell_estimate(summary.traces, counts, counts.largest_cell().as_ref())
        }
    };
    Estimate { upstream_unknown: summary.upstream_unknown, ..estimate }
}

fn with_evidence(mut comparison: Comparison, evidence: Vec<TraceId>) -> Comparison {
    comparison.report.evidence = evidence;
    comparison
}

fn note_rejected(comparison: Comparison, rejected: u64) -> Comparison {
    if rejected == 0 {
        return comparison;
    }
    comparison.note(&format!("{rejected} values were left out: not finite, out of range, of another kind or revision"))
}

/// Traces at the end that the mean moved towards.
fn ends(extremes: &Extremes, change: f64) -> Vec<TraceId> {
    let end = if change < 0.0 { &extremes.low } else { &extremes.high };
    end.iter().take(EVIDENCE).map(|(_, trace)| *trace).collect()
}

fn share_estimate(moments: &Moments) -> Estimate {
    let size = moments.share_size();
    let interval = (size > 0.0).then(|| wilson(moments.mean.clamp(0.0, 1.0), size, CONFIDENCE));
    with_interval(moments, interval)
}

fn mean_estimate(moments: &Moments) -> Estimate {
    let interval = (moments.clusters >= 2).then(|| {
        let t = student_quantile(f64::midpoint(1.0, CONFIDENCE), moments.clusters as f64 - 1.0);
        let Interval { low, high } = Interval::around(moments.mean, t * moments.standard_error());
        Interval { low: low.max(0.0), high }
    });
    with_interval(moments, interval)
}

fn with_interval(moments: &Moments, interval: Option<Interval>) -> Estimate {
    Estimate {
        n: moments.count,
        estimate: (moments.count > 0).then_some(moments.mean),
        low: interval.map(|interval| interval.low),
        high: interval.map(|interval| interval.high),
        upstream_unknown: 0,
    }
}

/// The interval is Wilson's for as many independent sessions as give the share its standard error (Korn and Graubard 1998);
/// a share of 0 or 1 has none, and is of the sessions that were seen.
fn cell_estimate(traces: u64, counts: &SessionCounts, cell: Option<&Cell>) -> Estimate {
    let share = cell.and_then(|cell| counts.share_of(cell)).filter(|(share, _)| share.is_finite());
    let interval = share.map(|(share, error)| {
        let size = share * (1.0 - share) / (error * error);
        let size = if size.is_finite() && size >= 1.0 { size } else { counts.sessions.max(1) as f64 };
        wilson(share.clamp(0.0, 1.0), size, CONFIDENCE)
    });
    Estimate {
        n: traces,
        estimate: share.map(|(share, _)| share),
        low: interval.map(|interval| interval.low),
        high: interval.map(|interval| interval.high),
        upstream_unknown: 0,
    }
}

fn compare_shares(row: Comparison, before: &Moments, after: &Moments) -> Comparison {
    if before.count == 0 || after.count == 0 {
        return row.note("no usable values on one side");
    }
    let (size, other_size) = (after.effective_size(), before.effective_size());
    let (share, other_share) = (after.mean.clamp(0.0, 1.0), before.mean.clamp(0.0, 1.0));
    let pooled = (share * size + other_share * other_size) / (size + other_size);
    let is_small = before.count.min(after.count) < LEAST_TRACES;
    let is_simple = before.is_simple_sample() && after.is_simple_sample();
    if !is_simple && (is_small || before.clusters.min(after.clusters) < LEAST_CLUSTERS) {
        return row.note("too few traces or conversations for weighted or clustered values");
    }
    let (difference, matters) = (Some(share - other_share), share_matters(other_share, share));
    if !is_small && size.min(other_size) * pooled.min(1.0 - pooled) >= LEAST_EXPECTED {
        let (_, p_value) = score_test(share, size, other_share, other_size);
        return row.tested("two_proportion_score", p_value, difference, matters);
    }
    let count = |share: f64, size: f64| ((share * size).round() as u64, size.round() as u64);
    let ((successes, size), (other_successes, other_size)) = (count(share, size), count(other_share, other_size));
    let p_value = fisher_exact(successes, size, other_successes, other_size);
    let mut row = row.tested("fisher_exact", p_value, difference, matters);
    if is_small {
        row.standing = Standing::DriftOnly;
        row = row.note("fewer than 50 traces on a side: drift could be shown, its absence could not");
    }
    row
}

fn compare_numbers(
    row: Comparison,
    (before, histogram): (&Moments, &Histogram),
    (after, other): (&Moments, &Histogram),
    rng: &mut Rng,
) -> Comparison {
    if before.count.min(after.count) < LEAST_TRACES || before.clusters.min(after.clusters) < LEAST_CLUSTERS {
        return row.note("fewer than 50 traces or 20 conversations on a side");
    }
    let bins: Vec<i32> =
        histogram.bins().chain(other.bins()).map(|(bin, _)| bin).collect::<BTreeSet<_>>().into_iter().collect();
    let positions = positions(histogram.scale(), &bins);
    let counts = |histogram: &Histogram, moments: &Moments| {
        let scale = moments.effective_size() / histogram.weight();
        let weights: std::collections::BTreeMap<i32, f64> = histogram.bins().collect();
        bins.iter().map(|bin| weights.get(bin).copied().unwrap_or(0.0) * scale).collect::<Vec<f64>>()
    };
    let (baseline_counts, current_counts) = (counts(histogram, before), counts(other, after));
    let (size, other_size) = (before.effective_size(), after.effective_size());
    let pooled: Vec<f64> =
        baseline_counts.iter().zip(&current_counts).map(|(a, b)| (a + b) / (size + other_size)).collect();
    let distance = Distance::Wasserstein1.between(&baseline_counts, &current_counts, &positions);
    let p_value = Distance::Wasserstein1.p_value(distance, size, other_size, &pooled, &positions, rng);
    let is_far = distance > 0.0 && distance >= 0.1 * deviation(&baseline_counts, &positions);
    let change = after.mean - before.mean;
    match histogram.scale() {
        Scale::Unit if bins.len() <= MOST_LEVELS => {
            let (p_levels, matters) = compare_levels(&baseline_counts, &current_counts);
            let p_value = (2.0 * p_value.min(p_levels)).min(1.0);
            row.tested("wasserstein_1_and_g", p_value, Some(change), matters)
        }
        Scale::Unit => row.tested("wasserstein_1", p_value, Some(change), is_far || change.abs() >= 0.02),
        Scale::Magnitude => {
            let matters = is_far || change.abs() >= 0.1 * before.standard_deviation().max(f64::MIN_POSITIVE);
            row.tested("wasserstein_1_log_scale", p_value, Some(after.mean / before.mean), matters)
        }
    }
}

/// The G-test over few levels, which sees scores move to both ends, and whether the change matters.
fn compare_levels(before: &[f64], after: &[f64]) -> (f64, bool) {
    let (pooled_before, pooled_after) = pool_levels(before, after, LEAST_EXPECTED);
    let p_value = likelihood_ratio(&pooled_before, &pooled_after).p_value;
    let is_shifted = mann_whitney(after, before).cliffs_delta.abs() >= 0.1;
    (p_value, is_shifted || distance_matters(jensen_shannon_distance(before, after)))
}

/// Where bins lie on the axis of the distance: scores as they are; magnitudes in octaves, zero one octave below the
/// smallest positive value.
fn positions(scale: Scale, bins: &[i32]) -> Vec<f64> {
    let zero = Scale::Magnitude.bin(0.0);
    let lowest = bins.iter().copied().find(|bin| *bin != zero).unwrap_or(zero);
    let octave = |bin: &i32| {
        let octaves = |bin: i32| Scale::Magnitude.upper_edge(bin).log2();
        if *bin == zero { octaves(lowest) - 1.0 } else { octaves(*bin) }
    };
    match scale {
        Scale::Unit => bins.iter().map(|bin| scale.upper_edge(*bin)).collect(),
        Scale::Magnitude if lowest == zero => vec![0.0; bins.len()],
        Scale::Magnitude => bins.iter().map(octave).collect(),
    }
}

fn deviation(counts: &[f64], positions: &[f64]) -> f64 {
    let values: Vec<(f64, f64)> = positions.iter().copied().zip(counts.iter().copied()).collect();
    Moments::of_cluster(&values).standard_deviation()
}

fn compare_cells(
    label: &Label,
    kind: SeriesKind,
    traces: (u64, u64),
    (before, after): (&SessionCounts, &SessionCounts),
    traces_by_cell: &[(Cell, Vec<TraceId>)],
) -> Comparison {
    let largest = before.largest_cell().or_else(|| after.largest_cell());
    let row = Comparison::new(
        label,
        kind,
        cell_estimate(traces.0, before, largest.as_ref()),
        cell_estimate(traces.1, after, largest.as_ref()),
    );
    let least_traces = if kind == SeriesKind::Sequence { LEAST_SEQUENCES } else { LEAST_TRACES };
    if traces.0.min(traces.1) < least_traces || before.sessions.min(after.sessions) < LEAST_CLUSTERS {
        return row.note(&format!("fewer than {least_traces} traces or {LEAST_CLUSTERS} conversations on a side"));
    }
    let Some(result) = compare_sessions(before, after) else {
        return row.note("no events on one side");
    };
    let distance = result.jensen_shannon_distance;
    let mut row = row.tested("rao_scott_largest_z_fisher", result.p_value, Some(distance), distance_matters(distance));
    row.report.transitions = moved(&result.shifts);
    row.report.evidence = traces_of_risen(&result.shifts, traces_by_cell);
    row
}
