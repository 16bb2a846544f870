//! Traces, one after the other, into the summary of every series: in memory that follows the series, not the traces.
//!
//! Traces of one conversation are one cluster, so a conversation is held until it is complete. Which it is, nobody says:
//! it is taken to be when so many other traces have come since that it is the longest idle of those held. One that goes
//! on after that counts as two.

use std::collections::{BTreeMap, BTreeSet};

use super::accumulate::Accumulator;
use super::accumulate_cells::CellNumbers;
use super::baseline::{Baseline, IDENTITY, Revisions, VALUES_PER_DIMENSION};
use super::key::{ALL, SeriesKey};
use super::segments::SegmentPattern;
use super::summary::{Observation, SeriesSummary};
use crate::domain::ids::TraceId;
use crate::domain::measurement::TraceRecord;
use crate::domain::time::Timestamp;

/// Traces held because their conversation may go on.
const MOST_HELD: usize = 4096;
/// Traces of one conversation that are held together.
const MOST_TURNS: usize = 512;
/// Values of a dimension that are followed while traces are read; the most frequent of them are kept.
const VALUES_FOLLOWED: usize = 3 * VALUES_PER_DIMENSION;

/// Summarises traces as they come.
#[derive(Debug, Default)]
pub struct Summarizer {
    traces: u64,
    ended_between: Option<(Timestamp, Timestamp)>,
    probability_unknown: u64,
    weight: f64,
    identity: BTreeSet<TraceId>,
    mix: BTreeMap<String, BTreeMap<String, f64>>,
    /// Segments that get series of their own; `None` for all.
    followed: Option<Vec<SegmentPattern>>,
    /// Numbers of the series by name: a name is looked up once a trace, and not once a segment of it.
    numbers: BTreeMap<String, usize>,
    cells: CellNumbers,
    services: BTreeMap<String, ServiceSums>,
    held: Conversations,
}

/// Accumulators by the number of the series.
type SeriesSums = Vec<Option<Accumulator>>;

/// Sums of one service.
#[derive(Debug, Default)]
struct ServiceSums {
    all: SeriesSums,
    /// By dimension and value.
    segments: BTreeMap<String, BTreeMap<String, SeriesSums>>,
}

/// Conversations that may go on.
#[derive(Debug, Default)]
struct Conversations {
    /// By service and conversation: when last added to, and the traces.
    open: BTreeMap<(String, String), (u64, Vec<TraceRecord>)>,
    /// The same, longest idle first.
    idle: BTreeMap<u64, (String, String)>,
    traces: usize,
    clock: u64,
}

impl Summarizer {
    /// One that keeps series of its own only for the segments that a pattern names, which costs a fraction.
    #[must_use]
    pub fn following(patterns: &[SegmentPattern]) -> Self {
        Self { followed: Some(patterns.to_vec()), ..Self::default() }
    }

    /// Takes in one trace; those of a conversation in any order, but near each other.
    pub fn add(&mut self, record: TraceRecord) {
        self.traces += 1;
        let (first, last) = self.ended_between.unwrap_or((record.ended_at, record.ended_at));
        self.ended_between = Some((first.min(record.ended_at), last.max(record.ended_at)));
        self.probability_unknown += u64::from(record.upstream_probability.is_none());
        self.weight += record.upstream_weight();
        self.identity.insert(record.trace_id);
        if self.identity.len() > IDENTITY {
            self.identity.pop_last();
        }
        self.follow(&record);
        for complete in self.held.add(record) {
            self.fold(&complete);
        }
    }

    /// The summary of every trace that was taken in.
    #[must_use]
    pub fn finish(mut self, name: &str, now: Timestamp, selection: &str) -> Baseline {
        for complete in std::mem::take(&mut self.held).open.into_values() {
            self.fold(&complete.1);
        }
        let mut mix = std::mem::take(&mut self.mix);
        mix.values_mut().for_each(keep_most_frequent);
        Baseline {
            name: name.to_owned(),
            created_at: now,
            selection: selection.to_owned(),
            traces: self.traces,
            ended_between: self.ended_between.unwrap_or_default(),
            probability_unknown: self.probability_unknown,
            weight: self.weight,
            identity: self.identity,
            series: summaries(&self.numbers, &self.cells, self.services, &mix),
            mix,
            revisions: Revisions::new(),
        }
    }

    /// Counts the trace's segments; of a dimension with too many values the rarest is no longer followed.
    fn follow(&mut self, record: &TraceRecord) {
        for (dimension, value) in &record.segments {
            let values = self.mix.entry(dimension.clone()).or_default();
            *values.entry(value.clone()).or_default() += record.upstream_weight();
            if values.len() <= VALUES_FOLLOWED {
                continue;
            }
            let others = values.iter().filter(|(other, _)| *other != value);
            let rarest = others.min_by(|a, b| a.1.total_cmp(b.1)).map(|(value, _)| value.clone());
            if let Some(rarest) = rarest {
                values.remove(&rarest);
                let of_dimension = self.services.values_mut().filter_map(|service| service.segments.get_mut(dimension));
                of_dimension.for_each(|values| drop(values.remove(&rarest)));
            }
        }
    }

