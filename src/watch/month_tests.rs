//! A simulated month of a busy service: fifty series of ten segments, with a day cycle of traffic and of quality, hours
//! that vary more than chance, a sampling rate that halves in the middle, a mix shift, and three planted regressions.
//!
//! Everything after the drawing of yes and no is the shipped path: summaries, what is expected of an hour, detectors,
//! explanation. `SEEDS=50 cargo test --lib watch::month_tests -- --ignored --nocapture` prints the table.

use std::collections::BTreeMap;

use fastrand::Rng;

use super::accumulate::Accumulator;
use super::accumulate_cells::CellNumbers;
use super::baseline::Baseline;
use super::detect::{Signal, StreamState};
use super::explanation::explain;
use super::key::{ALL, SeriesKey};
use super::plan::{Wishes, plan};
use super::simulated_streams::{Tally, push, window};
use super::summary::SeriesSummary;
use super::watched::Epoch;
use crate::domain::measurement::SeriesKind;
use crate::domain::time::Timestamp;
use crate::stats::distribution::normal_quantile;

/// Part of the traffic that a rule flags, which is therefore always judged; and how much worse it is.
const FLAGGED: f64 = 0.2;
const FLAGGED_LOSS: f64 = 0.15;
/// Judging rate of the rest in the baseline and the first half of the month; then half of it.
const RATE: f64 = 0.5;
/// How much quality and traffic move over the day.
const QUALITY_CYCLE: f64 = 0.02;
const TRAFFIC_CYCLE: f64 = 0.5;
/// Hours whose summaries are kept to explain an alarm.
const REMEMBERED: usize = 72;

/// How large the month is.
#[derive(Debug, Clone, Copy)]
struct Size {
    series: usize,
    segments: usize,
    days: i64,
    baseline_days: i64,
    /// Traces of a series in an hour, on average, before sampling.
    hourly: f64,
    over_dispersion: f64,
}

/// A planted regression: of a series, in one segment or in all, from an hour on.
#[derive(Debug, Clone, Copy)]
struct Regression {
    series: usize,
    segment: Option<usize>,
    from: i64,
    loss: f64,
}

/// What became of one month.
#[derive(Debug, Default)]
struct Outcome {
    false_alarms: usize,
    /// What became of each regression.
    found: Vec<Option<Found>>,
}

/// A regression that was found.
#[derive(Debug, Clone, Copy)]
struct Found {
    /// In hours.
    delay: i64,
    is_named: bool,
    /// Of the onset, in hours.
    error: i64,
    /// Whether the range of the onset holds the truth, and how many hours it has.
    is_in_range: bool,
    range: i64,
}

impl Size {
    fn regressions(&self) -> [Regression; 3] {
        let hour = |part: f64| (self.days as f64 * 24.0 * part) as i64;
        [
            Regression { series: 0, segment: Some(0), from: hour(0.3), loss: 0.25 },
            Regression { series: 1, segment: None, from: hour(0.45), loss: 0.10 },
            Regression { series: 2, segment: Some(2), from: hour(0.7), loss: 0.45 },
        ]
    }

    /// Share of the traffic of a segment; the last third of the month has more of the later ones.
    fn share(&self, segment: usize, is_shifted: bool) -> f64 {
        let weight = |index: usize| {
            let own = 1.0 / (1.0 + index as f64 / 3.0);
            if is_shifted && index >= self.segments * 2 / 3 { own * 2.5 } else { own }
        };
        weight(segment) / (0..self.segments).map(weight).sum::<f64>()
    }

    /// The judged traces of one series in one hour, by segment.
    fn hour(&self, series: usize, hour: i64, is_baseline: bool, rng: &mut Rng) -> Vec<Vec<Tally>> {
        let month = (self.days * 24) as f64;
        let is_after = |part: f64| !is_baseline && hour as f64 >= month * part;
        let rate = if is_after(0.5) { RATE / 2.0 } else { RATE };
        let phase = (hour as f64 / 24.0 * std::f64::consts::TAU).sin();
        let traffic = self.hourly * (1.0 + TRAFFIC_CYCLE * phase);
        let correlation = (self.over_dispersion - 1.0) / self.hourly;
        let luck = correlation.sqrt() * normal_quantile(rng.f64().clamp(1e-9, 1.0 - 1e-9)) * 0.3;
        let loss = |segment: usize| {
            let hits = |one: &&Regression| {
                one.series == series && one.segment.is_none_or(|of| of == segment) && hour >= one.from
            };
            self.regressions().iter().filter(|_| !is_baseline).find(hits).map_or(0.0, |one| one.loss)
        };
        let segment = |index: usize, rng: &mut Rng| {
            let share = 0.95 - 0.015 * index as f64 + QUALITY_CYCLE * phase + luck - loss(index);
            let traces = (traffic * self.share(index, is_after(2.0 / 3.0))).round() as usize;
            let flagged = (0..traces).filter(|_| rng.f64() < FLAGGED).count();
            let judged = (0..traces - flagged).filter(|_| rng.f64() < rate).count();
            let tally = |share: f64, traces: usize, weight: f64, rng: &mut Rng| {
                let right = (0..traces).filter(|_| rng.f64() < share).count();
                Tally { right, wrong: traces - right, weight }
            };
            vec![tally(share - FLAGGED_LOSS, flagged, 1.0, rng), tally(share, judged, 1.0 / rate, rng)]
        };
        (0..self.segments).map(|index| segment(index, rng)).collect()
    }

