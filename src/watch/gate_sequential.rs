//! A gate that may be looked at any time: it stops as soon as there is an answer.
//!
//! **Question.** As of now, is each series of the policy shown to be good enough, or not to be?
//!
//! **Statistic.** Two players bet on the units in the order in which they came (`stats::sequential`); the first that
//! holds enough decides its series, whatever comes later. Units are tasks, pseudo-pairs of concurrent conversations, or
//! the candidate's conversations against a fixed bound: a floor, a ceiling, or the baseline's own interval less the margin.
//!
//! **When it answers.** Pass at 1/α: wrong for at most α of candidates at the margin, however often anyone looks, and,
//! since all series must pass, for the gate as a whole. Fail at k/α for k series, because any failure fails the gate. Against
//! a baseline that is only a summary, half of α pays for the baseline's interval. The interval shown holds at all times
//! at once.
//!
//! **Where the guarantee ends.** Bets need bounded differences. Of numbers without a bound, a difference counts as at
//! most `range` of the policy (20 margins, or the bound itself, if it says nothing), so their answer is about that.
//! Sampled traffic enters by its weight, and is then approximate; so is the order of what arrives late.

use super::baseline::Baseline;
use super::gate::{Problem, Settled, sides_of, unjudged, with_notes};
use super::gate_policy::{Bound, Direction, GatePolicy, Goal};
use super::gate_units::{Traces, Unit, UnitPair, pairs, units};
use super::summary::{Distribution, SeriesSummary};
use crate::domain::measurement::SeriesKind;
use crate::domain::report::{GateReport, GateSeries, GateVerdict};
use crate::stats::distribution::normal_quantile;
use crate::stats::interval::{Interval, wilson};
use crate::stats::moments::Moments;
use crate::stats::non_inferiority::Shown;
use crate::stats::sequential::SequentialGate;

/// Margins that a difference of unbounded numbers counts as at most, unless the policy gives a range.
const MARGINS_IN_RANGE: f64 = 20.0;
/// Halvings that find the end of an interval.
const HALVINGS: u32 = 24;

/// Differences in the order in which they were known, positive being better, and what they must exceed to pass and stay
/// under to fail: the same, but for a baseline that is itself uncertain.
struct Evidence {
    /// Difference, scaled to [-1, 1], and weight in (0, 1].
    units: Vec<(f64, f64)>,
    pass_margin: f64,
    fail_margin: f64,
    /// What the differences were divided by.
    range: f64,
    alpha: f64,
    /// Traces of the baseline; `None` where each unit has one of its own.
    n_baseline: Option<u64>,
    name: &'static str,
}

/// Judges a candidate as of now.
#[must_use]
pub fn gate_sequentially(
    policy: &GatePolicy,
    baseline: &Baseline,
    candidate: &Baseline,
    traces: &Traces<'_>,
) -> GateReport {
    let row = |goal: &Goal| match evidence(policy, goal, (baseline, candidate), traces) {
        Ok(evidence) => judged(policy, goal, &evidence),
        Err(problem) => unjudged(goal, problem),
    };
    let series = policy.goals.iter().map(row).collect();
    GateReport { is_sequential: true, ..with_notes(policy, series, baseline, candidate, Some(traces)) }
}

fn judged(policy: &GatePolicy, goal: &Goal, evidence: &Evidence) -> GateSeries {
    let fail_at = policy.goals.len() as f64 / evidence.alpha;
    let (shown, seen) = decide(evidence, fail_at);
    let used = &evidence.units[..seen];
    let weight: f64 = used.iter().map(|(_, weight)| weight).sum();
    let mean = used.iter().map(|(difference, weight)| difference * weight).sum::<f64>() / weight.max(f64::MIN_POSITIVE);
    let Interval { low, high } = interval(used, evidence.alpha);
    let verdict = match shown {
        Shown::GoodEnough => GateVerdict::Pass,
        Shown::NotGoodEnough => GateVerdict::Fail,
        Shown::Neither => GateVerdict::Inconclusive,
    };
    let more = (verdict == GateVerdict::Inconclusive).then(|| more_needed(evidence)).flatten();
    let range = evidence.range;
    let relation = match shown {
        Shown::GoodEnough => "shows that the candidate is good enough",
        Shown::NotGoodEnough => "shows that the candidate is not good enough",
        Shown::Neither => "shows neither yet",
    };
    let reason = format!(
        "the interval {:+.4} to {:+.4} of the difference {:+.4}, positive being better and valid whenever it is looked \
         at, against {:+.4} over {seen} {}, {relation}",
        low * range,
        high * range,
        mean * range,
        -evidence.pass_margin * range,
        evidence.name
    );
    let settled = Settled {
        verdict,
        difference: mean * range,
        interval: Interval { low: low * range, high: high * range },
        n_baseline: evidence.n_baseline.unwrap_or(seen as u64),
        n_candidate: seen as u64,
        needed_n: more.map(|more| seen as u64 + more),
        reason,
    };
    settled.row(goal)
}

