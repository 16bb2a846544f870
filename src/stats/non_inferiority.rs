//! Is the candidate good enough, not good enough, or is there too little evidence to say?

use super::distribution::{normal_quantile, normal_upper_tail};
use super::interval::Interval;

/// What an interval shows about a difference and a margin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// The difference is above minus the margin.
    GoodEnough,
    /// The difference is below minus the margin.
    NotGoodEnough,
    /// Neither.
    Neither,
}

/// Reads a two-sided (1 - 2α) interval of "candidate minus baseline, positive is better" against a margin. Each
/// of the two claims is then wrong with probability at most α.
#[must_use]
pub fn shown(difference: Interval, margin: f64) -> Shown {
    if difference.low > -margin {
        Shown::GoodEnough
    } else if difference.high < -margin {
        Shown::NotGoodEnough
    } else {
        Shown::Neither
    }
}

/// Observations per side (or pairs) at which a one-sided test at `alpha` shows a true distance from the margin with
/// probability `power`: (z_α + z_β)²·variance/distance². `variance` is that of one unit of evidence: the sum of both
/// sides' variances, or the variance of a pair's difference.
#[must_use]
pub fn needed_size(variance: f64, distance: f64, alpha: f64, power: f64) -> f64 {
    let quantiles = normal_quantile(1.0 - alpha) + normal_quantile(power);
    quantiles * quantiles * variance / (distance * distance)
}

/// One-sided p-values of "worse than the margin" and of "better than the margin the other way" (Wald); the larger is the
/// p-value of a claim of equivalence (two one-sided tests, Schuirmann 1987). The first alone is that of non-inferiority.
#[must_use]
pub fn one_sided_p_values(difference: f64, standard_error: f64, margin: f64) -> (f64, f64) {
    let tail = |distance: f64| normal_upper_tail(distance / standard_error);
    (tail(difference + margin), tail(margin - difference))
}
