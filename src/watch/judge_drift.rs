//! Verdicts have changed: was it the judge, or the agent?
//!
//! **Question.** A judge is asked about the same labelled traces (anchors) round after round, and about new traffic all
//! along. Nothing about the anchors changes, so a verdict on them that turns is the judge's doing.
//!
//! **Statistic.** The detector of [`crate::stats::e_process`], for each of four streams: anchors whose verdict has turned
//! to pass, and to fail, since this revision first judged them; and the traffic's pass rate, falling and rising, against
//! that of the first rounds. A model at temperature zero is not quite deterministic, so [`TURNED_ANYWAY`] of the anchors
//! may turn each way; the traffic's bound is a lower confidence bound of its first rounds less a point.
//!
//! **When it fires.** At the evidence with which all four together raise one false alarm in a thousand rounds. A judge
//! that moved explains traffic that moved with it, so its verdict goes first.
//!
//! **Where it ends.** The same anchors turn round after round, which is less than independent evidence: the guarantee is
//! approximate. Fewer than [`LEAST_ANCHORS`] anchors or two rounds tell nothing.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::domain::ids::TraceId;
use crate::domain::label::{AnchorScore, JudgedSum, RevisionSum};
use crate::domain::time::Timestamp;
use crate::stats::e_process::{AlertBudget, Bets, Detector};
use crate::stats::interval::clopper_pearson_lower;

/// Fewest anchors that tell anything.
pub const LEAST_ANCHORS: usize = 20;
/// Share of anchors that may turn each way though nothing has changed.
pub const TURNED_ANYWAY: f64 = 0.05;
/// Fewest judgements of traffic to compare with.
const LEAST_TRAFFIC: f64 = 500.0;
/// The smallest change of the traffic's pass rate that is worth a word.
const TOLERANCE: f64 = 0.01;
/// One false alarm in a thousand rounds, over four detectors.
const BUDGET: AlertBudget = AlertBudget { false_alarms: 1.0, windows: 1_000.0, detectors: 4 };

/// Who moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mover {
    /// Verdicts on the anchors turned.
    JudgeMoved,
    /// Verdicts on traffic changed, and those on the anchors did not.
    AgentMoved,
    /// Neither changed.
    Neither,
    /// Too few anchors or rounds.
    NotEnough,
}

impl Mover {
    /// In words.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::JudgeMoved => "judge moved",
            Self::AgentMoved => "agent moved",
            Self::Neither => "neither moved",
            Self::NotEnough => "not enough anchors or rounds",
        }
    }
}

/// One round of a judge's revision.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Round {
    /// When it began.
    pub at: Timestamp,
    /// Anchors that were judged.
    pub anchors: u64,
    /// Those on which judge and people agree.
    pub agreed: u64,
    /// Those whose verdict has turned to pass since the revision first judged them.
    pub turned_to_pass: u64,
    /// Those whose verdict has turned to fail.
    pub turned_to_fail: u64,
    /// The judge's pass rate in the traffic until the next round; `None` without traffic.
    pub traffic: Option<f64>,
    /// Equal judgements that it is worth.
    pub traffic_size: f64,
}

/// What a judge's rounds say.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JudgeDrift {
    /// The judge.
    pub evaluator: String,
    /// Its revision.
    pub revision: String,
    /// Who moved.
    pub verdict: Mover,
    /// The most likely first round that was different.
    pub since: Option<Timestamp>,
    /// The rounds, oldest first.
    pub rounds: Vec<Round>,
}

/// What the rounds of every revision among `scores` say, beside what it said of the traffic. A revision is compared with
/// itself alone: another model begins with a first round of its own.
#[must_use]
pub fn judge_drifts(scores: &[AnchorScore], traffic: &[RevisionSum]) -> Vec<JudgeDrift> {
    let mut revisions: BTreeMap<(&str, &str), Vec<&AnchorScore>> = BTreeMap::new();
    for score in scores {
        revisions.entry((&score.evaluator, &score.revision)).or_default().push(score);
    }
    let drift = |((evaluator, revision), scores): ((&str, &str), Vec<&AnchorScore>)| {
        let of_revision = |sum: &&RevisionSum| sum.evaluator == evaluator && sum.revision == revision;
        let traffic: Vec<JudgedSum> = traffic.iter().filter(of_revision).map(|sum| sum.judged).collect();
        let rounds = rounds(&scores, &traffic);
        let (verdict, since) = verdict(&rounds);
        JudgeDrift { evaluator: evaluator.to_owned(), revision: revision.to_owned(), verdict, since, rounds }
    };
    revisions.into_iter().map(drift).collect()
}

