//! One series looked at closely: its baseline beside recent traffic, its course, its segments, and the traces behind each
//! part of it.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::calibration::standings;
use super::search::{FoundTrace, LARGEST_LIMIT};
use super::series::{SeriesDetail, Sides, Watched, recent, watched_baseline};
use super::{QueryError, Store, compute};
use crate::backends::store::Selection;
use crate::domain::explanation::Explanation;
use crate::domain::ids::TraceId;
use crate::domain::measurement::{Measurement, TraceRecord};
use crate::domain::release::ChangeEvent;
use crate::domain::report::{Estimate, SeriesReport};
use crate::domain::time::Timestamp;
use crate::watch::baseline::Baseline;
use crate::watch::detect::Direction;
use crate::watch::distribution::{distribution, labels};
use crate::watch::drift::{DriftOptions, drift};
use crate::watch::estimate;
use crate::watch::explanation::explain;
use crate::watch::history::add_history;
use crate::watch::key::{ALL, SeriesKey};
use crate::watch::summarize::Summarizer;
use crate::watch::summary::SeriesSummary;

/// A series looked at closely.
#[derive(Debug, Clone, PartialEq)]
pub struct SeriesPage {
    /// The series in numbers, and whether it is watched.
    pub detail: SeriesDetail,
    /// Its baseline beside the window, by a test of its own, with its course; without a baseline the window stands on both
    /// sides. `None` where one side has nothing to compare.
    pub comparison: Option<SeriesReport>,
    /// Versions that came meanwhile, earliest first.
    pub changes: Vec<ChangeEvent>,
    /// Where the change comes from.
    pub explanation: Option<Explanation>,
    /// Every segment of the series, by dimension and value.
    pub segments: Vec<SegmentRow>,
}

/// A segment's part of the traffic beside its numbers.
#[derive(Debug, Clone, PartialEq)]
pub struct SegmentRow {
    /// The series of the segment.
    pub key: SeriesKey,
    /// Its share of the service's traffic in the baseline, and its estimate.
    pub baseline: Option<(f64, Estimate)>,
    /// The same now.
    pub current: Option<(f64, Estimate)>,
}

/// The traces behind a series, or behind one part of its distribution.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SeriesTraces {
    /// How many of the window have such a value.
    pub matching: u64,
    /// The newest of them, newest first.
    pub traces: Vec<FoundTrace>,
}

/// Looks at one series of recent traffic, or of a selection.
///
/// # Errors
/// Neither the baseline nor the traffic has the series, or the store failed.
pub async fn series_page(
    store: &Store,
    watched: Watched<'_>,
    key: &SeriesKey,
    selection: &Selection,
) -> Result<SeriesPage, QueryError> {
    let view = View::read(store, watched, key, selection).await?;
    let (segments, standings) = (watched.segments.to_vec(), standings(store).await?);
    let key = key.clone();
    compute(move || {
        let View { baseline, records } = view;
        let sides = Sides::of(baseline, records.clone(), Summarizer::default()).watching(segments, standings);
        let detail = sides.detail(&key).ok_or_else(|| QueryError::UnknownSeries { key: key.to_string() })?;
        Ok(page(detail, &sides, &records, &key))
    })
    .await?
}

/// The traces behind a series; with `bin`, those whose value lies in the part of its distribution that is called so.
///
/// # Errors
/// The limit is out of range, no part is called `bin`, or the store failed.
pub async fn series_traces(
    store: &Store,
    watched: Watched<'_>,
    key: &SeriesKey,
    selection: &Selection,
    (bin, limit): (Option<String>, usize),
) -> Result<SeriesTraces, QueryError> {
    if !(1..=LARGEST_LIMIT).contains(&limit) {
        return Err(QueryError::OutOfRange { name: "limit", value: limit as f64, expected: "1 to 1000" });
    }
    let view = View::read(store, watched, key, selection).await?;
    let key = key.clone();
    let mut ids = compute(move || matching(&view, &key, bin.as_deref())).await??;
    let matching = ids.len() as u64;
    ids.truncate(limit);
    let mut traces: Vec<FoundTrace> = store.traces(&ids).await?.into_iter().map(FoundTrace::from).collect();
    traces.sort_by_key(|trace| std::cmp::Reverse(trace.ended_at));
    Ok(SeriesTraces { matching, traces })
}

/// What there is to look at: the baseline, and recent traces with nothing but this series.
struct View {
    baseline: Option<Baseline>,
    records: Vec<TraceRecord>,
}

impl View {
    async fn read(
        store: &Store,
        watched: Watched<'_>,
        key: &SeriesKey,
        selection: &Selection,
    ) -> Result<Self, QueryError> {
        let selection = Selection { service: Some(key.service.clone()), ..selection.clone() };
        let mut records = recent(store, &selection).await?;
        records.iter_mut().for_each(|record| record.keep_only(&key.series));
        Ok(Self { baseline: watched_baseline(store, watched.baseline).await?, records })
    }
}

