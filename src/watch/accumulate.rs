//! One series while its traces are read: conversation by conversation, in memory that does not grow with them.
//!
//! What is kept is sums: of conversations, of hours, and of the hours of the day. A conversation is one cluster from its
//! first value to [`Accumulator::close`]; where several traces share one, its mean is summarised as well, so that a
//! detector can bet on conversations, which are independent, and not on turns, which are not.
//!
//! A revision of an evaluator is a series of its own: when another begins to score, what was summed before is left out.

use std::collections::BTreeMap;

use super::accumulate_cells::CellSums;
use super::day::DayProfile;
use super::dispersion::OverDispersion;
use super::summary::{Distribution, EXTREMES, Extremes, Observation, SeriesSummary, is_usable, number};
use crate::domain::ids::TraceId;
use crate::domain::measurement::SeriesKind;
use crate::domain::time::Timestamp;
use crate::stats::histogram::{Histogram, Scale};
use crate::stats::moments::Moments;

/// A series while its traces are read; its kind and its revision are those of the first value that counts.
#[derive(Debug)]
pub(crate) struct Accumulator {
    kind: SeriesKind,
    has_day: bool,
    revision: Option<String>,
    newest: Timestamp,
    traces: u64,
    rejected: u64,
    upstream_unknown: u64,
    sums: Sums,
}

#[derive(Debug)]
enum Sums {
    Numbers(Box<NumberSums>),
    Cells(Box<CellSums>),
}

impl Accumulator {
    /// An empty one; `has_day` says whether hours of the day are kept apart.
    pub(crate) fn new(kind: SeriesKind, has_day: bool) -> Self {
        let sums = match kind {
            SeriesKind::Boolean | SeriesKind::Ordinal | SeriesKind::Numeric => {
                Sums::Numbers(Box::new(NumberSums::new(kind, has_day)))
            }
            SeriesKind::Categorical | SeriesKind::Sequence => Sums::Cells(Box::default()),
        };
        let newest = Timestamp::default();
        Self { kind, has_day, revision: None, newest, traces: 0, rejected: 0, upstream_unknown: 0, sums }
    }

    /// Adds one trace's value to the open conversation; a value that cannot be used is counted.
    pub(crate) fn push(&mut self, one: &Observation<'_>) {
        let is_of_another = self.traces > 0 && one.revision != self.revision.as_deref();
        if is_of_another && one.ended_at >= self.newest {
            *self = Self { rejected: self.rejected + self.traces, ..Self::new(one.kind, self.has_day) };
        } else if is_of_another || !is_usable(one, self.kind) {
            self.rejected += 1;
            return;
        }
        if self.traces == 0 {
            self.revision = one.revision.map(str::to_owned);
        }
        self.newest = self.newest.max(one.ended_at);
        self.upstream_unknown += u64::from(one.upstream_unknown);
        self.traces += match &mut self.sums {
            Sums::Numbers(numbers) => numbers.push(one),
            Sums::Cells(cells) => cells.push(one),
        };
    }

    /// Ends the open conversation.
    pub(crate) fn close(&mut self) {
        match &mut self.sums {
            Sums::Numbers(numbers) => numbers.close(),
            Sums::Cells(cells) => cells.close(),
        }
    }

    /// The summary of everything that was added and closed.
    pub(crate) fn finish(self) -> SeriesSummary {
        let Self { kind, revision, traces, rejected, upstream_unknown, sums, .. } = self;
        let summary = match sums {
            Sums::Numbers(numbers) => numbers.finish(),
            Sums::Cells(cells) => cells.finish(kind),
        };
        SeriesSummary { traces, rejected, upstream_unknown, revision, ..summary }
    }
}

/// Sums of a series of numbers.
#[derive(Debug)]
struct NumberSums {
    kind: SeriesKind,
    /// The open conversation: values, weights, and when its first trace ended.
    open: Vec<(f64, f64)>,
    opened_at: Timestamp,
    moments: Moments,
    histogram: Histogram,
    extremes: Extremes,
    hours: BTreeMap<Timestamp, Moments>,
    day: Option<DayProfile>,
    /// Means of conversations, as a series of their own; absent for magnitudes.
    conversations: Option<Box<NumberSums>>,
}