/// The first answer, and after how many units it came.
fn decide(evidence: &Evidence, fail_at: f64) -> (Shown, usize) {
    let mut for_pass = SequentialGate::new(evidence.pass_margin, evidence.alpha);
    let mut for_fail = SequentialGate::new(evidence.fail_margin, evidence.alpha);
    for (seen, (difference, weight)) in (1..).zip(&evidence.units) {
        for_pass.observe(*difference, *weight);
        for_fail.observe(*difference, *weight);
        if for_pass.evidence().0 >= 1.0 / evidence.alpha {
            return (Shown::GoodEnough, seen);
        }
        if for_fail.evidence().1 >= fail_at {
            return (Shown::NotGoodEnough, seen);
        }
    }
    (Shown::Neither, evidence.units.len())
}

/// Differences that the bets do not rule out.
fn interval(units: &[(f64, f64)], alpha: f64) -> Interval {
    let evidence = |difference: f64| {
        let mut gate = SequentialGate::new(-difference, alpha);
        units.iter().for_each(|(seen, weight)| gate.observe(*seen, *weight));
        gate.evidence()
    };
    let rules_out_less = |difference: f64| evidence(difference).0 >= 1.0 / alpha;
    let rules_out_more = |difference: f64| evidence(difference).1 >= 1.0 / alpha;
    Interval { low: last(-0.999, 0.999, rules_out_less), high: last(0.999, -0.999, rules_out_more) }
}

/// The furthest point from `from` on the way to `to` that still holds; `from` when not even that does.
fn last(from: f64, to: f64, holds: impl Fn(f64) -> bool) -> f64 {
    let (mut inside, mut outside) = (from, to);
    for _ in 0..HALVINGS {
        let middle = f64::midpoint(inside, outside);
        if holds(middle) { inside = middle } else { outside = middle }
    }
    inside
}

fn more_needed(evidence: &Evidence) -> Option<u64> {
    let mut gate = SequentialGate::new(evidence.pass_margin, evidence.alpha);
    let weight: f64 = evidence.units.iter().map(|(_, weight)| weight).sum();
    evidence.units.iter().for_each(|(difference, weight)| gate.observe(*difference, *weight));
    let more = gate.more_needed()? * evidence.units.len() as f64 / weight;
    (more.is_finite() && more < 1e12).then(|| (more.ceil() as u64).max(1))
}

fn evidence(
    policy: &GatePolicy,
    goal: &Goal,
    (baseline, candidate): (&Baseline, &Baseline),
    traces: &Traces<'_>,
) -> Result<Evidence, Problem> {
    let sides = sides_of(goal, baseline, candidate)?;
    let kind = sides.candidate.kind();
    if sides.candidate.moments().is_none() {
        return Err(Problem::NotANumber);
    }
    match (goal.bound, traces.baseline) {
        (Bound::Margin { direction, margin }, Some(before)) if policy.concurrent || traces.task.is_some() => {
            let pairs = pairs(policy, goal, kind, before, traces);
            paired(policy, goal, kind, &pairs, sign(direction), margin)
        }
        (Bound::Margin { direction, margin }, _) => {
            let before = sides.baseline.ok_or(Problem::NoBaseline)?;
            against_baseline(policy, goal, &before, traces, sign(direction), margin)
        }
        (Bound::Floor(bound), _) => Ok(against(policy, goal, kind, traces, bound, 1.0)),
        (Bound::Ceiling(bound), _) => Ok(against(policy, goal, kind, traces, bound, -1.0)),
    }
}

const fn sign(direction: Direction) -> f64 {
    match direction {
        Direction::HigherIsBetter => 1.0,
        Direction::LowerIsBetter => -1.0,
    }
}

/// What differences are divided by to lie in [-1, 1].
fn range(goal: &Goal, kind: SeriesKind, scale: f64) -> f64 {
    match (kind, goal.range) {
        (SeriesKind::Boolean | SeriesKind::Ordinal, _) => 1.0,
        (_, Some(range)) => range,
        (_, None) if matches!(goal.bound, Bound::Margin { .. }) && scale > 0.0 => scale * MARGINS_IN_RANGE,
        (_, None) => scale.abs().max(f64::MIN_POSITIVE),
    }
}

