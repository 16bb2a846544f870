//! Rules that compare an hour with the baseline by a limit of their own.

use std::collections::{BTreeMap, BTreeSet};

use super::super::baseline::Baseline;
use super::super::detect::Direction;
use super::super::key::{ALL, SeriesKey};
use super::super::score::furthest;
use super::super::summary::{Distribution, SeriesSummary};
use super::objective::above;
use super::{Count, Hour, LEVEL};
use crate::domain::alert::Severity;
use crate::domain::explanation::Affects;
use crate::domain::ids::TraceId;
use crate::domain::measurement::{EMPTY_RESULT, FILLED_RESULT, NOT_EVALUABLE};
use crate::stats::exceedance::{Exceedance, GROWTH};
use crate::stats::service_level::Outcomes;
use crate::stats::session::SessionCounts;

/// Series whose tail is watched.
const TAILS: [&str; 2] = ["latency_seconds", "cost_usd"];
/// A share has risen beyond so many times the baseline's, and so much more.
const RISE: f64 = 2.0;
const RISE_AT_LEAST: f64 = 0.02;

pub(super) fn tails(hour: &Hour<'_>, baseline: &Baseline) -> Vec<Count> {
    TAILS.iter().filter_map(|series| tail(hour.key(series), hour.summary(series)?, baseline)).collect()
}

fn tail(key: SeriesKey, window: &SeriesSummary, baseline: &Baseline) -> Option<Count> {
    let Distribution::Number { histogram: before, .. } = &baseline.series.get(&key)?.distribution else { return None };
    let Distribution::Number { histogram, extremes, .. } = &window.distribution else { return None };
    let quantile = before.quantile(0.99).filter(|quantile| *quantile > 0.0)?;
    let limit = GROWTH * quantile;
    let beyond = (above(histogram, limit) * window.traces as f64).round() as u64;
    let exceedance = Exceedance { above: beyond, total: window.traces, allowed: 0.01 };
    Some(Count {
        severity: exceedance.has_grown().then_some(Severity::Warn),
        measure: format!("99th percentile, with {beyond} runs above {limit:.4}"),
        baseline: Some(quantile),
        current: histogram.quantile(0.99)?,
        traces: window.traces,
        p_value: Some(exceedance.p_value()),
        trace_ids: furthest(extremes, Direction::Up),
        affects: Affects::Above(limit),
        key,
    })
}

/// A share that may not rise: of so many events, weighted, and before.
struct Share {
    measure: String,
    before: f64,
    current: f64,
    events: f64,
    /// What it is the share of.
    category: String,
}

impl Share {
    fn count(self, key: SeriesKey, traces: u64, trace_ids: Vec<TraceId>) -> Count {
        let Self { measure, before, current, events, category } = self;
        let limit = RISE.mul_add(before, RISE_AT_LEAST).min(1.0);
        let p_value = Outcomes { bad: (current * events).round() as u64, total: events.round() as u64 }.p_value(limit);
        let severity = (current > limit && p_value < LEVEL).then_some(Severity::Warn);
        Count {
            key,
            severity,
            measure,
            baseline: Some(before),
            current,
            traces,
            p_value: Some(p_value),
            trace_ids,
            affects: Affects::Cells(vec![(String::new(), category)]),
        }
    }
}

pub(super) fn invalid_arguments(hour: &Hour<'_>, baseline: &Baseline) -> Vec<Count> {
    category(hour, baseline, "tool_outcomes", "invalid_args").into_iter().collect()
}

pub(super) fn cut_answers(hour: &Hour<'_>, baseline: &Baseline) -> Vec<Count> {
    category(hour, baseline, "finish_reasons", "length").into_iter().collect()
}

/// The share of one category of a series.
fn category(hour: &Hour<'_>, baseline: &Baseline, series: &str, category: &str) -> Option<Count> {
    let (window, key) = (hour.summary(series)?, hour.key(series));
    let (before, after) = (counts(baseline.series.get(&key)?)?, counts(window)?);
    let cell = (String::new(), category.to_owned());
    let share = Share {
        measure: format!("share of {category}"),
        before: before.share_of(&cell)?.0,
        current: after.share_of(&cell)?.0,
        events: after.events,
        category: category.to_owned(),
    };
    Some(share.count(key, window.traces, traces_of(window, category)))
}

/// Of each tool that the baseline knows, the share of its successful calls that returned nothing.
pub(super) fn empty_results(hour: &Hour<'_>, baseline: &Baseline) -> Vec<Count> {
    let (series, key) = ("tool_results", hour.key("tool_results"));
    let sides = hour.summary(series).zip(baseline.series.get(&key));
    let Some((window, before)) = sides else { return Vec::new() };
    let Some((after, before)) = counts(window).zip(counts(before)) else { return Vec::new() };
    let (after_shares, before) = (by_category(after), by_category(before));
    let tools: BTreeSet<&str> = after_shares.keys().filter_map(|name| tool_of(name)).collect();
    let of_tool = |tool: &str| {
        let (empty, all) = of_tool(&after_shares, tool);
        let (empty_before, all_before) = of_tool(&before, tool);
        let share = Share {
            measure: format!("share of successful calls of {tool} that return nothing"),
            before: empty_before / all_before,
            current: empty / all,
            events: all * after.events,
            category: format!("{tool}{EMPTY_RESULT}"),
        };
        let key = SeriesKey { segment: format!("tool={tool}"), ..key.clone() };
        let trace_ids = traces_of(window, &format!("{tool}{EMPTY_RESULT}"));
        (all_before > 0.0).then(|| share.count(key, window.traces, trace_ids))
    };
    tools.into_iter().filter_map(of_tool).collect()
}

