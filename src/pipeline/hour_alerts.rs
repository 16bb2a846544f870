//! What a watched hour makes of the alerts of its service: those that end, those that are raised or go on, each with what
//! is behind it, and those of one cause under one parent.

use std::time::Duration;

use super::Shared;
use super::releases::changes_around;
use super::standings::standings;
use crate::backends::store::{AlertFilter, Selection, Store, StoreError};
use crate::domain::alert::Alert;
use crate::domain::time::Timestamp;
use crate::watch::affects::affects;
use crate::watch::alerts::{StreamSignal, advance, ended_with_their_baseline, ended_with_their_revision, stream_of};
use crate::watch::baseline::Baseline;
use crate::watch::grouping::{group, onset, undecided};
use crate::watch::overlap::Overlap;
use crate::watch::releases::nearest_change;
use crate::watch::rules::is_rule;

const HOUR: Duration = Duration::from_hours(1);
/// Runs that are read to tell alerts apart.
const MOST_RUNS: usize = 20_000;
/// How far back versions are counted when an alert is raised; what is older was counted before.
const LONGEST_COUNT: Duration = Duration::from_hours(48);

/// An hour of a service beside what it is compared with.
pub(super) struct HourAlerts<'a> {
    pub(super) service: &'a str,
    /// Start of the hour.
    pub(super) hour: Timestamp,
    pub(super) window: &'a Baseline,
    /// `None` while only rules that need no baseline read the hour.
    pub(super) baseline: Option<&'a Baseline>,
    /// Whether the baseline is another than in the hour before.
    pub(super) is_replaced: bool,
    /// Whether detectors observe the hour.
    pub(super) is_news: bool,
}

impl HourAlerts<'_> {
    /// The alerts that the hour's signals end, raise or keep up.
    ///
    /// # Errors
    /// The store failed.
    pub(super) async fn changed(&self, shared: &Shared, signals: &[StreamSignal]) -> Result<Vec<Alert>, StoreError> {
        let filter = AlertFilter { open_only: true, service: Some(self.service.to_owned()) };
        let mut open = shared.store.alerts(&filter).await?;
        let mut changed = self.ended(&open);
        open.retain(|one| changed.iter().all(|ended| ended.fingerprint != one.fingerprint));
        let mut raised: Vec<Alert> = advance(&open, signals).iter().map(|change| change.alert().clone()).collect();
        self.complete(shared, &open, &mut raised).await?;
        let overlap = overlap(&shared.store, (self.service, self.hour), (&open, &raised), MOST_RUNS).await?;
        group(&open, &mut raised, &overlap);
        changed.extend(self.marked(shared, raised).await?);
        Ok(changed)
    }

    /// The alerts, those about a judge's scores marked by whether it is calibrated.
    async fn marked(&self, shared: &Shared, alerts: Vec<Alert>) -> Result<Vec<Alert>, StoreError> {
        if alerts.is_empty() {
            return Ok(alerts);
        }
        let standings = standings(&shared.store).await?;
        let mark = |alert: Alert| {
            let calibrated = standings.of_series(&alert.series, &self.window.scored_by(&alert.series));
            alert.marked(calibrated)
        };
        Ok(alerts.into_iter().map(mark).collect())
    }

    fn ended(&self, open: &[Alert]) -> Vec<Alert> {
        let end = self.hour.plus(HOUR);
        match self.baseline {
            Some(_) if self.is_replaced => ended_with_their_baseline(open, end),
            Some(baseline) if self.is_news => ended_with_their_revision(open, self.window, baseline, end),
            _ => Vec::new(),
        }
    }

    /// Adds what no detector knows: whom the alert affects, and what changed around its onset.
    async fn complete(&self, shared: &Shared, open: &[Alert], raised: &mut [Alert]) -> Result<(), StoreError> {
        if raised.iter().all(|alert| !alert.state.is_open()) {
            return Ok(());
        }
        self.count_versions(shared, open, raised).await?;
        let changes = changes_around(shared, self.service).await?;
        for alert in raised.iter_mut().filter(|alert| alert.state.is_open()) {
            let is_same = |one: &Alert| one.fingerprint == alert.fingerprint && one.detector == alert.detector;
            if !open.iter().any(is_same) {
                self.say_whom_it_affects(alert);
            }
            alert.evidence.nearest_change = nearest_change(&changes, (&alert.service, &alert.series), onset(alert));
        }
        Ok(())
    }

    /// Counts the versions of the hours in which new alerts may have begun: the next count of everything may be a minute
    /// away, and they are told before.
    async fn count_versions(&self, shared: &Shared, open: &[Alert], raised: &[Alert]) -> Result<(), StoreError> {
        let is_new = |alert: &&Alert| open.iter().all(|one| one.fingerprint != alert.fingerprint);
        let begun = raised.iter().filter(is_new).map(|alert| onset(alert).0).min();
        let Some(begun) = begun else { return Ok(()) };
        let mut hour = begun.hour().max(self.hour.minus(LONGEST_COUNT));
        while hour <= self.hour {
            shared.store.count_versions(self.service, hour, shared.now()).await?;
            hour = hour.plus(HOUR);
        }
        Ok(())
    }

    /// Rules know whom they affect, whatever the series.
    fn say_whom_it_affects(&self, alert: &mut Alert) {
        let series = |side: &Baseline| side.series.get(&stream_of(alert)?).cloned();
        let Some(summary) = self.baseline.and_then(series).or_else(|| series(self.window)) else { return };
        if !is_rule(&alert.detector) {
            alert.evidence.affects = affects(alert, &summary);
        }
        alert.evidence.revision = summary.revision;
    }
}

