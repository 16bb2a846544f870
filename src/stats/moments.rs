//! What is the weighted mean, and how sure are we of it when traces come in clusters?
//!
//! [`Moments`] holds the Hájek mean Σwx/Σw and the sums that its cluster-robust standard error needs, centred at the
//! mean so that nothing cancels, and merges exactly with the moments of other clusters (a parallel-axis shift, as in
//! Chan, Golub and LeVeque 1983). A cluster that is split over two merged parts counts as two.

use serde::{Deserialize, Serialize};

/// Mergeable weighted, clustered moments of one variable.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Moments {
    /// Values.
    pub count: u64,
    /// Clusters.
    pub clusters: u64,
    /// Σw.
    pub weight: f64,
    /// Σw².
    pub weight_squared: f64,
    /// Σwx/Σw.
    pub mean: f64,
    /// Σw(x - mean)².
    deviation: f64,
    /// Σw²(x - mean)².
    value_deviation: f64,
    /// Σw²(x - mean).
    value_cross: f64,
    /// Σ over clusters of (Σw(x - mean))².
    cluster_deviation: f64,
    /// Σ over clusters of Σw(x - mean) · Σw.
    cluster_cross: f64,
    /// Σ over clusters of (Σw)².
    cluster_weight_squared: f64,
}

impl Moments {
    /// The moments of one cluster of `(value, weight)` pairs; values finite, weights positive.
    #[must_use]
    pub fn of_cluster(values: &[(f64, f64)]) -> Self {
        let weight: f64 = values.iter().map(|(_, w)| w).sum();
        if weight <= 0.0 {
            return Self::default();
        }
        let mean = values.iter().map(|(x, w)| w * x).sum::<f64>() / weight;
        let sum = |term: fn(f64, f64) -> f64| values.iter().map(|&(x, w)| term(x - mean, w)).sum::<f64>();
        Self {
            count: values.len() as u64,
            clusters: 1,
            weight,
            weight_squared: sum(|_, w| w * w),
            mean,
            deviation: sum(|d, w| w * d * d),
            value_deviation: sum(|d, w| w * w * d * d),
            value_cross: sum(|d, w| w * w * d),
            cluster_deviation: 0.0,
            cluster_cross: 0.0,
            cluster_weight_squared: weight * weight,
        }
    }

