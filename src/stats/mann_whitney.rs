//! Does one sample tend to be larger than the other? Mann-Whitney U from counts on ordered levels, ties corrected.

use super::distribution::normal_two_sided;

/// The Mann-Whitney test of `counts` against `other`, both on the same ordered levels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MannWhitney {
    /// Pairs in which the value of `counts` is larger, ties counted half.
    pub u: f64,
    /// Two-sided p-value of the normal approximation, without continuity correction.
    pub p_value: f64,
    /// P(larger) - P(smaller), in [-1, 1] (Cliff 1993).
    pub cliffs_delta: f64,
}

/// Computes the test; sizes may be effective sizes.
#[must_use]
pub fn mann_whitney(counts: &[f64], other: &[f64]) -> MannWhitney {
    let (size, other_size) = (counts.iter().sum::<f64>(), other.iter().sum::<f64>());
    let total = size + other_size;
    let (mut below, mut rank_sum, mut ties) = (0.0, 0.0, 0.0);
    for (a, b) in counts.iter().zip(other) {
        let level = a + b;
        rank_sum += a * (below + (level + 1.0) / 2.0);
        ties += level.powi(3) - level;
        below += level;
    }
    let u = rank_sum - size * (size + 1.0) / 2.0;
    let pairs = size * other_size;
    let variance = pairs / 12.0 * (total + 1.0 - ties / (total * (total - 1.0)));
    let p_value = if variance > 0.0 { normal_two_sided((u - pairs / 2.0) / variance.sqrt()) } else { 1.0 };
    MannWhitney { u, p_value, cliffs_delta: 2.0 * u / pairs - 1.0 }
}