/// Which runs are affected by alerts that began together. Between the times at which two of them have both begun the
/// earliest runs are read, as many of each: whoever began days ago leaves runs to whoever began just now.
async fn overlap(
    store: &Store,
    (service, hour): (&str, Timestamp),
    (open, raised): (&[Alert], &[Alert]),
    most_runs: usize,
) -> Result<Overlap, StoreError> {
    let Some((alerts, begun)) = undecided(open, raised) else { return Ok(Overlap::default()) };
    let (mut overlap, hour) = (Overlap::of(alerts), Selection::of_hour(service, hour));
    for (number, since) in begun.iter().enumerate() {
        let until = begun.get(number + 1).copied().or(hour.until);
        let selection = Selection { since: Some(*since), until, ..hour.clone() };
        let (most, mut place) = (overlap.runs() + most_runs / begun.len(), None);
        while overlap.runs() < most {
            let (records, end) = store.records_after(&selection, place).await?;
            records.iter().for_each(|record| overlap.add(record));
            place = end;
            if place.is_none() {
                break;
            }
        }
    }
    Ok(overlap)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backends::store::RecordedTrace;
    use crate::domain::alert::AlertState;
    use crate::domain::explanation::{Affects, Evidence};
    use crate::domain::measurement::{Measurement, SeriesKind, Value};
    use crate::pipeline::samples::run;
    use crate::watch::key::ALL;

    fn hour(hour: i64) -> Timestamp {
        Timestamp((480_000 + hour) * Timestamp::NANOS_PER_HOUR)
    }

    fn alert(series: &str, onset: i64) -> Alert {
        let evidence = Evidence { affects: Affects::False, ..Evidence::default() };
        Alert {
            fingerprint: series.to_owned(),
            state: AlertState::Pending,
            series: series.to_owned(),
            segment: ALL.to_owned(),
            onset_at: hour(onset),
            raised_at: hour(8),
            evidence,
            ..Alert::example()
        }
    }

    /// A run of which one series in three fails.
    fn failing(number: u16, ended: i64) -> RecordedTrace {
        let mut run = run(number, 1, hour(ended));
        let series = ["loop", "grounded", "answer"].into_iter().zip(0..);
        run.trace.record.measurements = series
            .map(|(series, place)| Measurement {
                series: series.to_owned(),
                kind: SeriesKind::Boolean,
                value: Value::Boolean(number % 3 != place),
                probability: 1.0,
                revision: None,
            })
            .collect();
        run
    }

    #[tokio::test]
    async fn alerts_that_began_long_ago_leave_runs_to_those_that_began_just_now() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", folder.path().join("store.db").display());
        let store = Store::open(&url, false).await.unwrap();
        let runs: Vec<_> = (1..=900).map(|number| failing(number, i64::from(number > 800) * 7)).collect();
        store.record_traces(&runs, hour(8)).await.unwrap();
        let mut old = alert("loop", 0);
        old.evidence.onset_between = Some((hour(0), hour(7)));
        let (open, mut raised) = ([old.clone()], [alert("grounded", 0), alert("answer", 7)]);
        let service = old.service.clone();
        let overlap = overlap(&store, (&service, hour(7)), (&open, &raised), 2).await.unwrap();
        assert!(overlap.runs() < 800, "{}", overlap.runs());
        group(&open, &mut raised, &overlap);
        assert_eq!(raised.each_ref().map(|alert| &alert.parent), [&None, &None], "they affect other runs");
    }
}
