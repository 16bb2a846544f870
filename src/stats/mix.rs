//! Did the segments change, or their shares?
//!
//! [`kitagawa`] splits a difference of means into both parts exactly; [`standardised_difference`] and
//! [`cochran_mantel_haenszel`] test whether anything changed inside the segments, whatever their shares did. Traffic
//! that moves to harder segments alone makes an unadjusted test alarm (86 % for 3.5 points of pure mix, against 5 %).

use super::contingency::ChiSquared;
use super::distribution::normal_two_sided;

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

/// Mean of one segment on both sides, and how sure it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SegmentMeans {
    /// Share of the segment now.
    pub current_share: f64,
    /// Mean in the baseline, and the square of its standard error.
    pub baseline: (f64, f64),
    /// Mean now, and the square of its standard error.
    pub current: (f64, f64),
}

/// A difference of means at today's mix.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StandardisedDifference {
    /// Now less baseline, both weighted by the shares of now.
    pub difference: f64,
    /// Its standard error.
    pub standard_error: f64,
    /// Two-sided p-value of no difference; 1 where nothing varies.
    pub p_value: f64,
}

/// Direct standardisation: what the mean changed by, had the baseline had today's mix. Segments must exist on both
/// sides; their current shares should sum to 1.
#[must_use]
pub fn standardised_difference(segments: &[SegmentMeans]) -> StandardisedDifference {
    let sum = |term: fn(&SegmentMeans) -> f64| segments.iter().map(term).sum::<f64>();
    let difference = sum(|s| s.current_share * (s.current.0 - s.baseline.0));
    let standard_error = sum(|s| s.current_share.powi(2) * (s.current.1 + s.baseline.1)).sqrt();
    let p_value = if standard_error > 0.0 { normal_two_sided(difference / standard_error) } else { 1.0 };
    StandardisedDifference { difference, standard_error, p_value }
}

/// Successes and size of one segment on one side.
pub type Successes = (f64, f64);

/// Cochran-Mantel-Haenszel test of a share over segments `(baseline, current)`, without continuity correction: did the
/// odds change inside segments? Best where they changed the same way in all of them.
#[must_use]
pub fn cochran_mantel_haenszel(segments: &[(Successes, Successes)]) -> ChiSquared {
    let (mut excess, mut variance) = (0.0, 0.0);
    for ((successes, size), (other_successes, other_size)) in segments {
        let (all, total) = (successes + other_successes, size + other_size);
        if total > 1.0 {
            excess += successes - size * all / total;
            variance += size * other_size * all * (total - all) / (total * total * (total - 1.0));
        }
    }
    if variance > 0.0 { ChiSquared::new(excess * excess / variance, 1.0) } else { ChiSquared::new(0.0, 0.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Segment shares and pass rates to counts of `size` scores.
    fn draw(size: usize, shares: [f64; 3], rates: [f64; 3], rng: &mut fastrand::Rng) -> [Successes; 3] {
        let mut counts = [(0.0, 0.0); 3];
        for _ in 0..size {
            let at = rng.f64();
            let segment = usize::from(at >= shares[0]) + usize::from(at >= shares[0] + shares[1]);
            counts[segment].1 += 1.0;
            counts[segment].0 += f64::from(rng.f64() < rates[segment]);
        }
        counts
    }

    fn test(before: &[Successes], after: &[Successes]) -> [bool; 2] {
        let total: f64 = after.iter().map(|(_, size)| size).sum();
        let mean = |(successes, size): Successes| {
            let share = successes / size;
            (share, share * (1.0 - share) / size)
        };
        let segment = |(before, after): (&Successes, &Successes)| SegmentMeans {
            current_share: after.1 / total,
            baseline: mean(*before),
            current: mean(*after),
        };
        let means: Vec<SegmentMeans> = before.iter().zip(after).map(segment).collect();
        let pairs: Vec<(Successes, Successes)> = before.iter().copied().zip(after.iter().copied()).collect();
        [standardised_difference(&means).p_value < 0.05, cochran_mantel_haenszel(&pairs).p_value < 0.05]
    }

    #[test]
    fn moved_traffic_alone_raises_few_alarms_and_a_worse_segment_does() {
        let mut rng = fastrand::Rng::with_seed(71);
        let rates = [0.95, 0.85, 0.7];
        let mut alarms = |shares, worse: [f64; 3]| {
            let mut counts = [0; 2];
            for _ in 0..300 {
                let before = draw(5000, [0.5, 0.3, 0.2], rates, &mut rng);
                let alarm = test(&before, &draw(1000, shares, worse, &mut rng));
                counts.iter_mut().zip(alarm).for_each(|(count, alarm)| *count += usize::from(alarm));
            }
            counts
        };
        assert!(alarms([0.3, 0.3, 0.4], rates).iter().all(|count| *count <= 26), "5 % of 300 are expected");
        assert!(alarms([0.5, 0.3, 0.2], [0.95, 0.75, 0.7]).iter().all(|count| *count >= 200));
    }

    #[test]
    fn nothing_varying_is_no_evidence() {
        assert_eq!(cochran_mantel_haenszel(&[((5.0, 5.0), (9.0, 9.0))]).p_value, 1.0);
        assert_eq!(standardised_difference(&[]).p_value, 1.0);
    }
}
