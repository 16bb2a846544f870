//! Rules with a limit of their own: what is bad however it was before, and what counting decides.
//!
//! | rule | question | fires |
//! | --- | --- | --- |
//! | `p99_exceedance` | is the p99 of latency or cost three times the baseline's? | runs above that limit: exact binomial against 1 %, p < 0.001, five or more |
//! | `error_rate` | do 5 % of runs end in an error? | the share, and an exact binomial at 1 % |
//! | `burn_rate` | how fast is what an objective of 99 % allows used up? | over 2 warns, over 10 pages; over twelve hours and the last of them; a page needs five bad runs or p < 0.001 |
//! | `invalid_args`, `length_cut` | has the share of such tool calls or answers doubled? | two points above twice the baseline, exact binomial p < 0.001 |
//! | `evaluator_silent` | did what used to give a value give none? | chance of no value at the baseline's rate below 0.001 |
//!
//! **Statistic.** Every rule reads one hour's summary; only the burn rate remembers, twelve hours. Counts are of traces as
//! they were kept, events of one trace counting apart, so where traces are sampled or events of one trace depend on
//! each other, the guarantee is approximate.
//!
//! **Cold start.** None of its own: small counts do not reach the levels. Rules that compare need the baseline's series.
//!
//! **Recovery.** The first hour in which the rule has something to count and does not fire.
//!
//! Sources: the binomial tests of [`crate::stats::exceedance`] and [`crate::stats::service_level`]; Google SRE workbook,
//! chapter 5, for burn rates.

use std::collections::{BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};

use super::baseline::Baseline;
use super::detect::{Direction, Finding, Guarantee, Signal};
use super::key::{ALL, SeriesKey};
use super::score::furthest;
use super::summary::{Distribution, SeriesSummary};
use crate::domain::alert::{Alert, Severity};
use crate::domain::ids::TraceId;
use crate::domain::time::Timestamp;
use crate::stats::exceedance::{Exceedance, GROWTH};
use crate::stats::service_level::{Outcomes, Urgency, burn_rate, urgency};

/// Share of runs that may end in an error.
const ERROR_LIMIT: f64 = 0.05;
/// Share of runs that must be good.
const OBJECTIVE: f64 = 0.99;
/// Hours over which a slow burn warns; a fast one pages for its last hour alone (SRE workbook, chapter 5).
const LONG_WINDOW: usize = 6;
/// Level of the tests of shares and of silence.
const LEVEL: f64 = 1e-3;
/// Shares that a rule watches: its name, the series and the category.
const SHARES: [(&str, &str, &str); 2] =
    [("invalid_args", "tool_outcomes", "invalid_args"), ("length_cut", "finish_reasons", "length")];
/// Name of the rule of silence.
pub(super) const SILENT: &str = "evaluator_silent";
/// Name of the rule of tails.
const TAIL: &str = "p99_exceedance";
/// Series whose tail a rule watches.
const TAILS: [&str; 2] = ["latency_seconds", "cost_usd"];

/// What the rules of one service remember between hours.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RuleState {
    /// Bad runs and all runs of the last hours.
    errors: VecDeque<(u64, u64)>,
    /// Rules that fire, by name and series, with the hour since which they do.
    firing: Vec<(String, SeriesKey, Timestamp)>,
}

/// One rule's count of an hour.
struct Count {
    rule: &'static str,
    key: SeriesKey,
    severity: Option<Severity>,
    measure: String,
    baseline: Option<f64>,
    current: f64,
    traces: u64,
    p_value: f64,
    trace_ids: Vec<TraceId>,
}

impl RuleState {
    /// Takes in the hour that starts at `at`; hours must come in order, each once.
    pub fn observe(
        &mut self,
        at: Timestamp,
        service: &str,
        window: &Baseline,
        baseline: &Baseline,
    ) -> Vec<(SeriesKey, Signal)> {
        let key = |series: &str| SeriesKey { service: service.into(), series: series.into(), segment: ALL.into() };
        let sides = |series: &str| {
            let key = key(series);
            Some((window.series.get(&key)?, baseline.series.get(&key), key))
        };
        let mut counts: Vec<Count> = TAILS.iter().filter_map(|series| tail(sides(series)?)).collect();
        counts.extend(SHARES.iter().filter_map(|(rule, series, category)| share(rule, category, sides(series)?)));
        if let Some((summary, _, key)) = sides("run_error") {
            counts.extend(error_rate(summary, key.clone()));
            counts.extend(self.burn(summary, key));
        }
        counts.extend(silent(service, window, baseline));
        counts.into_iter().filter_map(|count| self.judge(at, count)).collect()
    }

