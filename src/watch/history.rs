//! How each compared series went over time, and which versions came meanwhile.

use std::collections::BTreeMap;
use std::time::Duration;

use super::key::ALL;
use super::releases::{notice, version_hours};
use super::summarize::Summarizer;
use super::summary::SeriesSummary;
use super::unpaired;
use crate::domain::measurement::{Measurement, SeriesKind, TraceRecord};
use crate::domain::report::{DriftReport, HistoryPoint};
use crate::domain::time::Timestamp;

/// Stretches of time that both sides together are cut into.
const STRETCHES: u64 = 40;

/// The summaries of one stretch of one side, by service and series.
type Stretch = BTreeMap<(String, String), SeriesSummary>;

/// Adds to a report how its numbers and shares went over the traces that it compared, and the versions that came.
pub fn add_history(report: &mut DriftReport, baseline: &[TraceRecord], current: &[TraceRecord]) {
    let width = stretch_width(baseline, current);
    let sides = [(false, stretches(baseline, width)), (true, stretches(current, width))];
    for row in &mut report.series {
        let service = row.segment.strip_prefix("service=");
        // The largest category of one stretch need not be that of the next.
        let is_number = !matches!(row.kind, SeriesKind::Categorical | SeriesKind::Sequence);
        if !is_number || service.is_none() && row.segment != ALL {
            continue;
        }
        for (is_current, stretches) in &sides {
            let points = stretches.iter().filter_map(|(at, stretch)| {
                let summary = summary(stretch, &row.series, service)?;
                let estimate = unpaired::estimate(&summary);
                estimate.estimate.map(|_| HistoryPoint { at: *at, is_current: *is_current, estimate })
            });
            row.history.extend(points);
        }
    }
    report.changes = notice(&version_hours(baseline.iter().chain(current))).changes;
}

/// How one series of one service went over records of its own.
#[must_use]
pub fn course(records: &[TraceRecord], service: &str, series: &str) -> Vec<HistoryPoint> {
    let of_service = records.iter().filter(|record| record.service == service);
    let records: Vec<TraceRecord> =
        of_service.map(|record| part(record, record.measurement(series).into_iter().cloned().collect())).collect();
    let stretches = stretches(&records, stretch_width(&[], &records));
    let point = |(at, stretch): (Timestamp, Stretch)| {
        let estimate = unpaired::estimate(&summary(&stretch, series, Some(service))?);
        estimate.estimate.map(|_| HistoryPoint { at, is_current: true, estimate })
    };
    stretches.into_iter().filter_map(point).collect()
}

/// Whole minutes, so that stretches begin where people expect.
fn stretch_width(baseline: &[TraceRecord], current: &[TraceRecord]) -> Duration {
    let ends = || baseline.iter().chain(current).map(|record| record.ended_at);
    let span = ends().max().unwrap_or_default().seconds_since(ends().min().unwrap_or_default());
    let minutes = (span / 60.0 / STRETCHES as f64).ceil().max(1.0);
    Duration::from_secs(60 * minutes as u64)
}

fn stretches(records: &[TraceRecord], width: Duration) -> BTreeMap<Timestamp, Stretch> {
    let mut by_start: BTreeMap<Timestamp, Vec<&TraceRecord>> = BTreeMap::new();
    for record in records {
        by_start.entry(record.ended_at.floor(width)).or_default().push(record);
    }
    let summaries = |records: Vec<&TraceRecord>| {
        let mut summarizer = Summarizer::default();
        records.into_iter().for_each(|record| summarizer.add(part(record, record.measurements.clone())));
        let series = summarizer.finish("", Timestamp::default(), "").series;
        series.into_iter().map(|(key, summary)| ((key.service, key.series), summary)).collect()
    };
    by_start.into_iter().map(|(start, records)| (start, summaries(records))).collect()
}

/// A trace with these values, of no segment.
fn part(record: &TraceRecord, measurements: Vec<Measurement>) -> TraceRecord {
    TraceRecord {
        trace_id: record.trace_id,
        conversation: record.conversation.clone(),
        service: record.service.clone(),
        segments: BTreeMap::new(),
        ended_at: record.ended_at,
        upstream_probability: record.upstream_probability,
        measurements,
        notes: Vec::new(),
    }
}

/// The series of one service, or of all together.
fn summary(stretch: &Stretch, series: &str, service: Option<&str>) -> Option<SeriesSummary> {
    let is_meant = |of: &str| service.is_none_or(|service| of == service);
    let mut parts = stretch.iter().filter(|((of, name), _)| name == series && is_meant(of)).map(|(_, part)| part);
    let first = parts.next()?.clone();
    parts.try_fold(first, |all, part| all.merge(part))
}

#[cfg(test)]
mod tests {
    use fastrand::Rng;

    use super::*;
    use crate::watch::baseline::Baseline;
    use crate::watch::drift::{DriftOptions, drift};
    use crate::watch::samples::{HEALTHY, traces};

    #[test]
    fn every_trace_is_in_one_point_of_its_side_and_a_new_version_is_marked() {
        let mut rng = Rng::with_seed(5);
        let (mut before, mut after) = (traces(HEALTHY, 0, 300, 1, &mut rng), traces(HEALTHY, 300, 300, 1, &mut rng));
        before.iter_mut().for_each(|one| drop(one.segments.insert("release".into(), "1".into())));
        after.iter_mut().for_each(|one| drop(one.segments.insert("release".into(), "2".into())));
        let summary = |records: &[TraceRecord]| Baseline::from_records("", Timestamp(0), "", records);
        let mut report = drift(&summary(&before), &summary(&after), &DriftOptions::default());
        add_history(&mut report, &before, &after);
        let row = report.series.iter().find(|row| row.series == "success").unwrap();
        let traces = |is_current| -> u64 {
            row.history.iter().filter(|point| point.is_current == is_current).map(|point| point.estimate.n).sum()
        };
        assert_eq!((traces(false), traces(true)), (300, 300));
        assert!((10..=80).contains(&row.history.len()), "{}", row.history.len());
        assert_eq!(report.changes.len(), 1);
        assert_eq!((report.changes[0].to.as_str(), report.changes[0].at), ("2", after[0].ended_at));
    }
}
