//! What is kept of sessions, so that shares of transitions and categories can be compared without the traces.
//!
//! Each session yields a vector of counts over cells; first and second moments of these vectors are enough for every
//! test in [`super::sequence`], and merge by addition.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// Marks the beginning of a sequence.
pub const START: &str = "START";
/// Marks the end of a sequence.
pub const END: &str = "END";
/// Stands for cells beyond the limit, and for cells too rare to test alone.
pub const OTHER: &str = "OTHER";
/// Most cells kept apart; the rarest beyond it are pooled, so a hostile vocabulary cannot grow a summary.
pub const CELL_LIMIT: usize = 128;

/// A transition (from, to); a category is a cell whose `from` is empty.
pub type Cell = (String, String);

/// Mergeable moments of session count vectors.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SessionCounts {
    /// Sessions with at least one event.
    pub sessions: u64,
    /// Events, unweighted.
    pub events: f64,
    /// N: weighted events.
    pub weight: f64,
    /// Least and greatest weight per event of a session; both 0 without sessions.
    event_weights: (f64, f64),
    /// Σ over sessions of their squared weighted events.
    weight_squared: f64,
    /// Cells in order of name.
    cells: Vec<CellMoments>,
    /// Q: Σ over sessions of products of two cells' weighted counts, upper triangle by index into `cells`.
    products: Vec<(usize, usize, f64)>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct CellMoments {
    from: String,
    to: String,
    /// C: weighted count.
    count: f64,
    /// R: Σ over sessions of the cell's weighted count times the session's weighted events.
    cross: f64,
    /// Sessions in which the cell occurs.
    sessions: u64,
}

/// Counts the transitions of one sequence, from START to END.
#[must_use]
pub fn transitions(names: &[String]) -> BTreeMap<Cell, f64> {
    let padded: Vec<&str> =
        std::iter::once(START).chain(names.iter().map(String::as_str)).chain(std::iter::once(END)).collect();
    let mut counts = BTreeMap::new();
    for pair in padded.windows(2) {
        *counts.entry((pair[0].to_owned(), pair[1].to_owned())).or_default() += 1.0;
    }
    counts
}

impl SessionCounts {
    /// The moments of sessions, each the weighted counts of its cells and its unweighted number of events.
    #[must_use]
    pub fn of_sessions(sessions: &[(BTreeMap<Cell, f64>, f64)]) -> Self {
        Self::of_named(sessions, Cell::clone)
    }

    /// The same of cells that have another key, which is cheaper to compare, and each a name of its own.
    pub(crate) fn of_named<K: Ord>(sessions: &[(BTreeMap<K, f64>, f64)], name: impl Fn(&K) -> Cell) -> Self {
        let mut totals: BTreeMap<&K, f64> = BTreeMap::new();
        for (cell, count) in sessions.iter().flat_map(|(counts, _)| counts) {
            *totals.entry(cell).or_default() += count;
        }
        let names = keep_most_frequent(totals.iter().map(|(cell, count)| (name(cell), *count)).collect());
        let mut dense = Dense::zero(names.len());
        let (mut events, mut event_weights) = (0.0, None);
        let other = names.binary_search(&other_cell()).ok();
        let place = |cell| (cell, names.binary_search(&name(cell)).ok().or(other));
        let places: BTreeMap<&K, Option<usize>> = totals.into_keys().map(place).collect();
        for (counts, size) in sessions.iter().filter(|(counts, _)| !counts.is_empty()) {
            let mut vector: BTreeMap<usize, f64> = BTreeMap::new();
            for (cell, count) in counts {
                if let Some(at) = places.get(cell).copied().flatten() {
                    *vector.entry(at).or_default() += count;
                }
            }
            let weight = vector.values().sum::<f64>() / size;
            event_weights = Some(widened(event_weights, (weight, weight)));
            dense.add_session(&vector);
            events += size;
        }
        dense.into_counts(&names, events, event_weights.unwrap_or_default())
    }

