//! A series summarised: what tests, intervals and detectors need of any number of traces, in a few kilobytes.
//!
//! Every value carries the inverse of the probability it was observed with, and belongs to the cluster of its
//! conversation, so that nothing computed from a summary forgets how the traces were sampled or that turns of
//! one conversation depend on each other. Summaries of disjoint traces merge.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::accumulate::Accumulator;
use super::accumulate_cells::CellNumbers;
use super::day::HourOfDay;
use super::dispersion::OverDispersion;
use crate::domain::ids::TraceId;
use crate::domain::measurement::{Measurement, SeriesKind, TraceRecord, Value};
use crate::domain::time::Timestamp;
use crate::stats::histogram::{Histogram, Scale};
use crate::stats::moments::Moments;
use crate::stats::session::{Cell, SessionCounts, transitions};

/// Trace ids kept at each end of a numeric series.
pub(super) const EXTREMES: usize = 10;
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
    /// Revision of the evaluator that scored; of several, the last to score counts.
    pub revision: Option<&'a str>,
}

/// Everything known about one series over a set of traces.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SeriesSummary {
    /// Traces with a usable value.
    pub traces: u64,
    /// Values left out: not finite, negative, out of range, weightless, of another kind than the series, or scored by
    /// an earlier revision of the evaluator.
    pub rejected: u64,
    /// Revision of the evaluator that scored; `None` for what is measured, and in baselines of an earlier release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// Traces among them whose upstream sampling probability is unknown and taken as 1.
    #[serde(default)]
    pub upstream_unknown: u64,
    /// By how much the series varies more than independent values would.
    pub over_dispersion: OverDispersion,
    /// The values.
    pub distribution: Distribution,
    /// The values by hour of the day, where a day cycle is visible.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub by_hour_of_day: Vec<HourOfDay>,
    /// Whether a day cycle is visible that is too large to keep by hour: only whole days compare with it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub compares_by_day: bool,
    /// The mean of each conversation, as an ordinal series; where conversations have several scores.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conversations: Option<Box<SeriesSummary>>,
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

impl<'a> Observation<'a> {
    /// A trace's value in a series.
    #[must_use]
    pub fn of(record: &'a TraceRecord, measurement: &'a Measurement) -> Self {
        Self {
            trace_id: record.trace_id,
            conversation: &record.conversation,
            ended_at: record.ended_at,
            weight: record.weight(measurement),
            upstream_unknown: record.upstream_probability.is_none(),
            kind: measurement.kind,
            value: &measurement.value,
            revision: measurement.revision.as_deref(),
        }
    }
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
    /// So many traces that are all usable, of no revision, without a day cycle or conversations of several scores.
    #[must_use]
    pub const fn new(traces: u64, over_dispersion: OverDispersion, distribution: Distribution) -> Self {
        Self {
            traces,
            rejected: 0,
            revision: None,
            upstream_unknown: 0,
            over_dispersion,
            distribution,
            by_hour_of_day: Vec::new(),
            compares_by_day: false,
            conversations: None,
        }
    }

