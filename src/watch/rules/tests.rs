use std::collections::BTreeSet;

use fastrand::Rng;

use super::*;
use crate::domain::measurement::{Measurement, NOT_EVALUABLE, SeriesKind, TraceRecord, Value};
use crate::watch::samples::{measurement, record};

/// What an hour's runs are like.
#[derive(Clone, Copy)]
struct Traffic {
    errors: f64,
    slow: f64,
    cut: f64,
    misread: f64,
    empty: f64,
    cost: f64,
    tokens: f64,
    lacking: f64,
    is_scored: bool,
}

const HEALTHY: Traffic = Traffic {
    errors: 0.005,
    slow: 1.0,
    cut: 0.02,
    misread: 0.01,
    empty: 0.05,
    cost: 0.01,
    tokens: 100.0,
    lacking: 0.02,
    is_scored: true,
};

fn categories(series: &str, category: &str) -> Measurement {
    measurement(series, SeriesKind::Categorical, Value::Counts([(category.to_owned(), 1)].into()))
}

fn numeric(series: &str, value: f64) -> Measurement {
    measurement(series, SeriesKind::Numeric, Value::Number(value))
}

fn run(index: usize, at: Timestamp, traffic: Traffic, rng: &mut Rng) -> TraceRecord {
    let mut is = |share: f64| rng.f64() < share;
    let (error, cut, misread) = (is(traffic.errors), is(traffic.cut), is(traffic.misread));
    let (empty, lacking) = (is(traffic.empty), is(traffic.lacking));
    let mut one = record(index, &format!("c{index}"));
    one.ended_at = Timestamp(at.0 + index as i64);
    one.segments.insert("tier".to_owned(), "gold".to_owned());
    one.measurements = vec![
        measurement("run_error", SeriesKind::Boolean, Value::Boolean(error)),
        numeric("latency_seconds", traffic.slow * (rng.f64() * 2.0).exp()),
        numeric("cost_usd", traffic.cost),
        numeric("input_tokens", traffic.tokens),
        categories("finish_reasons", if cut { "length" } else { "stop" }),
        categories("tool_outcomes", if misread { "invalid_args" } else { "success" }),
        categories("tool_results", if empty { "search: empty" } else { "search: filled" }),
    ];
    if lacking {
        one.measurements.push(categories(NOT_EVALUABLE, "grounded"));
    } else if traffic.is_scored {
        let scored = measurement("grounded", SeriesKind::Boolean, Value::Boolean(true));
        one.measurements.push(Measurement { revision: Some("r1".to_owned()), ..scored });
    }
    one
}

/// A service that is read hour by hour.
struct Service {
    state: RuleState,
    policy: RulePolicy,
    baseline: Option<Baseline>,
    rng: Rng,
    hours: i64,
}

impl Service {
    fn new(has_baseline: bool, seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let baseline = has_baseline.then(|| side(HEALTHY, 3000, Timestamp(0), &mut rng).0);
        let policy = RulePolicy {
            objectives: vec![Objective::of_errors()],
            daily_cost_usd: BTreeMap::from([("*".to_owned(), 100.0)]),
            tokens_per_second: 1000.0,
        };
        Self { state: RuleState::default(), policy, baseline, rng, hours: 0 }
    }

    fn hour(&mut self, traffic: Traffic, traces: usize) -> Vec<(SeriesKey, Signal)> {
        let at = Timestamp(self.hours * Timestamp::NANOS_PER_HOUR);
        self.hours += 1;
        let (window, pace) = side(traffic, traces, at, &mut self.rng);
        let hour = Hour { at, service: "agent", window: &window, pace: &pace, policy: &self.policy };
        self.state.observe(&hour, self.baseline.as_ref())
    }
}

fn side(traffic: Traffic, traces: usize, at: Timestamp, rng: &mut Rng) -> (Baseline, Pace) {
    let records: Vec<TraceRecord> = (0..traces).map(|index| run(index, at, traffic, rng)).collect();
    let mut pace = Pace::default();
    records.iter().for_each(|record| pace.add(record));
    (Baseline::from_records("side", Timestamp(0), "", &records), pace)
}

fn firing(signals: &[(SeriesKey, Signal)]) -> BTreeSet<&str> {
    signals
        .iter()
        .filter_map(|(_, one)| if let Signal::Ruled { rule, .. } = one { Some(rule.as_str()) } else { None })
        .collect()
}

fn over(signals: &[(SeriesKey, Signal)]) -> BTreeSet<&str> {
    signals
        .iter()
        .filter_map(|(_, one)| if let Signal::RuleOver { rule, .. } = one { Some(rule.as_str()) } else { None })
        .collect()
}

fn severity(signals: &[(SeriesKey, Signal)], name: &str) -> Option<Severity> {
    signals.iter().find_map(|(_, one)| match one {
        Signal::Ruled { rule, severity, .. } if rule == name => Some(*severity),
        _ => None,
    })
}

