//! What detectors do on simulated streams: how often they alarm without a change, and how soon with one.

use fastrand::Rng;

use super::detect::{Direction, Finding, Guarantee, Hour, Signal, StreamState};
use super::dispersion::OverDispersion;
use super::expectation::Mix;
use super::summary::{Observation, SeriesSummary};
use super::watched::WatchedStream;
use crate::domain::ids::TraceId;
use crate::domain::measurement::{SeriesKind, Value};
use crate::domain::time::Timestamp;
use crate::stats::e_process::AlertBudget;

/// Traces in one simulated hour.
const HOURLY: usize = 40;

/// One value of a stream, given the state of its agent.
type Draw = fn(bool, &mut Rng) -> Value;

fn boolean(is_changed: bool, rng: &mut Rng) -> Value {
    Value::Boolean(rng.f64() < if is_changed { 0.78 } else { 0.9 })
}

fn ordinal(is_changed: bool, rng: &mut Rng) -> Value {
    let score = (rng.f64() + if is_changed { 0.25 } else { 0.4 }).min(1.0);
    Value::Number((score * 4.0).round() / 4.0)
}

fn numeric(is_changed: bool, rng: &mut Rng) -> Value {
    let factor = if is_changed { 1.6 } else { 1.0 };
    Value::Number(factor * (rng.f64() + rng.f64() + rng.f64()).exp())
}

fn categorical(is_changed: bool, rng: &mut Rng) -> Value {
    let name = if rng.f64() < if is_changed { 0.2 } else { 0.05 } { "length" } else { "stop" };
    Value::Counts([(name.to_owned(), 1)].into())
}

fn sequence(is_changed: bool, rng: &mut Rng) -> Value {
    let mut tools = vec!["search".to_owned()];
    while rng.f64() < if is_changed { 0.5 } else { 0.2 } {
        tools.push("search".to_owned());
    }
    tools.push(if rng.f64() < 0.5 { "book" } else { "cancel" }.to_owned());
    Value::Sequence(tools)
}

const KINDS: [(SeriesKind, Draw); 5] = [
    (SeriesKind::Boolean, boolean),
    (SeriesKind::Ordinal, ordinal),
    (SeriesKind::Numeric, numeric),
    (SeriesKind::Categorical, categorical),
    (SeriesKind::Sequence, sequence),
];

/// Summary of `hours` hours from `first` on.
fn summary(
    kind: SeriesKind,
    first: i64,
    hours: usize,
    rng: &mut Rng,
    mut draw: impl FnMut(&mut Rng) -> Value,
) -> SeriesSummary {
    let values: Vec<(Value, String)> = (0..hours * HOURLY).map(|index| (draw(rng), index.to_string())).collect();
    let observations: Vec<Observation<'_>> = values
        .iter()
        .enumerate()
        .map(|(index, (value, conversation))| Observation {
            trace_id: TraceId::from_bytes(&(index as u128 + 1).to_be_bytes()).unwrap(),
            conversation,
            ended_at: at(first + (index / HOURLY) as i64),
            weight: 1.0,
            upstream_unknown: false,
            kind,
            value,
            revision: None,
        })
        .collect();
    SeriesSummary::of(&observations).unwrap()
}

fn at(hour: i64) -> Timestamp {
    Timestamp(hour * Timestamp::NANOS_PER_HOUR)
}

/// Runs a stream and returns the hour and finding of the first alarm.
fn first_alarm(
    kind: SeriesKind,
    draw: Draw,
    change: i64,
    hours: i64,
    budget: &AlertBudget,
    rng: &mut Rng,
) -> Option<(i64, Finding)> {
    let baseline = summary(kind, -50, 50, rng, |rng| draw(false, rng));
    let mut stream = StreamState::default();
    (0..hours).find_map(|hour| {
        let window = summary(kind, hour, 1, rng, |rng| draw(hour >= change, rng));
        stream
            .observe(at(hour), &window, &Mix::new(), &WatchedStream::new(&baseline, baseline.over_dispersion, budget))
            .into_iter()
            .find_map(|signal| match signal {
                Signal::Found(finding) => Some((hour, finding)),
                _ => None,
            })
    })
}

#[test]
fn unchanged_streams_of_every_kind_stay_within_the_alert_budget() {
    let mut rng = Rng::with_seed(61);
    let streams = 12;
    let detectors: usize = KINDS.iter().map(|(kind, _)| Direction::of(*kind).len() * streams).sum();
    let budget = AlertBudget { false_alarms: 3.0, windows: 80.0, detectors: detectors as u64 };
    let mut alarms = Vec::new();
    for (kind, draw) in KINDS {
        for _ in 0..streams {
            alarms.extend(first_alarm(kind, draw, i64::MAX, 80, &budget, &mut rng).map(|(hour, _)| (kind, hour)));
        }
    }
    assert!(alarms.len() <= 6, "three false alarms are budgeted: {alarms:?}");
}

