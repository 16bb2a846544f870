//! A series of categories or tool sequences while its traces are read.

use std::collections::BTreeMap;

use super::day::{HourOfDay, LEVEL, hour_of_day, is_cyclic};
use super::dispersion::{LEAST_CLUSTERS, OverDispersion};
use super::summary::{Distribution, Observation, SeriesSummary, cell_counts, keep_trace};
use crate::domain::ids::TraceId;
use crate::domain::measurement::{SeriesKind, Value};
use crate::domain::time::Timestamp;
use crate::stats::session::{Cell, OTHER, SessionCounts};

/// Closed conversations that wait to be summed up together, which costs less than one by one.
const WAITING: usize = 256;
/// Cells of which sums are kept by hour; the first ones seen, which are the frequent ones.
const CELLS_BY_HOUR: usize = 64;

/// Most cells of a series that is kept by hour of the day: its sums grow with their square.
const MOST_CELLS_BY_DAY: usize = 32;

/// Cells that get a number of their own; later ones count as OTHER, so a hostile vocabulary takes no more room.
const NUMBERED: usize = 16_384;

/// Numbers of cells: their names are compared once a value, and not once a segment that it belongs to.
#[derive(Debug, Default)]
pub(super) struct CellNumbers {
    numbers: BTreeMap<Cell, usize>,
    names: Vec<Cell>,
}

impl CellNumbers {
    /// How often each cell occurs in a value, by number.
    pub(super) fn counts(&mut self, value: &Value) -> Vec<(usize, f64)> {
        cell_counts(value).into_iter().map(|(cell, count)| (self.number(cell), count)).collect()
    }

    fn number(&mut self, cell: Cell) -> usize {
        if let Some(number) = self.numbers.get(&cell) {
            return *number;
        }
        let other = (OTHER.to_owned(), OTHER.to_owned());
        if self.names.len() >= NUMBERED && cell != other {
            return self.number(other);
        }
        let number = self.names.len();
        self.names.push(cell.clone());
        self.numbers.insert(cell, number);
        number
    }

    fn name(&self, number: usize) -> Cell {
        self.names.get(number).cloned().unwrap_or_default()
    }
}

/// A conversation: weighted counts of its cells, and events without weights.
type Conversation = (BTreeMap<usize, f64>, f64);

/// Sums of a series of cells, which go by their numbers.
#[derive(Debug, Default)]
pub(super) struct CellSums {
    has_day: bool,
    open: Conversation,
    /// The hour of the day in which the open conversation began; 0 where hours of the day are not kept apart.
    open_hour: u8,
    /// Closed conversations, by the hour of the day.
    parts: BTreeMap<u8, CellPart>,
    traces_by_cell: BTreeMap<usize, Vec<TraceId>>,
    /// Index of a cell in the sums by hour.
    index: BTreeMap<usize, usize>,
    hours: BTreeMap<Timestamp, HourOfCells>,
}

/// Closed conversations: those not summed up yet, and the sums of all others.
#[derive(Debug, Default)]
struct CellPart {
    waiting: Vec<Conversation>,
    counts: SessionCounts,
}

/// Weighted counts of one hour.
#[derive(Debug, Default)]
struct HourOfCells {
    events: f64,
    counts: Vec<f64>,
}

impl CellSums {
    /// Empty ones; `has_day` says whether hours of the day are kept apart.
    pub(super) fn new(has_day: bool) -> Self {
        Self { has_day, ..Self::default() }
    }

    /// How many traces with events were added.
    pub(super) fn push(&mut self, one: &Observation<'_>, cells: &[(usize, f64)]) -> u64 {
        if cells.is_empty() {
            return 0;
        }
        if self.has_day && self.open.0.is_empty() {
            self.open_hour = hour_of_day(one.ended_at);
        }
        let hour = self.hours.entry(one.ended_at.hour()).or_default();
        for (cell, count) in cells {
            keep_trace(&mut self.traces_by_cell, cell, one.trace_id);
            hour.events += one.weight * count;
            let next = self.index.len();
            if next < CELLS_BY_HOUR || self.index.contains_key(cell) {
                hour.add(*self.index.entry(*cell).or_insert(next), one.weight * count);
            }
            self.open.1 += count;
            *self.open.0.entry(*cell).or_default() += one.weight * count;
        }
        1
    }

    pub(super) fn close(&mut self, numbers: &CellNumbers) {
        let open = std::mem::take(&mut self.open);
        if !open.0.is_empty() {
            self.parts.entry(self.open_hour).or_default().add(open, numbers);
        }
    }

