//! Rules that need no baseline: errors, objectives, money, tokens and silence.

use super::super::detect::Direction;
use super::super::key::SeriesKey;
use super::super::score::furthest;
use super::super::summary::{Distribution, SeriesSummary};
use super::objective::Objective;
use super::pace::Fastest;
use super::{Count, Hour, Memory};
use crate::domain::alert::Severity;
use crate::domain::explanation::Affects;
use crate::domain::ids::TraceId;
use crate::domain::time::Timestamp;
use crate::stats::poisson::silence_probability;
use crate::stats::projection::Spending;
use crate::stats::service_level::{Outcomes, Urgency, burn_rate, urgency};

/// Share of runs that may end in an error.
const ERROR_LIMIT: f64 = 0.05;
/// Hours over which a slow burn warns; a fast one pages for its last hour alone (SRE workbook, chapter 5).
const LONG_WINDOW: usize = 6;
/// A warning of a burn must be no accident of a service on target.
const BURN_LEVEL: f64 = 0.01;
/// Part of a day's money whose projection warns.
const WARNING_PART: f64 = 0.8;
/// Chance of spending all of a day's money that pages.
const PAGING_CHANCE: f64 = 0.9;
/// Hours of a day before its spending is projected.
const LEAST_HOURS_OF_DAY: usize = 3;
const HOURS_PER_DAY: i64 = 24;
/// Hours that are remembered: a week, and the day that it is compared with.
const REMEMBERED_HOURS: usize = 8 * 24;
/// Traces that each comparable hour must have had for an hour without any to be news.
const BUSY: u64 = 20;
/// Fewest hours that silence is compared with.
const LEAST_COMPARABLE: usize = 3;
const ANY_SERVICE: &str = "*";

impl Memory {
    /// Remembers an hour that was not read before.
    pub(super) fn remember(&mut self, hour: &Hour<'_>) {
        let cost = hour.summary("cost_usd").and_then(SeriesSummary::moments);
        let cost = cost.map_or(0.0, |moments| moments.weight * moments.mean);
        self.hours.push_back((hour.at, hour.window.traces, cost));
        self.hours.drain(..self.hours.len().saturating_sub(REMEMBERED_HOURS));
        self.observed = Some(hour.at);
    }
}

pub(super) fn error_rate(_: &mut Memory, hour: &Hour<'_>) -> Vec<Count> {
    let errors = Objective::of_errors();
    let count = |summary: &SeriesSummary| {
        let outcomes = errors.outcomes(summary)?;
        Some(Count {
            key: hour.key(errors.series()),
            severity: outcomes.fails_more_than(ERROR_LIMIT).then_some(Severity::Warn),
            measure: format!("share of runs that end in an error, where {ERROR_LIMIT} may"),
            baseline: None,
            current: outcomes.bad_share(),
            traces: outcomes.total,
            p_value: Some(outcomes.p_value(ERROR_LIMIT)),
            trace_ids: errors.bad_runs(summary),
            affects: errors.affects(),
        })
    };
    hour.summary(errors.series()).and_then(count).into_iter().collect()
}

pub(super) fn burn_rates(memory: &mut Memory, hour: &Hour<'_>) -> Vec<Count> {
    memory.keep_counts_of(&hour.policy.objectives);
    let objectives = Objective::of_service(&hour.policy.objectives, hour.service);
    objectives.filter_map(|objective| burn(memory, hour, objective)).collect()
}

fn burn(memory: &mut Memory, hour: &Hour<'_>, objective: &Objective) -> Option<Count> {
    let summary = hour.summary(objective.series())?;
    let last = objective.outcomes(summary)?;
    memory.count(objective, hour.at, last);
    let hours = memory.burns.entry(objective.identity()).or_default();
    hours.push_back((last.bad, last.total));
    hours.drain(..hours.len().saturating_sub(LONG_WINDOW));
    let add = |sum: Outcomes, (bad, total): &(u64, u64)| Outcomes { bad: sum.bad + bad, total: sum.total + total };
    let long = hours.iter().fold(Outcomes::default(), add);
    let p_value = long.p_value(1.0 - objective.share());
    Some(Count {
        key: hour.key(objective.series()),
        severity: burn_severity(long, last, objective.share(), p_value),
        measure: format!("{} over {} hours with traffic", objective.measure(), hours.len()),
        baseline: None,
        current: burn_rate(long, objective.share()),
        traces: long.total,
        p_value: Some(p_value),
        trace_ids: objective.bad_runs(summary),
        affects: objective.affects(),
    })
}

fn burn_severity(long: Outcomes, last: Outcomes, objective: f64, p_value: f64) -> Option<Severity> {
    match urgency(last, last, objective).max(urgency(long, last, objective)) {
        Urgency::Page => Some(Severity::Page),
        // Four bad runs of a healthy thousand are a burn rate of 2 in a thin hour.
        Urgency::Warn if urgency(long, last, objective) >= Urgency::Warn && p_value < BURN_LEVEL => {
            Some(Severity::Warn)
        }
        Urgency::Warn | Urgency::None => None,
    }
}

pub(super) fn daily_cost(memory: &mut Memory, hour: &Hour<'_>) -> Vec<Count> {
    let limits = &hour.policy.daily_cost_usd;
    let limit = limits.get(hour.service).or_else(|| limits.get(ANY_SERVICE)).filter(|limit| limit.is_finite());
    limit.map(|limit| projected_cost(memory, hour, *limit)).into_iter().collect()
}