#[test]
fn an_hour_that_a_detector_observed_twice_or_out_of_order_is_seen() {
    let mut rng = Rng::with_seed(60);
    let budget = AlertBudget { false_alarms: 1.0, windows: 720.0, detectors: 50 };
    let baseline = summary(SeriesKind::Boolean, -50, 50, &mut rng, |rng| boolean(false, rng));
    let watched = WatchedStream::new(&baseline, baseline.over_dispersion, &budget);
    for (last, is_in_order) in [(2, true), (1, false), (0, false)] {
        let mut stream = StreamState::default();
        for hour in [0, 1, last] {
            let window = summary(SeriesKind::Boolean, hour, 1, &mut rng, |rng| boolean(false, rng));
            stream.observe(at(hour), &window, &Mix::new(), &watched);
        }
        assert_eq!(stream.is_in_order(at(last)), is_in_order, "{last}");
    }
}

#[test]
fn planted_changes_of_every_kind_are_found_within_hours_with_their_onset() {
    let mut rng = Rng::with_seed(62);
    let budget = AlertBudget { false_alarms: 1.0, windows: 720.0, detectors: 50 };
    for (kind, draw) in KINDS {
        let expected = match kind {
            SeriesKind::Boolean | SeriesKind::Ordinal => Direction::Down,
            SeriesKind::Numeric => Direction::Up,
            SeriesKind::Categorical | SeriesKind::Sequence => Direction::Shape,
        };
        let (mut delays, mut held) = (Vec::new(), 0);
        for _ in 0..6 {
            let (hour, finding) = first_alarm(kind, draw, 20, 70, &budget, &mut rng).expect("the change is found");
            assert_eq!(finding.direction, expected, "{kind:?}");
            assert!(finding.evidence >= finding.threshold && finding.current != finding.baseline);
            // A shape is tested every three hours here, and a single lucky test before the change moves its onset.
            let error = (finding.onset.0 - at(20).0).abs() / Timestamp::NANOS_PER_HOUR;
            assert!(error <= if expected == Direction::Shape { 8 } else { 4 }, "{kind:?}: {}", finding.onset);
            assert!(!finding.trace_ids.is_empty(), "{kind:?}");
            let (first, last) = finding.onset_between.expect("there were hours before");
            held += u32::from((first..=last).contains(&at(20)));
            assert!(first > at(0), "{kind:?}: since {first} at the earliest");
            delays.push(hour - 20);
        }
        assert!(held >= 5, "{kind:?}: {held} of 6 ranges hold the onset");
        assert!(delays.iter().all(|delay| *delay <= 24), "{kind:?} took {delays:?} hours");
    }
}

