//! A selection of traces, summarised series by series: what a baseline is, and what one is compared with.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::expectation::Mix;
use super::key::{ALL, SeriesKey};
use super::summarize::Summarizer;
use super::summary::SeriesSummary;
use crate::domain::ids::TraceId;
use crate::domain::measurement::TraceRecord;
use crate::domain::time::Timestamp;

/// Values of a dimension that get series of their own; the most frequent win.
pub(super) const VALUES_PER_DIMENSION: usize = 20;
/// Trace ids kept to notice that two selections overlap: the smallest ones, so that the same traces keep the same.
pub(super) const IDENTITY: usize = 64;

/// An immutable summary of every series over a selection of traces.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Baseline {
    /// Its name.
    pub name: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// The selection, as the user wrote it.
    pub selection: String,
    /// Traces in it.
    pub traces: u64,
    /// Earliest and latest end of a run, equal when there are no traces.
    pub ended_between: (Timestamp, Timestamp),
    /// Traces whose upstream sampling probability is unknown; they are counted as if it were 1.
    pub probability_unknown: u64,
    /// Traces that they stand for, by how upstream sampled them.
    #[serde(default)]
    pub weight: f64,
    /// The same by segment: dimension, value, traces stood for.
    pub mix: BTreeMap<String, BTreeMap<String, f64>>,
    /// Every series, over all traces and over each segment.
    pub series: BTreeMap<SeriesKey, SeriesSummary>,
    /// The smallest trace ids.
    pub identity: BTreeSet<TraceId>,
    /// By which revisions the evaluators' series were scored; those that nothing is known of are left out.
    #[serde(default)]
    pub revisions: Revisions,
}

/// The revisions of each evaluator.
pub type Revisions = BTreeMap<String, BTreeSet<String>>;

impl Baseline {
    /// Summarises records, over all of them and by each of the most frequent values of each dimension.
    #[must_use]
    pub fn from_records(name: &str, now: Timestamp, selection: &str, records: &[TraceRecord]) -> Self {
        let mut summarizer = Summarizer::default();
        records.iter().for_each(|record| summarizer.add(record.clone()));
        summarizer.finish(name, now, selection)
    }

    /// The same with the revisions that its scores are of.
    #[must_use]
    pub fn with_revisions(self, revisions: Revisions) -> Self {
        Self { revisions, ..self }
    }

    /// Says of a series, summarised here as `before` and there as `after`, that no revision scored on both sides.
    #[must_use]
    pub fn revision_conflict(
        &self,
        other: &Self,
        series: &str,
        (before, after): (&SeriesSummary, &SeriesSummary),
    ) -> Option<String> {
        let (before, after) = (self.revisions_of(series, before)?, other.revisions_of(series, after)?);
        let listed = |revisions: &BTreeSet<&str>| revisions.iter().copied().collect::<Vec<_>>().join(", ");
        before.is_disjoint(&after).then(|| {
            format!(
                "it was scored by revision {} before and by {} now, and revisions are never compared; take a new \
                 baseline; driftline evaluators bridge says how far both compare",
                listed(&before),
                listed(&after)
            )
        })
    }

    /// All revisions that the scores of a series are of, over all services and segments.
    #[must_use]
    pub fn scored_by(&self, series: &str) -> BTreeSet<&str> {
        let of_series = self.series.iter().filter(|(key, _)| key.series == series);
        of_series.filter_map(|(_, summary)| self.revisions_of(series, summary)).flatten().collect()
    }

    /// The revisions that a series' scores are of: the one that its summary counts, else all that scored in the
    /// selection.
    fn revisions_of<'a>(&'a self, series: &str, summary: &'a SeriesSummary) -> Option<BTreeSet<&'a str>> {
        match &summary.revision {
            Some(revision) => Some(BTreeSet::from([revision.as_str()])),
            None => Some(self.revisions.get(series)?.iter().map(String::as_str).collect()),
        }
    }