fn projected_cost(memory: &Memory, hour: &Hour<'_>, limit: f64) -> Count {
    let is_today = |at: Timestamp| day_of(at) == day_of(hour.at);
    let today: Vec<(Timestamp, f64)> =
        memory.hours.iter().filter(|(at, ..)| is_today(*at)).map(|(at, _, cost)| (*at, *cost)).collect();
    let spending = spending(&today, hour.at);
    let is_known = today.len() >= LEAST_HOURS_OF_DAY || spending.spent >= WARNING_PART * limit;
    let chance = spending.chance_of_reaching(limit);
    let severity = match () {
        () if !is_known => None,
        () if chance >= PAGING_CHANCE => Some(Severity::Page),
        () if spending.chance_of_reaching(WARNING_PART * limit) >= 0.5 => Some(Severity::Warn),
        () => None,
    };
    Count {
        key: hour.key("daily_cost_usd"),
        severity,
        measure: format!(
            "projected cost of the day, where {limit} US dollars may be spent and {:.2} are,",
            spending.spent
        ),
        baseline: None,
        current: spending.projected(),
        traces: hour.window.traces,
        p_value: None,
        trace_ids: dearest(hour),
        affects: Affects::Nothing,
    }
}

/// The day's spending so far: each hour to come costs what those since its first cost on average.
fn spending(today: &[(Timestamp, f64)], now: Timestamp) -> Spending {
    let spent: f64 = today.iter().map(|(_, cost)| cost).sum();
    let first = today.first().map_or(now, |(at, _)| *at);
    let elapsed = hour_number(now) - hour_number(first) + 1;
    let left = HOURS_PER_DAY - 1 - hour_number(now).rem_euclid(HOURS_PER_DAY);
    let mean = spent / elapsed as f64;
    // Hours without traces have cost nothing, and vary as the others do.
    let empty = (elapsed - today.len() as i64) as f64;
    let squares = today.iter().map(|(_, cost)| (cost - mean).powi(2)).sum::<f64>() + empty * mean * mean;
    let variance = squares / (elapsed as f64 - 1.0).max(1.0);
    Spending { spent, elapsed: elapsed as f64, period: (elapsed + left) as f64, variance }
}

const fn hour_number(at: Timestamp) -> i64 {
    at.0.div_euclid(Timestamp::NANOS_PER_HOUR)
}

const fn day_of(at: Timestamp) -> i64 {
    hour_number(at).div_euclid(HOURS_PER_DAY)
}

fn dearest(hour: &Hour<'_>) -> Vec<TraceId> {
    match hour.summary("cost_usd").map(|summary| &summary.distribution) {
        Some(Distribution::Number { extremes, .. }) => furthest(extremes, Direction::Up),
        _ => Vec::new(),
    }
}

pub(super) fn tokens_per_second(_: &mut Memory, hour: &Hour<'_>) -> Vec<Count> {
    let limit = hour.policy.tokens_per_second;
    let count = |fastest: Fastest| Count {
        key: SeriesKey { segment: fastest.segment, ..hour.key("tokens_per_second") },
        severity: (fastest.tokens_per_second > limit).then_some(Severity::Warn),
        measure: format!("tokens a second over five minutes, where {limit} may be,"),
        baseline: None,
        current: fastest.tokens_per_second,
        traces: fastest.runs,
        p_value: None,
        trace_ids: fastest.trace_ids,
        affects: Affects::Nothing,
    };
    hour.pace.fastest().map(count).collect()
}

pub(super) fn quiet(memory: &mut Memory, hour: &Hour<'_>) -> Vec<Count> {
    let (silence, traces) = (hour.window.traces == 0, hour.window.traces);
    let least = if silence { least_traces_at_this_time(memory, hour.at) } else { None };
    let count = Count {
        key: hour.key("traces"),
        severity: least.filter(|least| *least >= BUSY).map(|_| Severity::Warn),
        measure: "traces of the hour".to_owned(),
        baseline: least.map(|least| least as f64),
        current: traces as f64,
        traces,
        p_value: least.map(|least| silence_probability(1.0, least, 1.0)),
        trace_ids: Vec::new(),
        affects: Affects::Nothing,
    };
    // An hour of silence that is no news neither raises nor ends anything.
    if silence && count.severity.is_none() { Vec::new() } else { vec![count] }
}

/// Fewest traces of the hours that an hour is comparable with: the same hour of the day and its neighbours, on the days
/// before; `None` while they are too few.
fn least_traces_at_this_time(memory: &Memory, at: Timestamp) -> Option<u64> {
    let is_near = |other: Timestamp| {
        let apart = (hour_number(at) - hour_number(other)).rem_euclid(HOURS_PER_DAY);
        apart.min(HOURS_PER_DAY - apart) <= 1
    };
    let is_of_another_day = |other: Timestamp| hour_number(at) - hour_number(other) >= HOURS_PER_DAY - 1;
    let comparable = memory.hours.iter().filter(|(other, ..)| is_of_another_day(*other) && is_near(*other));
    let traces: Vec<u64> = comparable.map(|(_, traces, _)| *traces).collect();
    traces.iter().min().copied().filter(|_| traces.len() >= LEAST_COMPARABLE)
}