    pub(super) fn finish(mut self, kind: SeriesKind, numbers: &CellNumbers) -> SeriesSummary {
        self.parts.values_mut().for_each(|part| part.sum_up(numbers));
        let parts = std::mem::take(&mut self.parts);
        let whole = parts.values().map(|part| part.counts.clone()).reduce(|sum, part| sum.merge(&part));
        let counts = whole.unwrap_or_default();
        let (is_cyclic, is_small) = (self.is_cyclic(), counts.names().count() <= MOST_CELLS_BY_DAY);
        let day = if is_cyclic && is_small { parts } else { BTreeMap::new() };
        let over_dispersion = self.over_dispersion(&counts, &day, numbers);
        let named = self.traces_by_cell.into_iter().map(|(cell, traces)| (numbers.name(cell), traces));
        let traces_by_cell = named.collect::<BTreeMap<_, _>>().into_iter().collect();
        let distribution = if kind == SeriesKind::Sequence {
            Distribution::Sequence { counts, traces_by_cell }
        } else {
            Distribution::Categorical { counts, traces_by_cell }
        };
        let of_hour = |(hour, CellPart { counts, .. }): (u8, CellPart)| HourOfDay {
            hour,
            distribution: Distribution::Categorical { counts, traces_by_cell: Vec::new() },
        };
        let by_hour_of_day = day.into_iter().map(of_hour).collect();
        let compares_by_day = is_cyclic && !is_small;
        SeriesSummary { by_hour_of_day, compares_by_day, ..SeriesSummary::new(0, over_dispersion, distribution) }
    }

    /// Whether a day cycle is visible in the share of any cell.
    fn is_cyclic(&self) -> bool {
        let cells = self.index.len();
        let hours = || self.hours.iter().filter(|(_, hour)| hour.events > 0.0);
        let has_day = |cell: usize| {
            is_cyclic(hours().map(|(at, hour)| (*at, hour.count(cell) / hour.events)), LEVEL / cells as f64)
        };
        self.has_day && (0..cells).any(has_day)
    }

    /// By how much hours vary more than their conversations explain: the variance of the cells' shares clustered by
    /// hour over that clustered by conversation, cells weighing 1/share as in Pearson's statistic. Where the mix has a
    /// day, hours vary around their hour of it.
    fn over_dispersion(
        &self,
        counts: &SessionCounts,
        day: &BTreeMap<u8, CellPart>,
        numbers: &CellNumbers,
    ) -> OverDispersion {
        let clusters = self.hours.len() as u64;
        if clusters < LEAST_CLUSTERS {
            return OverDispersion::UNKNOWN;
        }
        let correction = clusters as f64 / (clusters as f64 - 1.0);
        let (mut by_hour, mut by_conversation) = (0.0, 0.0);
        for (cell, index) in &self.index {
            let name = numbers.name(*cell);
            let found = counts.share_of(&name).filter(|(share, _)| *share > 0.0);
            let Some((share, error)) = found else { continue };
            let of_day: BTreeMap<u8, f64> =
                day.iter().filter_map(|(hour, part)| Some((*hour, part.counts.share_of(&name)?.0))).collect();
            let residual = |(at, hour): (&Timestamp, &HourOfCells)| {
                let expected = of_day.get(&hour_of_day(*at)).copied().unwrap_or(share);
                hour.count(*index) - expected * hour.events
            };
            by_hour += self.hours.iter().map(|hour| residual(hour).powi(2)).sum::<f64>() * correction / share;
            by_conversation += (error * counts.weight).powi(2) / share;
        }
        let factor = by_hour / by_conversation;
        OverDispersion { factor: if factor.is_finite() { factor } else { 1.0 }, clusters, cluster_size: 0.0 }
    }
}

impl CellPart {
    fn add(&mut self, conversation: Conversation, numbers: &CellNumbers) {
        self.waiting.push(conversation);
        if self.waiting.len() >= WAITING {
            self.sum_up(numbers);
        }
    }

    fn sum_up(&mut self, numbers: &CellNumbers) {
        let counts = SessionCounts::of_named(&std::mem::take(&mut self.waiting), |cell| numbers.name(*cell));
        self.counts = if self.counts.sessions == 0 { counts } else { self.counts.merge(&counts) };
    }
}

impl HourOfCells {
    fn add(&mut self, index: usize, count: f64) {
        if self.counts.len() <= index {
            self.counts.resize(index + 1, 0.0);
        }
        self.counts[index] += count;
    }

    fn count(&self, index: usize) -> f64 {
        self.counts.get(index).copied().unwrap_or(0.0)
    }
}
