//! May the candidate replace the baseline? A non-inferiority gate with three answers.
//!
//! **Question.** For each series of the policy: is the candidate worse by less than the margin (or beyond its floor or
//! ceiling)? Differences are turned so that positive is better.
//!
//! **Statistic.** The two-sided (1 - 2α) interval of the difference. Paired by task where both sides carry one:
//! Bonett-Price for one yes or no a task, Student over task differences otherwise. Unpaired: Newcombe on effective
//! sizes for shares, Welch for means. Against a bound: Clopper-Pearson or Wilson for a share, Student for a mean.
//!
//! **When it answers.** Pass when the interval lies above minus the margin: wrong for at most α of candidates that are
//! worse by the margin, and, since all series must pass, for the gate as a whole (intersection-union). Fail when it
//! lies below, after Holm's correction over the series, because any failure fails the gate. Else inconclusive, with
//! the size at which the difference seen would be shown with the policy's power.
//!
//! **Cold start.** Means need 20 traces (or tasks) from 20 conversations a side. The gate is a fixed look: repeating
//! it as traces arrive until it passes voids α.

use super::baseline::Baseline;
use super::drift::other_revision;
use super::gate_policy::{Bound, Direction, GatePolicy, Goal};
use super::paired::{Pair, join, values_by_task};
use super::summary::{Distribution, SeriesSummary};
use crate::domain::measurement::TraceRecord;
use crate::domain::report::{GateReport, GateSeries, GateVerdict};
use crate::stats::distribution::student_quantile;
use crate::stats::interval::{Interval, clopper_pearson, newcombe, wilson};
use crate::stats::moments::Moments;
use crate::stats::multiplicity::holm;
use crate::stats::non_inferiority::{Shown, needed_size, shown};
use crate::stats::paired::bonett_price;
use crate::stats::welch::welch;

/// Fewest traces, conversations or tasks behind a mean's interval.
const LEAST: u64 = 20;

/// The records of both sides with what tells their tasks, for a paired gate.
pub struct Tasks<'a> {
    /// The baseline's records.
    pub baseline: &'a [TraceRecord],
    /// The candidate's records.
    pub candidate: &'a [TraceRecord],
    /// Which task a trace ran, if known.
    pub task: &'a dyn Fn(&TraceRecord) -> Option<String>,
}

/// What is known about one difference, positive when the candidate is better.
struct Evidence {
    difference: f64,
    /// Two-sided interval at a confidence.
    interval: Box<dyn Fn(f64) -> Interval>,
    n_baseline: u64,
    n_candidate: u64,
    /// Variance times size: what one trace (or pair) contributes.
    unit_variance: f64,
    units: &'static str,
}

/// Judges a candidate by a policy. Series are taken over all services of a side.
#[must_use]
pub fn gate(policy: &GatePolicy, baseline: &Baseline, candidate: &Baseline, tasks: Option<&Tasks<'_>>) -> GateReport {
    let evidence: Vec<Result<Evidence, String>> =
        policy.goals.iter().map(|goal| evidence(goal, baseline, candidate, tasks)).collect();
    let failing: Vec<f64> = policy
        .goals
        .iter()
        .zip(&evidence)
        .map(|(goal, evidence)| evidence.as_ref().map_or(1.0, |evidence| failing_p_value(evidence, margin(goal))))
        .collect();
    let failing = holm(&failing);
    let series: Vec<GateSeries> = policy
        .goals
        .iter()
        .zip(evidence)
        .zip(failing)
        .map(|((goal, evidence), failing)| match evidence {
            Ok(evidence) => judged(policy, goal, &evidence, failing),
            Err(reason) => unjudged(goal, reason),
        })
        .collect();
    let notes = baseline.upstream_note(candidate).into_iter().collect();
    GateReport { verdict: overall(&series), alpha: policy.alpha, series, notes }
}

fn overall(series: &[GateSeries]) -> GateVerdict {
    if series.iter().any(|row| row.verdict == GateVerdict::Fail) {
        GateVerdict::Fail
    } else if series.iter().all(|row| row.verdict == GateVerdict::Pass) {
        GateVerdict::Pass
    } else {
        GateVerdict::Inconclusive
    }
}

/// How much worse than zero the difference may be.
const fn margin(goal: &Goal) -> f64 {
    match goal.bound {
        Bound::Margin { margin, .. } => margin,
        Bound::Floor(_) | Bound::Ceiling(_) => 0.0,
    }
}

