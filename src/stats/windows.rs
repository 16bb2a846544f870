//! How much do windows vary, beyond what chance allows?
//!
//! Scores of one hour share what the hour was like, so hourly means vary more than as many independent scores would. A
//! detector that ignores this alarms far too often (phi 4: 37 times); it divides its evidence by phi instead.

use serde::{Deserialize, Serialize};

/// The scores of one window, added up. Sizes may be effective sizes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct WindowSum {
    /// Sum of the scores; of a share, the successes.
    pub sum: f64,
    /// Number of scores.
    pub size: f64,
}

impl WindowSum {
    /// Mean score; NaN when empty.
    #[must_use]
    pub fn mean(&self) -> f64 {
        self.sum / self.size
    }
}

/// Mean over all windows; NaN when all are empty.
pub(super) fn overall_mean(windows: &[WindowSum]) -> f64 {
    windows.iter().map(|window| window.sum).sum::<f64>() / windows.iter().map(|window| window.size).sum::<f64>()
}

/// Phi: the variance of window shares over that of independent trials, Σn(p_w - p)²/(p(1-p)) over windows less one;
/// 1 below two windows or where nothing varies. Not held to at least 1: a caller that tempers by it does that.
#[must_use]
pub fn over_dispersion_of_shares(windows: &[WindowSum]) -> f64 {
    let share = overall_mean(windows);
    over_dispersion_of_means(windows, share * (1.0 - share))
}

/// As [`over_dispersion_of_shares`] for scores whose variance within windows is `variance`.
#[must_use]
pub fn over_dispersion_of_means(windows: &[WindowSum], variance: f64) -> f64 {
    let filled: Vec<WindowSum> = windows.iter().copied().filter(|window| window.size > 0.0).collect();
    if filled.len() < 2 || variance.is_nan() || variance <= 0.0 {
        return 1.0;
    }
    let mean = overall_mean(&filled);
    let spread: f64 = filled.iter().map(|window| window.size * (window.mean() - mean).powi(2)).sum();
    spread / variance / (filled.len() as f64 - 1.0)
}

/// Correlation of a window's mean with the next one's; 0 below three windows or where nothing varies. Above about 0.3
/// a stream has a trend or a season, and should be compared with the same hours before anything else.
#[must_use]
pub fn lag_one_correlation(windows: &[WindowSum]) -> f64 {
    let means: Vec<f64> = windows.iter().filter(|window| window.size > 0.0).map(WindowSum::mean).collect();
    let centre = means.iter().sum::<f64>() / means.len().max(1) as f64;
    let spread: f64 = means.iter().map(|mean| (mean - centre).powi(2)).sum();
    if means.len() < 3 || spread <= 0.0 {
        return 0.0;
    }
    means.windows(2).map(|pair| (pair[0] - centre) * (pair[1] - centre)).sum::<f64>() / spread
}

#[cfg(test)]
mod tests {
    use super::*;

    fn windows(count: usize, noise: f64, rng: &mut fastrand::Rng) -> Vec<WindowSum> {
        let window = |_| {
            let share = 0.8 + noise * (rng.f64() - 0.5);
            let sum = (0..200).filter(|_| rng.f64() < share).count() as f64;
            WindowSum { sum, size: 200.0 }
        };
        (0..count).map(window).collect()
    }

    #[test]
    fn independent_scores_have_phi_one_and_wandering_hours_more() {
        let mut rng = fastrand::Rng::with_seed(21);
        let phi = over_dispersion_of_shares(&windows(400, 0.0, &mut rng));
        assert!((0.8..1.2).contains(&phi), "{phi}");
        // The variance of the hours' shares, 0.2²/12, comes on top of 0.16/200.
        let phi = over_dispersion_of_shares(&windows(400, 0.2, &mut rng));
        assert!((4.0..6.4).contains(&phi), "{phi}");
    }

    #[test]
    fn a_day_cycle_shows_as_correlation_of_neighbours() {
        let mut rng = fastrand::Rng::with_seed(22);
        assert!(lag_one_correlation(&windows(200, 0.0, &mut rng)).abs() < 0.2);
        let cycle = |hour: u32| WindowSum { sum: 160.0 + 20.0 * (f64::from(hour) / 4.0).sin(), size: 200.0 };
        assert!(lag_one_correlation(&(0..200).map(cycle).collect::<Vec<_>>()) > 0.9);
    }

    #[test]
    fn without_variation_or_windows_nothing_is_claimed() {
        let constant = [WindowSum { sum: 5.0, size: 5.0 }; 4];
        assert_eq!(over_dispersion_of_shares(&constant), 1.0);
        assert_eq!(over_dispersion_of_shares(&[]), 1.0);
        assert_eq!(lag_one_correlation(&constant), 0.0);
    }
}
