//! How a stream's values become scores in [0, 1] whose mean falls when something is wrong.
//!
//! | kind | down | up |
//! |---|---|---|
//! | boolean | 1 for true | 1 for false |
//! | ordinal | the score | one less the score |
//! | numeric | 1 unless below the baseline's tenth percentile | 1 unless above its ninetieth |
//!
//! Where a value is only known to lie in a histogram bin, a bet takes the edge that works against it, so that it stays
//! valid; percentiles are put on bin edges, so that the counts beyond them are exact.

use super::detect::Direction;
use super::dispersion::OverDispersion;
use super::summary::{Distribution, Extremes, SeriesSummary};
use crate::domain::ids::TraceId;
use crate::stats::histogram::{Histogram, Scale};
use crate::stats::interval::clopper_pearson_lower;
use crate::stats::moments::Moments;

/// Smallest fall of the mean score that is worth an alert.
const TOLERANCE: f64 = 0.01;
/// Fewest independent traces that a baseline must be worth.
const LEAST_BASELINE: f64 = 50.0;
/// Fewest conversations in a baseline, or nothing is known of how much their traces depend on each other.
const LEAST_CLUSTERS: u64 = 20;

/// The score of one direction, fixed by the baseline.
#[derive(Debug)]
pub(crate) struct Score {
    direction: Direction,
    rule: Rule,
    /// Traces of equal weight that the baseline is worth.
    size: f64,
    dispersion: OverDispersion,
    /// Mean of the baseline's scores.
    mean: f64,
    variance: f64,
}

#[derive(Debug)]
enum Rule {
    /// The share of true values.
    Boolean,
    /// The value itself.
    Value,
    /// Whether the value stays on the right side of a bin.
    Tail(i32),
}

/// Scores and how often each occurred.
type Scores = Vec<(f64, f64)>;

/// One hour's scores as `(score, count)`, counts being worth independent traces of equal weight.
pub(crate) struct Scored {
    /// For bets that the mean fell.
    pub(crate) against: Scores,
    /// One less the score, for bets that it recovered.
    pub(crate) for_recovery: Scores,
    /// The hour's estimate of [`Score::measure`].
    pub(crate) estimate: f64,
    /// Traces furthest in the direction.
    pub(crate) trace_ids: Vec<TraceId>,
}

impl Score {
    /// The score of a direction; `None` when the baseline is too small or has no scores.
    pub(crate) fn of(direction: Direction, baseline: &SeriesSummary, dispersion: OverDispersion) -> Option<Self> {
        let rule = match &baseline.distribution {
            Distribution::Boolean { .. } => Rule::Boolean,
            Distribution::Number { histogram, .. } if histogram.scale() == Scale::Unit => Rule::Value,
            Distribution::Number { histogram, .. } => {
                Rule::Tail(histogram.quantile_bin(if direction == Direction::Up { 0.9 } else { 0.1 })?)
            }
            Distribution::Categorical { .. } | Distribution::Sequence { .. } => return None,
        };
        let moments = baseline.moments().filter(|moments| moments.clusters >= LEAST_CLUSTERS)?;
        let score = Self { direction, rule, size: moments.kish_size(), dispersion, mean: 0.0, variance: 0.0 };
        let scores = Moments::of_cluster(&score.apply(baseline)?.against);
        Some(Self { mean: scores.mean, variance: scores.variance(), ..score })
            .filter(|score| score.size / dispersion.at_least_one() >= LEAST_BASELINE)
    }

    /// What the mean score is taken to be at least: a lower confidence bound, and no less than the tolerance below the
    /// mean; `None` when nothing can fall below it.
    pub(crate) fn bound(&self, confidence: f64) -> Option<f64> {
        let mean = self.mean.clamp(0.0, 1.0);
        let size = self.size * self.dispersion.worth_of_trace(confidence);
        let bound = clopper_pearson_lower(mean * size, size, confidence).min(mean - TOLERANCE);
        Some(bound).filter(|bound| *bound > 0.0)
    }

