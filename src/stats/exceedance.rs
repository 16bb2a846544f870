//! Has the tail grown? Whether the p99 of latency or cost is three times what it was, decided by counting.
//!
//! **Question.** The baseline gives a limit, three times its 99th percentile. Does the service now pass it in one run
//! of a hundred?
//!
//! **Statistic.** The number of runs above the limit. While the p99 is below the limit that number is at most binomial
//! with share 1 %, whatever the distribution. Comparing two estimated percentiles instead would rest on the few largest
//! values of each side.
//!
//! **When it fires.** At p < 0.001 with five runs or more. One run of ten is no alarm, and neither are two of twenty.
//!
//! **Cold start.** None: five runs above a p99's limit fire among 75 runs or fewer, six among a hundred.

use super::distribution::binomial_at_least;

/// Times the baseline's quantile that counts as grown.
pub const GROWTH: f64 = 3.0;
/// Largest p-value that fires.
const ALPHA: f64 = 1e-3;
/// Fewest exceedances that fire.
const LEAST: u64 = 5;

/// How many of the runs lay above the limit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Exceedance {
    /// Runs above it.
    pub above: u64,
    /// Runs.
    pub total: u64,
    /// Share that may lie above it: 0.01 for a p99.
    pub allowed: f64,
}

impl Exceedance {
    /// Probability of as many exceedances or more when the quantile lies at the limit.
    #[must_use]
    pub fn p_value(&self) -> f64 {
        binomial_at_least(self.above, self.total, self.allowed)
    }

    /// Whether the quantile is above the limit beyond doubt.
    #[must_use]
    pub fn has_grown(&self) -> bool {
        self.above >= LEAST && self.p_value() < ALPHA
    }
}

/// Ranks (from 1) of the order statistics that hold the `quantile` of the population with that confidence, whatever the
/// distribution; `None` for an end that so few values cannot bound.
#[must_use]
pub fn quantile_ranks(total: u64, quantile: f64, confidence: f64) -> (Option<u64>, Option<u64>) {
    let tail = (1.0 - confidence) / 2.0;
    let low = binomial_quantile(tail, total, quantile);
    let high = binomial_quantile(1.0 - tail, total, quantile) + 1;
    (Some(low).filter(|rank| *rank > 0), Some(high).filter(|rank| *rank <= total))
}

/// Smallest k with P(X <= k) at least `probability`, by bisection.
fn binomial_quantile(probability: f64, trials: u64, share: f64) -> u64 {
    let (mut low, mut high) = (0, trials);
    while low < high {
        let middle = u64::midpoint(low, high);
        if 1.0 - binomial_at_least(middle + 1, trials, share) >= probability {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    low
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tail_that_did_not_grow_seldom_fires_and_a_tripled_one_does() {
        let mut rng = fastrand::Rng::with_seed(41);
        let mut fired = |share: f64, total: u64| {
            let mut hour = || {
                let above = (0..total).filter(|_| rng.f64() < share).count() as u64;
                Exceedance { above, total, allowed: 0.01 }.has_grown()
            };
            (0..2000).filter(|_| hour()).count()
        };
        assert!(fired(0.01, 200) <= 6, "false alarms at the limit");
        assert_eq!(fired(0.002, 200), 0);
        assert!(fired(0.1, 200) > 1950, "a tail ten times as heavy is found");
    }

    #[test]
    fn few_runs_never_fire() {
        assert!(!Exceedance { above: 2, total: 20, allowed: 0.01 }.has_grown());
        assert!(!Exceedance { above: 4, total: 4, allowed: 0.01 }.has_grown());
        assert_eq!(Exceedance { above: 0, total: 0, allowed: 0.01 }.p_value(), 1.0);
    }

    #[test]
    fn too_few_values_bound_no_percentile() {
        assert_eq!(quantile_ranks(20, 0.99, 0.95).1, None);
        assert_eq!(quantile_ranks(0, 0.5, 0.95), (None, None));
        let (low, high) = quantile_ranks(1000, 0.5, 0.95);
        assert!(low.unwrap() < 500 && high.unwrap() > 500);
    }
}