    /// Adds a conversation to every series of its traces, in all traces and in their segments.
    fn fold(&mut self, conversation: &[TraceRecord]) {
        for record in conversation {
            let cells: Vec<Vec<(usize, f64)>> =
                record.measurements.iter().map(|one| self.cells.counts(&one.value)).collect();
            self.each(record, |accumulator, _, at| {
                accumulator.push(&Observation::of(record, &record.measurements[at]), &cells[at]);
            });
        }
        for record in conversation {
            self.each(record, |accumulator, cells, _| accumulator.close(cells));
        }
    }

    /// Hands over the accumulators of each of a trace's values, by its place: that of all traces and those of segments.
    fn each(&mut self, record: &TraceRecord, mut act: impl FnMut(&mut Accumulator, &CellNumbers, usize)) {
        let numbers: Vec<usize> = record.measurements.iter().map(|one| self.number(&one.series)).collect();
        let Self { mix, followed, services, cells, .. } = self;
        let service = services.entry(record.service.clone()).or_default();
        let mut act_on = |sums: &mut SeriesSums, has_day: bool| {
            for (at, (number, one)) in numbers.iter().zip(&record.measurements).enumerate() {
                if sums.len() <= *number {
                    sums.resize_with(number + 1, || None);
                }
                act(sums[*number].get_or_insert_with(|| Accumulator::new(one.kind, has_day)), cells, at);
            }
        };
        act_on(&mut service.all, true);
        for (dimension, value) in &record.segments {
            let is_listed = mix.get(dimension).is_some_and(|values| values.contains_key(value));
            let names = |pattern: &SegmentPattern| pattern.names(dimension, value);
            if is_listed && followed.as_ref().is_none_or(|patterns| patterns.iter().any(names)) {
                let values = service.segments.entry(dimension.clone()).or_default();
                act_on(values.entry(value.clone()).or_default(), false);
            }
        }
    }

    fn number(&mut self, series: &str) -> usize {
        let next = self.numbers.len();
        self.numbers.get(series).copied().unwrap_or_else(|| *self.numbers.entry(series.to_owned()).or_insert(next))
    }
}

impl Conversations {
    /// Adds a trace, and gives back the conversations that are complete.
    fn add(&mut self, record: TraceRecord) -> Vec<Vec<TraceRecord>> {
        if record.conversation == record.trace_id.to_string() {
            return vec![vec![record]];
        }
        self.clock += 1;
        self.traces += 1;
        let name = (record.service.clone(), record.conversation.clone());
        let (touched, turns) = self.open.entry(name.clone()).or_default();
        self.idle.remove(touched);
        *touched = self.clock;
        turns.push(record);
        let is_long = turns.len() >= MOST_TURNS;
        self.idle.insert(self.clock, name.clone());
        let mut complete = Vec::new();
        if is_long {
            complete.extend(self.end(&name));
        }
        while self.traces > MOST_HELD {
            let Some((_, idle)) = self.idle.first_key_value() else { break };
            let idle = idle.clone();
            complete.extend(self.end(&idle));
        }
        complete
    }

    fn end(&mut self, name: &(String, String)) -> Option<Vec<TraceRecord>> {
        let (touched, turns) = self.open.remove(name)?;
        self.idle.remove(&touched);
        self.traces -= turns.len();
        Some(turns)
    }
}

fn keep_most_frequent(values: &mut BTreeMap<String, f64>) {
    if values.len() <= VALUES_PER_DIMENSION {
        return;
    }
    let mut by_weight: Vec<(String, f64)> = std::mem::take(values).into_iter().collect();
    by_weight.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    values.extend(by_weight.into_iter().take(VALUES_PER_DIMENSION));
}

/// Every series, over all traces and over every segment that `mix` lists.
fn summaries(
    numbers: &BTreeMap<String, usize>,
    cells: &CellNumbers,
    services: BTreeMap<String, ServiceSums>,
    mix: &BTreeMap<String, BTreeMap<String, f64>>,
) -> BTreeMap<SeriesKey, SeriesSummary> {
    let mut names: Vec<&str> = vec![""; numbers.len()];
    numbers.iter().for_each(|(name, number)| names[*number] = name);
    let mut summaries = BTreeMap::new();
    let mut finish = |service: &str, segment: &str, sums: SeriesSums| {
        for (series, accumulator) in names.iter().zip(sums) {
            let key =
                || SeriesKey { service: service.to_owned(), series: (*series).to_owned(), segment: segment.to_owned() };
            summaries.extend(accumulator.map(|accumulator| (key(), accumulator.finish(cells))));
        }
    };
    for (service, sums) in services {
        finish(&service, ALL, sums.all);
        for (dimension, values) in sums.segments {
            let listed = |value: &String| mix.get(&dimension).is_some_and(|values| values.contains_key(value));
            for (value, sums) in values.into_iter().filter(|(value, _)| listed(value)) {
                finish(&service, &format!("{dimension}={value}"), sums);
            }
        }
    }
    summaries
}