fn paired(
    policy: &GatePolicy,
    goal: &Goal,
    kind: SeriesKind,
    pairs: &[UnitPair],
    sign: f64,
    margin: f64,
) -> Result<Evidence, Problem> {
    if pairs.is_empty() {
        return Err(Problem::NoPairs);
    }
    let range = range(goal, kind, margin);
    let heaviest = pairs.iter().map(|pair| pair.weight).fold(0.0, f64::max);
    let unit = |pair: &UnitPair| (sign * (pair.after - pair.before) / range, pair.weight / heaviest);
    Ok(Evidence {
        n_baseline: None,
        units: pairs.iter().map(unit).collect(),
        pass_margin: margin / range,
        fail_margin: margin / range,
        range,
        alpha: policy.alpha,
        name: if policy.pair_by.is_some() {
            "tasks that ran on both sides"
        } else {
            "pairs of concurrent conversations"
        },
    })
}

/// The candidate's conversations against the baseline's mean, which is anywhere in its interval.
fn against_baseline(
    policy: &GatePolicy,
    goal: &Goal,
    before: &SeriesSummary,
    traces: &Traces<'_>,
    sign: f64,
    margin: f64,
) -> Result<Evidence, Problem> {
    let alpha = policy.alpha / 2.0;
    let moments = conversations_of_baseline(goal, before, traces)?;
    let Interval { low, high } = baseline_interval(before, &moments, alpha);
    let (worst, best) = if sign > 0.0 { (low, high) } else { (high, low) };
    let (middle, range) = (f64::midpoint(low, high), range(goal, before.kind(), margin));
    let scaled = |margin: f64| (margin / range).clamp(-0.99, 0.99);
    Ok(Evidence {
        units: alone(goal, before.kind(), traces, |value| sign * (value - middle) / range),
        pass_margin: scaled(margin - sign * (best - middle)),
        fail_margin: scaled(margin + sign * (middle - worst)),
        range,
        alpha,
        n_baseline: Some(before.traces),
        name: "conversations",
    })
}

/// The baseline's conversations, which the candidate's are held against.
fn conversations_of_baseline(goal: &Goal, before: &SeriesSummary, traces: &Traces<'_>) -> Result<Moments, Problem> {
    let moments = before.bet_on().moments().copied().unwrap_or_default();
    // Of magnitudes a summary has no means of conversations: long ones would count for more than the candidate's.
    let has_turns = before.conversations.is_none() && moments.clusters < moments.count;
    let moments = match traces.baseline {
        _ if !has_turns => moments,
        None => return Err(Problem::NoConversations),
        Some(records) => {
            let units = units(&goal.series, before.kind(), records, &[], |record| Some(record.conversation.clone()));
            let means: Vec<[(f64, f64); 1]> = units.values().map(|unit| [(unit.value, unit.weight)]).collect();
            Moments::of_clusters(means.iter().map(<[(f64, f64); 1]>::as_slice))
        }
    };
    Some(moments).filter(|moments| moments.clusters > 1).ok_or(Problem::NoBaseline)
}

/// The baseline's mean, missed on either side with probability `alpha`.
fn baseline_interval(before: &SeriesSummary, moments: &Moments, alpha: f64) -> Interval {
    match &before.bet_on().distribution {
        Distribution::Boolean { .. } => {
            wilson(moments.mean.clamp(0.0, 1.0), moments.effective_size(), 1.0 - 2.0 * alpha)
        }
        _ => Interval::around(moments.mean, normal_quantile(1.0 - alpha) * moments.standard_error()),
    }
}

/// The candidate's conversations against a bound.
fn against(policy: &GatePolicy, goal: &Goal, kind: SeriesKind, traces: &Traces<'_>, bound: f64, sign: f64) -> Evidence {
    let range = range(goal, kind, bound);
    let units = alone(goal, kind, traces, |value| sign * (value - bound) / range);
    let (pass_margin, fail_margin) = (0.0, 0.0);
    Evidence { units, pass_margin, fail_margin, range, alpha: policy.alpha, n_baseline: Some(0), name: "conversations" }
}

/// Each of the candidate's conversations: its difference, and its weight beside the heaviest.
fn alone(goal: &Goal, kind: SeriesKind, traces: &Traces<'_>, difference: impl Fn(f64) -> f64) -> Vec<(f64, f64)> {
    let conversations = units(&goal.series, kind, traces.candidate, &[], |record| Some(record.conversation.clone()));
    let mut conversations: Vec<Unit> = conversations.into_values().collect();
    conversations.sort_by_key(|unit| unit.last_at);
    let heaviest = conversations.iter().map(|unit| unit.weight).fold(0.0, f64::max);
    conversations.iter().map(|unit| (difference(unit.value).clamp(-1.0, 1.0), unit.weight / heaviest)).collect()
}