    fn burn(&mut self, summary: &SeriesSummary, key: SeriesKey) -> Option<Count> {
        let short = outcomes(summary)?;
        self.errors.push_back((short.bad, short.total));
        self.errors.drain(..self.errors.len().saturating_sub(LONG_WINDOW));
        let add = |sum: Outcomes, (bad, total): &(u64, u64)| Outcomes { bad: sum.bad + bad, total: sum.total + total };
        let long = self.errors.iter().fold(Outcomes::default(), add);
        let severity = match (urgency(short, short, OBJECTIVE), urgency(long, short, OBJECTIVE)) {
            (Urgency::Page, _) | (_, Urgency::Page) => Some(Severity::Page),
            (_, Urgency::Warn) => Some(Severity::Warn),
            _ => None,
        };
        Some(Count {
            rule: "burn_rate",
            key,
            severity,
            measure: format!("burn rate of an objective of {OBJECTIVE} over {} hours with traffic", self.errors.len()),
            baseline: None,
            current: burn_rate(long, OBJECTIVE),
            traces: long.total,
            p_value: long.p_value(1.0 - OBJECTIVE),
            trace_ids: bad_runs(summary),
        })
    }

    fn judge(&mut self, at: Timestamp, count: Count) -> Option<(SeriesKey, Signal)> {
        let is_same = |(rule, key, _): &(String, SeriesKey, Timestamp)| *rule == count.rule && *key == count.key;
        let known = self.firing.iter().position(is_same);
        let Some(severity) = count.severity else {
            self.firing.remove(known?);
            let (rule, direction) = (count.rule.to_owned(), direction(count.rule));
            return Some((count.key, Signal::RuleOver { rule, direction }));
        };
        let onset = known.map_or(at, |index| self.firing[index].2);
        if known.is_none() {
            self.firing.push((count.rule.to_owned(), count.key.clone(), at));
        }
        let (rule, key) = (count.rule.to_owned(), count.key.clone());
        Some((key, Signal::Ruled { rule, severity, finding: Box::new(finding(count, onset)) }))
    }
}

/// The category that a rule of shares watches.
pub(super) fn category(rule: &str) -> Option<&'static str> {
    SHARES.iter().find(|(name, _, _)| *name == rule).map(|(_, _, category)| *category)
}

/// The value beyond which an alert of the rule of tails counts runs.
pub(super) fn tail_limit(alert: &Alert) -> Option<f64> {
    alert.baseline.filter(|_| alert.detector == TAIL).map(|quantile| GROWTH * quantile)
}

/// Every rule says that there is too much of something, but one.
fn direction(rule: &str) -> Direction {
    if rule == SILENT { Direction::Down } else { Direction::Up }
}

fn finding(count: Count, onset: Timestamp) -> Finding {
    Finding {
        direction: direction(count.rule),
        measure: count.measure,
        // JSON has no infinity.
        evidence: (1.0 / count.p_value).min(1e12),
        threshold: 1.0 / LEVEL,
        onset,
        onset_between: None,
        explanation: None,
        baseline: count.baseline,
        current: Some(count.current),
        traces: count.traces,
        transitions: Vec::new(),
        trace_ids: count.trace_ids,
        guarantee: Guarantee {
            is_exact: false,
            reason: format!(
                "outside the alert budget, one hour at a time; at the limit itself as much has a chance of {:.1e}",
                count.p_value
            ),
        },
    }
}

fn tail((window, baseline, key): (&SeriesSummary, Option<&SeriesSummary>, SeriesKey)) -> Option<Count> {
    let Distribution::Number { histogram: before, .. } = &baseline?.distribution else { return None };
    let Distribution::Number { histogram, extremes, .. } = &window.distribution else { return None };
    let quantile = before.quantile(0.99).filter(|quantile| *quantile > 0.0)?;
    let limit = GROWTH * quantile;
    // The bin of the limit itself counts as below.
    let share = histogram.share_above(histogram.scale().bin(limit));
    let above = (share * window.traces as f64).round() as u64;
    let exceedance = Exceedance { above, total: window.traces, allowed: 0.01 };
    Some(Count {
        rule: TAIL,
        severity: exceedance.has_grown().then_some(Severity::Warn),
        measure: format!("99th percentile, with {above} runs above {limit:.4}"),
        baseline: Some(quantile),
        current: histogram.quantile(0.99)?,
        traces: window.traces,
        p_value: exceedance.p_value(),
        trace_ids: furthest(extremes, Direction::Up),
        key,
    })
}