    /// Summarises one series; its kind is that of the first observation, its revision that of the run which ended last.
    /// `None` without observations.
    #[must_use]
    pub fn of(observations: &[Observation<'_>]) -> Option<Self> {
        let newest = observations.iter().max_by_key(|one| (one.ended_at, one.revision))?.revision;
        let counted = || observations.iter().filter(|one| one.revision == newest);
        let mut accumulator = Accumulator::new(counted().next()?.kind, true);
        let mut numbers = CellNumbers::default();
        let mut conversations: BTreeMap<&str, Vec<&Observation<'_>>> = BTreeMap::new();
        for one in counted() {
            conversations.entry(one.conversation).or_default().push(one);
        }
        for conversation in conversations.values() {
            conversation.iter().for_each(|one| accumulator.push(one, &numbers.counts(one.value)));
            accumulator.close(&numbers);
        }
        let summary = accumulator.finish(&numbers);
        let of_others = (observations.len() - counted().count()) as u64;
        Some(Self { rejected: summary.rejected + of_others, ..summary })
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

    /// Whether both were scored by the same revision of their evaluator, as far as that is known.
    #[must_use]
    pub fn is_of_one_revision(&self, other: &Self) -> bool {
        self.revision.is_none() || other.revision.is_none() || self.revision == other.revision
    }

    /// Both summaries together, `None` when their kinds or revisions differ; a conversation split over them counts as
    /// two.
    #[must_use]
    pub fn merge(&self, other: &Self) -> Option<Self> {
        if !self.is_of_one_revision(other) {
            return None;
        }
        Some(Self {
            revision: self.revision.clone().or_else(|| other.revision.clone()),
            traces: self.traces + other.traces,
            rejected: self.rejected + other.rejected,
            upstream_unknown: self.upstream_unknown + other.upstream_unknown,
            over_dispersion: self.over_dispersion.larger(other.over_dispersion),
            distribution: self.distribution.merge(&other.distribution)?,
            by_hour_of_day: Vec::new(),
            compares_by_day: false,
            conversations: self.merged_conversations(other),
        })
    }
}

impl SeriesSummary {
    fn merged_conversations(&self, other: &Self) -> Option<Box<Self>> {
        if self.conversations.is_none() && other.conversations.is_none() {
            return None;
        }
        Some(Box::new(self.by_conversation()?.merge(&other.by_conversation()?)?))
    }

    /// What a detector of scores bets on: the means of conversations where they have several scores, else the scores.
    pub(super) fn bet_on(&self) -> &Self {
        self.conversations.as_deref().unwrap_or(self)
    }

    /// The means of conversations as an ordinal series; of scores that stand alone, the scores. `None` of other kinds.
    #[must_use]
    pub fn by_conversation(&self) -> Option<Self> {
        if let Some(conversations) = &self.conversations {
            return Some((**conversations).clone());
        }
        let distribution = match &self.distribution {
            Distribution::Boolean { moments, extremes } => {
                let mut histogram = Histogram::new(Scale::Unit);
                histogram.add(1.0, moments.weight * moments.mean);
                histogram.add(0.0, moments.weight * (1.0 - moments.mean));
                Distribution::Number { moments: *moments, histogram, extremes: extremes.clone() }
            }
            Distribution::Number { histogram, .. } if histogram.scale() == Scale::Unit => self.distribution.clone(),
            _ => return None,
        };
        let Self { traces, rejected, upstream_unknown, over_dispersion, .. } = *self;
        let by_hour_of_day = self.by_hour_of_day.clone();
        Some(Self {
            traces,
            rejected,
            upstream_unknown,
            revision: self.revision.clone(),
            over_dispersion,
            distribution,
            by_hour_of_day,
            compares_by_day: false,
            conversations: None,
        })
    }
}

impl Distribution {
    /// Traces with a value, of numbers.
    pub(super) fn traces(&self) -> f64 {
        match self {
            Self::Boolean { moments, .. } | Self::Number { moments, .. } => moments.count as f64,
            Self::Categorical { .. } | Self::Sequence { .. } => 0.0,
        }
    }

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
    let mut kept = BTreeMap::new();
    each.for_each(|(cell, trace)| keep_trace(&mut kept, cell, trace));
    kept.into_iter().collect()
}

/// Keeps a trace that shows a cell, if there is room.
pub(super) fn keep_trace<K: Ord + Clone>(kept: &mut BTreeMap<K, Vec<TraceId>>, cell: &K, trace: TraceId) {
    let is_full = kept.len() >= CELLS_WITH_TRACES;
    let traces = match kept.get_mut(cell) {
        Some(traces) => traces,
        None if is_full => return,
        None => kept.entry(cell.clone()).or_default(),
    };
    if traces.len() < TRACES_PER_CELL && !traces.contains(&trace) {
        traces.push(trace);
    }
}

pub(super) fn is_usable(observation: &Observation<'_>, kind: SeriesKind) -> bool {
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
