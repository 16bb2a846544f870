//! Did the shape of a distribution change?
//!
//! **Question.** Two samples of scores, or of magnitudes, as counts on common levels. Do they come from one distribution?
//!
//! **Statistic.** Wasserstein-1: the area between both cumulative distributions, in units of the positions. Its null law
//! is its own: under no change √(nm/(n+m))·(F - G) behaves like a Gaussian bridge over the levels' shares, which is
//! simulated, so ties are no matter. The textbook law of Kolmogorov and Smirnov assumes continuous values: of binary scores
//! it rejects 0 % where 5 % were asked, and misses changes by as much. Its distance is here for comparison, with the same
//! simulated law. Wasserstein-1 is never far from the best test, and alone sees a small collapse.
//!
//! **When it fires.** This file says p-values. Reports fire on them after correction over the whole report, and only
//! where the change matters as well ([`crate::watch::drift`]). Watching hour after hour uses no p-value of this file.
//!
//! **Cold start.** The law is that of large samples; reports ask for 50 traces and 20 conversations on each side. The
//! smallest p-value is one in ten thousand and one.
//!
//! **Recovery.** Each report stands alone.
//!
//! **Where it ends.** Counts must be worth independent values: where traces are weighted or clustered, callers scale them
//! to effective sizes. The shares are estimated, which a baseline of five times the current size makes small.
//!
//! Sources: Ramdas, García Trillos and Cuturi 2017 for the distance; Besag and Clifford 1991 for stopping early.

use fastrand::Rng;

/// Most bridges drawn for one p-value; the smallest p-value is one over one more than this.
const DRAWS: u32 = 10_000;
/// A simulated p-value is settled when this many draws exceeded the statistic (Besag and Clifford 1991).
const ENOUGH_EXCEEDANCES: u32 = 50;

/// How far apart two cumulative distributions are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Distance {
    /// ∫|F - G|, in units of the positions.
    Wasserstein1,
    /// max|F - G|.
    KolmogorovSmirnov,
}

impl Distance {
    /// Distance of two vectors of counts on common levels at ascending `positions`.
    #[must_use]
    pub fn between(self, counts: &[f64], other: &[f64], positions: &[f64]) -> f64 {
        let (size, other_size) = (counts.iter().sum::<f64>(), other.iter().sum::<f64>());
        let gaps = counts.iter().zip(other).map(|(a, b)| a / size - b / other_size);
        self.of_gaps(gaps, positions)
    }

    /// The distance, from the difference of the two shares at each level.
    fn of_gaps(self, gaps: impl Iterator<Item = f64>, positions: &[f64]) -> f64 {
        let mut cumulative = 0.0;
        let mut distance = 0.0_f64;
        for (gap, ends) in gaps.zip(positions.windows(2)) {
            cumulative += gap;
            match self {
                Self::Wasserstein1 => distance += f64::abs(cumulative) * (ends[1] - ends[0]),
                Self::KolmogorovSmirnov => distance = distance.max(f64::abs(cumulative)),
            }
        }
        distance
    }

    /// p-value of `distance` between samples of `size` and `other_size` (effective sizes where weighted) when both
    /// come from `shares` (which sum to 1).
    pub fn p_value(
        self,
        distance: f64,
        size: f64,
        other_size: f64,
        shares: &[f64],
        positions: &[f64],
        rng: &mut Rng,
    ) -> f64 {
        let scaled = scaled(distance, size, other_size);
        let mut exceedances = 0;
        for (draw, bridge) in (1..=DRAWS).zip(self.bridges(shares, positions, rng)) {
            exceedances += u32::from(bridge >= scaled);
            if exceedances == ENOUGH_EXCEEDANCES {
                return f64::from(exceedances) / f64::from(draw);
            }
        }
        f64::from(exceedances + 1) / f64::from(DRAWS + 1)
    }

    /// The null law of samples from `shares`, to be drawn once a baseline and asked as often as wanted.
    pub fn null_table(self, shares: &[f64], positions: &[f64], rng: &mut Rng) -> NullTable {
        let mut draws: Vec<f64> = self.bridges(shares, positions, rng).take(DRAWS as usize).collect();
        draws.sort_by(f64::total_cmp);
        NullTable { draws }
    }

    /// Distances drawn under no change, scaled by the root of nm/(n+m); without end.
    fn bridges(self, shares: &[f64], positions: &[f64], rng: &mut Rng) -> impl Iterator<Item = f64> {
        let roots: Vec<f64> = shares.iter().map(|share| share.sqrt()).collect();
        let mut normals = vec![0.0; shares.len()];
        std::iter::repeat_with(move || {
            fill_standard_normal(&mut normals, rng);
            let pull: f64 = roots.iter().zip(&normals).map(|(root, z)| root * z).sum();
            let bridge = roots.iter().zip(&normals).map(|(root, z)| root * (z - root * pull));
            self.of_gaps(bridge, positions)
        })
    }
}