    fn baseline(&self, rng: &mut Rng) -> Baseline {
        let mut baseline = Baseline::from_records("month", Timestamp(0), "", &[]);
        let names = (0..self.segments).map(|index| (format!("f{index}"), self.share(index, false)));
        baseline.mix.insert("feature".into(), names.collect());
        for series in 0..self.series {
            let mut all = Accumulator::new(SeriesKind::Boolean, true);
            let mut segments = vec![Vec::new(); self.segments];
            for hour in 0..self.baseline_days * 24 {
                for (index, tallies) in self.hour(series, hour, true, rng).into_iter().enumerate() {
                    push(&mut all, &tallies, at(hour));
                    segments[index].extend(tallies);
                }
            }
            baseline.series.insert(key(series, ALL), all.finish(&CellNumbers::default()));
            for (index, tallies) in segments.iter().enumerate() {
                baseline.series.insert(key(series, &format!("feature=f{index}")), window(tallies));
            }
        }
        baseline
    }
}

fn at(hour: i64) -> Timestamp {
    Timestamp(hour * Timestamp::NANOS_PER_HOUR)
}

fn hours_between(first: Timestamp, last: Timestamp) -> i64 {
    (last.0 - first.0) / Timestamp::NANOS_PER_HOUR
}

fn key(series: usize, segment: &str) -> SeriesKey {
    SeriesKey { service: "agent".into(), series: format!("s{series:02}"), segment: segment.into() }
}

/// The hours since `onset` of one series, joined.
fn since(hours: &[(i64, BTreeMap<SeriesKey, SeriesSummary>)], onset: Timestamp) -> BTreeMap<SeriesKey, SeriesSummary> {
    let mut joined: BTreeMap<SeriesKey, SeriesSummary> = BTreeMap::new();
    for (key, summary) in hours.iter().filter(|(hour, _)| at(*hour) >= onset).flat_map(|(_, series)| series) {
        let sum = joined.get(key).and_then(|sum| sum.merge(summary)).unwrap_or_else(|| summary.clone());
        joined.insert(key.clone(), sum);
    }
    joined
}

fn month(size: Size, seed: u64) -> Outcome {
    let mut rng = Rng::with_seed(seed);
    let baseline = size.baseline(&mut rng);
    let epoch = Epoch::of(&baseline, &[], 1.0, 720.0);
    let regressions = size.regressions();
    let mut outcome = Outcome { false_alarms: 0, found: vec![None; regressions.len()] };
    for (index, (key, stream)) in epoch.streams_of("agent").enumerate() {
        let mut state = StreamState::default();
        let mut hours: Vec<(i64, BTreeMap<SeriesKey, SeriesSummary>)> = Vec::new();
        for hour in 0..size.days * 24 {
            let by_segment = size.hour(index, hour, false, &mut rng);
            let mut current = Baseline::from_records("", at(hour), "", &[]);
            current.series.insert(key.clone(), window(&by_segment.concat()));
            for (segment, tallies) in
                by_segment.iter().enumerate().filter(|(_, it)| it.iter().any(|one| one.traces() > 0))
            {
                let key = SeriesKey { segment: format!("feature=f{segment}"), ..key.clone() };
                current.series.insert(key, window(tallies));
            }
            let signals = state.observe(at(hour), &current.series[key], &current.mix_of(key), &stream);
            hours.push((hour, current.series));
            hours.drain(..hours.len().saturating_sub(REMEMBERED));
            for signal in signals {
                let Signal::Found(finding) = signal else { continue };
                let planted = regressions.iter().position(|one| one.series == index && hour >= one.from);
                let Some(planted) = planted else {
                    outcome.false_alarms += 1;
                    continue;
                };
                let Regression { from, segment, .. } = regressions[planted];
                let cause = explain(&baseline, &since(&hours, finding.onset), key, finding.direction);
                let cause = cause.and_then(|one| one.cause().map(|cause| cause.segment.clone()));
                let is_named = cause == segment.map(|segment| format!("feature=f{segment}"));
                let error = hours_between(at(from), finding.onset);
                let (first, last) = finding.onset_between.unwrap();
                let (is_in_range, range) = ((first..=last).contains(&at(from)), hours_between(first, last) + 1);
                outcome.found[planted].get_or_insert(Found { delay: hour - from, is_named, error, is_in_range, range });
            }
        }
    }
    outcome
}