    /// Says of two selections that they share traces, as far as the kept trace ids tell.
    #[must_use]
    pub fn overlap(&self, other: &Self) -> Option<&'static str> {
        if self.traces == 0 || self.identity.is_disjoint(&other.identity) {
            return None;
        }
        let is_same = self.identity == other.identity && self.traces == other.traces;
        Some(if is_same { "both sides hold the same traces" } else { "both sides share traces" })
    }

    /// Says of two selections together how much of their sampling is not known, if anything is not.
    #[must_use]
    pub fn upstream_note(&self, other: &Self) -> Option<String> {
        let unknown = self.probability_unknown + other.probability_unknown;
        let traces = self.traces + other.traces;
        (unknown > 0).then(|| {
            format!(
                "{unknown} of {traces} traces do not say with what probability they were sampled upstream; it is taken as \
                 1. Where it is known, say so in [[sampling.upstream]]"
            )
        })
    }

    /// The services that have series.
    #[must_use]
    pub fn services(&self) -> BTreeSet<&str> {
        self.series.keys().map(|key| key.service.as_str()).collect()
    }

    /// A series over all traces of its service and over each segment.
    #[must_use]
    pub fn series_of(&self, key: &SeriesKey) -> BTreeMap<SeriesKey, SeriesSummary> {
        let same = self.same_series(key);
        same.map(|(other, summary)| (other.clone(), summary.clone())).collect()
    }

    /// Weight of the traces of each segment that have a value in a series.
    #[must_use]
    pub fn mix_of(&self, key: &SeriesKey) -> Mix {
        self.same_series(key)
            .filter_map(|(other, summary)| Some((other.segment.clone(), summary.moments()?.weight)))
            .collect()
    }

    fn same_series(&self, key: &SeriesKey) -> impl Iterator<Item = (&SeriesKey, &SeriesSummary)> {
        let first = SeriesKey { segment: String::new(), ..key.clone() };
        let (service, series) = (key.service.clone(), key.series.clone());
        self.series.range(first..).take_while(move |(other, _)| other.service == service && other.series == series)
    }

    /// A series over all traces of all services; `None` when there is none, or kinds differ between services.
    #[must_use]
    pub fn overall(&self, series: &str) -> Option<SeriesSummary> {
        let mut parts = self.series.iter().filter(|(key, _)| key.series == series && key.segment == ALL);
        let (_, first) = parts.next()?;
        parts.try_fold(first.clone(), |all, (_, part)| all.merge(part))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::measurement::{SeriesKind, Value};
    use crate::watch::samples::{measurement, record};
    use crate::watch::segments::SegmentPattern;
    use crate::watch::summary::{Distribution, Observation};

    fn key(series: &str, segment: &str) -> SeriesKey {
        SeriesKey { service: "agent".into(), series: series.into(), segment: segment.into() }
    }

    #[test]
    fn a_baseline_survives_json_to_the_last_bit() {
        let mut rng = fastrand::Rng::with_seed(21);
        let records: Vec<TraceRecord> = (0..300)
            .map(|index| {
                let mut one = record(index, &format!("c{}", index / 3));
                one.segments.insert("model".into(), format!("m{}", index % 2));
                one.upstream_probability = Some(rng.f64());
                one.measurements = vec![
                    measurement("cost_usd", SeriesKind::Numeric, Value::Number(rng.f64() / 7.0)),
                    measurement("grounded", SeriesKind::Ordinal, Value::Number(rng.f64())),
                    measurement("success", SeriesKind::Boolean, Value::Boolean(rng.bool())),
                    measurement("tools", SeriesKind::Sequence, Value::Sequence(vec!["a".into(); rng.usize(0..4)])),
                ];
                one
            })
            .collect();
        let baseline = Baseline::from_records("b", Timestamp(7), "file:x", &records);
        let text = serde_json::to_string(&baseline).unwrap();
        assert!(serde_json::from_str::<Baseline>(&text).unwrap() == baseline, "a number changed on the way");
        assert_eq!(baseline.series.len(), 4 * 3);
        assert_eq!(baseline.series[&key("success", "model=m0")].traces, 150);
        assert_eq!(baseline.probability_unknown, 0);
    }

    #[test]
    fn unusable_values_are_counted_and_left_out() {
        let bad = [f64::NAN, f64::INFINITY, -1.0, 1e300];
        let mut records: Vec<TraceRecord> = (0..10).map(|index| record(index, &index.to_string())).collect();
        for (index, one) in records.iter_mut().enumerate() {
            let value = bad.get(index).copied().unwrap_or(2.0);
            one.measurements = vec![measurement("steps", SeriesKind::Numeric, Value::Number(value))];
        }
        records[9].measurements[0].probability = 0.0;
        let baseline = Baseline::from_records("b", Timestamp(0), "", &records);
        let summary = &baseline.series[&key("steps", "all")];
        assert_eq!((summary.traces, summary.rejected), (5, 5));
        assert_eq!(summary.moments().unwrap().mean, 2.0);
    }

    #[test]
    fn a_dimension_with_endless_values_keeps_the_most_frequent() {
        let records: Vec<TraceRecord> = (0..500)
            .map(|index| {
                let mut one = record(index, "c");
                let value = if index % 5 == 0 { "common".to_owned() } else { index.to_string() };
                one.segments.insert("user".into(), value);
                one.measurements = vec![measurement("ok", SeriesKind::Boolean, Value::Boolean(true))];
                one
            })
            .collect();
        let baseline = Baseline::from_records("b", Timestamp(0), "", &records);
        assert_eq!(baseline.mix["user"].len(), VALUES_PER_DIMENSION);
        assert_eq!(baseline.mix["user"]["common"], 100.0);
        assert_eq!(baseline.series.len(), 1 + VALUES_PER_DIMENSION);
    }

    #[test]
    fn only_the_segments_that_are_followed_get_series_and_nothing_else_changes() {
        let records: Vec<TraceRecord> = (0..60)
            .map(|index| {
                let mut one = record(index, &format!("c{}", index / 2));
                one.segments.insert("model".into(), format!("m{}", index % 2));
                one.segments.insert("tier".into(), "gold".into());
                one.measurements = vec![measurement("ok", SeriesKind::Boolean, Value::Boolean(index % 3 == 0))];
                one
            })
            .collect();
        let whole = Baseline::from_records("b", Timestamp(0), "", &records);
        let mut summarizer = Summarizer::following(&[SegmentPattern::try_from("model=m1".to_owned()).unwrap()]);
        records.into_iter().for_each(|record| summarizer.add(record));
        let followed = summarizer.finish("b", Timestamp(0), "");
        assert_eq!(followed.series.keys().map(|key| key.segment.as_str()).collect::<Vec<_>>(), ["all", "model=m1"]);
        let series = whole.series.iter().filter(|(key, _)| followed.series.contains_key(key));
        assert_eq!(
            followed,
            Baseline { series: series.map(|(key, of)| (key.clone(), of.clone())).collect(), ..whole.clone() }
        );
    }

    #[test]
    fn means_of_conversations_are_the_same_whenever_the_first_with_several_turns_comes() {
        let trace = |number: usize, conversation: &str, ok: bool| TraceRecord {
            measurements: vec![measurement("ok", SeriesKind::Boolean, Value::Boolean(ok))],
            ..record(number, conversation)
        };
        let means = |long: &str| {
            let mut records = vec![trace(0, long, true), trace(1, long, false)];
            records.extend((2..40).map(|number| trace(number, &number.to_string(), number % 4 == 0)));
            let observations: Vec<Observation<'_>> =
                records.iter().map(|record| Observation::of(record, &record.measurements[0])).collect();
            *SeriesSummary::of(&observations).unwrap().conversations.unwrap()
        };
        // Conversations are summed up in the order of their names.
        let (first, last) = (means("!"), means("z"));
        assert_eq!((first.traces, last.traces), (39, 39));
        for means in [&first, &last] {
            let Distribution::Number { moments, histogram, .. } = &means.distribution else { panic!("{means:?}") };
            assert!((moments.mean - (0.5 + 9.0) / 39.0).abs() < 1e-12, "{moments:?}");
            assert_eq!(histogram.bins().collect::<Vec<_>>(), [(0, 29.0), (128, 1.0), (256, 9.0)]);
        }
    }

    #[test]
    fn weights_are_inverse_probabilities() {
        let records: Vec<TraceRecord> = (0..40)
            .map(|index| {
                let mut one = record(index, &index.to_string());
                one.upstream_probability = Some(if index < 20 { 1.0 } else { 0.1 });
                one.segments.insert("half".into(), if index < 20 { "early" } else { "late" }.into());
                one.measurements = vec![measurement("ok", SeriesKind::Boolean, Value::Boolean(index >= 20))];
                one
            })
            .collect();
        let baseline = Baseline::from_records("b", Timestamp(0), "", &records);
        let moments = baseline.series[&key("ok", "all")].moments().unwrap();
        assert!((moments.mean - 200.0 / 220.0).abs() < 1e-12);
        assert!((baseline.weight - 220.0).abs() < 1e-9 && (baseline.mix["half"]["late"] - 200.0).abs() < 1e-9);
    }
}