    /// The mean score above which the stream counts as back: below the bound by the tolerance, so that an alarm ends
    /// although the bound lies close to the baseline's mean.
    pub(crate) fn bound_of_recovery(bound: f64) -> f64 {
        (bound - TOLERANCE).max(0.0)
    }

    /// Variance of one score whose mean is at the bound. Of a yes or no it follows from the mean; of a value it is taken
    /// to be that of baseline scores some of which have become zero, which for a yes or no is the same. A baseline in
    /// which all was well has no variance of its own, and bets sized by that would lose on every success.
    pub(crate) fn variance(&self, bound: f64) -> f64 {
        match self.rule {
            Rule::Boolean | Rule::Tail(_) => bound * (1.0 - bound),
            Rule::Value => {
                let kept = (bound / self.mean).min(1.0);
                kept * self.mean.mul_add(self.mean, self.variance) - bound * bound
            }
        }
    }

    /// What the estimates are.
    pub(crate) fn measure(&self) -> String {
        match (&self.rule, self.direction) {
            (Rule::Boolean, _) => "share true".to_owned(),
            (Rule::Value, _) => "mean".to_owned(),
            (Rule::Tail(bin), Direction::Up) => format!("share above {:.4}", Scale::Magnitude.upper_edge(*bin)),
            (Rule::Tail(bin), _) => format!("share at or below {:.4}", Scale::Magnitude.lower_edge(*bin)),
        }
    }

    /// The baseline's estimate of [`Score::measure`].
    pub(crate) fn baseline(&self) -> f64 {
        self.shown(self.mean)
    }

    /// The mean score as an estimate of [`Score::measure`].
    pub(super) fn shown(&self, mean: f64) -> f64 {
        if self.direction == Direction::Up || matches!(self.rule, Rule::Tail(_)) { 1.0 - mean } else { mean }
    }

    /// The mean score of a distribution; `None` when it is empty or of another kind.
    pub(crate) fn mean_of(&self, distribution: &Distribution) -> Option<f64> {
        let mean = match (&self.rule, distribution) {
            (
                Rule::Boolean | Rule::Value,
                Distribution::Boolean { moments, .. } | Distribution::Number { moments, .. },
            ) => {
                if self.direction == Direction::Up {
                    1.0 - moments.mean
                } else {
                    moments.mean
                }
            }
            (Rule::Tail(bin), Distribution::Number { histogram, .. }) if self.direction == Direction::Up => {
                1.0 - histogram.share_above(*bin)
            }
            (Rule::Tail(bin), Distribution::Number { histogram, .. }) => 1.0 - histogram.share_below(*bin),
            _ => return None,
        };
        Some(mean).filter(|mean| mean.is_finite())
    }

    /// Scores a summary; `None` when it is empty or of another kind.
    pub(crate) fn apply(&self, summary: &SeriesSummary) -> Option<Scored> {
        let moments = summary.moments().filter(|moments| moments.count > 0)?;
        let (against, for_recovery, extremes) = match (&self.rule, &summary.distribution) {
            (Rule::Boolean, Distribution::Boolean { moments, extremes }) => {
                let share = moments.mean.clamp(0.0, 1.0);
                let right = if self.direction == Direction::Up { 1.0 - share } else { share };
                (yes_or_no(right), yes_or_no(1.0 - right), extremes)
            }
            (Rule::Value, Distribution::Number { histogram, extremes, .. }) => {
                let (low, high) = edges(histogram);
                if self.direction == Direction::Up { (low, high, extremes) } else { (high, low, extremes) }
            }
            (Rule::Tail(bin), Distribution::Number { histogram, extremes, .. }) => {
                let is_up = self.direction == Direction::Up;
                let beyond = if is_up { histogram.share_above(*bin) } else { histogram.share_below(*bin) };
                (yes_or_no(1.0 - beyond), yes_or_no(beyond), extremes)
            }
            _ => return None,
        };
        let estimate = match self.rule {
            Rule::Value => moments.mean,
            Rule::Boolean | Rule::Tail(_) => self.shown(Moments::of_cluster(&against).mean),
        };
        let counted = |scores: Scores| {
            let total: f64 = scores.iter().map(|(_, weight)| weight).sum();
            scores.into_iter().map(|(score, weight)| (score, weight * moments.kish_size() / total)).collect()
        };
        Some(Scored {
            against: counted(against),
            for_recovery: counted(for_recovery),
            estimate,
            trace_ids: furthest(extremes, self.direction),
        })
    }
}

