//! Which of many results stand, when there are many?
//!
//! Benjamini-Hochberg holds the false-discovery rate inside one report (traces shared between series make p-values
//! positively dependent, under which it stays valid); Holm holds the chance of any false claim; e-BH holds the
//! false-discovery rate of e-values under any dependence (Wang and Ramdas 2022). Across time none of these holds
//! anything: there the alert budget of [`super::e_process`] does.

/// Benjamini-Hochberg adjusted p-values, in the order given.
#[must_use]
pub fn benjamini_hochberg(p_values: &[f64]) -> Vec<f64> {
    let count = p_values.len() as f64;
    let mut order = ascending(p_values);
    order.reverse();
    let mut adjusted = vec![1.0; p_values.len()];
    let mut least = 1.0_f64;
    for (from_top, index) in order.into_iter().enumerate() {
        least = least.min(p_values[index] * count / (count - from_top as f64));
        adjusted[index] = least;
    }
    adjusted
}

/// Holm adjusted p-values, in the order given.
#[must_use]
pub fn holm(p_values: &[f64]) -> Vec<f64> {
    let mut adjusted = vec![1.0; p_values.len()];
    let mut greatest = 0.0_f64;
    for (rank, index) in ascending(p_values).into_iter().enumerate() {
        greatest = greatest.max(p_values[index] * (p_values.len() - rank) as f64).min(1.0);
        adjusted[index] = greatest;
    }
    adjusted
}

/// Which hypotheses e-BH rejects at false-discovery rate `alpha`: the k largest e-values, for the largest k whose
/// k-th e-value reaches count / (alpha k).
#[must_use]
pub fn e_benjamini_hochberg(e_values: &[f64], alpha: f64) -> Vec<bool> {
    let count = e_values.len();
    let mut order = ascending(e_values);
    order.reverse();
    let passes = |k: usize| e_values[order[k - 1]] >= count as f64 / (alpha * k as f64);
    let rejected = (1..=count).rev().find(|k| passes(*k)).unwrap_or(0);
    let mut reject = vec![false; count];
    for index in &order[..rejected] {
        reject[*index] = true;
    }
    reject
}

fn ascending(values: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*a].total_cmp(&values[*b]));
    order
}