fn share(
    rule: &'static str,
    category: &str,
    (window, baseline, key): (&SeriesSummary, Option<&SeriesSummary>, SeriesKey),
) -> Option<Count> {
    let cell = (String::new(), category.to_owned());
    let counts = |summary: &SeriesSummary| match &summary.distribution {
        Distribution::Categorical { counts, .. } => Some((counts.share_of(&cell)?.0, counts.events)),
        _ => None,
    };
    let ((before, _), (current, events)) = (counts(baseline?)?, counts(window)?);
    let limit = 2.0 * before + 0.02;
    let outcomes = Outcomes { bad: (current * events).round() as u64, total: events as u64 };
    let p_value = outcomes.p_value(limit);
    let trace_ids = match &window.distribution {
        Distribution::Categorical { traces_by_cell, .. } => {
            traces_by_cell.iter().find(|(name, _)| *name == cell).map(|(_, traces)| traces.clone())
        }
        _ => None,
    };
    Some(Count {
        rule,
        severity: (current > limit && p_value < LEVEL).then_some(Severity::Warn),
        measure: format!("share of {category}"),
        baseline: Some(before),
        current,
        traces: window.traces,
        p_value,
        trace_ids: trace_ids.unwrap_or_default(),
        key,
    })
}

fn outcomes(summary: &SeriesSummary) -> Option<Outcomes> {
    let moments = summary.moments()?;
    Some(Outcomes { bad: (moments.mean * moments.count as f64).round() as u64, total: moments.count })
}

fn bad_runs(summary: &SeriesSummary) -> Vec<TraceId> {
    match &summary.distribution {
        Distribution::Boolean { extremes, .. } => extremes.high.iter().filter(|it| it.0 > 0.5).map(|it| it.1).collect(),
        _ => Vec::new(),
    }
}

fn error_rate(summary: &SeriesSummary, key: SeriesKey) -> Option<Count> {
    let outcomes = outcomes(summary)?;
    Some(Count {
        rule: "error_rate",
        severity: outcomes.fails_more_than(ERROR_LIMIT).then_some(Severity::Warn),
        measure: format!("share of runs that end in an error, where {ERROR_LIMIT} may"),
        baseline: None,
        current: outcomes.bad_share(),
        traces: outcomes.total,
        p_value: outcomes.p_value(ERROR_LIMIT),
        trace_ids: bad_runs(summary),
        key,
    })
}

/// Series of the baseline, and whether the hour is too long for them to be silent by chance.
fn silent(service: &str, window: &Baseline, baseline: &Baseline) -> Vec<Count> {
    let services: BTreeSet<&str> = baseline.services();
    let all = |side: &Baseline, key: &SeriesKey| side.series.get(key).map_or(0, |summary| summary.traces);
    let of_service = baseline.series.iter().filter(|(key, _)| key.service == service && key.segment == ALL);
    let most = of_service.clone().map(|(_, summary)| summary.traces).max().unwrap_or(0);
    if !services.contains(service) || most == 0 {
        return Vec::new();
    }
    let count = |(key, before): (&SeriesKey, &SeriesSummary)| {
        let rate = before.traces as f64 / most as f64;
        let values = all(window, key);
        let chance = (1.0 - rate).max(1e-12).powf(window.traces as f64);
        Count {
            rule: SILENT,
            severity: (values == 0 && chance < LEVEL).then_some(Severity::Warn),
            measure: "share of traces with a value".to_owned(),
            baseline: Some(rate),
            current: values as f64 / window.traces.max(1) as f64,
            traces: window.traces,
            p_value: chance,
            trace_ids: Vec::new(),
            key: key.clone(),
        }
    };
    // Traces say nothing of a series that only some of them can have, so an hour is judged by what most of it gave.
    of_service.map(count).filter(|count| count.severity.is_some() || count.current > 0.0).collect()
}

#[cfg(test)]
mod tests {
    use fastrand::Rng;

    use super::*;
    use crate::domain::measurement::{SeriesKind, TraceRecord, Value};
    use crate::watch::samples::{measurement, record};

    struct Traffic {
        errors: f64,
        slow: f64,
        cut: f64,
        is_scored: bool,
    }

    const HEALTHY: Traffic = Traffic { errors: 0.005, slow: 1.0, cut: 0.02, is_scored: true };

