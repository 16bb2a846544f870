//! A series of categories or tool sequences while its traces are read.

use std::collections::BTreeMap;

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

/// Sums of a series of cells, which go by their numbers.
#[derive(Debug, Default)]
pub(super) struct CellSums {
    /// The open conversation: weighted counts of its cells, and events without weights.
    open: (BTreeMap<usize, f64>, f64),
    waiting: Vec<(BTreeMap<usize, f64>, f64)>,
    counts: SessionCounts,
    traces_by_cell: BTreeMap<usize, Vec<TraceId>>,
    /// Index of a cell in the sums by hour.
    index: BTreeMap<usize, usize>,
    hours: BTreeMap<Timestamp, HourOfCells>,
}

/// Weighted counts of one hour.
#[derive(Debug, Default)]
struct HourOfCells {
    events: f64,
    counts: Vec<f64>,
}

impl CellSums {
    /// How many traces with events were added.
    pub(super) fn push(&mut self, one: &Observation<'_>, cells: &[(usize, f64)]) -> u64 {
        if cells.is_empty() {
            return 0;
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
            self.waiting.push(open);
        }
        if self.waiting.len() >= WAITING {
            self.sum_up(numbers);
        }
    }

    fn sum_up(&mut self, numbers: &CellNumbers) {
        let counts = SessionCounts::of_named(&std::mem::take(&mut self.waiting), |cell| numbers.name(*cell));
        self.counts = if self.counts.sessions == 0 { counts } else { self.counts.merge(&counts) };
    }

    pub(super) fn finish(mut self, kind: SeriesKind, numbers: &CellNumbers) -> SeriesSummary {
        self.sum_up(numbers);
        let over_dispersion = self.over_dispersion(numbers);
        let named = self.traces_by_cell.into_iter().map(|(cell, traces)| (numbers.name(cell), traces));
        let traces_by_cell = named.collect::<BTreeMap<_, _>>().into_iter().collect();
        let counts = self.counts;
        let distribution = if kind == SeriesKind::Sequence {
            Distribution::Sequence { counts, traces_by_cell }
        } else {
            Distribution::Categorical { counts, traces_by_cell }
        };
        SeriesSummary::new(0, over_dispersion, distribution)
    }

    /// By how much hours vary more than their conversations explain: the variance of the cells' shares clustered by
    /// hour over that clustered by conversation, cells weighing 1/share as in Pearson's statistic.
    fn over_dispersion(&self, numbers: &CellNumbers) -> OverDispersion {
        let clusters = self.hours.len() as u64;
        if clusters < LEAST_CLUSTERS {
            return OverDispersion::UNKNOWN;
        }
        let correction = clusters as f64 / (clusters as f64 - 1.0);
        let (mut by_hour, mut by_conversation) = (0.0, 0.0);
        for (cell, index) in &self.index {
            let found = self.counts.share_of(&numbers.name(*cell)).filter(|(share, _)| *share > 0.0);
            let Some((share, error)) = found else { continue };
            let residual = |hour: &HourOfCells| hour.count(*index) - share * hour.events;
            by_hour += self.hours.values().map(|hour| residual(hour).powi(2)).sum::<f64>() * correction / share;
            by_conversation += (error * self.counts.weight).powi(2) / share;
        }
        let factor = by_hour / by_conversation;
        OverDispersion { factor: if factor.is_finite() { factor } else { 1.0 }, clusters, cluster_size: 0.0 }
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
