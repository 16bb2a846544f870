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
//! it as traces arrive until it passes voids α, which is what [`gate_sequentially`] is for.
//!
//! **A canary.** Its conversations may be paired with the baseline's of the same hour and stratum. Unless chance decided
//! who got the candidate, that is an observation and no experiment, and the report says so.

use super::baseline::Baseline;
use super::gate_policy::{Bound, Direction, GatePolicy, Goal};
pub use super::gate_sequential::gate_sequentially;
pub use super::gate_units::{TaskOf, Traces};
use super::gate_units::{UnitPair, pairs};
use super::summary::{Distribution, SeriesSummary};
use crate::domain::report::{GateDesign, GateReport, GateSeries, GateVerdict};
use crate::stats::distribution::student_quantile;
use crate::stats::interval::{Interval, clopper_pearson, newcombe, wilson};
use crate::stats::moments::Moments;
use crate::stats::multiplicity::holm;
use crate::stats::non_inferiority::{Shown, needed_size, shown};
use crate::stats::paired::bonett_price;
use crate::stats::welch::welch;

/// Fewest traces, conversations or tasks behind a mean's interval.
const LEAST: u64 = 20;
/// Series that are named where one is not known.
const KNOWN: usize = 40;

/// Why a series cannot be judged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Problem {
    #[error("no trace is selected on the {0} side")]
    NoTraces(&'static str),
    #[error("the {side} has no values of {series}; it has {known}")]
    UnknownSeries { side: &'static str, series: String, known: String },
    #[error("the series is not a number, so nothing is better or worse")]
    NotANumber,
    #[error("fewer than {LEAST} traces or conversations on a side")]
    TooFew,
    #[error("the series changed its kind between the sides")]
    OtherKind,
    #[error("{0}, so that a difference between them says nothing")]
    Overlap(&'static str),
    #[error("{0}")]
    OtherRevision(String),
    #[error("fewer than {LEAST} conversations have one of the other side in the same hour and stratum")]
    TooFewPairs,
    #[error("no task or conversation has one of the other side beside it")]
    NoPairs,
    #[error("concurrent conversations need traces on both sides, and a stored baseline keeps none")]
    NoTracesToPair,
    #[error("the baseline is too small to compare with")]
    NoBaseline,
    #[error(
        "conversations of several traces count once each, and a stored baseline keeps the mean of its traces alone; name \
         the baseline's traces instead"
    )]
    NoConversations,
}

/// What is known about one difference, positive when the candidate is better.
struct Evidence {
    difference: f64,
    /// Two-sided interval at a confidence, if there were so many times as much of the same.
    interval: Box<dyn Fn(f64, f64) -> Interval>,
    n_baseline: u64,
    n_candidate: u64,
    /// Variance times size: what one trace (or pair) contributes.
    unit_variance: f64,
    units: &'static str,
}

/// Judges a candidate by a policy, at one look. Series are taken over all services of a side. Without `traces` nothing
/// is paired.
#[must_use]
pub fn gate(policy: &GatePolicy, baseline: &Baseline, candidate: &Baseline, traces: Option<&Traces<'_>>) -> GateReport {
    let evidence: Vec<Result<Evidence, Problem>> =
        policy.goals.iter().map(|goal| evidence(policy, goal, (baseline, candidate), traces)).collect();
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
            Err(problem) => unjudged(goal, problem),
        })
        .collect();
    with_notes(policy, series, baseline, candidate, traces)
}

