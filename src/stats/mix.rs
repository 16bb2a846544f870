//! Did the segments change, or their shares? Kitagawa's exact, symmetric split of a difference of means.

/// One segment on both sides of a comparison.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SegmentShift {
    /// Share of the segment in the baseline.
    pub baseline_share: f64,
    /// Share of the segment now.
    pub current_share: f64,
    /// Mean of the segment in the baseline.
    pub baseline_mean: f64,
    /// Mean of the segment now.
    pub current_mean: f64,
}

/// A difference of means in two parts that sum to it.
#[derive(Debug, Clone, PartialEq)]
pub struct MixSplit {
    /// Part explained by segments changing their share of the traffic.
    pub mix: f64,
    /// Part explained by means changing inside segments.
    pub within: f64,
    /// `within`, by segment in the order given.
    pub within_by_segment: Vec<f64>,
}

/// Splits the change of the overall mean (Kitagawa 1955): Δ = Σ(w1-w0)·(m0+m1)/2 + Σ(w0+w1)/2·(m1-m0). A segment
/// that exists on one side only should carry that side's mean on both, which books it as mix.
#[must_use]
pub fn kitagawa(segments: &[SegmentShift]) -> MixSplit {
    let mix = segments
        .iter()
        .map(|s| (s.current_share - s.baseline_share) * f64::midpoint(s.baseline_mean, s.current_mean))
        .sum();
    let within_by_segment: Vec<f64> = segments
        .iter()
        .map(|s| f64::midpoint(s.baseline_share, s.current_share) * (s.current_mean - s.baseline_mean))
        .collect();
    MixSplit { mix, within: within_by_segment.iter().sum(), within_by_segment }
}