    /// The moments of many clusters.
    pub fn of_clusters<'a>(clusters: impl IntoIterator<Item = &'a [(f64, f64)]>) -> Self {
        clusters.into_iter().map(Self::of_cluster).fold(Self::default(), |all, cluster| all.merge(&cluster))
    }

    /// The moments of values that are all the same, each a cluster of its own, by their number, the sum of their weights
    /// and that of the squares.
    #[must_use]
    pub fn of_same(value: f64, count: u64, weight: f64, weight_squared: f64) -> Self {
        let clusters = count;
        let cluster_weight_squared = weight_squared;
        Self { count, clusters, weight, weight_squared, mean: value, cluster_weight_squared, ..Self::default() }
    }

    /// Every value moved by the same amount.
    #[must_use]
    pub fn moved_by(&self, shift: f64) -> Self {
        Self { mean: self.mean + shift, ..*self }
    }

    /// The same values as one cluster, whatever they were before.
    #[must_use]
    pub fn as_one_cluster(&self) -> Self {
        let cluster_weight_squared = self.weight * self.weight;
        Self { clusters: 1, cluster_deviation: 0.0, cluster_cross: 0.0, cluster_weight_squared, ..*self }
    }

    /// The moments of both parts together.
    #[must_use]
    pub fn merge(&self, other: &Self) -> Self {
        let weight = self.weight + other.weight;
        if weight <= 0.0 {
            return *self;
        }
        let mean = self.mean + (other.mean - self.mean) * (other.weight / weight);
        let (one, two) = (self.shifted(mean), other.shifted(mean));
        Self {
            count: one.count + two.count,
            clusters: one.clusters + two.clusters,
            weight,
            weight_squared: one.weight_squared + two.weight_squared,
            mean,
            deviation: one.deviation + two.deviation,
            value_deviation: one.value_deviation + two.value_deviation,
            value_cross: one.value_cross + two.value_cross,
            cluster_deviation: one.cluster_deviation + two.cluster_deviation,
            cluster_cross: one.cluster_cross + two.cluster_cross,
            cluster_weight_squared: one.cluster_weight_squared + two.cluster_weight_squared,
        }
    }

    /// The same sums, centred at `centre` instead of the own mean.
    fn shifted(&self, centre: f64) -> Self {
        let shift = self.mean - centre;
        Self {
            mean: centre,
            deviation: self.deviation + shift * shift * self.weight,
            value_deviation: self.value_deviation
                + 2.0 * shift * self.value_cross
                + shift * shift * self.weight_squared,
            value_cross: self.value_cross + shift * self.weight_squared,
            cluster_deviation: self.cluster_deviation
                + 2.0 * shift * self.cluster_cross
                + shift * shift * self.cluster_weight_squared,
            cluster_cross: self.cluster_cross + shift * self.cluster_weight_squared,
            ..*self
        }
    }

    /// Weighted population variance Σw(x - mean)²/Σw.
    #[must_use]
    pub fn variance(&self) -> f64 {
        if self.weight > 0.0 { self.deviation.max(0.0) / self.weight } else { 0.0 }
    }

    /// Square root of [`Moments::variance`].
    #[must_use]
    pub fn standard_deviation(&self) -> f64 {
        self.variance().sqrt()
    }

    /// Cluster-robust standard error of the mean, with the G/(G-1) correction (Miller 2024, equation 4, weighted).
    /// NaN below two clusters.
    #[must_use]
    pub fn standard_error(&self) -> f64 {
        let clusters = self.clusters as f64;
        (self.cluster_deviation.max(0.0) * clusters / (clusters - 1.0)).sqrt() / self.weight
    }

    /// Kish's effective sample size (Σw)²/Σw²: what unequal weights leave of the count.
    #[must_use]
    pub fn kish_size(&self) -> f64 {
        if self.weight_squared > 0.0 { self.weight * self.weight / self.weight_squared } else { 0.0 }
    }

    /// The number of independent, equally weighted values that would give the same standard error: variance over
    /// squared standard error, at most the count. Where the values do not vary, clusters take the place of values.
    #[must_use]
    pub fn effective_size(&self) -> f64 {
        let variance = self.standard_error().powi(2);
        if variance > 0.0 && self.deviation > 0.0 {
            return (self.variance() / variance).clamp(1.0, self.count as f64);
        }
        if self.cluster_weight_squared > 0.0 { self.weight * self.weight / self.cluster_weight_squared } else { 0.0 }
    }

    /// The effective size of a share, for its interval. With equal weights it is [`Moments::effective_size`]. A sample that
    /// keeps every failure tells of their share nearly what the whole would, so with unequal weights it may exceed the
    /// count, up to the weight; and half a squared value of average weight is added to the squared error, for a few heavy
    /// values that agree would look certain (simulated coverage of 95 % intervals: 93 to 100 % with it, 84 to 96 without).
    #[must_use]
    pub fn share_size(&self) -> f64 {
        let error = self.standard_error().powi(2) + 0.5 / self.kish_size().powi(2);
        if self.is_equally_weighted() || self.deviation <= 0.0 || error.is_nan() {
            return self.effective_size();
        }
        (self.variance() / error).clamp(1.0, self.weight.max(self.count as f64))
    }

    /// By how much clustering inflates the variance of the mean over that of independent values; 1 when unknown.
    #[must_use]
    pub fn design_effect(&self) -> f64 {
        let clusters = self.clusters as f64;
        let inflation = self.cluster_deviation / self.value_deviation * clusters / (clusters - 1.0);
        if inflation.is_finite() { inflation } else { 1.0 }
    }

    /// Whether every value stands alone and all weights are equal, so that exact binomial methods apply: sampling every
    /// trace with the same probability changes no share.
    #[must_use]
    pub fn is_simple_sample(&self) -> bool {
        self.clusters == self.count && self.is_equally_weighted()
    }

    fn is_equally_weighted(&self) -> bool {
        self.kish_size() >= self.count as f64 * (1.0 - 1e-9)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merging_parts_equals_the_whole_even_far_from_zero() {
        let mut rng = fastrand::Rng::with_seed(1);
        let clusters: Vec<Vec<(f64, f64)>> = (0..200)
            .map(|_| (0..rng.usize(1..5)).map(|_| (1e9 + rng.f64(), f64::from(rng.u32(1..20)))).collect())
            .collect();
        let whole = Moments::of_clusters(clusters.iter().map(Vec::as_slice));
        let (left, right) = clusters.split_at(70);
        let merged = Moments::of_clusters(right.iter().map(Vec::as_slice))
            .merge(&Moments::of_clusters(left.iter().map(Vec::as_slice)));
        assert_eq!((whole.count, whole.clusters), (merged.count, merged.clusters));
        assert!((whole.standard_error() / merged.standard_error() - 1.0).abs() < 1e-4);
        assert!((whole.variance() - 1.0 / 12.0).abs() < 0.02, "cancellation: {}", whole.variance());
    }

    #[test]
    fn repeating_every_value_inside_its_cluster_adds_no_evidence() {
        let single = [0.0, 1.0, 1.0, 0.0, 1.0].map(|x| vec![(x, 1.0)]);
        let tripled = single.clone().map(|cluster| cluster.repeat(3));
        let (single, tripled) = (
            Moments::of_clusters(single.iter().map(Vec::as_slice)),
            Moments::of_clusters(tripled.iter().map(Vec::as_slice)),
        );
        assert!((single.standard_error() - tripled.standard_error()).abs() < 1e-12);
        assert!((single.effective_size() - tripled.effective_size()).abs() < 1e-9);
        assert!((tripled.design_effect() - 3.0 * single.design_effect()).abs() < 1e-9);
    }

    #[test]
    fn keeping_every_failure_tells_more_of_their_share_than_the_count() {
        let kept = |value: f64, weight: f64, count: usize| vec![vec![(value, weight)]; count];
        let moments = |parts: &[Vec<Vec<(f64, f64)>>]| Moments::of_clusters(parts.concat().iter().map(Vec::as_slice));
        let rare = moments(&[kept(1.0, 1.0, 1_000), kept(0.0, 20.0, 450)]);
        // Without the unseen value it would be (n1 + 20 n0)² / (20 n), from the linearized variance of a ratio.
        let most = 10_000.0_f64.powi(2) / (20.0 * 1_450.0);
        assert!(rare.share_size() > 1_450.0 && rare.share_size() < most, "{}", rare.share_size());
        let even = moments(&[kept(1.0, 10.0, 100), kept(0.0, 10.0, 900)]);
        assert_eq!(even.share_size(), even.effective_size());
    }

    #[test]
    fn values_that_never_vary_count_once_per_cluster() {
        let clusters = [vec![(1.0, 1.0); 4], vec![(1.0, 1.0); 4]];
        assert!((Moments::of_clusters(clusters.iter().map(Vec::as_slice)).effective_size() - 2.0).abs() < 1e-12);
    }

    #[test]
    fn equal_weights_are_a_simple_sample_and_unequal_ones_or_clusters_are_not() {
        let simple =
            |clusters: &[Vec<(f64, f64)>]| Moments::of_clusters(clusters.iter().map(Vec::as_slice)).is_simple_sample();
        assert!(simple(&vec![vec![(1.0, 10.0)]; 30]));
        assert!(!simple(&[vec![(1.0, 10.0)], vec![(0.0, 1.0)]]));
        assert!(!simple(&vec![vec![(1.0, 1.0); 2]; 30]));
    }
}