fn tool_of(category: &str) -> Option<&str> {
    category.strip_suffix(EMPTY_RESULT).or_else(|| category.strip_suffix(FILLED_RESULT))
}

/// Share of all calls that are empty ones of a tool, and that are any of it.
fn of_tool(shares: &BTreeMap<String, f64>, tool: &str) -> (f64, f64) {
    let share = |end: &str| shares.get(&format!("{tool}{end}")).copied().unwrap_or(0.0);
    let empty = share(EMPTY_RESULT);
    (empty, empty + share(FILLED_RESULT))
}

/// Of each evaluator, the share of runs that lack what it needs among those that it scored or could not.
pub(super) fn not_evaluable(hour: &Hour<'_>, baseline: &Baseline) -> Vec<Count> {
    let of_evaluator = |evaluator: &str| {
        let (now, before) =
            (Judged::by(evaluator, hour.service, hour.window), Judged::by(evaluator, hour.service, baseline));
        let share = Share {
            measure: format!("share of runs that {evaluator} cannot judge"),
            before: before.lacking_share()?,
            current: now.lacking_share()?,
            events: now.runs,
            category: evaluator.to_owned(),
        };
        let trace_ids = hour.summary(NOT_EVALUABLE).map(|summary| traces_of(summary, evaluator));
        let key = SeriesKey { segment: format!("evaluator={evaluator}"), ..hour.key(NOT_EVALUABLE) };
        Some(share.count(key, hour.window.traces, trace_ids.unwrap_or_default()))
    };
    evaluators(hour).iter().filter_map(|evaluator| of_evaluator(evaluator)).collect()
}

/// The evaluators that scored a run of the hour, or could not.
fn evaluators(hour: &Hour<'_>) -> BTreeSet<String> {
    let of_service = hour.window.series.iter().filter(|(key, _)| key.service == hour.service && key.segment == ALL);
    let scoring = of_service.filter(|(_, summary)| summary.revision.is_some()).map(|(key, _)| key.series.clone());
    let lacking = hour.summary(NOT_EVALUABLE).and_then(counts).map(by_category).unwrap_or_default();
    scoring.chain(lacking.into_keys()).collect()
}

/// What an evaluator made of the runs of one side.
struct Judged {
    /// Weight of the runs that it scored, and that it could not.
    weights: (f64, f64),
    /// How many runs that are.
    runs: f64,
}

impl Judged {
    fn by(evaluator: &str, service: &str, side: &Baseline) -> Self {
        let key = |series: &str| SeriesKey {
            service: service.to_owned(),
            series: series.to_owned(),
            segment: ALL.to_owned(),
        };
        let scored = side.series.get(&key(evaluator)).and_then(SeriesSummary::moments).copied().unwrap_or_default();
        let counts = side.series.get(&key(NOT_EVALUABLE)).and_then(counts);
        let share = |counts: &SessionCounts| counts.share_of(&(String::new(), evaluator.to_owned()));
        let lacking = counts.and_then(|counts| Some((counts, share(counts)?.0)));
        let (weight, runs) = lacking.map_or((0.0, 0.0), |(of, share)| (of.weight * share, of.events * share));
        Self { weights: (scored.weight, weight), runs: scored.count as f64 + runs }
    }

    /// Share of the runs that it could not score; `None` when it met none.
    fn lacking_share(&self) -> Option<f64> {
        let (scored, lacking) = self.weights;
        (scored + lacking > 0.0).then(|| lacking / (scored + lacking))
    }
}

fn counts(summary: &SeriesSummary) -> Option<&SessionCounts> {
    match &summary.distribution {
        Distribution::Categorical { counts, .. } => Some(counts),
        _ => None,
    }
}

fn by_category(counts: &SessionCounts) -> BTreeMap<String, f64> {
    counts.shares().map(|((_, category), share)| (category, share)).collect()
}

fn traces_of(summary: &SeriesSummary, category: &str) -> Vec<TraceId> {
    let Distribution::Categorical { traces_by_cell, .. } = &summary.distribution else { return Vec::new() };
    let cell = traces_by_cell.iter().find(|((_, name), _)| name == category);
    cell.map(|(_, traces)| traces.clone()).unwrap_or_default()
}

/// Series of the baseline, and whether the hour is too long for them to be silent by chance.
pub(super) fn silent(hour: &Hour<'_>, baseline: &Baseline) -> Vec<Count> {
    let of_service = baseline.series.iter().filter(|(key, _)| key.service == hour.service && key.segment == ALL);
    let most = of_service.clone().map(|(_, summary)| summary.traces).max().unwrap_or(0);
    let count = |(key, before): (&SeriesKey, &SeriesSummary)| {
        let rate = before.traces as f64 / most as f64;
        let values = hour.window.series.get(key).map_or(0, |summary| summary.traces);
        let chance = (1.0 - rate).max(1e-12).powf(hour.window.traces as f64);
        Count {
            key: key.clone(),
            severity: (values == 0 && chance < LEVEL).then_some(Severity::Warn),
            measure: "share of traces with a value".to_owned(),
            baseline: Some(rate),
            current: values as f64 / hour.window.traces.max(1) as f64,
            traces: hour.window.traces,
            p_value: Some(chance),
            trace_ids: Vec::new(),
            affects: Affects::Nothing,
        }
    };
    // Traces say nothing of a series that only some of them can have, so an hour is judged by what most of it gave.
    let counts = of_service.filter(|(key, _)| key.series != NOT_EVALUABLE).map(count);
    counts.filter(|count| count.severity.is_some() || count.current > 0.0).collect()
}
