//! Seeded draws that the stories share.

use fastrand::Rng;

/// One of the items; the slice is a written list and never empty.
pub(crate) fn pick<'a, T: ?Sized>(rng: &mut Rng, items: &[&'a T]) -> &'a T {
    items[rng.usize(..items.len())]
}

/// True with this probability.
pub(crate) fn happens(rng: &mut Rng, probability: f64) -> bool {
    rng.f64() < probability
}

/// A log-normal draw with this median; `sigma` is the standard deviation of its logarithm.
pub(crate) fn log_normal(rng: &mut Rng, median: f64, sigma: f64) -> f64 {
    // Box-Muller; 1 - u keeps the logarithm's argument above zero.
    let radius = (-2.0 * (1.0 - rng.f64()).ln()).sqrt();
    let normal = radius * (std::f64::consts::TAU * rng.f64()).cos();
    median * (sigma * normal).exp()
}

/// Random bytes, never all zero.
pub(crate) fn id<const N: usize>(rng: &mut Rng) -> [u8; N] {
    let mut bytes = [0; N];
    rng.fill(&mut bytes);
    bytes[N - 1] |= 1;
    bytes
}

/// A random lower-case hexadecimal word of `2 * N` characters.
pub(crate) fn hex_word<const N: usize>(rng: &mut Rng) -> String {
    hex::encode(id::<N>(rng))
}

/// A business number such as `RF-482137`.
pub(crate) fn numbered(rng: &mut Rng, prefix: &str) -> String {
    format!("{prefix}-{}", rng.u32(100_000..1_000_000))
}

/// A calendar date of the simulated season, as `2026-05-14`.
pub(crate) fn date(rng: &mut Rng) -> String {
    format!("2026-{:02}-{:02}", rng.u32(3..=11), rng.u32(1..=28))
}

/// A sum of money in cents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Cents(pub(crate) u64);

impl Cents {
    /// The amount in units of currency, as JSON carries it.
    pub(crate) fn units(self) -> f64 {
        self.0 as f64 / 100.0
    }
}

impl std::fmt::Display for Cents {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "EUR {}.{:02}", self.0 / 100, self.0 % 100)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_the_log_normal_draws_lie_below_the_median() {
        let mut rng = Rng::with_seed(7);
        let below = (0..4000).filter(|_| log_normal(&mut rng, 3.0, 0.5) < 3.0).count();
        assert!((1880..2120).contains(&below), "{below}");
    }
}