    /// Both parts together; a session split over them counts as two.
    #[must_use]
    pub fn merge(&self, other: &Self) -> Self {
        let mut totals: BTreeMap<Cell, f64> = BTreeMap::new();
        for cell in self.cells.iter().chain(&other.cells) {
            *totals.entry(cell.name()).or_default() += cell.count;
        }
        let names = keep_most_frequent(totals);
        let dense = Dense::of(self, &names).plus(&Dense::of(other, &names));
        let side = |side: &Self| Some(side.event_weights).filter(|_| side.sessions > 0);
        let event_weights = side(other).map_or(self.event_weights, |range| widened(side(self), range));
        dense.into_counts(&names, self.events + other.events, event_weights)
    }

    /// Each cell's share of all events, in order of name.
    pub fn shares(&self) -> impl Iterator<Item = (Cell, f64)> {
        self.cells.iter().map(|cell| (cell.name(), cell.count / self.weight))
    }

    /// The most frequent cell.
    #[must_use]
    pub fn largest_cell(&self) -> Option<Cell> {
        self.cells.iter().max_by(|a, b| a.count.total_cmp(&b.count)).map(CellMoments::name)
    }

    /// A cell's share and the share's standard error, linearised over sessions; `None` without events.
    #[must_use]
    pub fn share_of(&self, name: &Cell) -> Option<(f64, f64)> {
        if self.weight <= 0.0 {
            return None;
        }
        let Some(cell) = self.cell(name) else { return Some((0.0, 0.0)) };
        let index = self.cells.iter().position(|other| std::ptr::eq(other, cell))?;
        let share = cell.count / self.weight;
        let square = self.products.iter().find(|(i, j, _)| (*i, *j) == (index, index)).map_or(0.0, |(_, _, q)| *q);
        let residual = square - 2.0 * share * cell.cross + share * share * self.weight_squared;
        let sessions = self.sessions as f64;
        let correction = sessions / (sessions - 1.0).max(1.0);
        Some((share, (residual.max(0.0) * correction).sqrt() / self.weight))
    }

    /// Whether every session's events weigh the same, so that sessions may be counted.
    pub(super) fn is_evenly_weighted(&self) -> bool {
        self.event_weights.1 <= self.event_weights.0 * (1.0 + 1e-9)
    }

    /// The names of the cells, in order.
    pub(crate) fn names(&self) -> impl Iterator<Item = Cell> {
        self.cells.iter().map(CellMoments::name)
    }

    /// Weighted count of a cell.
    pub(super) fn count_of(&self, name: &Cell) -> f64 {
        self.cell(name).map_or(0.0, |cell| cell.count)
    }

    /// Sessions in which a cell occurs.
    pub(super) fn sessions_with(&self, name: &Cell) -> u64 {
        self.cell(name).map_or(0, |cell| cell.sessions)
    }

    /// Whether a cell that does not occur here may have been pooled away.
    pub(super) fn may_hide(&self, name: &Cell) -> bool {
        self.cell(&other_cell()).is_some() && self.cell(name).is_none()
    }

    fn cell(&self, name: &Cell) -> Option<&CellMoments> {
        let order =
            |cell: &CellMoments| (cell.from.as_str(), cell.to.as_str()).cmp(&(name.0.as_str(), name.1.as_str()));
        self.cells.binary_search_by(order).ok().map(|index| &self.cells[index])
    }
}

/// A range grown to cover another.
fn widened(range: Option<(f64, f64)>, other: (f64, f64)) -> (f64, f64) {
    range.map_or(other, |range| (range.0.min(other.0), range.1.max(other.1)))
}

impl CellMoments {
    fn name(&self) -> Cell {
        (self.from.clone(), self.to.clone())
    }
}

pub(super) fn other_cell() -> Cell {
    (OTHER.to_owned(), OTHER.to_owned())
}

/// The names of all cells within the limit, else of the most frequent and OTHER; in order of name.
fn keep_most_frequent(totals: BTreeMap<Cell, f64>) -> Vec<Cell> {
    if totals.len() <= CELL_LIMIT {
        return totals.into_keys().collect();
    }
    let mut by_count: Vec<(Cell, f64)> = totals.into_iter().collect();
    by_count.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    let kept = by_count.into_iter().take(CELL_LIMIT - 1).map(|(cell, _)| cell);
    kept.chain(std::iter::once(other_cell())).collect::<BTreeSet<Cell>>().into_iter().collect()
}

