//! A series of categories or tool sequences while its traces are read.

use std::collections::BTreeMap;

use super::dispersion::{LEAST_CLUSTERS, OverDispersion};
use super::summary::{Distribution, Observation, SeriesSummary, cell_counts, keep_trace};
use crate::domain::ids::TraceId;
use crate::domain::measurement::SeriesKind;
use crate::domain::time::Timestamp;
use crate::stats::session::{Cell, SessionCounts};

/// Closed conversations that wait to be summed up together, which costs less than one by one.
const WAITING: usize = 256;
/// Cells of which sums are kept by hour; the first ones seen, which are the frequent ones.
const CELLS_BY_HOUR: usize = 64;

/// Sums of a series of cells.
#[derive(Debug, Default)]
pub(super) struct CellSums {
    /// The open conversation: weighted counts of its cells, and events without weights.
    open: (BTreeMap<Cell, f64>, f64),
    waiting: Vec<(BTreeMap<Cell, f64>, f64)>,
    counts: SessionCounts,
    traces_by_cell: BTreeMap<Cell, Vec<TraceId>>,
    /// Index of a cell in the sums by hour.
    index: BTreeMap<Cell, usize>,
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
    pub(super) fn push(&mut self, one: &Observation<'_>) -> u64 {
        let cells = cell_counts(one.value);
        if cells.is_empty() {
            return 0;
        }
        let hour = self.hours.entry(one.ended_at.hour()).or_default();
        for (cell, count) in cells {
            keep_trace(&mut self.traces_by_cell, &cell, one.trace_id);
            hour.events += one.weight * count;
            let next = self.index.len();
            if next < CELLS_BY_HOUR || self.index.contains_key(&cell) {
                hour.add(*self.index.entry(cell.clone()).or_insert(next), one.weight * count);
            }
            self.open.1 += count;
            *self.open.0.entry(cell).or_default() += one.weight * count;
        }
        1
    }

    pub(super) fn close(&mut self) {
        let open = std::mem::take(&mut self.open);
        if !open.0.is_empty() {
            self.waiting.push(open);
        }
        if self.waiting.len() >= WAITING {
            self.sum_up();
        }
    }

    fn sum_up(&mut self) {
        let counts = SessionCounts::of_sessions(&std::mem::take(&mut self.waiting));
        self.counts = if self.counts.sessions == 0 { counts } else { self.counts.merge(&counts) };
    }

    pub(super) fn finish(mut self, kind: SeriesKind) -> SeriesSummary {
        self.sum_up();
        let over_dispersion = self.over_dispersion();
        let (counts, traces_by_cell) = (self.counts, self.traces_by_cell.into_iter().collect());
        let distribution = if kind == SeriesKind::Sequence {
            Distribution::Sequence { counts, traces_by_cell }
        } else {
            Distribution::Categorical { counts, traces_by_cell }
        };
        SeriesSummary::new(0, over_dispersion, distribution)
    }

    /// By how much hours vary more than their conversations explain: the variance of the cells' shares clustered by
    /// hour over that clustered by conversation, cells weighing 1/share as in Pearson's statistic.
    fn over_dispersion(&self) -> OverDispersion {
        let clusters = self.hours.len() as u64;
        if clusters < LEAST_CLUSTERS {
            return OverDispersion::UNKNOWN;
        }
        let correction = clusters as f64 / (clusters as f64 - 1.0);
        let (mut by_hour, mut by_conversation) = (0.0, 0.0);
        for (cell, index) in &self.index {
            let Some((share, error)) = self.counts.share_of(cell).filter(|(share, _)| *share > 0.0) else { continue };
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
