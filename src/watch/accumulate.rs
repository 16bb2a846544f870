//! One series while its traces are read: conversation by conversation, in memory that does not grow with them.
//!
//! What is kept is sums: of conversations, of hours, and of the hours of the day. A conversation is one cluster from its
//! first value to [`Accumulator::close`]; where several traces share one, its mean is summarised as well, so that a
//! detector can bet on conversations, which are independent, and not on turns, which are not.
//!
//! A revision of an evaluator is a series of its own: when another begins to score, what was summed before is left out.

use std::collections::BTreeMap;

use super::accumulate_cells::{CellNumbers, CellSums};
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
pub(super) struct Accumulator {
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
    pub(super) fn new(kind: SeriesKind, has_day: bool) -> Self {
        let sums = match kind {
            SeriesKind::Boolean | SeriesKind::Ordinal | SeriesKind::Numeric => {
                Sums::Numbers(Box::new(NumberSums::new(kind, has_day)))
            }
            SeriesKind::Categorical | SeriesKind::Sequence => Sums::Cells(Box::new(CellSums::new(has_day))),
        };
        let newest = Timestamp::default();
        Self { kind, has_day, revision: None, newest, traces: 0, rejected: 0, upstream_unknown: 0, sums }
    }

    /// Adds one trace's value, with the counts of its cells, to the open conversation; a value that cannot be used is
    /// counted.
    pub(super) fn push(&mut self, one: &Observation<'_>, cells: &[(usize, f64)]) {
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
            Sums::Cells(sums) => sums.push(one, cells),
        };
    }

    /// Ends the open conversation.
    pub(super) fn close(&mut self, numbers: &CellNumbers) {
        match &mut self.sums {
            Sums::Numbers(sums) => sums.close(),
            Sums::Cells(sums) => sums.close(numbers),
        }
    }

    /// The summary of everything that was added and closed.
    pub(super) fn finish(self, numbers: &CellNumbers) -> SeriesSummary {
        let Self { kind, revision, traces, rejected, upstream_unknown, sums, .. } = self;
        let summary = match sums {
            Sums::Numbers(sums) => sums.finish(),
            Sums::Cells(sums) => sums.finish(kind, numbers),
        };
        SeriesSummary { traces, rejected, upstream_unknown, revision, ..summary }
    }
}

/// Sums of a series of numbers.
#[derive(Debug)]
struct NumberSums {
    kind: SeriesKind,
    open: Vec<Scored>,
    moments: Moments,
    histogram: Histogram,
    extremes: Extremes,
    hours: BTreeMap<Timestamp, Moments>,
    day: Option<DayProfile>,
    /// Means of conversations, as a series of their own; absent for magnitudes, and until a conversation has several
    /// values: so far their means were the values.
    conversations: Option<Box<NumberSums>>,
}

/// One value of the open conversation.
#[derive(Debug, Clone, Copy)]
struct Scored {
    value: f64,
    weight: f64,
    at: Timestamp,
    trace_id: TraceId,
}

impl NumberSums {
    fn new(kind: SeriesKind, has_day: bool) -> Self {
        let scale = if kind == SeriesKind::Numeric { Scale::Magnitude } else { Scale::Unit };
        Self {
            kind,
            open: Vec::new(),
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
        self.open.push(Scored { value, weight: one.weight, at: one.ended_at, trace_id: one.trace_id });
        1
    }

    fn close(&mut self) {
        let open = std::mem::take(&mut self.open);
        let Some(first) = open.first() else { return };
        if self.kind != SeriesKind::Numeric && (open.len() > 1 || self.conversations.is_some()) {
            let kept = self.conversations.take();
            let mut conversations = if let Some(kept) = kept { kept } else { Box::new(self.as_conversations()) };
            conversations.add_mean(&open, first.at);
            self.conversations = Some(conversations);
        }
        for one in &open {
            self.add(one.value, one.weight, one.at);
            self.extremes.add(one.value, one.trace_id);
        }
        let cluster: Vec<(f64, f64)> = open.iter().map(|one| (one.value, one.weight)).collect();
        self.moments = self.moments.merge(&Moments::of_cluster(&cluster));
        // The next conversation takes the same room.
        self.open = open;
        self.open.clear();
    }

    /// Means of conversations that had one value each.
    fn as_conversations(&self) -> Self {
        Self {
            moments: self.moments,
            histogram: self.histogram.clone(),
            hours: self.hours.clone(),
            day: self.day.clone(),
            ..Self::new(SeriesKind::Ordinal, false)
        }
    }

    /// Adds a conversation's mean, which belongs to its first hour and weighs what its values weigh on average.
    fn add_mean(&mut self, values: &[Scored], at: Timestamp) {
        let weight: f64 = values.iter().map(|one| one.weight).sum();
        let mean = values.iter().map(|one| one.value * one.weight).sum::<f64>() / weight;
        let weight = weight / values.len() as f64;
        self.moments = self.moments.merge(&Moments::of_cluster(&[(mean, weight)]));
        self.add(mean.clamp(0.0, 1.0), weight, at);
    }

    /// Adds a value to the sums that know nothing of conversations.
    fn add(&mut self, value: f64, weight: f64, at: Timestamp) {
        self.histogram.add(value, weight);
        let hour = self.hours.entry(at.hour()).or_default();
        *hour = hour.merge(&Moments::of_cluster(&[(value, weight)]));
        if let Some(day) = &mut self.day {
            day.add(at, value, weight, self.histogram.scale());
        }
    }

    fn finish(self) -> SeriesSummary {
        let Self { kind, moments, histogram, extremes, hours, day, conversations, .. } = self;
        let by_hour_of_day = day.unwrap_or_default().visible(&hours);
        let by_hour = by_hour_of_day.residual(&hours);
        let distribution = if kind == SeriesKind::Boolean {
            Distribution::Boolean { moments, extremes }
        } else {
            Distribution::Number { moments, histogram, extremes }
        };
        SeriesSummary {
            by_hour_of_day: by_hour_of_day.distributions(),
            conversations: conversations.map(|means| Box::new(means.finish())),
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
