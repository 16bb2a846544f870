//! How sure are we of a share, and of the difference of two shares?
//!
//! Sizes are real numbers, so that an effective sample size (weights, clusters) can stand in for a count.

use super::distribution::{beta_quantile, normal_quantile};

/// A closed interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

impl Interval {
    /// The interval that reaches `half_width` to both sides of `centre`.
    #[must_use]
    pub fn around(centre: f64, half_width: f64) -> Self {
        Self { low: centre - half_width, high: centre + half_width }
    }
}

/// Wilson score interval of a share seen in `size` trials (Wilson 1927).
#[must_use]
pub fn wilson(share: f64, size: f64, confidence: f64) -> Interval {
    let z = normal_quantile(f64::midpoint(1.0, confidence));
    let shrink = 1.0 + z * z / size;
    let centre = (share + z * z / (2.0 * size)) / shrink;
    let half_width = z / shrink * (share * (1.0 - share) / size + z * z / (4.0 * size * size)).sqrt();
    Interval { low: (centre - half_width).max(0.0), high: (centre + half_width).min(1.0) }
}

/// Newcombe's hybrid score interval of `share - other_share` (Newcombe 1998, method 10).
#[must_use]
pub fn newcombe(share: f64, size: f64, other_share: f64, other_size: f64, confidence: f64) -> Interval {
    let (one, other) = (wilson(share, size, confidence), wilson(other_share, other_size, confidence));
    let difference = share - other_share;
    Interval {
        low: difference - (share - one.low).hypot(other.high - other_share),
        high: difference + (one.high - share).hypot(other_share - other.low),
    }
}

/// Exact (Clopper-Pearson) interval of a share.
#[must_use]
pub fn clopper_pearson(successes: f64, size: f64, confidence: f64) -> Interval {
    let tail = (1.0 - confidence) / 2.0;
    Interval {
        low: clopper_pearson_lower(successes, size, 1.0 - tail),
        high: 1.0 - clopper_pearson_lower(size - successes, size, 1.0 - tail),
    }
}

/// One-sided exact lower bound of a share.
#[must_use]
pub fn clopper_pearson_lower(successes: f64, size: f64, confidence: f64) -> f64 {
    if successes <= 0.0 {
        return 0.0;
    }
    beta_quantile(1.0 - confidence, successes, size - successes + 1.0)
}
