//! Did a share change between two samples?

use statrs::function::factorial::ln_binomial;

use super::distribution::normal_two_sided;

/// Pooled score test of two shares: `(z, two-sided p)`, z positive when `share` is the larger (its square is the
/// chi-squared of the 2 x 2 table). Sizes may be effective sizes. No variation at all is no evidence: p = 1.
#[must_use]
pub fn score_test(share: f64, size: f64, other_share: f64, other_size: f64) -> (f64, f64) {
    let pooled = (share * size + other_share * other_size) / (size + other_size);
    let variance = pooled * (1.0 - pooled) * (1.0 / size + 1.0 / other_size);
    if variance <= 0.0 {
        return (0.0, 1.0);
    }
    let z = (share - other_share) / variance.sqrt();
    (z, normal_two_sided(z))
}

/// Fisher's exact test, two-sided: the probability of all tables with these margins that are no likelier than this
/// one, as R and scipy define it. Ties are taken within a relative 1e-7.
#[must_use]
pub fn fisher_exact(successes: u64, size: u64, other_successes: u64, other_size: u64) -> f64 {
    let total = successes + other_successes;
    let log_probability =
        |k: u64| ln_binomial(size, k) + ln_binomial(other_size, total - k) - ln_binomial(size + other_size, total);
    let observed = log_probability(successes) + 1e-7;
    let tables = total.saturating_sub(other_size)..=total.min(size);
    tables.map(log_probability).filter(|log| *log <= observed).map(f64::exp).sum::<f64>().min(1.0)
}

/// Cohen's h, 2 asin √share - 2 asin √other: a difference of shares on the scale where its variance is constant.
#[must_use]
pub fn cohen_h(share: f64, other_share: f64) -> f64 {
    2.0 * (share.sqrt().asin() - other_share.sqrt().asin())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_that_never_vary_are_no_evidence() {
        assert_eq!(score_test(1.0, 50.0, 1.0, 80.0), (0.0, 1.0));
        assert!((fisher_exact(50, 50, 80, 80) - 1.0).abs() < 1e-9);
    }
}
