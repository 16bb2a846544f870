//! Simulated scores: a few levels, each with its probability.

use fastrand::Rng;

/// Scores of one kind.
#[derive(Debug, Clone)]
pub(crate) struct Population {
    pub(crate) name: &'static str,
    /// Possible scores, ascending.
    pub(crate) positions: Vec<f64>,
    shares: Vec<f64>,
}

impl Population {
    /// Pass or fail.
    pub(crate) fn binary(share: f64) -> Self {
        Self { name: "pass or fail", positions: vec![0.0, 1.0], shares: vec![1.0 - share, share] }
    }

    /// Grades from one to five.
    pub(crate) fn grades() -> Self {
        let positions = (0..5).map(|level| f64::from(level) / 4.0).collect();
        Self { name: "grades 1 to 5", positions, shares: vec![0.02, 0.05, 0.13, 0.35, 0.45] }
    }

    /// Scores anywhere between 0 and 1, most near 0.85: Beta(8, 2) on 256 levels.
    pub(crate) fn continuous() -> Self {
        let positions: Vec<f64> = (0..=256).map(|level| f64::from(level) / 256.0).collect();
        let density = |x: &f64| x.powi(7) * (1.0 - x);
        let total: f64 = positions.iter().map(density).sum();
        let shares = positions.iter().map(|x| density(x) / total).collect();
        Self { name: "scores 0 to 1", positions, shares }
    }

    /// The same with a mean lower by `drop`: every score falls by one level with the probability that this takes, or by
    /// as many levels as lie in it.
    pub(crate) fn lowered(&self, drop: f64) -> Self {
        let levels = drop / (self.positions[1] - self.positions[0]);
        let (whole, part) = (levels.floor() as usize, levels.fract());
        let mut shares = vec![0.0; self.shares.len()];
        for (level, share) in self.shares.iter().enumerate() {
            let reachable = 1.0 - self.shares[0];
            let moved = if whole == 0 { (part / reachable).min(1.0) } else { part };
            shares[level.saturating_sub(whole)] += share * (1.0 - moved);
            shares[level.saturating_sub(whole + 1)] += share * moved;
        }
        Self { shares, ..self.clone() }
    }

    /// How often each score occurs among `size` draws.
    pub(crate) fn draw(&self, size: usize, rng: &mut Rng) -> Vec<f64> {
        let mut counts = vec![0.0; self.shares.len()];
        let mut cumulative = 0.0;
        let ends: Vec<f64> = self
            .shares
            .iter()
            .map(|share| {
                cumulative += share;
                cumulative
            })
            .collect();
        for _ in 0..size {
            let at = rng.f64();
            counts[ends.partition_point(|end| *end <= at).min(ends.len() - 1)] += 1.0;
        }
        counts
    }

    /// Mean and variance of the counted scores.
    pub(crate) fn moments(&self, counts: &[f64]) -> (f64, f64) {
        let size: f64 = counts.iter().sum();
        let mean = self.positions.iter().zip(counts).map(|(x, count)| x * count).sum::<f64>() / size;
        let square = self.positions.iter().zip(counts).map(|(x, count)| count * (x - mean).powi(2)).sum::<f64>();
        (mean, square / size)
    }
}

/// Counts of several windows together.
pub(crate) fn together(windows: &[Vec<f64>]) -> Vec<f64> {
    let levels = windows.first().map_or(0, Vec::len);
    (0..levels).map(|level| windows.iter().map(|counts| counts[level]).sum()).collect()
}