fn rounds(scores: &[&AnchorScore], judged: &[JudgedSum]) -> Vec<Round> {
    let mut by_round: BTreeMap<Timestamp, Vec<&AnchorScore>> = BTreeMap::new();
    for score in scores {
        by_round.entry(score.round_at).or_default().push(score);
    }
    let mut first: BTreeMap<TraceId, bool> = BTreeMap::new();
    let begins: Vec<Timestamp> = by_round.keys().copied().collect();
    let ends = begins.iter().skip(1).copied().chain([Timestamp(i64::MAX)]);
    by_round
        .into_iter()
        .zip(ends)
        .map(|((at, scores), end)| {
            let turned_to = |to: bool, first: &BTreeMap<TraceId, bool>| {
                let turned = |score: &&&AnchorScore| {
                    score.passed == to && first.get(&score.trace_id).is_some_and(|before| *before != to)
                };
                scores.iter().filter(turned).count() as u64
            };
            let (turned_to_pass, turned_to_fail) = (turned_to(true, &first), turned_to(false, &first));
            for score in &scores {
                first.entry(score.trace_id).or_insert(score.passed);
            }
            let agreed = scores.iter().filter(|score| score.label.passes() == Some(score.passed)).count() as u64;
            let (traffic, traffic_size) = traffic(judged, at, end);
            Round { at, anchors: scores.len() as u64, agreed, turned_to_pass, turned_to_fail, traffic, traffic_size }
        })
        .collect()
}

/// The weighted pass rate of a time, and the number of equal judgements that it is worth. A sum counts for the time in
/// which it begins.
fn traffic(judged: &[JudgedSum], since: Timestamp, until: Timestamp) -> (Option<f64>, f64) {
    let (mut passes, mut sum, mut squares) = (0.0, 0.0, 0.0);
    for of in judged.iter().filter(|of| since <= of.since && of.since < until) {
        passes += of.weight * f64::from(of.passed);
        (sum, squares) = (sum + of.weight, squares + of.weight_squared);
    }
    if squares > 0.0 { (Some(passes / sum), sum * sum / squares) } else { (None, 0.0) }
}

fn verdict(rounds: &[Round]) -> (Mover, Option<Timestamp>) {
    let anchors = rounds.iter().map(|round| round.anchors).max().unwrap_or_default();
    if rounds.len() < 2 || anchors < LEAST_ANCHORS as u64 {
        return (Mover::NotEnough, None);
    }
    // The first round is what turning is told from.
    let turned = |count: fn(&Round) -> u64| {
        let window = |round: &Round| vec![(0.0, count(round) as f64), (1.0, (round.anchors - count(round)) as f64)];
        fired(1.0 - TURNED_ANYWAY, rounds.iter().skip(1).map(|round| (round.at, window(round))))
    };
    let judge = earliest(turned(|round| round.turned_to_pass), turned(|round| round.turned_to_fail));
    if judge.is_some() {
        return (Mover::JudgeMoved, judge);
    }
    let agent = earliest(traffic_fell(rounds, |share| share), traffic_fell(rounds, |share| 1.0 - share));
    (if agent.is_some() { Mover::AgentMoved } else { Mover::Neither }, agent)
}

fn earliest(one: Option<Timestamp>, other: Option<Timestamp>) -> Option<Timestamp> {
    one.into_iter().chain(other).min()
}

/// Since when the traffic's share lies below that of the first rounds.
fn traffic_fell(rounds: &[Round], share: fn(f64) -> f64) -> Option<Timestamp> {
    let (mut passes, mut size, mut compared) = (0.0, 0.0, rounds.iter());
    while size < LEAST_TRAFFIC {
        let round = compared.next()?;
        passes += share(round.traffic.unwrap_or_default()) * round.traffic_size;
        size += round.traffic_size;
    }
    let bound = clopper_pearson_lower(passes, size, BUDGET.baseline_confidence()) - TOLERANCE;
    let window = |round: &Round| {
        let passes = share(round.traffic.unwrap_or_default()) * round.traffic_size;
        (round.at, vec![(1.0, passes), (0.0, round.traffic_size - passes)])
    };
    fired(bound, compared.map(window))
}