fn page(detail: SeriesDetail, sides: &Sides, records: &[TraceRecord], key: &SeriesKey) -> SeriesPage {
    let current = of_series(&sides.current, key);
    let baseline = sides.baseline.as_ref().map(|baseline| of_series(baseline, key));
    let by = key.segment.split_once('=').map(|(dimension, _)| dimension.to_owned());
    let options = DriftOptions { by, ..DriftOptions::default() };
    let mut report = drift(baseline.as_ref().unwrap_or(&current), &current, &options);
    report.series.retain(|row| row.segment == key.segment);
    // The records below are those of the segment alone.
    report.series.iter_mut().for_each(|row| ALL.clone_into(&mut row.segment));
    let of_segment: Vec<TraceRecord> = records.iter().filter(|record| is_of(record, key)).cloned().collect();
    add_history(&mut report, &[], &of_segment);
    SeriesPage {
        explanation: baseline.as_ref().and_then(|baseline| origin(baseline, &current, key, &detail)),
        segments: segments(baseline.as_ref(), &current, key),
        comparison: report.series.pop(),
        changes: report.changes,
        detail,
    }
}

/// A summary with nothing but one series and its segments.
fn of_series(side: &Baseline, key: &SeriesKey) -> Baseline {
    Baseline {
        name: side.name.clone(),
        selection: side.selection.clone(),
        series: side.series_of(key),
        mix: side.mix.clone(),
        identity: side.identity.clone(),
        revisions: side.revisions.clone(),
        ..*side
    }
}

fn origin(baseline: &Baseline, current: &Baseline, key: &SeriesKey, detail: &SeriesDetail) -> Option<Explanation> {
    let estimate = |side: &Option<super::series::Figures>| side.as_ref()?.estimate.estimate;
    let (before, after) = (estimate(&detail.series.baseline)?, estimate(&detail.series.current)?);
    let direction = if after < before { Direction::Down } else { Direction::Up };
    explain(baseline, &current.series, key, direction)
}

fn segments(baseline: Option<&Baseline>, current: &Baseline, key: &SeriesKey) -> Vec<SegmentRow> {
    let sides = baseline.into_iter().chain([current]);
    let keys: BTreeSet<&SeriesKey> = sides.flat_map(|side| side.series.keys()).collect();
    let row = |other: &SeriesKey| SegmentRow {
        baseline: baseline.and_then(|side| segment(side, other)),
        current: segment(current, other),
        key: other.clone(),
    };
    keys.into_iter().filter(|other| other.segment != ALL && **other != *key).map(row).collect()
}

/// A segment's share of the service's traces that have the series, and its estimate.
fn segment(side: &Baseline, key: &SeriesKey) -> Option<(f64, Estimate)> {
    let weight = |of: &SeriesSummary| of.moments().map_or(of.traces as f64, |moments| moments.weight);
    let all = side.series.get(&SeriesKey { segment: ALL.to_owned(), ..key.clone() })?;
    let of = side.series.get(key)?;
    Some((weight(of) / weight(all), estimate(of)))
}

/// Whether a trace is of the segment of a series.
fn is_of(record: &TraceRecord, key: &SeriesKey) -> bool {
    let Some((dimension, value)) = key.segment.split_once('=') else { return true };
    record.segments.get(dimension).is_some_and(|of| of == value)
}

/// The traces with a value in a part of the distribution, newest first.
fn matching(view: &View, key: &SeriesKey, bin: Option<&str>) -> Result<Vec<TraceId>, QueryError> {
    let current = Baseline::from_records("", Timestamp::default(), "", &view.records);
    let Some(after) = current.series.get(key) else { return Ok(Vec::new()) };
    let before = view.baseline.as_ref().and_then(|baseline| baseline.series.get(key)).unwrap_or(after);
    let is_meant = |measurement: &Measurement| {
        bin.is_none_or(|bin| labels(before, after, &measurement.value).iter().any(|label| label == bin))
    };
    let of_segment = view.records.iter().rev().filter(|record| is_of(record, key));
    let matching = of_segment.filter(|record| record.measurements.iter().any(is_meant)).map(|record| record.trace_id);
    let matching: Vec<TraceId> = matching.collect();
    let bars = || distribution(before, after).into_iter().map(|bar| bar.label);
    match bin.filter(|bin| matching.is_empty() && bars().all(|bar| bar != *bin)) {
        Some(bin) => Err(QueryError::UnknownBin { bin: bin.to_owned(), known: bars().collect() }),
        None => Ok(matching),
    }
}
