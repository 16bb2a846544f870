//! What is the share over everything received, when sampling kept some strata more often than others?

/// One sampling stratum: how many were received, how many of them were scored, and how many of those passed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stratum {
    /// Received.
    pub total: f64,
    /// Scored; not zero where `total` is not zero.
    pub sampled: f64,
    /// Passed, of the scored.
    pub passed: f64,
}

/// Post-stratified share `(estimate, standard error)` with the finite-population correction: each stratum counts by
/// its exact total, so a stratum that was kept whole adds no sampling error. Preferred over weighting by inverse
/// probability ([`super::moments::Moments`]) whenever the totals are known.
#[must_use]
pub fn post_stratified_share(strata: &[Stratum]) -> (f64, f64) {
    let total: f64 = strata.iter().map(|stratum| stratum.total).sum();
    let (mut estimate, mut variance) = (0.0, 0.0);
    for Stratum { total: size, sampled, passed } in strata.iter().copied().filter(|stratum| stratum.sampled > 0.0) {
        let (weight, share) = (size / total, passed / sampled);
        let spread = share * (1.0 - share) / (sampled - 1.0).max(1.0);
        estimate += weight * share;
        variance += weight * weight * spread * (1.0 - sampled / size).max(0.0);
    }
    (estimate, variance.sqrt())
}
