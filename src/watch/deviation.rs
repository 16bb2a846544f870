//! Is this hour's mean score more than two standard deviations from the baseline's?
//!
//! **Question.** The rule people ask for first. It looks at one hour at a time and keeps no evidence.
//!
//! **Statistic.** (hour's mean - baseline's mean) over the standard deviation of hourly means, which is σ·√(φ(1/n +
//! 1/n₀)): σ and the over-dispersion φ from the baseline, n and n₀ the Kish sizes of the hour and the baseline. (Two
//! standard deviations of single scores would never fire: a share of 0.9 cannot rise by 0.6.)
//!
//! **When it fires.** Beyond 2, which one unchanged hour in twenty is: 94 of 100 unchanged streams fire within a
//! hundred hours. It is therefore for information, outside the alert budget. Twice running on the same side still
//! happens to one unchanged stream in ten within a hundred hours, too often for a warning.
//!
//! **Cold start.** Hours are joined until they hold 50 traces; the baseline must hold 50.
//!
//! **Recovery.** The first hour within 2.

use serde::{Deserialize, Serialize};

use super::detect::{Direction, Finding, Guarantee};
use super::summary::{Distribution, Extremes, SeriesSummary};
use crate::domain::time::Timestamp;
use crate::stats::histogram::Scale;
use crate::stats::moments::Moments;

/// Standard deviations beyond which the rule fires.
const LIMIT: f64 = 2.0;
/// Fewest traces in an hour and in the baseline.
const LEAST_TRACES: u64 = 50;

/// The rule's memory of one stream.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct DeviationRule {
    /// Hours too thin to judge, joined, and the first of them.
    pending: Option<(Timestamp, SeriesSummary)>,
    streak: Option<Streak>,
}

/// Hours beyond the limit on one side, without one between.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Streak {
    direction: Direction,
    hours: u32,
    since: Timestamp,
}

/// What the rule says of an hour.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Judgment {
    /// Beyond the limit, for so many hours running.
    Beyond { finding: Box<Finding>, hours: u32 },
    /// Within the limit, after hours beyond it on this side.
    Returned(Direction),
}

impl DeviationRule {
    /// Takes in the hour that starts at `at`. A change of side is a return from one and a departure to the other.
    pub(crate) fn observe(&mut self, at: Timestamp, window: &SeriesSummary, baseline: &SeriesSummary) -> Vec<Judgment> {
        let Some((before, _)) = scores(baseline).filter(|(moments, _)| moments.count >= LEAST_TRACES) else {
            return Vec::new();
        };
        let (since, joined) = match self.pending.take() {
            Some((since, pending)) => (since, pending.merge(window).unwrap_or_else(|| window.clone())),
            None => (at, window.clone()),
        };
        let Some((after, extremes)) = scores(&joined) else { return Vec::new() };
        if after.count < LEAST_TRACES {
            self.pending = Some((since, joined));
            return Vec::new();
        }
        let deviations = deviations(after, before, baseline.over_dispersion.at_least_one());
        let direction = if deviations < 0.0 { Direction::Down } else { Direction::Up };
        let previous = self.streak.take();
        if deviations.abs() <= LIMIT {
            return previous.map(|streak| Judgment::Returned(streak.direction)).into_iter().collect();
        }
        let going_on = previous.filter(|streak| streak.direction == direction);
        let streak = Streak {
            direction,
            hours: going_on.map_or(1, |streak| streak.hours + 1),
            since: going_on.map_or(since, |streak| streak.since),
        };
        self.streak = Some(streak);
        let finding = finding(streak, deviations, (before, after), extremes);
        let finding = Finding { guarantee: finding.guarantee.knowing([&joined, baseline]), ..finding };
        let left = previous.filter(|streak| streak.direction != direction);
        let returned = left.map(|streak| Judgment::Returned(streak.direction));
        returned.into_iter().chain([Judgment::Beyond { finding: Box::new(finding), hours: streak.hours }]).collect()
    }
}

/// The moments of a series of scores; other series have no bounded spread to count deviations in.
fn scores(summary: &SeriesSummary) -> Option<(&Moments, &Extremes)> {
    match &summary.distribution {
        Distribution::Boolean { moments, extremes } => Some((moments, extremes)),
        Distribution::Number { moments, histogram, extremes } if histogram.scale() == Scale::Unit => {
            Some((moments, extremes))
        }
        _ => None,
    }
}

/// How many standard deviations of hourly means the hour is away; infinite from a baseline that never varied.
fn deviations(after: &Moments, before: &Moments, over_dispersion: f64) -> f64 {
    let difference = after.mean - before.mean;
    let size = 1.0 / after.kish_size() + 1.0 / before.kish_size();
    let deviation = (before.variance() * over_dispersion * size).sqrt();
    if difference == 0.0 { 0.0 } else { difference / deviation }
}

fn finding(streak: Streak, deviations: f64, (before, after): (&Moments, &Moments), extremes: &Extremes) -> Finding {
    let end = if streak.direction == Direction::Down { &extremes.low } else { &extremes.high };
    Finding {
        direction: streak.direction,
        measure: "mean of the hour".to_owned(),
        // JSON has no infinity.
        evidence: deviations.abs().min(1e9),
        threshold: LIMIT,
        onset: streak.since,
        onset_between: None,
        explanation: None,
        baseline: Some(before.mean),
        current: Some(after.mean),
        traces: after.count,
        transitions: Vec::new(),
        trace_ids: end.iter().map(|(_, trace)| *trace).collect(),
        affects: None,
        guarantee: Guarantee {
            is_exact: false,
            reason: "one unchanged hour in twenty lies beyond two standard deviations".to_owned(),
        },
    }
}
