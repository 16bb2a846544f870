//! Five hundred streams on a small, over-dispersed baseline: what the naive recipe does, and what is shipped.
//!
//! `cargo test --release --lib watch::budget_tests -- --ignored --nocapture` prints the table of the whole month.

use fastrand::Rng;

use super::baseline::Baseline;
use super::detect::{Signal, StreamState};
use super::expectation::Mix;
use super::key::{ALL, SeriesKey};
use super::simulated_streams::{Tally, baseline, draw, window};
use super::watched::Epoch;
use crate::domain::time::Timestamp;
use crate::stats::e_process::{AlertBudget, Bets, Detector};
use crate::stats::interval::clopper_pearson_lower;

/// Traces of one stream in one hour.
const HOURLY: usize = 200;
/// Share of right answers.
const SHARE: f64 = 0.9;

/// A setting of the simulation.
#[derive(Debug, Clone, Copy)]
struct Setting {
    streams: usize,
    hours: i64,
    baseline_hours: usize,
    over_dispersion: f64,
    /// Points lost by a tenth of the streams from hour 24 on.
    loss: f64,
}

/// What came of one run.
#[derive(Debug, Default)]
struct Result {
    naive_false: usize,
    shipped_false: usize,
    found: usize,
    planted: usize,
    delays: Vec<i64>,
}

/// The naive recipe: a 90 % bound less one point, every trace for itself, both directions.
struct Naive {
    bets: Vec<(bool, Bets, Detector)>,
    threshold: f64,
}

impl Naive {
    fn new(right: f64, traces: f64, budget: &AlertBudget) -> Self {
        let bets = |is_up: bool| {
            let score = if is_up { traces - right } else { right };
            let bound = clopper_pearson_lower(score, traces, 0.9) - 0.01;
            (is_up, Bets::against_drop(bound, bound * (1.0 - bound)), Detector::default())
        };
        let detectors = budget.detectors as f64;
        Self { bets: vec![bets(false), bets(true)], threshold: detectors * budget.windows / budget.false_alarms }
    }

    /// Whether an alarm was raised; the detector then starts afresh.
    fn alarms(&mut self, hour: i64, tally: Tally) -> usize {
        let mut alarms = 0;
        for (is_up, bets, detector) in &mut self.bets {
            let (right, wrong) = if *is_up { (tally.wrong, tally.right) } else { (tally.right, tally.wrong) };
            detector.step(&bets.log_factors(&[(1.0, right as f64), (0.0, wrong as f64)], 1.0), hour);
            if detector.log_evidence() >= self.threshold.ln() {
                *detector = Detector::default();
                alarms += 1;
            }
        }
        alarms
    }
}

fn run(setting: Setting, seed: u64) -> Result {
    let mut rng = Rng::with_seed(seed);
    let mut before = Baseline::from_records("month", Timestamp(0), "", &[]);
    let mut tallies: Vec<Vec<Vec<Tally>>> = Vec::new();
    for stream in 0..setting.streams {
        let hour = |_| vec![draw(SHARE, HOURLY, setting.over_dispersion, &mut rng)];
        let hours: Vec<Vec<Tally>> = (0..setting.baseline_hours).map(hour).collect();
        let key = SeriesKey { service: "agent".into(), series: format!("s{stream:03}"), segment: ALL.into() };
        before.series.insert(key, baseline(&hours));
        tallies.push(hours);
    }
    let epoch = Epoch::of(&before, &[], 1.0, setting.hours as f64);
    let naive_budget = AlertBudget { detectors: 2 * setting.streams as u64, ..*epoch.budget() };
    let mut result = Result::default();
    for (index, (_, stream)) in epoch.streams_of("agent").enumerate() {
        let is_planted = setting.loss > 0.0 && index % 10 == 0;
        let right: usize = tallies[index].concat().iter().map(|tally| tally.right).sum();
        let mut naive = Naive::new(right as f64, (setting.baseline_hours * HOURLY) as f64, &naive_budget);
        let mut state = StreamState::default();
        let mut first = None;
        for hour in 0..setting.hours {
            let share = if is_planted && hour >= 24 { SHARE - setting.loss } else { SHARE };
            let tally = draw(share, HOURLY, setting.over_dispersion, &mut rng);
            let signals =
                state.observe(Timestamp(hour * Timestamp::NANOS_PER_HOUR), &window(&[tally]), &Mix::new(), &stream);
            let found = signals.iter().filter(|signal| matches!(signal, Signal::Found(_))).count();
            if is_planted && hour >= 24 {
                first = first.or((found > 0).then_some(hour - 24));
            } else {
                result.shipped_false += found;
                result.naive_false += naive.alarms(hour, tally);
            }
        }
        result.planted += usize::from(is_planted);
        result.found += usize::from(first.is_some());
        result.delays.extend(first);
    }
    result
}

fn median(values: &mut [i64]) -> i64 {
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or(-1)
}

#[test]
fn many_streams_on_a_small_over_dispersed_baseline_stay_within_the_budget() {
    let setting = Setting { streams: 100, hours: 120, baseline_hours: 10, over_dispersion: 4.0, loss: 0.15 };
    let mut result = run(setting, 1);
    assert!(result.naive_false >= 20, "the naive recipe raises {} alarms", result.naive_false);
    assert!(result.shipped_false <= 1, "{} false alarms at a budget of one", result.shipped_false);
    assert_eq!(result.found, result.planted);
    assert!(median(&mut result.delays) <= 24, "delays {:?}", result.delays);
}

#[test]
#[ignore = "a table of whole months, minutes: cargo test --release --lib a_month_of_five -- --ignored --nocapture"]
#[expect(clippy::print_stdout, reason = "the table is what it is run for")]
fn a_month_of_five_hundred_streams() {
    let seeds = std::env::var("SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(5);
    println!(
        "| over-dispersion | baseline scores | loss | naive false alarms | shipped | found | median delay, hours |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- |");
    for over_dispersion in [1.0, 4.0] {
        for baseline_hours in [10, 50] {
            for loss in [0.05, 0.10] {
                let setting = Setting { streams: 500, hours: 720, baseline_hours, over_dispersion, loss };
                let mut sum = Result::default();
                for seed in 0..seeds {
                    let result = run(setting, seed);
                    sum.naive_false += result.naive_false;
                    sum.shipped_false += result.shipped_false;
                    sum.found += result.found;
                    sum.planted += result.planted;
                    sum.delays.extend(result.delays);
                }
                println!(
                    "| {over_dispersion} | {} | {loss} | {:.1} | {:.2} | {}/{} | {} |",
                    baseline_hours * HOURLY,
                    sum.naive_false as f64 / seeds as f64,
                    sum.shipped_false as f64 / seeds as f64,
                    sum.found,
                    sum.planted,
                    median(&mut sum.delays)
                );
            }
        }
    }
}
