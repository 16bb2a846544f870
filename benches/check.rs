//! What a check of one series costs, and that it does not depend on traffic:
//! `cargo bench --bench check [-- BASELINE CURRENT]`.
//!
//! The files hold one score between 0 and 1 a line; without them scores are made up, a thousand to ten million. The
//! fastest of many rounds counts. `benches/check.py` runs Evidently on the same scores.
#![expect(clippy::print_stdout, clippy::expect_used, reason = "a bench prints, and fails by panicking")]

use std::hint::black_box;
use std::time::Instant;

use driftline::domain::ids::TraceId;
use driftline::domain::time::Timestamp;
use driftline::stats::contingency::{jensen_shannon_distance, likelihood_ratio};
use driftline::stats::e_process::AlertBudget;
use driftline::stats::histogram::{Histogram, Scale};
use driftline::stats::mann_whitney::mann_whitney;
use driftline::stats::moments::Moments;
use driftline::stats::wasserstein::{Distance, NullTable};
use driftline::stats::welch::welch;
use driftline::watch::detect::StreamState;
use driftline::watch::dispersion::OverDispersion;
use driftline::watch::expectation::Mix;
use driftline::watch::summary::{Distribution, Extremes, SeriesSummary};
use driftline::watch::watched::WatchedStream;
use fastrand::Rng;

const BUDGET: AlertBudget = AlertBudget { false_alarms: 1.0, windows: 720.0, detectors: 500 };
const BASELINE: usize = 10_000;
const BINS: usize = 257;
/// Scores that are timed together: so few that a round seldom loses its processor.
const CHUNK: usize = 1_000;

fn main() {
    let files: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    println!(
        "{:>10} {:>18} {:>14} {:>18} {:>16}",
        "scores", "ns to take one in", "µs to check", "µs for six tests", "bytes an hour"
    );
    if let [baseline, current] = &files[..] {
        return print(&read(baseline), &read(current));
    }
    let mut rng = Rng::with_seed(13);
    let baseline: Vec<f64> = (0..BASELINE).map(|_| score(&mut rng)).collect();
    for size in [1_000, 10_000, 100_000, 1_000_000, 10_000_000] {
        print(&baseline, &(0..size).map(|_| score(&mut rng)).collect::<Vec<f64>>());
    }
}

fn read(path: &str) -> Vec<f64> {
    let text = std::fs::read_to_string(path).expect("the file of scores can be read");
    text.lines().map(|line| line.parse().expect("each line is a score")).collect()
}

/// Beta(8, 2): the second largest of nine.
fn score(rng: &mut Rng) -> f64 {
    let (mut largest, mut second) = (0.0, 0.0);
    for _ in 0..9 {
        let value = rng.f64();
        if value > largest {
            (largest, second) = (value, largest);
        } else if value > second {
            second = value;
        }
    }
    second
}

fn print(baseline: &[f64], current: &[f64]) {
    let (before, after) = (Series::of(baseline), Series::of(current));
    let stream = WatchedStream::new(&before.summary, before.summary.over_dispersion, &BUDGET);
    let table = before.null_table();
    let ingest = current.chunks(CHUNK).map(|chunk| fastest(10, || Series::take_in(chunk)) / chunk.len() as f64);
    let ingest = ingest.fold(f64::INFINITY, f64::min);
    let check = fastest(20_000, || StreamState::default().observe(Timestamp(0), &after.summary, &Mix::new(), &stream));
    let tests = fastest(20_000, || six_tests(&before, &after, &table));
    let bytes = serde_json::to_vec(&after.summary).expect("a summary can be written").len();
    let [ingest, check, tests] = [ingest * 1e9, check * 1e6, tests * 1e6];
    println!("{:>10} {ingest:>18.1} {check:>14.1} {tests:>18.1} {bytes:>16}", current.len());
}

/// Seconds that the fastest of so many rounds takes.
#[expect(clippy::disallowed_methods, reason = "a bench measures real time")]
fn fastest<T>(rounds: usize, work: impl Fn() -> T) -> f64 {
    let round = |_| {
        let started = Instant::now();
        black_box(work());
        started.elapsed().as_secs_f64()
    };
    (0..rounds).map(round).fold(f64::INFINITY, f64::min)
}

/// A series as it is kept, and its counts on all bins, which the tests read.
struct Series {
    summary: SeriesSummary,
    moments: Moments,
    counts: Vec<f64>,
    positions: Vec<f64>,
}

impl Series {
    /// What one score costs from here on: a bin and its part in the moments.
    fn take_in(scores: &[f64]) -> (Histogram, Moments) {
        let (mut histogram, mut moments) = (Histogram::new(Scale::Unit), Moments::default());
        for score in scores {
            histogram.add(*score, 1.0);
            moments = moments.merge(&Moments::of_cluster(&[(*score, 1.0)]));
        }
        (histogram, moments)
    }

    fn of(scores: &[f64]) -> Self {
        let (histogram, moments) = Self::take_in(scores);
        let mut counts = vec![0.0; BINS];
        histogram.bins().for_each(|(bin, weight)| counts[bin as usize] = weight);
        let distribution = Distribution::Number { moments, histogram, extremes: extremes(scores) };
        let over_dispersion = OverDispersion { factor: 1.0, clusters: 50, cluster_size: 0.0 };
        let summary = SeriesSummary::new(scores.len() as u64, over_dispersion, distribution);
        Self { summary, moments, counts, positions: (0..BINS as i32).map(|bin| Scale::Unit.upper_edge(bin)).collect() }
    }

    fn null_table(&self) -> NullTable {
        let shares: Vec<f64> = self.counts.iter().map(|count| count / self.moments.weight).collect();
        Distance::Wasserstein1.null_table(&shares, &self.positions, &mut Rng::with_seed(14))
    }
}

/// The ten lowest and highest scores with their traces, as every summary keeps them.
fn extremes(scores: &[f64]) -> Extremes {
    let trace =
        |index: usize| TraceId::from_bytes(&(u128::MAX - index as u128).to_be_bytes()).expect("an id is 16 bytes");
    let of = |index: usize| (scores[index], trace(index));
    let ten = scores.len().min(10);
    Extremes { low: (0..ten).map(of).collect(), high: (0..ten).map(of).collect() }
}

/// Wasserstein by its table, Kolmogorov-Smirnov distance, G, Jensen-Shannon, Mann-Whitney and Welch.
fn six_tests(before: &Series, after: &Series, table: &NullTable) -> [f64; 6] {
    let (a, b) = (&before.counts, &after.counts);
    let distance = Distance::Wasserstein1.between(a, b, &before.positions);
    [
        table.p_value(distance, before.moments.weight, after.moments.weight),
        Distance::KolmogorovSmirnov.between(a, b, &before.positions),
        likelihood_ratio(a, b).p_value,
        jensen_shannon_distance(a, b),
        mann_whitney(a, b).p_value,
        welch(&after.moments, &before.moments).map_or(1.0, |test| test.p_value),
    ]
}
