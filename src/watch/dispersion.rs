//! By how much do means vary more than those of independent values would?
//!
//! **Question.** A detector that takes every trace for news of its own alarms on hours that merely differ from each
//! other: with four times the variance of chance, thirty times too often. So the excess is measured and paid for.
//!
//! **Statistic.** φ, the variance of a mean whose traces are clustered (by hour, by conversation; the larger counts) over
//! the variance of one whose traces are independent. It is used thrice: the baseline is worth n/φ traces, the interval
//! of its mean is as wide as so uncertain a φ asks for (Student's t for the normal), and every hour's evidence is
//! divided by φ.
//!
//! **Traffic.** Traces of an hour that share its fortune make φ = 1 + (n - 1)·ρ, so that a busier hour than those of the
//! baseline counts with a larger φ, and a quieter one with a smaller.
//!
//! **Pooling.** A baseline of two thousand scores has ten hours, over which φ is known to within a factor of two. Series
//! of one service share its traffic, so their logarithms of φ are drawn together: by as much as the noise of each (2/g
//! over g clusters) exceeds what they really differ by (DerSimonian and Laird's moment estimate). A series alone keeps
//! its own, and pays for its uncertainty through t.
//!
//! Sources: Williams 1982 for the over-dispersed binomial; Efron and Morris 1975 for the shrinkage.

use serde::{Deserialize, Serialize};

use crate::stats::distribution::{normal_quantile, student_quantile};
use crate::stats::moments::Moments;

/// Fewer clusters than this say nothing about over-dispersion.
pub(super) const LEAST_CLUSTERS: u64 = 4;
/// Fewer clusters than this say too little to call a stream's guarantee exact.
const LEAST_FOR_EXACT: u64 = 12;
/// Series of one service are measured on the same traces: a group of them is worth this part of its number.
const INDEPENDENT_PART: f64 = 0.25;

/// Variance of clustered means over that of independent values.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct OverDispersion {
    /// The larger of the factors over hours and over conversations, as measured; below 1 by chance only.
    pub factor: f64,
    /// Clusters that it was measured over, or is worth after pooling; 0 when there were too few to measure.
    pub clusters: u64,
    /// Traces in such a cluster, of which φ - 1 is a multiple; 0 where it does not depend on traffic.
    #[serde(default)]
    pub cluster_size: f64,
}

impl OverDispersion {
    pub(super) const UNKNOWN: Self = Self { factor: 1.0, clusters: 0, cluster_size: 0.0 };

    /// Of a series, from its moments clustered by conversation and by hour. How well it is known, hours decide, for they
    /// are what windows are made of; conversations alone can only make it larger.
    pub(super) fn measured(by_conversation: &Moments, by_hour: &Moments) -> Self {
        let conversations = Self { factor: by_conversation.design_effect(), ..Self::UNKNOWN };
        if by_hour.clusters < LEAST_CLUSTERS {
            return conversations;
        }
        let cluster_size = by_hour.count as f64 / by_hour.clusters as f64;
        let hours = Self { factor: by_hour.design_effect(), clusters: by_hour.clusters, cluster_size };
        if conversations.factor > hours.factor { Self { clusters: hours.clusters, ..conversations } } else { hours }
    }

    /// Of two parts of a series: the larger of what was measured.
    pub(super) fn larger(self, other: Self) -> Self {
        if self.clusters == 0 || other.clusters > 0 && other.factor > self.factor { other } else { self }
    }

    /// φ, at least 1.
    #[must_use]
    pub const fn at_least_one(self) -> f64 {
        self.factor.max(1.0)
    }

    /// φ of a window of so many traces; at least 1.
    #[must_use]
    pub fn of_window(self, traces: u64) -> f64 {
        let excess = self.factor - 1.0;
        let traffic = if self.cluster_size > 1.0 { traces as f64 / self.cluster_size } else { 1.0 };
        (1.0 + excess * traffic).max(1.0)
    }

    /// What is left of an independent trace in an interval of this one-sided confidence: 1/φ, and less where φ itself
    /// is little known.
    #[must_use]
    pub fn worth_of_trace(self, confidence: f64) -> f64 {
        if self.clusters < 2 {
            return 1.0 / self.at_least_one();
        }
        let widening = student_quantile(confidence, self.clusters as f64 - 1.0) / normal_quantile(confidence);
        1.0 / (self.at_least_one() * widening.max(1.0).powi(2))
    }

    /// Whether the factor was measured and is no larger than it would be by chance on independent values: a factor
    /// over g clusters has a standard deviation of about √(2/g) around 1.
    #[must_use]
    pub fn is_within_chance(self) -> bool {
        self.clusters >= LEAST_FOR_EXACT && self.factor <= 1.0 + 2.0 * (2.0 / self.clusters as f64).sqrt()
    }

    /// Whether there were enough clusters to see whether they vary more than chance allows.
    #[must_use]
    pub const fn is_known(self) -> bool {
        self.clusters >= LEAST_FOR_EXACT
    }

