//! A series summarised: what tests, intervals and detectors need of any number of traces, in a few kilobytes.
//!
//! Every value carries the inverse of the probability it was observed with, and belongs to the cluster of its
//! conversation, so that nothing computed from a summary forgets how the traces were sampled or that turns of
//! one conversation depend on each other. Summaries of disjoint traces merge.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::dispersion::{LEAST_CLUSTERS, OverDispersion};
use crate::domain::ids::TraceId;
use crate::domain::measurement::{SeriesKind, Value};
use crate::domain::time::Timestamp;
use crate::stats::histogram::{Histogram, Scale};
use crate::stats::moments::Moments;
use crate::stats::session::{Cell, SessionCounts, transitions};

/// Trace ids kept at each end of a numeric series.
const EXTREMES: usize = 10;
/// Trace ids kept for each transition or category.
const TRACES_PER_CELL: usize = 3;
/// Categories and transitions that keep trace ids.
const CELLS_WITH_TRACES: usize = 64;
/// Largest value and weight that are taken in; squares of more would not stay finite in sums.
const LARGEST: f64 = 1e20;

/// One trace's value in one series.
#[derive(Debug, Clone, Copy)]
pub struct Observation<'a> {
    /// The trace.
    pub trace_id: TraceId,
    /// Its cluster.
    pub conversation: &'a str,
    /// When the run ended.
    pub ended_at: Timestamp,
    /// Inverse inclusion probability.
    pub weight: f64,
    /// Whether upstream's part of it is a guess.
    pub upstream_unknown: bool,
    /// The series' kind, as this trace states it.
    pub kind: SeriesKind,
    /// The value.
    pub value: &'a Value,
}

/// Everything known about one series over a set of traces.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SeriesSummary {
    /// Traces with a usable value.
    pub traces: u64,
    /// Values left out: not finite, negative, out of range, weightless, or of another kind than the series.
    pub rejected: u64,
    /// Traces among them whose upstream sampling probability is unknown and taken as 1.
    #[serde(default)]
    pub upstream_unknown: u64,
    /// By how much the series varies more than independent values would.
    pub over_dispersion: OverDispersion,
    /// The values.
    pub distribution: Distribution,
}

/// The values of a series, by kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Distribution {
    /// True or false: the mean is the share true.
    Boolean {
        /// Moments of 0 and 1, clustered by conversation.
        moments: Moments,
        /// Traces that were false (low) and true (high).
        extremes: Extremes,
    },
    /// A number; the histogram's scale tells ordinal scores ([`Scale::Unit`]) from magnitudes.
    Number {
        /// Moments, clustered by conversation.
        moments: Moments,
        /// Weighted histogram.
        histogram: Histogram,
        /// Traces with the lowest and highest values.
        extremes: Extremes,
    },
    /// Categories.
    Categorical {
        /// Counts by conversation; each cell is a category with an empty `from`.
        counts: SessionCounts,
        /// Some traces for each category.
        traces_by_cell: Vec<(Cell, Vec<TraceId>)>,
    },
    /// Tool sequences.
    Sequence {
        /// Transition counts by conversation.
        counts: SessionCounts,
        /// Some traces for each transition.
        traces_by_cell: Vec<(Cell, Vec<TraceId>)>,
    },
}

/// Traces at both ends of a series, furthest first.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Extremes {
    /// Lowest values.
    pub low: Vec<(f64, TraceId)>,
    /// Highest values.
    pub high: Vec<(f64, TraceId)>,
}

impl Extremes {
    fn of(mut values: Vec<(f64, TraceId)>) -> Self {
        values.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        let low = values.iter().take(EXTREMES).copied().collect();
        let high = values.iter().rev().take(EXTREMES).copied().collect();
        Self { low, high }
    }

    fn merge(&self, other: &Self) -> Self {
        let both = |one: &[(f64, TraceId)], two: &[(f64, TraceId)]| Self::of([one, two].concat());
        Self { low: both(&self.low, &other.low).low, high: both(&self.high, &other.high).high }
    }
}