/// The most likely beginning of a fall of the mean below `bound`, once the evidence for one is there.
fn fired(bound: f64, windows: impl Iterator<Item = (Timestamp, Vec<(f64, f64)>)>) -> Option<Timestamp> {
    let bound = bound.clamp(0.0, 1.0);
    let bets = Bets::against_drop(bound, bound * (1.0 - bound));
    let mut detector = Detector::default();
    for (at, window) in windows {
        detector.step(&bets.log_factors(&window, 1.0), at.0);
        if detector.log_evidence() >= BUDGET.threshold().ln() {
            return detector.onset().map(Timestamp);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::label::Answer;

    const DAY: i64 = 24 * Timestamp::NANOS_PER_HOUR;

    fn trace_id(number: u128) -> TraceId {
        TraceId::from_bytes(&number.to_be_bytes()).unwrap()
    }

    /// Thirty days of 60 anchors and 100 judgements a day; from day 15 on the judge turns passes to fails with
    /// `judge`, and the agent fails with `agent` more.
    fn simulated(judge: f64, agent: f64, seed: u64) -> JudgeDrift {
        let mut rng = fastrand::Rng::with_seed(seed);
        let (mut scores, mut traffic) = (Vec::new(), Vec::new());
        let turning: Vec<f64> = (0..60).map(|_| rng.f64()).collect();
        for day in 0..30 {
            let (judge, agent) = if day < 15 { (0.0, 0.0) } else { (judge, agent) };
            for (number, turning) in (1_u128..).zip(&turning) {
                let passes = !number.is_multiple_of(4);
                // One verdict in fifty turns for no reason.
                let passed = (passes && *turning >= judge) != (rng.f64() < 0.02);
                scores.push(score(number, day * DAY, passed, passes));
            }
            for _ in 0..100 {
                let passed = rng.f64() < 0.9 * (1.0 - judge) * (1.0 - agent);
                traffic.push(judged(day * DAY + 5, passed));
            }
        }
        judge_drifts(&scores, &traffic).pop().unwrap()
    }

    fn score(number: u128, at: i64, passed: bool, passes: bool) -> AnchorScore {
        AnchorScore {
            trace_id: trace_id(number),
            evaluator: "grounded".to_owned(),
            revision: "r1".to_owned(),
            round_at: Timestamp(at),
            passed,
            reason: None,
            label: Answer::of(passes),
        }
    }

    fn judged(at: i64, passed: bool) -> RevisionSum {
        let (since, draw) = (Timestamp(at), None);
        let judged = JudgedSum { passed, draw, since, count: 1, weight: 1.0, weight_squared: 1.0, upstream_unknown: 0 };
        RevisionSum { evaluator: "grounded".to_owned(), revision: "r1".to_owned(), judged }
    }

    fn verdicts(judge: f64, agent: f64) -> Vec<Mover> {
        (0..40).map(|seed| simulated(judge, agent, seed).verdict).collect()
    }

    fn count(verdicts: &[Mover], verdict: Mover) -> usize {
        verdicts.iter().filter(|found| **found == verdict).count()
    }

    #[test]
    fn who_moved_is_told_apart() {
        assert!(count(&verdicts(0.0, 0.0), Mover::Neither) >= 39, "thirty quiet days raise few alarms");
        assert!(count(&verdicts(0.0, 0.15), Mover::AgentMoved) >= 38, "anchors stay when the agent gets worse");
        assert!(count(&verdicts(0.25, 0.0), Mover::JudgeMoved) >= 38, "anchors turn when the judge does");
        assert!(count(&verdicts(0.25, 0.15), Mover::JudgeMoved) >= 38, "a judge that moved hides the agent");
    }

    #[test]
    fn another_model_is_not_compared_with_the_one_before() {
        let mut scores = Vec::new();
        for day in 0..30 {
            let (revision, strict) = if day < 15 { ("r1", false) } else { ("r2", true) };
            let of = |number: u128| score(number, day * DAY, !(strict && number.is_multiple_of(2)), true);
            scores.extend((1..=60).map(|number| AnchorScore { revision: revision.to_owned(), ..of(number) }));
        }
        let found = judge_drifts(&scores, &[]);
        assert_eq!(found.iter().map(|drift| drift.rounds.len()).collect::<Vec<_>>(), [15, 15]);
        for drift in found {
            assert_eq!(drift.verdict, Mover::Neither, "{}", drift.revision);
        }
    }

    #[test]
    fn the_day_it_began_is_named() {
        for seed in 0..10 {
            let since = simulated(0.3, 0.0, seed).since.unwrap();
            assert!((since.0 / DAY - 15).abs() <= 2, "day {}", since.0 / DAY);
        }
    }

    #[test]
    fn few_anchors_or_rounds_tell_nothing() {
        let one_round: Vec<AnchorScore> = (1..=60).map(|number| score(number, 0, true, true)).collect();
        let few = [score(1, 0, true, true), score(1, DAY, false, true)];
        for scores in [&one_round[..], &few] {
            assert_eq!(judge_drifts(scores, &[])[0].verdict, Mover::NotEnough);
        }
        assert_eq!(judge_drifts(&few, &[])[0].rounds[1].turned_to_fail, 1);
    }
}
