//! The product's own detectors on simulated windows.

use driftline::domain::time::Timestamp;
use driftline::stats::e_process::{AlertBudget, Bets, Detector};
use driftline::stats::histogram::{Histogram, Scale};
use driftline::stats::interval::clopper_pearson_lower;
use driftline::stats::moments::Moments;
use driftline::watch::detect::{Finding, Signal, StreamState};
use driftline::watch::dispersion::OverDispersion;
use driftline::watch::expectation::Mix;
use driftline::watch::summary::{Distribution, Extremes, SeriesSummary};
use driftline::watch::watched::WatchedStream;

use super::population::{Population, together};

/// One-sided confidence of the baseline's bound.
const CONFIDENCE: f64 = 0.9;

/// The method alone: a fall of the mean below the baseline's lower bound, without tolerance, at a given threshold.
pub(crate) struct Method {
    bets: Bets,
    detector: Detector,
    log_threshold: f64,
    over_dispersion: f64,
    windows: i64,
}

impl Method {
    /// Against an estimated mean.
    pub(crate) fn estimated(mean: f64, variance: f64, size: f64, threshold: f64) -> Self {
        let bound = clopper_pearson_lower(mean * size, size, CONFIDENCE);
        Self::known(bound, variance, threshold, 1.0)
    }

    /// Against a known bound.
    pub(crate) fn known(bound: f64, variance: f64, threshold: f64, over_dispersion: f64) -> Self {
        let bets = Bets::against_drop(bound, variance);
        Self { bets, detector: Detector::default(), log_threshold: threshold.ln(), over_dispersion, windows: 0 }
    }

    /// Whether the window of `(score, count)` makes it alarm.
    pub(crate) fn alarms_at(&mut self, window: &[(f64, f64)]) -> bool {
        self.windows += 1;
        self.detector.step(&self.bets.log_factors(window, self.over_dispersion), self.windows);
        self.detector.log_evidence() >= self.log_threshold
    }
}

/// The summary that the product would make of counted scores.
pub(crate) fn summary(population: &Population, windows: &[Vec<f64>]) -> SeriesSummary {
    let counts = together(windows);
    let values = |counts: &[f64]| {
        let each = |(x, count): (&f64, &f64)| vec![(*x, 1.0); *count as usize];
        population.positions.iter().zip(counts).flat_map(each).collect::<Vec<(f64, f64)>>()
    };
    let moments = Moments::of_clusters(values(&counts).iter().map(std::slice::from_ref));
    let hours: Vec<Vec<(f64, f64)>> = windows.iter().map(|window| values(window)).collect();
    let by_hour = Moments::of_clusters(hours.iter().map(Vec::as_slice));
    let over_dispersion = OverDispersion {
        factor: by_hour.design_effect(),
        clusters: if windows.len() > 1 { by_hour.clusters } else { 0 },
        cluster_size: by_hour.count as f64 / by_hour.clusters as f64,
    };
    of_moments(moments, over_dispersion, histogram(population, &counts))
}

/// A summary of weighted passes and fails, each alone in its conversation.
pub(crate) fn weighted_summary(values: &[(f64, f64)], over_dispersion: OverDispersion) -> SeriesSummary {
    of_moments(Moments::of_clusters(values.iter().map(std::slice::from_ref)), over_dispersion, None)
}

fn histogram(population: &Population, counts: &[f64]) -> Option<Histogram> {
    (counts.len() > 2).then(|| {
        let mut histogram = Histogram::new(Scale::Unit);
        let occurring = population.positions.iter().zip(counts).filter(|(_, count)| **count > 0.0);
        occurring.for_each(|(x, count)| histogram.add(*x, *count));
        histogram
    })
}

fn of_moments(moments: Moments, over_dispersion: OverDispersion, histogram: Option<Histogram>) -> SeriesSummary {
    let extremes = Extremes::default();
    let distribution = match histogram {
        Some(histogram) => Distribution::Number { moments, histogram, extremes },
        None => Distribution::Boolean { moments, extremes },
    };
    SeriesSummary::new(moments.count, over_dispersion, distribution)
}

/// A stream as the service watches it: both directions, its tolerance, its bound, its over-dispersion.
pub(crate) struct Shipped<'a> {
    stream: WatchedStream<'a>,
    state: StreamState,
    hours: i64,
}

impl<'a> Shipped<'a> {
    pub(crate) fn new(baseline: &'a SeriesSummary, budget: &AlertBudget) -> Self {
        let stream = WatchedStream::new(baseline, baseline.over_dispersion, budget);
        Self { stream, state: StreamState::default(), hours: 0 }
    }

    /// Whether the hour makes it alarm.
    pub(crate) fn alarms_at(&mut self, window: &SeriesSummary) -> bool {
        self.finding_at(window).is_some()
    }

    /// What the hour makes it find; the first hour is the one numbered 1.
    pub(crate) fn finding_at(&mut self, window: &SeriesSummary) -> Option<Finding> {
        self.hours += 1;
        let signals =
            self.state.observe(Timestamp(self.hours * Timestamp::NANOS_PER_HOUR), window, &Mix::new(), &self.stream);
        signals.into_iter().find_map(|signal| if let Signal::Found(finding) = signal { Some(finding) } else { None })
    }
}