    /// Variance of ln φ.
    fn noise(self) -> f64 {
        2.0 / (self.clusters as f64 - 1.0)
    }
}

/// The factors of several series of one service, drawn together as far as they are noise.
pub(crate) fn pooled(measured: &[OverDispersion]) -> Vec<OverDispersion> {
    let known: Vec<&OverDispersion> = measured.iter().filter(|one| one.clusters >= LEAST_CLUSTERS).collect();
    if known.len() < 3 {
        return measured.to_vec();
    }
    let number = known.len() as f64;
    let log = |one: &OverDispersion| one.factor.max(0.05).ln();
    let mean = known.iter().map(|one| log(one)).sum::<f64>() / number;
    let noise = known.iter().map(|one| one.noise()).sum::<f64>() / number;
    let spread = known.iter().map(|one| (log(one) - mean).powi(2)).sum::<f64>() / (number - 1.0);
    let real = (spread - noise).max(0.0);
    // A mean of logarithms lies below the logarithm of the mean by half the noise.
    let centre = mean + noise / 2.0;
    let doubt = (real + noise) / (number * INDEPENDENT_PART).max(1.0);
    measured.iter().map(|one| drawn(*one, centre, real, doubt)).collect()
}

/// A factor drawn to the centre of its service, whose own variance is `doubt`.
fn drawn(own: OverDispersion, centre: f64, real: f64, doubt: f64) -> OverDispersion {
    if own.clusters < LEAST_CLUSTERS {
        return own;
    }
    let noise = own.noise();
    let trust = real / (real + noise);
    let log = trust * (own.factor.max(0.05).ln() + noise / 2.0) + (1.0 - trust) * centre;
    let variance = trust * noise + (1.0 - trust) * (1.0 - trust) * doubt;
    let worth = (2.0 / variance).min(1e6).max(own.clusters as f64);
    OverDispersion { factor: log.exp(), clusters: worth as u64, ..own }
}

#[cfg(test)]
mod tests {
    use fastrand::Rng;

    use super::*;

    /// φ of `clusters` clusters as it would be measured where the truth is `factor`.
    fn measured(factor: f64, clusters: u64, rng: &mut Rng) -> OverDispersion {
        let normal = |rng: &mut Rng| normal_quantile(rng.f64().clamp(1e-9, 1.0 - 1e-9));
        let sum: f64 = (1..clusters).map(|_| normal(rng).powi(2)).sum();
        OverDispersion { factor: factor * sum / (clusters as f64 - 1.0), clusters, cluster_size: 200.0 }
    }

    #[test]
    fn little_known_factors_of_a_service_come_near_the_truth_together_and_are_worth_more() {
        let mut rng = Rng::with_seed(1);
        let own: Vec<OverDispersion> = (0..50).map(|_| measured(4.0, 10, &mut rng)).collect();
        let together = pooled(&own);
        let worst = |of: &[OverDispersion]| of.iter().map(|one| one.factor).fold(f64::INFINITY, f64::min);
        assert!(worst(&own) < 2.0, "alone, the lowest of fifty is {}", worst(&own));
        assert!(worst(&together) > 3.0, "pooled, it is {}", worst(&together));
        assert!(together.iter().all(|one| one.clusters > 40 && one.factor < 5.5), "{together:?}");
    }

    #[test]
    fn well_known_factors_that_differ_keep_to_themselves() {
        let mut rng = Rng::with_seed(2);
        let truth = |index: u64| if index.is_multiple_of(2) { 1.0 } else { 6.0 };
        let own: Vec<OverDispersion> = (0..20).map(|index| measured(truth(index), 700, &mut rng)).collect();
        for (index, one) in pooled(&own).into_iter().enumerate() {
            let truth = truth(index as u64);
            assert!((one.factor / truth - 1.0).abs() < 0.2, "{} where {truth} is true", one.factor);
        }
    }

    #[test]
    fn an_uncertain_factor_makes_a_trace_worth_less_and_a_busy_hour_too() {
        let few = OverDispersion { factor: 2.0, clusters: 8, cluster_size: 100.0 };
        let many = OverDispersion { clusters: 1000, ..few };
        assert!(few.worth_of_trace(0.9998) < 0.6 * many.worth_of_trace(0.9998));
        assert!((many.worth_of_trace(0.9998) - 0.5).abs() < 0.01);
        assert!((many.of_window(300) - 4.0).abs() < 1e-9 && (many.of_window(50) - 1.5).abs() < 1e-9);
        assert!((OverDispersion { cluster_size: 0.0, ..many }.of_window(300) - 2.0).abs() < 1e-9);
    }

    #[test]
    fn what_was_never_measured_stays_unknown() {
        let unknown = pooled(&[OverDispersion::UNKNOWN; 5]);
        assert!(unknown.iter().all(|one| *one == OverDispersion::UNKNOWN));
        assert!((OverDispersion::UNKNOWN.worth_of_trace(0.99) - 1.0).abs() < 1e-12);
    }
}
