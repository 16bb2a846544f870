//! Tail probabilities and quantiles of the distributions that tests and intervals lean on.
//!
//! Thin covers over `statrs` that answer NaN instead of panicking when a parameter is out of range.

use std::f64::consts::SQRT_2;

use statrs::distribution::{ContinuousCDF, StudentsT};
use statrs::function::{beta, erf, gamma};

/// P(Z > z) for a standard normal Z.
#[must_use]
pub fn normal_upper_tail(z: f64) -> f64 {
    0.5 * erf::erfc(z / SQRT_2)
}

/// P(|Z| > |z|) for a standard normal Z.
#[must_use]
pub fn normal_two_sided(z: f64) -> f64 {
    erf::erfc(z.abs() / SQRT_2)
}

/// The z with P(Z <= z) = `probability`.
#[must_use]
pub fn normal_quantile(probability: f64) -> f64 {
    -SQRT_2 * erf::erfc_inv(2.0 * probability)
}

/// P(X > x) for a chi-squared X; `degrees` may be fractional, as second-order corrections need.
#[must_use]
pub fn chi_squared_upper_tail(x: f64, degrees: f64) -> f64 {
    if x <= 0.0 {
        return 1.0;
    }
    gamma::checked_gamma_ur(degrees / 2.0, x / 2.0).unwrap_or(f64::NAN)
}

/// P(|T| > |t|) for a Student T with `degrees` degrees of freedom.
#[must_use]
pub fn student_two_sided(t: f64, degrees: f64) -> f64 {
    beta::checked_beta_reg(degrees / 2.0, 0.5, degrees / (degrees + t * t)).unwrap_or(f64::NAN)
}

/// The t with P(T <= t) = `probability`.
#[must_use]
pub fn student_quantile(probability: f64, degrees: f64) -> f64 {
    StudentsT::new(0.0, 1.0, degrees).map_or(f64::NAN, |student| student.inverse_cdf(probability))
}

/// P(B <= x) for a Beta(a, b) variable.
#[must_use]
pub fn beta_lower_tail(x: f64, a: f64, b: f64) -> f64 {
    beta::checked_beta_reg(a, b, x.clamp(0.0, 1.0)).unwrap_or(f64::NAN)
}

/// The x with P(B <= x) = `probability` for a Beta(a, b) variable, by bisection to the last bit.
#[must_use]
pub fn beta_quantile(probability: f64, a: f64, b: f64) -> f64 {
    bisect(|x| beta_lower_tail(x, a, b) < probability, 0.0, 1.0)
}

/// Where `is_below` turns false, to the last bit.
fn bisect(is_below: impl Fn(f64) -> bool, mut low: f64, mut high: f64) -> f64 {
    loop {
        let middle = f64::midpoint(low, high);
        if middle <= low || middle >= high {
            return middle;
        }
        if is_below(middle) {
            low = middle;
        } else {
            high = middle;
        }
    }
}

/// P(X >= successes) for X binomial with `trials` and success probability `share`.
#[must_use]
pub fn binomial_at_least(successes: u64, trials: u64, share: f64) -> f64 {
    match successes {
        0 => 1.0,
        _ if successes > trials => 0.0,
        _ => beta_lower_tail(share, successes as f64, (trials - successes) as f64 + 1.0),
    }
}

/// The x with P(X <= x) = `probability` for a Gamma variable of that shape and scale 1, by bisection.
#[must_use]
pub fn gamma_quantile(probability: f64, shape: f64) -> f64 {
    let lower_tail = |x: f64| gamma::checked_gamma_lr(shape, x).unwrap_or(f64::NAN);
    bisect(|x| lower_tail(x) < probability, 0.0, shape + 40.0 * shape.sqrt() + 200.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_invert_their_distributions() {
        for probability in [1e-6, 0.05, 0.5, 0.975] {
            assert!((1.0 - normal_upper_tail(normal_quantile(probability)) - probability).abs() < 1e-9);
            let x = beta_quantile(probability, 3.0, 7.5);
            assert!((beta_lower_tail(x, 3.0, 7.5) - probability).abs() < 1e-12);
        }
        assert!((student_two_sided(student_quantile(0.975, 7.3), 7.3) - 0.05).abs() < 1e-8);
    }

    #[test]
    fn a_parameter_out_of_range_gives_nan_and_no_panic() {
        assert!(chi_squared_upper_tail(3.0, -1.0).is_nan());
        assert!(student_two_sided(1.0, f64::NAN).is_nan());
    }
}