impl SeriesSummary {
    /// Summarises one series; its kind is that of the first observation. `None` without observations.
    #[must_use]
    pub fn of(observations: &[Observation<'_>]) -> Option<Self> {
        let kind = observations.first()?.kind;
        let usable: Vec<&Observation<'_>> = observations.iter().filter(|one| is_usable(one, kind)).collect();
        let summary = match kind {
            SeriesKind::Boolean | SeriesKind::Ordinal | SeriesKind::Numeric => numbers(kind, &usable),
            SeriesKind::Categorical | SeriesKind::Sequence => cells(kind, &usable),
        };
        let rejected = (observations.len() - usable.len()) as u64;
        let upstream_unknown = usable.iter().filter(|one| one.upstream_unknown).count() as u64;
        Some(Self { rejected, upstream_unknown, ..summary })
    }

    /// The kind of the series.
    #[must_use]
    pub fn kind(&self) -> SeriesKind {
        match &self.distribution {
            Distribution::Boolean { .. } => SeriesKind::Boolean,
            Distribution::Number { histogram, .. } if histogram.scale() == Scale::Unit => SeriesKind::Ordinal,
            Distribution::Number { .. } => SeriesKind::Numeric,
            Distribution::Categorical { .. } => SeriesKind::Categorical,
            Distribution::Sequence { .. } => SeriesKind::Sequence,
        }
    }

    /// The moments of a boolean or numeric series.
    #[must_use]
    pub const fn moments(&self) -> Option<&Moments> {
        match &self.distribution {
            Distribution::Boolean { moments, .. } | Distribution::Number { moments, .. } => Some(moments),
            Distribution::Categorical { .. } | Distribution::Sequence { .. } => None,
        }
    }

    /// Both summaries together, `None` when their kinds differ; a conversation split over them counts as two.
    #[must_use]
    pub fn merge(&self, other: &Self) -> Option<Self> {
        Some(Self {
            traces: self.traces + other.traces,
            rejected: self.rejected + other.rejected,
            upstream_unknown: self.upstream_unknown + other.upstream_unknown,
            over_dispersion: self.over_dispersion.larger(other.over_dispersion),
            distribution: self.distribution.merge(&other.distribution)?,
        })
    }
}

impl Distribution {
    fn merge(&self, other: &Self) -> Option<Self> {
        Some(match (self, other) {
            (Self::Boolean { moments, extremes }, Self::Boolean { moments: more, extremes: others }) => {
                Self::Boolean { moments: moments.merge(more), extremes: extremes.merge(others) }
            }
            (
                Self::Number { moments, histogram, extremes },
                Self::Number { moments: more, histogram: also, extremes: others },
            ) if histogram.scale() == also.scale() => {
                let mut histogram = histogram.clone();
                histogram.merge(also);
                Self::Number { moments: moments.merge(more), histogram, extremes: extremes.merge(others) }
            }
            (
                Self::Categorical { counts, traces_by_cell },
                Self::Categorical { counts: more, traces_by_cell: others },
            ) => Self::Categorical { counts: counts.merge(more), traces_by_cell: merge_traces(traces_by_cell, others) },
            (Self::Sequence { counts, traces_by_cell }, Self::Sequence { counts: more, traces_by_cell: others }) => {
                Self::Sequence { counts: counts.merge(more), traces_by_cell: merge_traces(traces_by_cell, others) }
            }
            _ => return None,
        })
    }
}

fn merge_traces(one: &[(Cell, Vec<TraceId>)], two: &[(Cell, Vec<TraceId>)]) -> Vec<(Cell, Vec<TraceId>)> {
    let each = one.iter().chain(two).flat_map(|(cell, traces)| traces.iter().map(move |trace| (cell, *trace)));
    keep_traces(each)
}

fn keep_traces<'a>(each: impl Iterator<Item = (&'a Cell, TraceId)>) -> Vec<(Cell, Vec<TraceId>)> {
    let mut kept: BTreeMap<&Cell, Vec<TraceId>> = BTreeMap::new();
    for (cell, trace) in each {
        let is_full = kept.len() >= CELLS_WITH_TRACES;
        if is_full && !kept.contains_key(cell) {
            continue;
        }
        let traces = kept.entry(cell).or_default();
        if traces.len() < TRACES_PER_CELL && !traces.contains(&trace) {
            traces.push(trace);
        }
    }
    kept.into_iter().map(|(cell, traces)| (cell.clone(), traces)).collect()
}

fn is_usable(observation: &Observation<'_>, kind: SeriesKind) -> bool {
    let weight_is_sound = observation.weight > 0.0 && observation.weight <= LARGEST;
    let value_is_sound = match kind {
        SeriesKind::Boolean | SeriesKind::Ordinal => {
            number(observation.value).is_some_and(|x| (0.0..=1.0).contains(&x))
        }
        SeriesKind::Numeric => number(observation.value).is_some_and(|x| (0.0..=LARGEST).contains(&x)),
        SeriesKind::Categorical => matches!(observation.value, Value::Counts(_)),
        SeriesKind::Sequence => matches!(observation.value, Value::Sequence(_)),
    };
    observation.kind == kind && weight_is_sound && value_is_sound
}

/// The number that a value stands for, if it stands for one.
#[must_use]
pub fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Boolean(value) => Some(f64::from(u8::from(*value))),
        Value::Number(value) => Some(*value),
        Value::Sequence(_) | Value::Counts(_) => None,
    }
}

/// How often each cell occurs in a categorical or sequence value; empty for other values.
#[must_use]
pub fn cell_counts(value: &Value) -> BTreeMap<Cell, f64> {
    match value {
        Value::Sequence(names) => transitions(names),
        Value::Counts(counts) => {
            let occurring = counts.iter().filter(|(_, count)| **count > 0);
            occurring.map(|(name, count)| ((String::new(), name.clone()), f64::from(*count))).collect()
        }
        Value::Boolean(_) | Value::Number(_) => BTreeMap::new(),
    }
}