/// The report of judged series, with what limits it.
pub(crate) fn with_notes(
    policy: &GatePolicy,
    series: Vec<GateSeries>,
    baseline: &Baseline,
    candidate: &Baseline,
    traces: Option<&Traces<'_>>,
) -> GateReport {
    let design = match traces {
        Some(traces) if traces.task.is_some() => GateDesign::Paired,
        Some(_) if policy.concurrent => GateDesign::Concurrent,
        _ => GateDesign::Independent,
    };
    let is_production = traces.is_some_and(|traces| traces.is_production);
    let is_observational = is_production && design != GateDesign::Paired && !policy.is_randomized;
    let mut notes: Vec<String> = baseline.upstream_note(candidate).into_iter().collect();
    if is_observational {
        notes.push(
            "observational: as far as the policy says, chance did not decide which traffic the candidate got, so a \
             difference may come from who was sent where; write assignment = \"random\" if it did"
                .to_owned(),
        );
    }
    let (verdict, alpha) = (overall(&series), policy.alpha);
    GateReport { verdict, alpha, design, is_observational, is_sequential: false, series, notes }
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

pub(crate) fn unjudged(goal: &Goal, problem: Problem) -> GateSeries {
    GateSeries {
        series: goal.series.clone(),
        calibrated: None,
        verdict: GateVerdict::Inconclusive,
        margin: goal.bound.value(),
        difference: None,
        low: None,
        high: None,
        n_baseline: 0,
        n_candidate: 0,
        needed_n: None,
        reason: problem.to_string(),
    }
}

/// What was found of one series.
pub(crate) struct Settled {
    pub(crate) verdict: GateVerdict,
    pub(crate) difference: f64,
    pub(crate) interval: Interval,
    pub(crate) n_baseline: u64,
    pub(crate) n_candidate: u64,
    pub(crate) needed_n: Option<u64>,
    pub(crate) reason: String,
}

impl Settled {
    pub(crate) fn row(self, goal: &Goal) -> GateSeries {
        GateSeries {
            series: goal.series.clone(),
            calibrated: None,
            verdict: self.verdict,
            margin: goal.bound.value(),
            difference: Some(self.difference),
            low: Some(self.interval.low),
            high: Some(self.interval.high),
            n_baseline: self.n_baseline,
            n_candidate: self.n_candidate,
            needed_n: self.needed_n,
            reason: self.reason,
        }
    }
}

fn judged(policy: &GatePolicy, goal: &Goal, evidence: &Evidence, failing: f64) -> GateSeries {
    let confidence = 1.0 - 2.0 * policy.alpha;
    let Interval { low, high } = (evidence.interval)(confidence, 1.0);
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
    let does_not_vary = if low == high { "; no value differs from another" } else { "" };
    let reason = format!(
        "the {:.0} % interval {low:+.4} to {high:+.4} of the difference {:+.4}, positive being better, \
         against {:+.4} over {} {}, {relation}{does_not_vary}",
        confidence * 100.0,
        evidence.difference,
        0.0 - margin,
        evidence.n_candidate,
        evidence.units
    );
    let (n_baseline, n_candidate) = (evidence.n_baseline, evidence.n_candidate);
    let interval = Interval { low, high };
    Settled { verdict, difference: evidence.difference, interval, n_baseline, n_candidate, needed_n, reason }.row(goal)
}

/// Traces (or pairs) a side at which the difference seen would be shown; `None` when it sits on the margin. Where all
/// went well nothing varies, and it takes as many as the interval does to become so narrow.
fn needed(policy: &GatePolicy, evidence: &Evidence, margin: f64) -> Option<u64> {
    let size = needed_size(evidence.unit_variance, evidence.difference + margin, policy.alpha, policy.power);
    let size = size.max(shown_at(policy, evidence, margin)?).ceil();
    (size.is_finite() && size < 1e12).then(|| (size as u64).max(evidence.n_candidate + 1))
}

/// Traces (or pairs) a side at which more of the same shows the one or the other.
fn shown_at(policy: &GatePolicy, evidence: &Evidence, margin: f64) -> Option<f64> {
    let confidence = 1.0 - 2.0 * policy.alpha;
    let is_shown = |times: f64| shown((evidence.interval)(confidence, times), margin) != Shown::Neither;
    let mut enough = (0..40).map(|doubled| 2_f64.powi(doubled)).find(|times| is_shown(*times))?;
    let mut too_few = enough / 2.0;
    for _ in 0..30 {
        let middle = f64::midpoint(too_few, enough);
        if is_shown(middle) { enough = middle } else { too_few = middle }
    }
    Some(evidence.n_candidate as f64 * enough)
}

/// The one-sided p-value of "not good enough": the smallest α whose interval lies below minus the margin, found by
/// bisection, so that it agrees with the interval shown.
fn failing_p_value(evidence: &Evidence, margin: f64) -> f64 {
    let fails = |alpha: f64| (evidence.interval)(1.0 - 2.0 * alpha, 1.0).high < -margin;
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
    policy: &GatePolicy,
    goal: &Goal,
    (baseline, candidate): (&Baseline, &Baseline),
    traces: Option<&Traces<'_>>,
) -> Result<Evidence, Problem> {
    let sides = sides_of(goal, baseline, candidate)?;
    let after = sides.candidate;
    let (direction, before) = match (goal.bound, sides.baseline) {
        (Bound::Floor(floor), _) => return against_bound(&after, floor, 1.0),
        (Bound::Ceiling(ceiling), _) => return against_bound(&after, ceiling, -1.0),
        (Bound::Margin { direction, .. }, before) => (direction, before.ok_or(Problem::NoBaseline)?),
    };
    let sign = if direction == Direction::HigherIsBetter { 1.0 } else { -1.0 };
    let sides = traces.and_then(|traces| Some((traces, traces.baseline?)));
    let paired = sides.filter(|(traces, _)| traces.task.is_some() || policy.concurrent);
    match paired.map(|(traces, before)| (traces.task.is_some(), pairs(policy, goal, after.kind(), before, traces))) {
        Some((is_task, pairs)) if pairs.len() as u64 >= LEAST => {
            moments(&after, 1)?;
            Ok(paired_evidence(&pairs, sign, is_task))
        }
        Some((false, _)) => Err(Problem::TooFewPairs),
        None if policy.concurrent => Err(Problem::NoTracesToPair),
        Some((true, _)) | None => unpaired_evidence(&before, &after, sign),
    }
}

/// A series on both sides.
pub(crate) struct SidesOf {
    /// Absent for a bound that needs no baseline.
    pub(crate) baseline: Option<SeriesSummary>,
    pub(crate) candidate: SeriesSummary,
}

/// The series of both sides, where they can be compared.
pub(crate) fn sides_of(goal: &Goal, baseline: &Baseline, candidate: &Baseline) -> Result<SidesOf, Problem> {
    let after = side(candidate, &goal.series, "candidate")?;
    if !matches!(goal.bound, Bound::Margin { .. }) {
        return Ok(SidesOf { baseline: None, candidate: after });
    }
    let before = side(baseline, &goal.series, "baseline")?;
    if let Some(overlap) = baseline.overlap(candidate) {
        return Err(Problem::Overlap(overlap));
    }
    if let Some(conflict) = baseline.revision_conflict(candidate, &goal.series, (&before, &after)) {
        return Err(Problem::OtherRevision(conflict));
    }
    if before.kind() != after.kind() {
        return Err(Problem::OtherKind);
    }
    Ok(SidesOf { baseline: Some(before), candidate: after })
}

fn side(baseline: &Baseline, series: &str, name: &'static str) -> Result<SeriesSummary, Problem> {
    if baseline.traces == 0 {
        return Err(Problem::NoTraces(name));
    }
    let summary = baseline.overall(series).filter(|summary| summary.traces > 0);
    summary.ok_or_else(|| {
        let known: std::collections::BTreeSet<&str> = baseline.series.keys().map(|key| key.series.as_str()).collect();
        let known = known.into_iter().take(KNOWN).collect::<Vec<_>>().join(", ");
        Problem::UnknownSeries { side: name, series: series.to_owned(), known }
    })
}

fn moments(summary: &SeriesSummary, least: u64) -> Result<(&Moments, bool), Problem> {
    let is_boolean = matches!(summary.distribution, Distribution::Boolean { .. });
    let moments = summary.moments().ok_or(Problem::NotANumber)?;
    let is_enough = moments.count.min(moments.clusters) >= least;
    if is_enough || is_boolean && moments.is_simple_sample() { Ok((moments, is_boolean)) } else { Err(Problem::TooFew) }
}

/// Turns an interval of "candidate minus other" so that positive is better.
fn turned(interval: Interval, sign: f64) -> Interval {
    if sign < 0.0 { Interval { low: -interval.high, high: -interval.low } } else { interval }
}

/// An interval of so many times as much evidence.
fn narrowed(interval: Interval, times: f64) -> Interval {
    let Interval { low, high } = interval;
    Interval::around(f64::midpoint(low, high), (high - low) / 2.0 / times.sqrt())
}

fn against_bound(after: &SeriesSummary, bound: f64, sign: f64) -> Result<Evidence, Problem> {
    let (moments, is_boolean) = moments(after, LEAST)?;
    let moments = *moments;
    let size = moments.effective_size();
    let share = moments.mean.clamp(0.0, 1.0);
    let interval = move |confidence: f64, times: f64| {
        let size = size * times;
        let Interval { low, high } = if is_boolean && moments.is_simple_sample() {
            clopper_pearson((share * size).round(), size, confidence)
        } else if is_boolean {
            wilson(share, size, confidence)
        } else {
            let t = student_quantile(f64::midpoint(1.0, confidence), moments.clusters as f64 - 1.0);
            narrowed(Interval::around(moments.mean, t * moments.standard_error()), times)
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

fn unpaired_evidence(before: &SeriesSummary, after: &SeriesSummary, sign: f64) -> Result<Evidence, Problem> {
    let ((before, is_boolean), (after, _)) = (moments(before, LEAST)?, moments(after, LEAST)?);
    let (before, after) = (*before, *after);
    let (size, other_size) = (after.effective_size(), before.effective_size());
    let interval: Box<dyn Fn(f64, f64) -> Interval> = if is_boolean {
        let (share, other_share) = (after.mean.clamp(0.0, 1.0), before.mean.clamp(0.0, 1.0));
        Box::new(move |confidence, times| {
            turned(newcombe(share, size * times, other_share, other_size * times, confidence), sign)
        })
    } else {
        let test = welch(&after, &before).ok_or(Problem::TooFew)?;
        Box::new(move |confidence, times| turned(narrowed(test.interval(confidence), times), sign))
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

fn paired_evidence(pairs: &[UnitPair], sign: f64, is_task: bool) -> Evidence {
    let count = pairs.len() as f64;
    let differences: Vec<(f64, f64)> =
        pairs.iter().map(|pair| (sign * (pair.after - pair.before), pair.weight)).collect();
    let weighs_the_same = differences.iter().all(|(_, weight)| *weight == differences[0].1);
    let is_answer = |value: f64| value == 0.0 || value == 1.0;
    let is_yes_or_no = pairs.iter().all(|pair| is_answer(pair.before) && is_answer(pair.after));
    let moments = Moments::of_clusters(differences.iter().map(std::slice::from_ref));
    let interval: Box<dyn Fn(f64, f64) -> Interval> = if is_yes_or_no && weighs_the_same {
        let pairs_with = |sign: f64| differences.iter().filter(|(difference, _)| *difference == sign).count() as f64;
        let (gained, lost) = (pairs_with(1.0), pairs_with(-1.0));
        Box::new(move |confidence, times| bonett_price(gained * times, lost * times, count * times, confidence).1)
    } else {
        let error = moments.standard_error();
        let mean = moments.mean;
        Box::new(move |confidence, times| {
            let t = student_quantile(f64::midpoint(1.0, confidence), count - 1.0);
            narrowed(Interval::around(mean, t * error), times)
        })
    };
    Evidence {
        difference: moments.mean,
        interval,
        n_baseline: pairs.len() as u64,
        n_candidate: pairs.len() as u64,
        unit_variance: moments.variance() * count / moments.effective_size(),
        units: if is_task { "tasks that ran on both sides" } else { "pairs of concurrent conversations" },
    }
}