/// The null law of a distance for one baseline, so that each check against it costs a search.
#[derive(Debug, Clone, PartialEq)]
pub struct NullTable {
    /// Scaled distances drawn under no change, ascending.
    draws: Vec<f64>,
}

impl NullTable {
    /// p-value of `distance` between samples of `size` and `other_size`, effective sizes where weighted.
    #[must_use]
    pub fn p_value(&self, distance: f64, size: f64, other_size: f64) -> f64 {
        let scaled = scaled(distance, size, other_size);
        let exceedances = self.draws.len() - self.draws.partition_point(|draw| *draw < scaled);
        (exceedances as f64 + 1.0) / (self.draws.len() as f64 + 1.0)
    }
}

/// A distance on the scale on which its null law does not depend on the sizes.
fn scaled(distance: f64, size: f64, other_size: f64) -> f64 {
    distance * (size * other_size / (size + other_size)).sqrt()
}

/// Fills with independent standard normals (Box and Muller 1958).
fn fill_standard_normal(values: &mut [f64], rng: &mut Rng) {
    for pair in values.chunks_mut(2) {
        let radius = (-2.0 * (1.0 - rng.f64()).ln()).sqrt();
        let (sine, cosine) = (std::f64::consts::TAU * rng.f64()).sin_cos();
        pair[0] = radius * cosine;
        if let Some(second) = pair.get_mut(1) {
            *second = radius * sine;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POSITIONS: [f64; 5] = [0.0, 0.25, 0.5, 0.75, 1.0];

    fn draw(shares: &[f64], size: usize, rng: &mut Rng) -> Vec<f64> {
        let mut counts = vec![0.0; shares.len()];
        for _ in 0..size {
            let mut left = rng.f64();
            let level = shares.iter().position(|share| {
                left -= share;
                left < 0.0
            });
            counts[level.unwrap_or(shares.len() - 1)] += 1.0;
        }
        counts
    }

    fn rejections(distance: Distance, shares: &[f64], changed: &[f64], rng: &mut Rng) -> usize {
        let rejects = |_: &usize| {
            let (baseline, current) = (draw(shares, 300, rng), draw(changed, 100, rng));
            let pooled: Vec<f64> = baseline.iter().zip(&current).map(|(a, b)| (a + b) / 400.0).collect();
            let seen = distance.between(&baseline, &current, &POSITIONS);
            distance.p_value(seen, 300.0, 100.0, &pooled, &POSITIONS, rng) < 0.05
        };
        (0..400).filter(rejects).count()
    }

    #[test]
    fn ties_do_not_break_the_false_alarm_rate_or_the_power() {
        let mut rng = Rng::with_seed(4);
        let shares = [0.02, 0.08, 0.15, 0.4, 0.35];
        for distance in [Distance::Wasserstein1, Distance::KolmogorovSmirnov] {
            let false_alarms = rejections(distance, &shares, &shares, &mut rng);
            assert!((6..=34).contains(&false_alarms), "{distance:?}: {false_alarms} of 400 at 5 %");
            let found = rejections(distance, &shares, &[0.06, 0.14, 0.25, 0.35, 0.2], &mut rng);
            assert!(found > 300, "{distance:?}: {found} of 400");
        }
    }

    #[test]
    fn a_table_drawn_once_keeps_the_false_alarm_rate_at_every_size() {
        let mut rng = Rng::with_seed(6);
        let shares = [0.02, 0.08, 0.15, 0.4, 0.35];
        let table = Distance::Wasserstein1.null_table(&shares, &POSITIONS, &mut rng);
        for size in [60_usize, 600] {
            let mut rejects = || {
                let (baseline, current) = (draw(&shares, 3000, &mut rng), draw(&shares, size, &mut rng));
                let seen = Distance::Wasserstein1.between(&baseline, &current, &POSITIONS);
                table.p_value(seen, 3000.0, size as f64) < 0.05
            };
            let false_alarms = (0..400).filter(|_| rejects()).count();
            assert!((6..=34).contains(&false_alarms), "{false_alarms} of 400 at 5 % with {size}");
        }
        assert!(table.p_value(0.5, 3000.0, 600.0) < 1e-3);
        assert_eq!(table.p_value(0.0, 3000.0, 600.0), 1.0);
    }

    #[test]
    fn equal_samples_are_at_distance_zero_with_p_one() {
        let counts = [3.0, 0.0, 5.0, 1.0, 2.0];
        let mut rng = Rng::with_seed(5);
        let shares = counts.map(|count| count / 11.0);
        assert_eq!(Distance::Wasserstein1.between(&counts, &counts, &POSITIONS), 0.0);
        assert_eq!(Distance::Wasserstein1.p_value(0.0, 11.0, 11.0, &shares, &POSITIONS, &mut rng), 1.0);
    }
}