#[test]
fn a_small_month_finds_its_regressions_in_their_segment_and_nothing_else() {
    let size = Size { series: 6, segments: 4, days: 10, baseline_days: 7, hourly: 200.0, over_dispersion: 2.0 };
    let outcome = month(size, 1);
    assert_eq!(outcome.false_alarms, 0);
    for found in &outcome.found {
        let found = found.expect("a planted regression is found");
        assert!(found.delay <= 48 && found.is_named && found.error.abs() <= 12, "{outcome:?}");
    }
}

#[test]
fn the_range_of_an_onset_holds_it_though_hour_of_day_and_mix_move_the_mean_as_well() {
    let size = Size { series: 3, segments: 4, days: 10, baseline_days: 7, hourly: 200.0, over_dispersion: 1.0 };
    let found: Vec<Found> = (0..20).flat_map(|seed| month(size, seed).found).flatten().collect();
    let held = found.iter().filter(|one| one.is_in_range).count();
    assert!(found.len() == 60 && held >= 58, "{held} of {} ranges hold the onset", found.len());
}

/// Series with a baseline of two thousand over-dispersed scores.
const SHORT: Size = Size { series: 50, segments: 10, days: 30, baseline_days: 1, hourly: 140.0, over_dispersion: 4.0 };

#[test]
fn a_regression_that_a_short_over_dispersed_baseline_hides_is_one_that_the_plan_calls_never_found() {
    let mut baseline = SHORT.baseline(&mut Rng::with_seed(1));
    let judged = SHORT.hourly * (FLAGGED + (1.0 - FLAGGED) * RATE);
    baseline.traces = (24.0 * judged) as u64;
    let lost = |one: &Regression| {
        let is_shifted = one.from * 3 >= SHORT.days * 24 * 2;
        one.loss * one.segment.map_or(1.0, |segment| SHORT.share(segment, is_shifted))
    };
    let wishes = Wishes {
        series: None,
        segments: Vec::new(),
        drops: SHORT.regressions().iter().map(lost).collect(),
        per_day: Some(24.0 * judged),
        false_alarms: 1.0,
        margin: 0.02,
        gate_traces: 200,
        judge: None,
    };
    let found = plan(&baseline, &wishes).series;
    let days: Vec<Option<f64>> = (0..3).map(|index| found[index].delays[index].days).collect();
    let left = |index: usize| SHORT.days as f64 - SHORT.regressions()[index].from as f64 / 24.0;
    assert!(days[1].is_some_and(|days| days < left(1)), "ten points in all segments: {days:?}");
    assert!(days[2].is_none_or(|days| days > left(2)), "four points in all, of one segment: {days:?}");
}

#[test]
#[ignore = "a table of whole months, minutes: cargo test --release --lib a_busy_month -- --ignored --nocapture"]
#[expect(clippy::print_stdout, reason = "the table is what it is run for")]
fn a_busy_month() {
    let seeds = std::env::var("SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(3);
    println!(
        "| over-dispersion | baseline scores | false alarms a month | regression | found | segment right | median delay, \
         hours | median onset error | onset in its range | median hours in the range |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |");
    for (over_dispersion, baseline_days, hourly) in [(1.0, 14, 200.0), (4.0, 14, 200.0), (4.0, 1, 140.0)] {
        let size = Size { baseline_days, hourly, over_dispersion, ..SHORT };
        let outcomes: Vec<Outcome> = (0..seeds).map(|seed| month(size, seed)).collect();
        let false_alarms = outcomes.iter().map(|one| one.false_alarms).sum::<usize>() as f64 / seeds as f64;
        for (index, regression) in size.regressions().iter().enumerate() {
            let found: Vec<Found> = outcomes.iter().filter_map(|one| one.found[index]).collect();
            let middle = |of: fn(&Found) -> i64| {
                let mut values: Vec<i64> = found.iter().map(of).collect();
                values.sort_unstable();
                values.get(values.len() / 2).copied().unwrap_or(-1)
            };
            let scores = baseline_days as f64 * 24.0 * hourly * (FLAGGED + (1.0 - FLAGGED) * RATE);
            println!(
                "| {over_dispersion} | {scores:.0} | {false_alarms:.2} | -{} in {} | {}/{seeds} | {} | {} | {} | {} | {} |",
                regression.loss,
                regression.segment.map_or("all".to_owned(), |segment| format!("f{segment}")),
                found.len(),
                found.iter().filter(|one| one.is_named).count(),
                middle(|one| one.delay),
                middle(|one| one.error.abs()),
                found.iter().filter(|one| one.is_in_range).count(),
                middle(|one| one.range)
            );
        }
    }
}