/// A boolean series counts a score of one half or more as true, as review does.
fn numbers(kind: SeriesKind, usable: &[&Observation<'_>]) -> SeriesSummary {
    let is_boolean = kind == SeriesKind::Boolean;
    let value = |one: &Observation<'_>| {
        let value = number(one.value).unwrap_or_default();
        if is_boolean { f64::from(u8::from(value >= 0.5)) } else { value }
    };
    let moments = clustered(usable, |one| one.conversation.to_owned(), value);
    let by_hour = clustered(usable, |one| one.ended_at.hour(), value);
    let extremes = Extremes::of(usable.iter().map(|one| (value(one), one.trace_id)).collect());
    let distribution = if is_boolean {
        Distribution::Boolean { moments, extremes }
    } else {
        let scale = if kind == SeriesKind::Ordinal { Scale::Unit } else { Scale::Magnitude };
        let mut histogram = Histogram::new(scale);
        usable.iter().for_each(|one| histogram.add(value(one), one.weight));
        Distribution::Number { moments, histogram, extremes }
    };
    let over_dispersion = OverDispersion::measured(&moments, &by_hour);
    SeriesSummary { traces: usable.len() as u64, rejected: 0, upstream_unknown: 0, over_dispersion, distribution }
}

fn clustered<C: Ord>(
    usable: &[&Observation<'_>],
    cluster: impl Fn(&Observation<'_>) -> C,
    value: impl Fn(&Observation<'_>) -> f64,
) -> Moments {
    let mut clusters: BTreeMap<C, Vec<(f64, f64)>> = BTreeMap::new();
    for one in usable {
        clusters.entry(cluster(one)).or_default().push((value(one), one.weight));
    }
    Moments::of_clusters(clusters.values().map(Vec::as_slice))
}

fn cells(kind: SeriesKind, usable: &[&Observation<'_>]) -> SeriesSummary {
    let counted: Vec<(&Observation<'_>, BTreeMap<Cell, f64>)> =
        usable.iter().map(|one| (*one, cell_counts(one.value))).collect();
    let mut sessions: BTreeMap<&str, (BTreeMap<Cell, f64>, f64)> = BTreeMap::new();
    for (one, counts) in &counted {
        let (cells, events) = sessions.entry(one.conversation).or_default();
        for (cell, count) in counts {
            *cells.entry(cell.clone()).or_default() += one.weight * count;
            *events += count;
        }
    }
    let counts = SessionCounts::of_sessions(&sessions.into_values().collect::<Vec<_>>());
    let over_dispersion = cell_over_dispersion(&counted, &counts);
    let traces_by_cell =
        keep_traces(counted.iter().flat_map(|(one, cells)| cells.keys().map(|cell| (cell, one.trace_id))));
    let distribution = if kind == SeriesKind::Sequence {
        Distribution::Sequence { counts, traces_by_cell }
    } else {
        Distribution::Categorical { counts, traces_by_cell }
    };
    let traces = counted.iter().filter(|(_, cells)| !cells.is_empty()).count() as u64;
    SeriesSummary { traces, rejected: 0, upstream_unknown: 0, over_dispersion, distribution }
}

/// By how much hours vary more than their conversations explain: the variance of the cells' shares clustered by hour
/// over that clustered by conversation, cells weighing 1/share as in Pearson's statistic.
fn cell_over_dispersion(counted: &[(&Observation<'_>, BTreeMap<Cell, f64>)], counts: &SessionCounts) -> OverDispersion {
    let shares: Vec<(Cell, f64)> = counts.shares().filter(|(_, share)| *share > 0.0).collect();
    let hours = counted.iter().map(|(one, _)| one.ended_at.hour()).collect::<BTreeSet<_>>().len() as u64;
    if hours < LEAST_CLUSTERS || shares.is_empty() {
        return OverDispersion::UNKNOWN;
    }
    let correction = hours as f64 / (hours as f64 - 1.0);
    let by_hour = clustered_variance(counted, &shares, |one| one.ended_at.hour()) * correction;
    let by_conversation = clustered_variance(counted, &shares, |one| one.conversation);
    let factor = by_hour / by_conversation;
    OverDispersion { factor: if factor.is_finite() { factor } else { 1.0 }, clusters: hours, cluster_size: 0.0 }
}

/// Σ over cells and clusters of (Σ over the cluster's traces of weight · (count - share · events))²/share.
fn clustered_variance<'a, C: Ord>(
    counted: &[(&Observation<'a>, BTreeMap<Cell, f64>)],
    shares: &[(Cell, f64)],
    cluster: impl Fn(&Observation<'a>) -> C,
) -> f64 {
    let mut residuals: BTreeMap<C, Vec<f64>> = BTreeMap::new();
    for (one, cells) in counted {
        let events: f64 = cells.values().sum();
        let sums = residuals.entry(cluster(one)).or_insert_with(|| vec![0.0; shares.len()]);
        for (sum, (cell, share)) in sums.iter_mut().zip(shares) {
            *sum += one.weight * (cells.get(cell).copied().unwrap_or(0.0) - share * events);
        }
    }
    let of_cluster = |sums: &Vec<f64>| sums.iter().zip(shares).map(|(sum, (_, share))| sum * sum / share).sum::<f64>();
    residuals.values().map(of_cluster).sum()
}
