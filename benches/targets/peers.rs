//! Rules that others ship, written down again for comparison only.

use driftline::stats::contingency::{jensen_shannon_distance, likelihood_ratio};
use driftline::stats::proportion::score_test;
use driftline::stats::wasserstein::Distance;

use super::population::{Population, together};

/// A rule that looks at one window at a time.
pub(crate) type Rule = fn(&Reference, &[f64]) -> bool;

/// The rules and their names.
pub(crate) const RULES: [(&str, Rule); 4] = [
    ("Kolmogorov-Smirnov, p < 0.05", kolmogorov_smirnov),
    ("Evidently's default: JS or W1/sd of 0.1 or more", evidently),
    ("two standard deviations of window means", two_deviations),
    ("z or G test, p < 0.05", fixed_test),
];

/// What the rules compare with.
pub(crate) struct Reference {
    population: Population,
    counts: Vec<f64>,
    mean: f64,
    deviation: f64,
    /// Mean and standard deviation of the means of the windows it was made of.
    of_windows: (f64, f64),
}

impl Reference {
    pub(crate) fn new(population: &Population, windows: &[Vec<f64>]) -> Self {
        let counts = together(windows);
        let (mean, variance) = population.moments(&counts);
        let means: Vec<f64> = windows.iter().map(|window| population.moments(window).0).collect();
        let centre = means.iter().sum::<f64>() / means.len() as f64;
        let spread = means.iter().map(|mean| (mean - centre).powi(2)).sum::<f64>() / (means.len() as f64 - 1.0);
        let of_windows = (centre, spread.sqrt());
        Self { population: population.clone(), counts, mean, deviation: variance.sqrt(), of_windows }
    }
}

/// The textbook two-sample test, as if scores were continuous (limiting law with Stephens' correction).
fn kolmogorov_smirnov(reference: &Reference, window: &[f64]) -> bool {
    let (size, other) = (reference.counts.iter().sum::<f64>(), window.iter().sum::<f64>());
    let distance = Distance::KolmogorovSmirnov.between(&reference.counts, window, &reference.population.positions);
    let root = (size * other / (size + other)).sqrt();
    let lambda = (root + 0.12 + 0.11 / root) * distance;
    let tail: f64 =
        (1..=100).map(|k| f64::from(1 - 2 * ((k + 1) % 2)) * (-2.0 * f64::from(k * k) * lambda * lambda).exp()).sum();
    lambda > 0.2 && 2.0 * tail < 0.05
}

/// Evidently 0.7 with more than 1,000 reference values: Wasserstein-1 over the reference's standard deviation for
/// numbers with more than five values, Jensen-Shannon distance otherwise; drift at 0.1.
fn evidently(reference: &Reference, window: &[f64]) -> bool {
    if window.len() > 5 {
        let distance = Distance::Wasserstein1.between(&reference.counts, window, &reference.population.positions);
        return distance / reference.deviation >= 0.1;
    }
    jensen_shannon_distance(&reference.counts, window) >= 0.1
}

fn two_deviations(reference: &Reference, window: &[f64]) -> bool {
    let (mean, _) = reference.population.moments(window);
    (mean - reference.of_windows.0).abs() > 2.0 * reference.of_windows.1
}

fn fixed_test(reference: &Reference, window: &[f64]) -> bool {
    if window.len() > 2 {
        return likelihood_ratio(&reference.counts, window).p_value < 0.05;
    }
    let size = window.iter().sum::<f64>();
    let (mean, _) = reference.population.moments(window);
    score_test(mean, size, reference.mean, reference.counts.iter().sum()).1 < 0.05
}

/// Page-Hinkley with the defaults of river: a rise or a fall of the mean by more than `0.005`, summed up to 50.
#[derive(Debug, Clone, Default)]
pub(crate) struct PageHinkley {
    count: f64,
    mean: f64,
    sum_up: f64,
    sum_down: f64,
    least_up: f64,
    most_down: f64,
}

impl PageHinkley {
    /// Whether the score made it alarm.
    pub(crate) fn alarms_at(&mut self, score: f64) -> bool {
        const DELTA: f64 = 0.005;
        const THRESHOLD: f64 = 50.0;
        const LEAST_SCORES: f64 = 30.0;
        const FORGETTING: f64 = 1.0 - 0.0001;
        self.count += 1.0;
        self.mean += (score - self.mean) / self.count;
        self.sum_up = FORGETTING * self.sum_up + score - self.mean - DELTA;
        self.sum_down = FORGETTING * self.sum_down + score - self.mean + DELTA;
        self.least_up = self.least_up.min(self.sum_up);
        self.most_down = self.most_down.max(self.sum_down);
        let has_moved = self.sum_up - self.least_up > THRESHOLD || self.most_down - self.sum_down > THRESHOLD;
        self.count >= LEAST_SCORES && has_moved
    }
}