/// Each fault, the rules that it makes fire, and whether they need a baseline.
fn faults() -> Vec<(Traffic, Vec<&'static str>, bool)> {
    vec![
        (Traffic { errors: 0.2, ..HEALTHY }, vec!["burn_rate", "error_rate"], false),
        (Traffic { tokens: 2000.0, ..HEALTHY }, vec!["tokens_per_second"], false),
        (Traffic { slow: 8.0, ..HEALTHY }, vec!["p99_exceedance"], true),
        (Traffic { cut: 0.25, ..HEALTHY }, vec!["length_cut"], true),
        (Traffic { misread: 0.25, ..HEALTHY }, vec!["invalid_args"], true),
        (Traffic { empty: 0.4, ..HEALTHY }, vec!["empty_results"], true),
        (Traffic { lacking: 0.4, ..HEALTHY }, vec!["not_evaluable"], true),
        (Traffic { is_scored: false, lacking: 0.0, ..HEALTHY }, vec!["evaluator_silent"], true),
    ]
}

#[test]
fn each_rule_fires_on_its_own_fault_and_ends_with_it() {
    for (traffic, expected, needs_baseline) in faults() {
        let expected: BTreeSet<&str> = expected.into_iter().collect();
        for has_baseline in [true, false] {
            let mut service = Service::new(has_baseline, 3);
            let wanted = if has_baseline || !needs_baseline { expected.clone() } else { BTreeSet::new() };
            assert_eq!(firing(&service.hour(traffic, 200)), wanted);
            assert_eq!(over(&service.hour(HEALTHY, 200)), wanted);
        }
    }
}

#[test]
fn a_healthy_service_is_left_in_peace() {
    let mut service = Service::new(true, 4);
    for hour in 0..100 {
        let signals = service.hour(HEALTHY, 60);
        assert!(firing(&signals).is_empty(), "hour {hour}: {signals:?}");
    }
}

#[test]
fn every_rule_is_tried_by_a_fault_or_by_a_test_of_its_own() {
    let tried: BTreeSet<&str> = faults().into_iter().flat_map(|(_, rules, _)| rules).collect();
    let apart = BTreeSet::from(["daily_cost", "service_quiet"]);
    assert_eq!(RULES.iter().map(|rule| rule.name).collect::<BTreeSet<_>>(), &tried | &apart);
}

#[test]
fn a_day_that_will_cost_four_fifths_of_its_budget_warns_one_that_will_cost_all_pages_and_the_next_day_ends_it() {
    // 200 runs an hour; 100 dollars a day are 4.17 an hour.
    let costing = |hourly: f64| Traffic { cost: hourly / 200.0, ..HEALTHY };
    let mut service = Service::new(false, 5);
    assert!((0..3).all(|_| severity(&service.hour(costing(2.0), 200), "daily_cost").is_none()));
    let warned = (3..20).map(|_| severity(&service.hour(costing(5.0), 200), "daily_cost")).collect::<Vec<_>>();
    assert!(warned.contains(&Some(Severity::Warn)), "{warned:?}");
    assert_eq!(warned.last().unwrap(), &Some(Severity::Page), "{warned:?}");
    let rest: Vec<_> = (20..30).map(|_| service.hour(costing(1.0), 200)).collect();
    assert!(rest.iter().any(|signals| over(signals).contains("daily_cost")));
}

#[test]
fn a_dear_first_hour_of_a_day_is_no_projection_unless_the_money_is_gone() {
    let mut service = Service::new(false, 6);
    assert_eq!(severity(&service.hour(Traffic { cost: 0.1, ..HEALTHY }, 200), "daily_cost"), None);
    let mut service = Service::new(false, 6);
    assert_eq!(severity(&service.hour(Traffic { cost: 0.6, ..HEALTHY }, 200), "daily_cost"), Some(Severity::Page));
}

#[test]
fn a_service_that_falls_silent_is_noticed_and_one_that_rests_every_night_is_not() {
    let mut busy = Service::new(false, 7);
    for _ in 0..30 {
        assert!(firing(&busy.hour(HEALTHY, 30)).is_empty());
    }
    assert!(firing(&busy.hour(HEALTHY, 0)).contains("service_quiet"));
    assert!(over(&busy.hour(HEALTHY, 30)).contains("service_quiet"));

    let mut resting = Service::new(false, 8);
    for hour in 0..72 {
        let signals = resting.hour(HEALTHY, if hour % 24 < 12 { 30 } else { 0 });
        assert!(firing(&signals).is_empty(), "hour {hour}: {signals:?}");
    }
}

#[test]
fn an_hour_is_read_once_by_rules_that_need_no_baseline() {
    let mut service = Service::new(false, 9);
    let faulty = Traffic { errors: 0.2, ..HEALTHY };
    assert!(!firing(&service.hour(faulty, 200)).is_empty());
    service.hours = 0;
    assert!(service.hour(faulty, 200).is_empty());
}

#[test]
fn a_burn_warns_when_it_is_certain_and_pages_when_it_is_fast() {
    let hour = |errors: f64, traces| {
        severity(&Service::new(false, 10).hour(Traffic { errors, ..HEALTHY }, traces), "burn_rate")
    };
    assert_eq!(hour(0.04, 1000), Some(Severity::Warn));
    assert_eq!(hour(0.3, 100), Some(Severity::Page));
    assert_eq!(hour(1.0, 1), None, "one bad run of one is a burn rate of a hundred");
}