#[test]
fn an_hour_that_was_remembered_before_hours_had_a_worth_counts_its_traces() {
    let size = |hour: &str| serde_json::from_str::<Hour>(hour).unwrap().size();
    assert_eq!(size(r#"{"at": 1, "traces": 40, "weight": 80.0, "estimate": 0.9}"#), 40.0);
    assert_eq!(size(r#"{"at": 1, "traces": 40, "weight": 80.0, "estimate": 0.9, "worth": 7.5}"#), 7.5);
}

/// Hours whose share of the rarer answer differs by more than chance: 15 % give or take `spread`.
fn uneven(kind: SeriesKind, spread: f64, first: i64, hours: usize, rng: &mut Rng) -> SeriesSummary {
    let shares: Vec<f64> = (0..hours).map(|_| 0.15 + 2.0 * spread * (rng.f64() - 0.5)).collect();
    let drawn = std::cell::Cell::new(0);
    summary(kind, first, hours, rng, |rng| {
        let is_rare = rng.f64() < shares[drawn.replace(drawn.get() + 1) / HOURLY];
        match kind {
            SeriesKind::Boolean => Value::Boolean(!is_rare),
            _ => Value::Counts([(if is_rare { "length" } else { "stop" }.to_owned(), 1)].into()),
        }
    })
}

#[test]
fn over_dispersed_hours_are_tempered_and_their_guarantee_is_approximate() {
    let mut rng = Rng::with_seed(63);
    for kind in [SeriesKind::Boolean, SeriesKind::Categorical] {
        let budget = AlertBudget { false_alarms: 2.0, windows: 60.0, detectors: 60 };
        let mut alarms = 0;
        for _ in 0..30 {
            let baseline = uneven(kind, 0.14, -100, 100, &mut rng);
            assert!(baseline.over_dispersion.factor > 1.4, "{kind:?}: {:?}", baseline.over_dispersion);
            let mut stream = StreamState::default();
            for hour in 0..60 {
                let window = uneven(kind, 0.14, hour, 1, &mut rng);
                for signal in stream.observe(
                    at(hour),
                    &window,
                    &Mix::new(),
                    &WatchedStream::new(&baseline, baseline.over_dispersion, &budget),
                ) {
                    if let Signal::Found(finding) = signal {
                        assert!(!finding.guarantee.is_exact);
                        alarms += 1;
                    }
                }
            }
        }
        assert!(alarms <= 5, "{kind:?}: {alarms} false alarms where two are budgeted");
        let even = || uneven(kind, 0.0, -100, 100, &mut rng).over_dispersion;
        let within_chance = std::iter::repeat_with(even).take(10).filter(|one| one.is_within_chance()).count();
        assert!(within_chance >= 8, "{kind:?}: {within_chance} of 10 even baselines");
    }
}

#[test]
fn an_alarm_goes_on_recovers_and_can_be_raised_again() {
    let mut rng = Rng::with_seed(64);
    let budget = AlertBudget { false_alarms: 1.0, windows: 720.0, detectors: 10 };
    for (kind, draw) in [(SeriesKind::Boolean, boolean as Draw), (SeriesKind::Sequence, sequence)] {
        let baseline = summary(kind, -50, 50, &mut rng, |rng| draw(false, rng));
        let mut stream = StreamState::default();
        let mut story = Vec::new();
        for hour in 0..330_i64 {
            let is_changed = (20..80).contains(&hour) || hour >= 250;
            let window = summary(kind, hour, 1, &mut rng, |rng| draw(is_changed, rng));
            let text = serde_json::to_string(&stream).unwrap();
            stream = serde_json::from_str(&text).unwrap();
            for signal in stream.observe(
                at(hour),
                &window,
                &Mix::new(),
                &WatchedStream::new(&baseline, baseline.over_dispersion, &budget),
            ) {
                match signal {
                    Signal::Found(_) => story.push(("found", hour)),
                    Signal::Recovered(_) => story.push(("recovered", hour)),
                    Signal::Continues(finding) => assert!(finding.onset <= at(hour)),
                    _ => {}
                }
            }
        }
        let kinds: Vec<&str> = story.iter().map(|(what, _)| *what).collect();
        assert_eq!(kinds, ["found", "recovered", "found"], "{kind:?}: {story:?}");
        assert!((20..50).contains(&story[0].1) && (80..240).contains(&story[1].1), "{kind:?}: {story:?}");
        assert!(story[2].1 >= 250, "{kind:?}: {story:?}");
    }
}

#[test]
fn simple_streams_are_exact_and_weighted_ones_approximate() {
    let mut rng = Rng::with_seed(65);
    let budget = AlertBudget { false_alarms: 1.0, windows: 720.0, detectors: 10 };
    let mut exact = 0;
    for _ in 0..5 {
        let (_, finding) = first_alarm(SeriesKind::Boolean, boolean, 0, 40, &budget, &mut rng).unwrap();
        exact += usize::from(finding.guarantee.is_exact);
    }
    assert!(exact >= 4, "{exact} of 5 independent streams are called exact");
}

#[test]
fn silence_other_kinds_and_tiny_baselines_change_nothing() {
    let mut rng = Rng::with_seed(66);
    let budget = AlertBudget { false_alarms: 1.0, windows: 720.0, detectors: 10 };
    let mut stream = StreamState::default();
    let baseline = summary(SeriesKind::Boolean, -50, 50, &mut rng, |rng| boolean(false, rng));
    let other = summary(SeriesKind::Numeric, 0, 1, &mut rng, |rng| numeric(false, rng));
    assert!(
        stream
            .observe(at(0), &other, &Mix::new(), &WatchedStream::new(&baseline, baseline.over_dispersion, &budget))
            .is_empty()
    );
    assert_eq!(stream, StreamState::default());
    let tiny = summary(SeriesKind::Boolean, -1, 1, &mut rng, |rng| boolean(false, rng));
    for hour in 0..50 {
        let window = summary(SeriesKind::Boolean, hour, 1, &mut rng, |_| Value::Boolean(false));
        let signals =
            stream.observe(at(hour), &window, &Mix::new(), &WatchedStream::new(&tiny, tiny.over_dispersion, &budget));
        assert!(signals.is_empty(), "{signals:?}");
    }
    assert!(!stream.is_alarmed());
}

#[test]
fn two_standard_deviations_fire_about_as_often_as_they_say_and_follow_a_change() {
    let mut rng = Rng::with_seed(67);
    let budget = AlertBudget { false_alarms: 1.0, windows: 720.0, detectors: 10 };
    let (mut judged, mut beyond) = (0, 0);
    for _ in 0..6 {
        let baseline = summary(SeriesKind::Boolean, -100, 100, &mut rng, |rng| boolean(false, rng));
        let mut stream = StreamState::default();
        for hour in 0..100 {
            let window = summary(SeriesKind::Boolean, hour, 2, &mut rng, |rng| boolean(false, rng));
            let signals = stream.observe(
                at(hour),
                &window,
                &Mix::new(),
                &WatchedStream::new(&baseline, baseline.over_dispersion, &budget),
            );
            judged += 1;
            beyond += usize::from(signals.iter().any(|signal| matches!(signal, Signal::Deviates { .. })));
        }
    }
    let share = beyond as f64 / f64::from(judged);
    assert!((0.01..=0.08).contains(&share), "{share} of unchanged hours lie beyond two standard deviations");

    let baseline = summary(SeriesKind::Boolean, -100, 100, &mut rng, |rng| boolean(false, rng));
    let mut stream = StreamState::default();
    let mut longest = 0;
    for hour in 0..12 {
        let window = summary(SeriesKind::Boolean, hour, 4, &mut rng, |rng| boolean(true, rng));
        for signal in stream.observe(
            at(hour),
            &window,
            &Mix::new(),
            &WatchedStream::new(&baseline, baseline.over_dispersion, &budget),
        ) {
            if let Signal::Deviates { finding, hours } = signal {
                assert!(finding.direction == Direction::Down && finding.evidence > 2.0);
                longest = longest.max(hours);
            }
        }
    }
    assert!(longest >= 5, "a twelve-point drop held for {longest} hours");
}

#[test]
fn a_guarantee_ends_where_upstream_sampling_is_not_known() {
    let mut rng = Rng::with_seed(9);
    let known = summary(SeriesKind::Boolean, 0, 1, &mut rng, |_| Value::Boolean(true));
    let unknown = SeriesSummary { upstream_unknown: 1, ..known.clone() };
    let exact = Guarantee { is_exact: true, reason: "independent".to_owned() };
    assert_eq!(exact.clone().knowing([&known, &known]), exact);
    for sides in [[&known, &unknown], [&unknown, &known]] {
        let guarantee = exact.clone().knowing(sides);
        assert!(!guarantee.is_exact && guarantee.reason.ends_with("taken to have kept everything"), "{guarantee:?}");
    }
}

/// What runs do in one of two ways, 40 runs an hour.
#[derive(Debug, Clone, Copy)]
enum Ways {
    /// They answer in a table or in prose.
    Formats,
    /// They answer in a table or in prose of one of fifty topics.
    Topics,
    /// They search twice or once.
    Searches,
}

impl Ways {
    fn value(self, is_first: bool, rng: &mut Rng) -> Value {
        let category = |name: String| Value::Counts([(name, 1)].into());
        match (self, is_first) {
            (Self::Formats | Self::Topics, true) => category("table".to_owned()),
            (Self::Formats, false) => category("prose".to_owned()),
            (Self::Topics, false) => category(format!("prose {}", rng.usize(..50))),
            (Self::Searches, true) => Value::Sequence(["find", "search", "search"].map(str::to_owned).to_vec()),
            (Self::Searches, false) => Value::Sequence(["find", "search"].map(str::to_owned).to_vec()),
        }
    }

    /// Hours in which some more or less go the first way; by day more than by night if there is a swing.
    fn hours(self, first: i64, hours: usize, (share, swing): (f64, f64), rng: &mut Rng) -> SeriesSummary {
        let kind = if matches!(self, Self::Searches) { SeriesKind::Sequence } else { SeriesKind::Categorical };
        let mut drawn = 0;
        summary(kind, first, hours, rng, |rng| {
            let hour = first + drawn / HOURLY as i64;
            drawn += 1;
            let share = share + swing * (hour as f64 / 24.0 * std::f64::consts::TAU).sin();
            let is_first = rng.f64() < share;
            self.value(is_first, rng)
        })
    }

    /// Whether ten days raise an alarm against a week.
    fn alarms_at(self, baseline: &SeriesSummary, mix: (f64, f64), rng: &mut Rng) -> bool {
        let budget = AlertBudget { false_alarms: 1.0, windows: 240.0, detectors: 10 };
        let stream = WatchedStream::new(baseline, baseline.over_dispersion, &budget);
        let mut state = StreamState::default();
        (0..240).any(|hour| {
            let signals = state.observe(at(hour), &self.hours(hour, 1, mix, rng), &Mix::new(), &stream);
            signals.iter().any(|signal| matches!(signal, Signal::Found(_)))
        })
    }
}

#[test]
fn a_mix_and_a_sequence_with_a_day_are_held_against_their_own_hours() {
    for ways in [Ways::Formats, Ways::Searches] {
        let mut rng = Rng::with_seed(68);
        let (mut matched, mut plain, mut found) = (0, 0, 0);
        for _ in 0..10 {
            let baseline = ways.hours(-168, 168, (0.3, 0.15), &mut rng);
            assert_eq!(baseline.by_hour_of_day.len(), 24);
            let whole = SeriesSummary { by_hour_of_day: Vec::new(), ..baseline.clone() };
            let unmatched = SeriesSummary { over_dispersion: OverDispersion::UNKNOWN, ..whole };
            matched += usize::from(ways.alarms_at(&baseline, (0.3, 0.15), &mut rng));
            plain += usize::from(ways.alarms_at(&unmatched, (0.3, 0.15), &mut rng));
            found += usize::from(ways.alarms_at(&baseline, (0.5, 0.15), &mut rng));
        }
        let counts = (matched, plain, found);
        assert_eq!(counts, (0, 10, 10), "{ways:?}: false alarms by hour of day, against all hours, and found");
        let mut kept = |_| !ways.hours(-168, 168, (0.3, 0.0), &mut rng).by_hour_of_day.is_empty();
        assert!((0..20).filter(|index: &i32| kept(*index)).count() <= 1, "{ways:?} without a day");
    }
}

#[test]
fn a_mix_of_too_many_categories_to_keep_by_hour_of_day_is_compared_by_whole_days() {
    let mut rng = Rng::with_seed(69);
    let (mut by_day, mut by_hour, mut found) = (0, 0, 0);
    for _ in 0..10 {
        let baseline = Ways::Topics.hours(-168, 168, (0.3, 0.15), &mut rng);
        assert!(baseline.compares_by_day && baseline.by_hour_of_day.is_empty());
        let plain = SeriesSummary { compares_by_day: false, ..baseline.clone() };
        by_day += usize::from(Ways::Topics.alarms_at(&baseline, (0.3, 0.15), &mut rng));
        by_hour += usize::from(Ways::Topics.alarms_at(&plain, (0.3, 0.15), &mut rng));
        found += usize::from(Ways::Topics.alarms_at(&baseline, (0.6, 0.15), &mut rng));
    }
    assert_eq!((by_day, by_hour, found), (0, 10, 10), "false alarms by day and by hour, and changes found");
}

#[test]
fn the_share_that_an_alarm_tells_is_of_the_category_that_it_names() {
    let mut rng = Rng::with_seed(66);
    let budget = AlertBudget { false_alarms: 1.0, windows: 720.0, detectors: 10 };
    let kind = SeriesKind::Categorical;
    let one_of =
        |names: &[&str], rng: &mut Rng| Value::Counts([(names[rng.usize(..names.len())].to_owned(), 1)].into());
    let baseline = summary(kind, -50, 50, &mut rng, |rng| one_of(&["a", "b", "c"], rng));
    let (mut stream, mut told) = (StreamState::default(), Vec::new());
    for hour in 0..24_i64 {
        // Nothing but a, and no b, by turns: each moves most in its hours.
        let names: &[&str] = if hour / 4 % 2 == 0 { &["a"] } else { &["a", "c"] };
        let window = summary(kind, hour, 1, &mut rng, |rng| one_of(names, rng));
        let watched = WatchedStream::new(&baseline, baseline.over_dispersion, &budget);
        for signal in stream.observe(at(hour), &window, &Mix::new(), &watched) {
            if let Signal::Found(finding) | Signal::Continues(finding) = signal {
                assert_eq!(finding.traces, 80, "of the two hours that were tested");
                told.push((finding.measure, finding.current));
            }
        }
    }
    for expected in [("share of a", 1.0), ("share of b", 0.0)] {
        let of = told.iter().filter(|(measure, _)| measure == expected.0);
        assert!(of.clone().count() >= 2 && of.clone().all(|(_, share)| *share == Some(expected.1)), "{told:?}");
    }
}