/// Session moments as dense arrays over one list of cells.
pub(super) struct Dense {
    pub(super) sessions: u64,
    pub(super) weight: f64,
    weight_squared: f64,
    pub(super) count: Vec<f64>,
    cross: Vec<f64>,
    sessions_with: Vec<u64>,
    /// Full symmetric matrix, row by row.
    products: Vec<f64>,
}

impl Dense {
    fn zero(size: usize) -> Self {
        Self {
            sessions: 0,
            weight: 0.0,
            weight_squared: 0.0,
            count: vec![0.0; size],
            cross: vec![0.0; size],
            sessions_with: vec![0; size],
            products: vec![0.0; size * size],
        }
    }

    /// The moments over `names`; cells not among them go to OTHER, which must then be among them.
    pub(super) fn of(counts: &SessionCounts, names: &[Cell]) -> Self {
        let size = names.len();
        let mut dense = Self {
            sessions: counts.sessions,
            weight: counts.weight,
            weight_squared: counts.weight_squared,
            ..Self::zero(size)
        };
        let place: Vec<usize> = counts
            .cells
            .iter()
            .map(|cell| {
                let found = names.binary_search(&cell.name()).or_else(|_| names.binary_search(&other_cell()));
                found.unwrap_or(0)
            })
            .collect();
        for (cell, at) in counts.cells.iter().zip(&place) {
            dense.count[*at] += cell.count;
            dense.cross[*at] += cell.cross;
            dense.sessions_with[*at] += cell.sessions;
        }
        for (i, j, product) in &counts.products {
            dense.products[place[*i] * size + place[*j]] += product;
            if i != j {
                dense.products[place[*j] * size + place[*i]] += product;
            }
        }
        dense
    }

    fn add_session(&mut self, vector: &BTreeMap<usize, f64>) {
        let size = self.count.len();
        let total: f64 = vector.values().sum();
        self.sessions += 1;
        self.weight += total;
        self.weight_squared += total * total;
        for (i, count) in vector {
            self.count[*i] += count;
            self.cross[*i] += count * total;
            self.sessions_with[*i] += 1;
            for (j, other) in vector {
                self.products[i * size + j] += count * other;
            }
        }
    }

    pub(super) fn plus(mut self, other: &Self) -> Self {
        self.sessions += other.sessions;
        self.weight += other.weight;
        self.weight_squared += other.weight_squared;
        let add = |mine: &mut [f64], theirs: &[f64]| mine.iter_mut().zip(theirs).for_each(|(a, b)| *a += b);
        add(&mut self.count, &other.count);
        add(&mut self.cross, &other.cross);
        add(&mut self.products, &other.products);
        self.sessions_with.iter_mut().zip(&other.sessions_with).for_each(|(a, b)| *a += b);
        self
    }

    fn into_counts(self, names: &[Cell], events: f64, event_weights: (f64, f64)) -> SessionCounts {
        let size = names.len();
        let cell = |(index, (from, to)): (usize, &Cell)| CellMoments {
            from: from.clone(),
            to: to.clone(),
            count: self.count[index],
            cross: self.cross[index],
            sessions: self.sessions_with[index],
        };
        let upper = (0..size).flat_map(|i| (i..size).map(move |j| (i, j)));
        SessionCounts {
            sessions: self.sessions,
            events,
            weight: self.weight,
            event_weights,
            weight_squared: self.weight_squared,
            cells: names.iter().enumerate().map(cell).collect(),
            products: upper
                .map(|(i, j)| (i, j, self.products[i * size + j]))
                .filter(|(_, _, product)| *product != 0.0)
                .collect(),
        }
    }

    /// Σ = (Q - pRᵀ - Rpᵀ + Sppᵀ)/sessions: the second moment of a session's residual from the shares `p`.
    pub(super) fn residual_moment(&self, p: &[f64], i: usize, j: usize) -> f64 {
        let product = self.products[i * p.len() + j];
        let residual = product - p[i] * self.cross[j] - self.cross[i] * p[j] + self.weight_squared * p[i] * p[j];
        residual / self.sessions as f64
    }
}