#[test]
fn an_objective_of_latency_or_of_an_evaluator_is_burnt_by_its_own_runs() {
    let objectives = |text: &str| vec![toml::from_str::<Objective>(text).unwrap()];
    let rules = |text: &str, traffic: Traffic| {
        let mut service = Service::new(false, 11);
        service.policy.objectives = objectives(text);
        let signals = service.hour(traffic, 200);
        signals.into_iter().find(|(_, signal)| matches!(signal, Signal::Ruled { .. })).map(|(key, _)| key.series)
    };
    let slow = Traffic { slow: 8.0, ..HEALTHY };
    assert_eq!(rules("latency = \"10s\"\nobjective = 0.99", slow).as_deref(), Some("latency_seconds"));
    assert_eq!(rules("latency = \"10s\"\nobjective = 0.99", HEALTHY), None);
    assert_eq!(rules("latency = \"10s\"\nobjective = 0.99\nservice = \"other\"", slow), None);
    assert_eq!(rules("series = \"grounded\"\nobjective = 0.9", HEALTHY), None);
}

#[test]
fn an_objective_that_cannot_be_meant_is_refused() {
    for (text, expected) in [
        ("objective = 1.0", "no share of runs"),
        ("latency = \"soon\"\nobjective = 0.9", "not a duration"),
        ("latency = \"1s\"\nseries = \"a\"\nobjective = 0.9", "two objectives"),
        ("objectiv = 0.9", "unknown field"),
    ] {
        let error = toml::from_str::<Objective>(text).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn what_only_few_traces_give_is_not_silent_after_a_few() {
    let mut service = Service::new(true, 5);
    let key = SeriesKey { service: "agent".into(), series: "grounded".into(), segment: ALL.into() };
    if let Some(summary) = service.baseline.as_mut().and_then(|baseline| baseline.series.get_mut(&key)) {
        summary.traces = 30;
    }
    let signals = service.hour(Traffic { is_scored: false, lacking: 0.0, ..HEALTHY }, 200);
    assert!(!signals.iter().any(|(key, _)| key.series == "grounded"), "{signals:?}");
}

#[test]
fn one_run_of_many_tokens_is_no_pace() {
    let mut service = Service::new(false, 12);
    let greedy = Traffic { tokens: 1e7, ..HEALTHY };
    assert!(firing(&service.hour(greedy, 1)).is_empty());
    let signals = service.hour(greedy, 5);
    assert!(signals.iter().any(|(key, _)| key.series == "tokens_per_second" && key.segment == "tier=gold"));
}

#[test]
fn an_objective_that_is_named_for_a_service_and_for_all_counts_each_run_once() {
    let own: Objective = toml::from_str("objective = 0.99\nservice = \"agent\"").unwrap();
    let mut service = Service::new(false, 13);
    service.policy.objectives = vec![own, Objective::of_errors()];
    let signals = service.hour(Traffic { errors: 1.0, ..HEALTHY }, 100);
    let burns = signals.iter().filter(|(_, one)| matches!(one, Signal::Ruled { rule, .. } if rule == "burn_rate"));
    assert_eq!(burns.count(), 1);
    let now = Timestamp(Timestamp::NANOS_PER_HOUR);
    let budgets = service.state.error_budgets("agent", &service.policy.objectives, now);
    assert_eq!(budgets.iter().map(|of| (of.traces, of.bad)).collect::<Vec<_>>(), [(100, 100)]);
}

#[test]
fn an_error_budget_counts_the_last_thirty_days_and_says_what_is_left() {
    let mut service = Service::new(false, 11);
    let objectives = service.policy.objectives.clone();
    let left = |service: &Service| {
        let now = Timestamp(service.hours * Timestamp::NANOS_PER_HOUR - 1);
        service.state.error_budgets("agent", &objectives, now).pop()
    };
    assert_eq!(left(&service), None);
    for _ in 0..24 {
        service.hour(Traffic { errors: 0.0, ..HEALTHY }, 100);
    }
    let untouched = left(&service).unwrap();
    assert_eq!((untouched.traces, untouched.bad, untouched.remaining), (2_400, 0, 1.0));
    assert!((untouched.allowed - 24.0).abs() < 1e-9);
    service.hour(Traffic { errors: 1.0, ..HEALTHY }, 12);
    let spent = left(&service).unwrap();
    assert_eq!((spent.traces, spent.bad, spent.since), (2_412, 12, Timestamp(0)));
    assert!((spent.remaining - (1.0 - 12.0 / 24.12)).abs() < 1e-9, "{spent:?}");
    service.hour(Traffic { errors: 1.0, ..HEALTHY }, 100);
    assert!(left(&service).unwrap().remaining < 0.0);

    service.hours = 31 * 24;
    service.hour(Traffic { errors: 0.0, ..HEALTHY }, 50);
    let later = left(&service).unwrap();
    assert_eq!((later.traces, later.bad, later.remaining), (50, 0, 1.0));
    assert!(service.state.error_budgets("agent", &[], Timestamp(0)).is_empty());
}