    fn side(traffic: &Traffic, traces: usize, rng: &mut Rng) -> Baseline {
        let one = |index: usize, rng: &mut Rng| {
            let mut one = record(index, &format!("c{index}"));
            let finish = if rng.f64() < traffic.cut { "length" } else { "stop" };
            one.measurements = vec![
                measurement("run_error", SeriesKind::Boolean, Value::Boolean(rng.f64() < traffic.errors)),
                measurement(
                    "latency_seconds",
                    SeriesKind::Numeric,
                    Value::Number(traffic.slow * (rng.f64() * 2.0).exp()),
                ),
                measurement("finish_reasons", SeriesKind::Categorical, Value::Counts([(finish.to_owned(), 1)].into())),
            ];
            if traffic.is_scored {
                one.measurements.push(measurement("grounded", SeriesKind::Boolean, Value::Boolean(true)));
            }
            one
        };
        let records: Vec<TraceRecord> = (0..traces).map(|index| one(index, rng)).collect();
        Baseline::from_records("side", Timestamp(0), "", &records)
    }

    /// Rules that fire in an hour of this traffic, and those that are over in a healthy one after it.
    fn rules(traffic: &Traffic) -> (BTreeSet<String>, BTreeSet<String>) {
        let mut rng = Rng::with_seed(3);
        let baseline = side(&HEALTHY, 3000, &mut rng);
        let mut state = RuleState::default();
        let (mut firing, mut over) = (BTreeSet::new(), BTreeSet::new());
        for (hour, traffic) in [traffic, &HEALTHY].into_iter().enumerate() {
            let window = side(traffic, 200, &mut rng);
            let at = Timestamp(hour as i64 * Timestamp::NANOS_PER_HOUR);
            for (_, signal) in state.observe(at, "agent", &window, &baseline) {
                let _is_new = match signal {
                    Signal::Ruled { rule, .. } if hour == 0 => firing.insert(rule),
                    Signal::RuleOver { rule, .. } => over.insert(rule),
                    _ => false,
                };
            }
        }
        (firing, over)
    }

    #[test]
    fn each_rule_fires_on_its_own_fault_and_ends_with_it() {
        let cases = [
            (Traffic { slow: 8.0, ..HEALTHY }, vec!["p99_exceedance"]),
            (Traffic { errors: 0.2, ..HEALTHY }, vec!["burn_rate", "error_rate"]),
            (Traffic { cut: 0.25, ..HEALTHY }, vec!["length_cut"]),
            (Traffic { is_scored: false, ..HEALTHY }, vec!["evaluator_silent"]),
        ];
        for (traffic, expected) in cases {
            let expected: BTreeSet<String> = expected.into_iter().map(str::to_owned).collect();
            let (firing, over) = rules(&traffic);
            assert_eq!(firing, expected);
            assert_eq!(over, expected);
        }
    }

    #[test]
    fn a_healthy_service_is_left_in_peace() {
        let mut rng = Rng::with_seed(4);
        let baseline = side(&HEALTHY, 3000, &mut rng);
        let mut state = RuleState::default();
        for hour in 0..100 {
            let window = side(&HEALTHY, 60, &mut rng);
            let signals = state.observe(Timestamp(hour * Timestamp::NANOS_PER_HOUR), "agent", &window, &baseline);
            // Four runs of a healthy thousand are a burn rate of 2 in a thin hour: that warns, and does not page.
            let is_loud = |signal: &Signal| {
                let Signal::Ruled { rule, severity, .. } = signal else { return false };
                rule != "burn_rate" || *severity == Severity::Page
            };
            let loud = signals.iter().filter(|(_, signal)| is_loud(signal));
            assert_eq!(loud.count(), 0, "hour {hour}: {signals:?}");
        }
    }

    #[test]
    fn what_only_few_traces_give_is_not_silent_after_a_few() {
        let mut rng = Rng::with_seed(5);
        let mut baseline = side(&HEALTHY, 3000, &mut rng);
        let key = SeriesKey { service: "agent".into(), series: "grounded".into(), segment: ALL.into() };
        if let Some(summary) = baseline.series.get_mut(&key) {
            summary.traces = 30;
        }
        let window = side(&Traffic { is_scored: false, ..HEALTHY }, 200, &mut rng);
        let signals = RuleState::default().observe(Timestamp(0), "agent", &window, &baseline);
        assert!(!signals.iter().any(|(key, _)| key.series == "grounded"), "{signals:?}");
    }
}
