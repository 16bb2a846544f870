//! Did a mean change? Welch's t from moments, with cluster-robust standard errors where there are clusters.

use super::distribution::{student_quantile, student_two_sided};
use super::interval::Interval;
use super::moments::Moments;

/// Welch's test of two means and the interval of their difference.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Welch {
    /// `moments` minus `other`.
    pub difference: f64,
    /// Standard error of the difference.
    pub standard_error: f64,
    /// Welch-Satterthwaite degrees of freedom; clusters count as observations.
    pub degrees: f64,
    /// Two-sided p-value.
    pub p_value: f64,
}

impl Welch {
    /// Interval of the difference.
    #[must_use]
    pub fn interval(&self, confidence: f64) -> Interval {
        let half_width = if self.standard_error > 0.0 {
            student_quantile(f64::midpoint(1.0, confidence), self.degrees) * self.standard_error
        } else {
            0.0
        };
        Interval::around(self.difference, half_width)
    }
}

/// Compares two means; `None` below two clusters on a side. Two samples that do not vary at all give p = 1 when equal
/// and p = 0 when not.
#[must_use]
pub fn welch(moments: &Moments, other: &Moments) -> Option<Welch> {
    if moments.clusters < 2 || other.clusters < 2 {
        return None;
    }
    let (one, two) = (moments.standard_error().powi(2), other.standard_error().powi(2));
    let (variance, difference) = (one + two, moments.mean - other.mean);
    if variance <= 0.0 {
        let p_value = if difference == 0.0 { 1.0 } else { 0.0 };
        return Some(Welch { difference, standard_error: 0.0, degrees: f64::INFINITY, p_value });
    }
    let (g, h) = (moments.clusters as f64, other.clusters as f64);
    let degrees = variance.powi(2) / (one.powi(2) / (g - 1.0) + two.powi(2) / (h - 1.0));
    let p_value = student_two_sided(difference / variance.sqrt(), degrees);
    Some(Welch { difference, standard_error: variance.sqrt(), degrees, p_value })
}