impl NumberSums {
    fn new(kind: SeriesKind, has_day: bool) -> Self {
        let has_means = matches!(kind, SeriesKind::Boolean | SeriesKind::Ordinal);
        let means = || Box::new(Self::plain(SeriesKind::Ordinal, has_day));
        Self { conversations: has_means.then(means), ..Self::plain(kind, has_day) }
    }

    fn plain(kind: SeriesKind, has_day: bool) -> Self {
        let scale = if kind == SeriesKind::Numeric { Scale::Magnitude } else { Scale::Unit };
        Self {
            kind,
            open: Vec::new(),
            opened_at: Timestamp::default(),
            moments: Moments::default(),
            histogram: Histogram::new(scale),
            extremes: Extremes::default(),
            hours: BTreeMap::new(),
            day: has_day.then(DayProfile::default),
            conversations: None,
        }
    }

    /// A boolean series counts a score of one half or more as true, as review does.
    fn push(&mut self, one: &Observation<'_>) -> u64 {
        let value = number(one.value).unwrap_or_default();
        let value = if self.kind == SeriesKind::Boolean { f64::from(u8::from(value >= 0.5)) } else { value };
        if self.open.is_empty() {
            self.opened_at = one.ended_at;
        }
        self.open.push((value, one.weight));
        self.add(value, one.weight, one.ended_at, one.trace_id);
        1
    }

    /// Adds a value to everything but the sums over conversations.
    fn add(&mut self, value: f64, weight: f64, at: Timestamp, trace_id: TraceId) {
        self.histogram.add(value, weight);
        self.extremes.add(value, trace_id);
        let one = Moments::of_cluster(&[(value, weight)]);
        let hour = self.hours.entry(at.hour()).or_default();
        *hour = hour.merge(&one);
        if let Some(day) = &mut self.day {
            day.add(at, value, weight, self.histogram.scale());
        }
    }

    fn close(&mut self) {
        if self.open.is_empty() {
            return;
        }
        self.moments = self.moments.merge(&Moments::of_cluster(&self.open));
        if let Some(conversations) = &mut self.conversations {
            let weight: f64 = self.open.iter().map(|(_, weight)| weight).sum();
            let mean = self.open.iter().map(|(value, weight)| value * weight).sum::<f64>() / weight;
            let weight = weight / self.open.len() as f64;
            conversations.moments = conversations.moments.merge(&Moments::of_cluster(&[(mean, weight)]));
            conversations.add_mean(mean.clamp(0.0, 1.0), weight, self.opened_at);
        }
        self.open.clear();
    }

    /// Adds a conversation's mean, which belongs to its first hour.
    fn add_mean(&mut self, mean: f64, weight: f64, at: Timestamp) {
        self.histogram.add(mean, weight);
        let hour = self.hours.entry(at.hour()).or_default();
        *hour = hour.merge(&Moments::of_cluster(&[(mean, weight)]));
        if let Some(day) = &mut self.day {
            day.add(at, mean, weight, Scale::Unit);
        }
    }

    fn finish(self) -> SeriesSummary {
        let Self { kind, moments, histogram, extremes, hours, day, conversations, .. } = self;
        let by_hour_of_day = day.unwrap_or_default().visible(&hours);
        let by_hour = by_hour_of_day.residual(&hours);
        let has_turns = moments.clusters < moments.count;
        let distribution = if kind == SeriesKind::Boolean {
            Distribution::Boolean { moments, extremes }
        } else {
            Distribution::Number { moments, histogram, extremes }
        };
        SeriesSummary {
            by_hour_of_day: by_hour_of_day.distributions(),
            conversations: conversations.filter(|_| has_turns).map(|means| Box::new(means.finish())),
            ..SeriesSummary::new(moments.count, OverDispersion::measured(&moments, &by_hour), distribution)
        }
    }
}

impl Extremes {
    /// Keeps the value if it is among the furthest; of equal ones, the smallest trace ids at the low end, the greatest
    /// at the high end.
    fn add(&mut self, value: f64, trace_id: TraceId) {
        let order = |a: &(f64, TraceId), b: &(f64, TraceId)| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1));
        let one = (value, trace_id);
        let insert = |end: &mut Vec<(f64, TraceId)>, at: usize| {
            if at < EXTREMES {
                end.insert(at, one);
                end.truncate(EXTREMES);
            }
        };
        let low = self.low.partition_point(|other| order(other, &one).is_lt());
        insert(&mut self.low, low);
        let high = self.high.partition_point(|other| order(other, &one).is_gt());
        insert(&mut self.high, high);
    }
}
