//! Did a distribution over levels change?
//!
//! **Question.** Two samples of counts on the same few levels. Do they come from one distribution, and if not, how far
//! apart are they?
//!
//! **Statistic.** G, twice the log-likelihood that each sample gains by shares of its own, against χ² with one degree of
//! freedom less than there are levels; Pearson's χ² beside it. How far: the Jensen-Shannon distance, between 0 and √ln 2,
//! which does not grow with the sample as either statistic does.
//!
//! **When it fires.** This file says p-values and distances. Reports add the G of scores with few levels to the shape test
//! of [`super::wasserstein`], because only it sees scores that moved to both ends, and double the smaller p-value.
//!
//! **Cold start.** χ² is the law of large counts: thin neighbouring levels are joined until each is expected to hold so
//! many in the smaller sample (5 is the rule). One level that is left rejects nothing.
//!
//! **Recovery.** Each comparison stands alone.
//!
//! **Where it ends.** Counts must be independent: categories and tools of conversations go through
//! [`super::sequence`] instead, and weighted scores are scaled to effective sizes by the caller.
//!
//! Sources: Wilks 1938 for G; Cochran 1954 for the least expected count; Lin 1991 for the distance.

use super::distribution::chi_squared_upper_tail;

/// A test statistic with its null distribution and p-value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ChiSquared {
    /// The statistic.
    pub statistic: f64,
    /// Degrees of freedom.
    pub degrees: f64,
    /// Upper tail probability.
    pub p_value: f64,
}

impl ChiSquared {
    /// The statistic against a chi-squared law; without degrees of freedom there is nothing to reject.
    #[must_use]
    pub fn new(statistic: f64, degrees: f64) -> Self {
        let p_value = if degrees > 0.0 { chi_squared_upper_tail(statistic, degrees) } else { 1.0 };
        Self { statistic, degrees, p_value }
    }
}

/// Pearson's chi-squared of a 2 x K table of counts on common levels.
#[must_use]
pub fn pearson(counts: &[f64], other: &[f64]) -> ChiSquared {
    two_by_levels(counts, other, |observed, expected| (observed - expected).powi(2) / expected)
}

/// Likelihood-ratio G of a 2 x K table, 2 Σ O ln(O/E) with 0 ln 0 = 0.
#[must_use]
pub fn likelihood_ratio(counts: &[f64], other: &[f64]) -> ChiSquared {
    two_by_levels(
        counts,
        other,
        |observed, expected| {
            if observed > 0.0 { 2.0 * observed * (observed / expected).ln() } else { 0.0 }
        },
    )
}

fn two_by_levels(counts: &[f64], other: &[f64], term: impl Fn(f64, f64) -> f64) -> ChiSquared {
    let (size, other_size) = (counts.iter().sum::<f64>(), other.iter().sum::<f64>());
    let (mut statistic, mut levels) = (0.0, 0.0);
    for (&a, &b) in counts.iter().zip(other).filter(|(a, b)| *a + *b > 0.0) {
        let share = (a + b) / (size + other_size);
        statistic += term(a, share * size) + term(b, share * other_size);
        levels += 1.0;
    }
    ChiSquared::new(statistic, levels - 1.0)
}

/// Joins neighbouring levels, lowest first, until each has an expected count of at least `least` in the smaller
/// sample: below about five the chi-squared law no longer describes either statistic.
#[must_use]
pub fn pool_levels(counts: &[f64], other: &[f64], least: f64) -> (Vec<f64>, Vec<f64>) {
    let (size, other_size) = (counts.iter().sum::<f64>(), other.iter().sum::<f64>());
    let smaller_share = size.min(other_size) / (size + other_size);
    let mut pooled: Vec<(f64, f64)> = Vec::new();
    let mut open = (0.0, 0.0);
    for (a, b) in counts.iter().zip(other) {
        open = (open.0 + a, open.1 + b);
        if (open.0 + open.1) * smaller_share >= least {
            pooled.push(std::mem::take(&mut open));
        }
    }
    match pooled.last_mut() {
        Some(last) => *last = (last.0 + open.0, last.1 + open.1),
        None => pooled.push(open),
    }
    pooled.into_iter().unzip()
}

/// Jensen-Shannon distance (natural logarithm, square root of the divergence) of two vectors of counts.
#[must_use]
pub fn jensen_shannon_distance(counts: &[f64], other: &[f64]) -> f64 {
    let (size, other_size) = (counts.iter().sum::<f64>(), other.iter().sum::<f64>());
    let half = |p: f64, middle: f64| if p > 0.0 { p * (p / middle).ln() } else { 0.0 };
    let divergence: f64 = counts
        .iter()
        .zip(other)
        .map(|(a, b)| {
            let (p, q) = (a / size, b / other_size);
            half(p, f64::midpoint(p, q)) + half(q, f64::midpoint(p, q))
        })
        .sum();
    (divergence.max(0.0) / 2.0).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pooling_keeps_every_count_and_leaves_no_thin_level() {
        let (counts, other) = ([1.0, 0.0, 40.0, 3.0, 1.0], [2.0, 1.0, 90.0, 20.0, 0.0]);
        let (pooled, pooled_other) = pool_levels(&counts, &other, 5.0);
        assert_eq!(pooled.iter().sum::<f64>(), 45.0);
        assert_eq!(pooled_other.iter().sum::<f64>(), 113.0);
        let share = 45.0 / 158.0;
        assert!(pooled.iter().zip(&pooled_other).all(|(a, b)| (a + b) * share >= 5.0));
    }

    #[test]
    fn one_level_left_rejects_nothing() {
        assert_eq!(likelihood_ratio(&[30.0], &[4.0]).p_value, 1.0);
    }
}