fn yes_or_no(share: f64) -> Scores {
    vec![(1.0, share), (0.0, 1.0 - share)]
}

/// The scores of a histogram, pessimistic for a bet on a rise (one less the lower edge) and on a fall (the upper).
fn edges(histogram: &Histogram) -> (Scores, Scores) {
    let scale = histogram.scale();
    let low = histogram.bins().map(|(bin, weight)| (1.0 - scale.lower_edge(bin), weight)).collect();
    let high = histogram.bins().map(|(bin, weight)| (scale.upper_edge(bin), weight)).collect();
    (low, high)
}

pub(super) fn furthest(extremes: &Extremes, direction: Direction) -> Vec<TraceId> {
    let end = if direction == Direction::Up { &extremes.high } else { &extremes.low };
    end.iter().map(|(_, trace)| *trace).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::measurement::{SeriesKind, Value};
    use crate::domain::time::Timestamp;
    use crate::watch::summary::Observation;

    fn summary(kind: SeriesKind, values: &[f64]) -> SeriesSummary {
        let names: Vec<String> = (0..values.len()).map(|index| index.to_string()).collect();
        let values: Vec<Value> = values.iter().map(|value| Value::Number(*value)).collect();
        let observations: Vec<Observation<'_>> = values
            .iter()
            .zip(&names)
            .enumerate()
            .map(|(index, (value, name))| Observation {
                trace_id: TraceId::from_bytes(&(index as u128 + 1).to_be_bytes()).unwrap(),
                conversation: name,
                ended_at: Timestamp(0),
                weight: 1.0,
                upstream_unknown: false,
                kind,
                value,
                revision: None,
            })
            .collect();
        SeriesSummary::of(&observations).unwrap()
    }

    fn mean(scores: &[(f64, f64)]) -> f64 {
        Moments::of_cluster(scores).mean
    }

    #[test]
    fn bets_take_the_edge_that_works_against_them() {
        let values: Vec<f64> = (0..200).map(|index| 0.3 + f64::from(index) / 1000.0).collect();
        let summary = summary(SeriesKind::Ordinal, &values);
        let truth = summary.moments().unwrap().mean;
        for direction in [Direction::Down, Direction::Up] {
            let score = Score::of(direction, &summary, summary.over_dispersion).unwrap();
            let scored = score.apply(&summary).unwrap();
            let exact = if direction == Direction::Up { 1.0 - truth } else { truth };
            assert!(mean(&scored.against) >= exact && mean(&scored.against) < exact + 0.005);
            assert!(mean(&scored.for_recovery) >= 1.0 - exact && mean(&scored.for_recovery) < 1.005 - exact);
        }
    }

    #[test]
    fn tails_of_a_magnitude_count_exactly_what_lies_beyond() {
        let values: Vec<f64> = (1..=1000).map(f64::from).collect();
        let baseline = summary(SeriesKind::Numeric, &values);
        let up = Score::of(Direction::Up, &baseline, baseline.over_dispersion).unwrap();
        let edge: f64 = up.measure().rsplit(' ').next().unwrap().parse().unwrap();
        let beyond = values.iter().filter(|value| **value > edge).count() as f64 / 1000.0;
        assert!((up.baseline() - beyond).abs() < 1e-12 && beyond <= 0.1, "{} {beyond}", up.baseline());
        let doubled = summary(SeriesKind::Numeric, &values.iter().map(|value| value * 2.0).collect::<Vec<_>>());
        assert!(up.apply(&doubled).unwrap().estimate > 0.4);
    }

    #[test]
    fn a_small_baseline_watches_nothing() {
        let watched = |traces: usize| {
            let baseline = summary(SeriesKind::Boolean, &vec![1.0; traces]);
            Score::of(Direction::Down, &baseline, baseline.over_dispersion).is_some()
        };
        assert!(!watched(40) && watched(60));
    }
}