fn unjudged(goal: &Goal, reason: String) -> GateSeries {
    GateSeries {
        series: goal.series.clone(),
        verdict: GateVerdict::Inconclusive,
        margin: goal.bound.value(),
        difference: None,
        low: None,
        high: None,
        n_baseline: 0,
        n_candidate: 0,
        needed_n: None,
        reason,
    }
}

fn judged(policy: &GatePolicy, goal: &Goal, evidence: &Evidence, failing: f64) -> GateSeries {
    let confidence = 1.0 - 2.0 * policy.alpha;
    let Interval { low, high } = (evidence.interval)(confidence);
    let margin = margin(goal);
    let alone = shown(Interval { low, high }, margin);
    let verdict = match alone {
        Shown::GoodEnough => GateVerdict::Pass,
        Shown::NotGoodEnough if failing <= policy.alpha => GateVerdict::Fail,
        Shown::NotGoodEnough | Shown::Neither => GateVerdict::Inconclusive,
    };
    let needed_n = (verdict == GateVerdict::Inconclusive).then(|| needed(policy, evidence, margin)).flatten();
    let relation = match (verdict, alone) {
        (GateVerdict::Pass, _) => "shows that the candidate is good enough",
        (GateVerdict::Fail, _) => "shows that the candidate is not good enough",
        (_, Shown::NotGoodEnough) => {
            "would show alone that the candidate is not good enough, and not among so many series"
        }
        (GateVerdict::Inconclusive, _) => "shows neither",
    };
    let reason = format!(
        "the {:.0} % interval {low:+.4} to {high:+.4} of the difference {:+.4}, positive being better, \
         against {:+.4} over {} {}, {relation}",
        confidence * 100.0,
        evidence.difference,
        -margin,
        evidence.n_candidate,
        evidence.units
    );
    GateSeries {
        series: goal.series.clone(),
        verdict,
        margin: goal.bound.value(),
        difference: Some(evidence.difference),
        low: Some(low),
        high: Some(high),
        n_baseline: evidence.n_baseline,
        n_candidate: evidence.n_candidate,
        needed_n,
        reason,
    }
}

/// Traces (or pairs) a side at which the difference seen would be shown; `None` when it sits on the margin.
fn needed(policy: &GatePolicy, evidence: &Evidence, margin: f64) -> Option<u64> {
    let size = needed_size(evidence.unit_variance, evidence.difference + margin, policy.alpha, policy.power).ceil();
    (size.is_finite() && size < 1e12).then(|| (size as u64).max(evidence.n_candidate + 1))
}

/// The one-sided p-value of "not good enough": the smallest α whose interval lies below minus the margin, found by
/// bisection, so that it agrees with the interval shown.
fn failing_p_value(evidence: &Evidence, margin: f64) -> f64 {
    let fails = |alpha: f64| (evidence.interval)(1.0 - 2.0 * alpha).high < -margin;
    let (mut rejected, mut kept) = (0.499, 1e-9);
    if !fails(rejected) {
        return 1.0;
    }
    for _ in 0..50 {
        let middle = f64::midpoint(rejected, kept);
        if fails(middle) { rejected = middle } else { kept = middle }
    }
    rejected
}

fn evidence(
    goal: &Goal,
    baseline: &Baseline,
    candidate: &Baseline,
    tasks: Option<&Tasks<'_>>,
) -> Result<Evidence, String> {
    let after = side(candidate, &goal.series, "candidate")?;
    match goal.bound {
        Bound::Floor(floor) => against_bound(&after, floor, 1.0),
        Bound::Ceiling(ceiling) => against_bound(&after, ceiling, -1.0),
        Bound::Margin { direction, .. } => {
            let sign = if direction == Direction::HigherIsBetter { 1.0 } else { -1.0 };
            let before = side(baseline, &goal.series, "baseline")?;
            if !before.is_of_one_revision(&after) {
                return Err(other_revision(&before, &after));
            }
            let paired = tasks.map(|tasks| pairs(tasks, &goal.series, &after));
            if let Some(pairs) = paired.filter(|pairs| pairs.len() as u64 >= LEAST) {
                return paired_evidence(&pairs, sign);
            }
            unpaired_evidence(&before, &after, sign)
        }
    }
}

fn side(baseline: &Baseline, series: &str, name: &str) -> Result<SeriesSummary, String> {
    let summary = baseline.overall(series).filter(|summary| summary.traces > 0);
    summary.ok_or_else(|| format!("the {name} has no values of {series}"))
}

fn moments(summary: &SeriesSummary) -> Result<(&Moments, bool), String> {
    let is_boolean = matches!(summary.distribution, Distribution::Boolean { .. });
    let moments = summary.moments().ok_or("the series is not a number, so nothing is better or worse")?;
    let is_enough = moments.count.min(moments.clusters) >= LEAST;
    if is_enough || is_boolean && moments.is_simple_sample() {
        return Ok((moments, is_boolean));
    }
    Err(format!("fewer than {LEAST} traces or conversations on a side"))
}

