//! How much data does it take? Asked before anything is switched on.

use super::distribution::{normal_quantile, normal_upper_tail};

/// Power of the two-sided score test at `alpha` to tell two shares apart with `size` scores a side.
#[must_use]
pub fn power_of_shares(share: f64, other: f64, size: f64, alpha: f64) -> f64 {
    let (under_null, under_change) = deviations(share, other);
    let reach = (share - other).abs() * size.sqrt();
    normal_upper_tail((normal_quantile(1.0 - alpha / 2.0) * under_null - reach) / under_change)
}

/// Scores a side at which the two-sided score test at `alpha` tells two shares apart with probability `power`.
#[must_use]
pub fn size_for_shares(share: f64, other: f64, alpha: f64, power: f64) -> f64 {
    let (under_null, under_change) = deviations(share, other);
    let quantiles = normal_quantile(1.0 - alpha / 2.0) * under_null + normal_quantile(power) * under_change;
    (quantiles / (share - other)).powi(2)
}

/// Standard deviation of the difference of one score a side: when both have the pooled share, and as they are.
fn deviations(share: f64, other: f64) -> (f64, f64) {
    let variance = |share: f64| share * (1.0 - share);
    ((2.0 * variance(f64::midpoint(share, other))).sqrt(), (variance(share) + variance(other)).sqrt())
}

/// The change of a mean that a one-sided test at `alpha` finds with probability `power`, between `size` and
/// `other_size` scores of that variance.
#[must_use]
pub fn minimum_detectable_change(variance: f64, size: f64, other_size: f64, alpha: f64, power: f64) -> f64 {
    (normal_quantile(1.0 - alpha) + normal_quantile(power)) * (variance * (1.0 / size + 1.0 / other_size)).sqrt()
}

/// Scores of which a share is known to within `half_width` at that confidence.
#[must_use]
pub fn size_for_half_width(share: f64, half_width: f64, confidence: f64) -> f64 {
    let z = normal_quantile(f64::midpoint(1.0, confidence));
    z * z * share * (1.0 - share) / (half_width * half_width)
}

/// What one score tells, on average, against the share `bound` when the share is truly `share`: the Kullback-Leibler
/// information in nats; 0 when `share` is not below the bound.
#[must_use]
pub fn information(share: f64, bound: f64) -> f64 {
    if share >= bound {
        return 0.0;
    }
    let term = |p: f64, q: f64| if p > 0.0 { p * (p / q).ln() } else { 0.0 };
    term(share, bound) + term(1.0 - share, 1.0 - bound)
}

/// Mean number of scores from a change until a detector of [`super::e_process`] with that threshold finds it, within
/// about 15 %: ln(c·I)/I. `None` when a score tells nothing.
#[must_use]
pub fn expected_delay(threshold: f64, information: f64) -> Option<f64> {
    (information > 0.0).then(|| (threshold * information).ln().max(1.0) / information)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::e_process::{Bets, Detector};

    #[test]
    fn the_expected_delay_is_what_the_detector_takes() {
        let mut rng = fastrand::Rng::with_seed(51);
        let threshold: f64 = 1e4;
        for share in [0.85, 0.8] {
            let bets = Bets::against_drop(0.9, 0.09);
            let mut delay = || {
                let mut detector = Detector::default();
                (1..20_000_i64)
                    .find(|at| {
                        let score = f64::from(rng.f64() < share);
                        detector.step(&bets.log_factors(&[(score, 1.0)], 1.0), *at);
                        detector.log_evidence() >= threshold.ln()
                    })
                    .unwrap() as f64
            };
            let measured = (0..200).map(|_| delay()).sum::<f64>() / 200.0;
            let expected = expected_delay(threshold, information(share, 0.9)).unwrap();
            assert!((expected / measured - 1.0).abs() < 0.25, "{share}: expected {expected}, measured {measured}");
        }
    }

    #[test]
    fn no_drop_is_never_found() {
        assert_eq!(expected_delay(1e4, information(0.9, 0.9)), None);
        assert_eq!(expected_delay(1e4, information(0.95, 0.9)), None);
    }

    #[test]
    fn the_size_for_a_power_has_that_power() {
        let size = size_for_shares(0.85, 0.9, 0.05, 0.8);
        assert!((power_of_shares(0.85, 0.9, size, 0.05) - 0.8).abs() < 1e-6);
    }
}
