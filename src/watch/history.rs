//! How each compared series went over time, and which versions came meanwhile.

use std::collections::BTreeMap;
use std::time::Duration;

use super::key::ALL;
use super::packed::{PackedRecord, PackedRecords};
use super::releases::{VersionHours, notice};
use super::summarize::Summarizer;
use super::summary::SeriesSummary;
use super::unpaired;
use crate::domain::measurement::{SeriesKind, TraceRecord};
use crate::domain::report::{DriftReport, Estimate, HistoryPoint, SeriesReport};
use crate::domain::time::Timestamp;

/// Stretches of time that both sides together are cut into.
const STRETCHES: u64 = 40;

/// The summaries of one stretch of one side, by service and series.
type Stretch = BTreeMap<(String, String), SeriesSummary>;

/// How series go over time, of traces that come one after the other.
#[derive(Debug, Default)]
pub struct Histories {
    /// Of the baseline and of the current side.
    sides: [PackedRecords; 2],
    versions: VersionHours,
}

impl Histories {
    /// Takes in a trace of one side.
    pub fn add(&mut self, is_current: bool, record: &TraceRecord) {
        self.versions.add(record);
        self.sides[usize::from(is_current)].add(record, &record.measurements);
    }

    /// Adds to a report how its numbers and shares went over these traces, and the versions that came.
    pub fn finish(self, report: &mut DriftReport) {
        let width = stretch_width(self.sides.each_ref());
        for (is_current, side) in [false, true].into_iter().zip(&self.sides) {
            for (at, stretch) in stretches(side, width) {
                for row in &mut report.series {
                    row.history.extend(estimate(&stretch, row).map(|estimate| HistoryPoint {
                        at,
                        is_current,
                        estimate,
                    }));
                }
            }
        }
        report.changes = notice(&self.versions.finish()).changes;
    }
}

/// Adds to a report how its numbers and shares went over the traces that it compared, and the versions that came.
pub fn add_history(report: &mut DriftReport, baseline: &[TraceRecord], current: &[TraceRecord]) {
    let mut histories = Histories::default();
    baseline.iter().for_each(|record| histories.add(false, record));
    current.iter().for_each(|record| histories.add(true, record));
    histories.finish(report);
}

/// How one series of one service went over records of its own.
#[must_use]
pub fn course(records: &[TraceRecord], service: &str, series: &str) -> Vec<HistoryPoint> {
    let mut packed = PackedRecords::default();
    for record in records.iter().filter(|record| record.service == service) {
        packed.add(record, record.measurement(series));
    }
    let point = |(at, stretch): (Timestamp, Stretch)| {
        let estimate = unpaired::estimate(&summary(&stretch, series, Some(service))?);
        estimate.estimate.map(|_| HistoryPoint { at, is_current: true, estimate })
    };
    stretches(&packed, stretch_width([&packed])).filter_map(point).collect()
}

/// Whole minutes, so that stretches begin where people expect.
fn stretch_width<const SIDES: usize>(sides: [&PackedRecords; SIDES]) -> Duration {
    let ends = || sides.iter().flat_map(|side| &side.records).map(|record| record.ended_at);
    let span = ends().max().unwrap_or_default().seconds_since(ends().min().unwrap_or_default());
    let minutes = (span / 60.0 / STRETCHES as f64).ceil().max(1.0);
    Duration::from_secs(60 * minutes as u64)
}

/// The summaries of one stretch after the other.
fn stretches(side: &PackedRecords, width: Duration) -> impl Iterator<Item = (Timestamp, Stretch)> {
    let mut by_start: BTreeMap<Timestamp, Vec<&PackedRecord>> = BTreeMap::new();
    for record in &side.records {
        by_start.entry(record.ended_at.floor(width)).or_default().push(record);
    }
    let summaries = |records: Vec<&PackedRecord>| {
        let mut summarizer = Summarizer::default();
        records.into_iter().for_each(|record| summarizer.add(side.unpack(record)));
        let series = summarizer.finish("", Timestamp::default(), "").series;
        series.into_iter().map(|(key, summary)| ((key.service, key.series), summary)).collect()
    };
    by_start.into_iter().map(move |(start, records)| (start, summaries(records)))
}

/// What a stretch says of a row of a report; nothing of segments, and of categories and sequences, for the largest
/// category of one stretch need not be that of the next.
fn estimate(stretch: &Stretch, row: &SeriesReport) -> Option<Estimate> {
    let service = row.segment.strip_prefix("service=");
    let is_number = !matches!(row.kind, SeriesKind::Categorical | SeriesKind::Sequence);
    if !is_number || service.is_none() && row.segment != ALL {
        return None;
    }
    let estimate = unpaired::estimate(&summary(stretch, &row.series, service)?);
    estimate.estimate.map(|_| estimate)
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