/// Turns an interval of "candidate minus other" so that positive is better.
fn turned(interval: Interval, sign: f64) -> Interval {
    if sign < 0.0 { Interval { low: -interval.high, high: -interval.low } } else { interval }
}

fn against_bound(after: &SeriesSummary, bound: f64, sign: f64) -> Result<Evidence, String> {
    let (moments, is_boolean) = moments(after)?;
    let moments = *moments;
    let size = moments.effective_size();
    let share = moments.mean.clamp(0.0, 1.0);
    let interval = move |confidence: f64| {
        let Interval { low, high } = if is_boolean && moments.is_simple_sample() {
            clopper_pearson((share * size).round(), size, confidence)
        } else if is_boolean {
            wilson(share, size, confidence)
        } else {
            let t = student_quantile(f64::midpoint(1.0, confidence), moments.clusters as f64 - 1.0);
            Interval::around(moments.mean, t * moments.standard_error())
        };
        turned(Interval { low: low - bound, high: high - bound }, sign)
    };
    Ok(Evidence {
        difference: sign * (moments.mean - bound),
        interval: Box::new(interval),
        n_baseline: 0,
        n_candidate: moments.count,
        unit_variance: moments.variance() * moments.count as f64 / size,
        units: "traces",
    })
}

fn unpaired_evidence(before: &SeriesSummary, after: &SeriesSummary, sign: f64) -> Result<Evidence, String> {
    let ((before, is_boolean), (after, is_boolean_too)) = (moments(before)?, moments(after)?);
    if is_boolean != is_boolean_too {
        return Err("the series changed its kind between the sides".to_owned());
    }
    let (before, after) = (*before, *after);
    let (size, other_size) = (after.effective_size(), before.effective_size());
    let interval: Box<dyn Fn(f64) -> Interval> = if is_boolean {
        let (share, other_share) = (after.mean.clamp(0.0, 1.0), before.mean.clamp(0.0, 1.0));
        Box::new(move |confidence| turned(newcombe(share, size, other_share, other_size, confidence), sign))
    } else {
        let test = welch(&after, &before).ok_or("fewer than two conversations on a side")?;
        Box::new(move |confidence| turned(test.interval(confidence), sign))
    };
    let per_trace = |moments: &Moments, size: f64| moments.variance() * moments.count as f64 / size;
    Ok(Evidence {
        difference: sign * (after.mean - before.mean),
        interval,
        n_baseline: before.count,
        n_candidate: after.count,
        unit_variance: per_trace(&before, other_size) + per_trace(&after, size),
        units: "traces",
    })
}

fn pairs(tasks: &Tasks<'_>, series: &str, like: &SeriesSummary) -> Vec<Pair> {
    let by_task = |records: &[TraceRecord]| values_by_task(series, like, records.iter(), tasks.task);
    join(by_task(tasks.baseline), by_task(tasks.candidate))
}

fn paired_evidence(pairs: &[Pair], sign: f64) -> Result<Evidence, String> {
    let differences: Vec<f64> = pairs.iter().map(|pair| sign * (pair.after.mean - pair.before.mean)).collect();
    let count = differences.len() as f64;
    let is_yes_or_no =
        pairs.iter().all(|pair| [pair.before.mean, pair.after.mean].iter().all(|x| *x == 0.0 || *x == 1.0));
    let rows: Vec<[(f64, f64); 1]> = differences.iter().map(|difference| [(*difference, 1.0)]).collect();
    let moments = Moments::of_clusters(rows.iter().map(<[(f64, f64); 1]>::as_slice));
    let interval: Box<dyn Fn(f64) -> Interval> = if is_yes_or_no {
        let pairs_with = |sign: f64| differences.iter().filter(|d| **d == sign).count() as f64;
        let (gained, lost) = (pairs_with(1.0), pairs_with(-1.0));
        Box::new(move |confidence| bonett_price(gained, lost, count, confidence).1)
    } else {
        let error = moments.standard_error();
        let mean = moments.mean;
        Box::new(move |confidence| {
            Interval::around(mean, student_quantile(f64::midpoint(1.0, confidence), count - 1.0) * error)
        })
    };
    Ok(Evidence {
        difference: moments.mean,
        interval,
        n_baseline: differences.len() as u64,
        n_candidate: differences.len() as u64,
        unit_variance: moments.variance(),
        units: "tasks that ran on both sides",
    })
}
