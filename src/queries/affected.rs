//! One alert with all that is behind it: estimates with intervals, its life, and every trace that it affects.
//!
//! A trace is affected when it ended between the alert's onset and its end, belongs to its service and segment, has a
//! value of the revision that moved, and the value is one that the alert is about ([`crate::watch::affects`]). Traces are
//! read page by page, however many there are.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use super::QueryError;
use crate::backends::store::{AlertFilter, Place, Selection, Store, StoredTrace};
use crate::domain::alert::{Alert, AlertEvent};
use crate::domain::ids::TraceId;
use crate::domain::measurement::{SeriesKind, TraceRecord, Value};
use crate::domain::report::Estimate;
use crate::domain::silence::Silence;
use crate::domain::time::Timestamp;
use crate::watch::affects::{affected_value, is_in_segment};
use crate::watch::estimate;
use crate::watch::key::{ALL, SeriesKey};
use crate::watch::summarize::Summarizer;
use crate::watch::summary::SeriesSummary;

/// Affected traces in one answer when no number is asked for.
pub const DEFAULT_AFFECTED: usize = 20;
/// Most affected traces in one answer.
pub const MOST_AFFECTED: usize = 1_000;

/// An alert with what is behind it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AlertDetail {
    /// The alert.
    #[serde(flatten)]
    pub alert: Alert,
    /// The series in the watched baseline.
    pub baseline_estimate: Option<Estimate>,
    /// The series since the onset.
    pub current_estimate: Option<Estimate>,
    /// Its page.
    pub link: String,
    /// The page of its runbook.
    pub runbook_url: String,
    /// Silences that hold for it now.
    pub silences: Vec<Silence>,
    /// Alerts of the same cause that this one speaks for.
    pub group: Vec<Alert>,
    /// Which traces are affected, in words.
    pub affected_are: String,
    /// Affected traces in all.
    pub affected_traces: u64,
    /// The first of them.
    pub affected: Affected,
    /// Every step of its life, earliest first; alerts of the same trouble before it too.
    pub history: Vec<AlertEvent>,
}

/// Affected traces, earliest end first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Affected {
    /// The traces.
    pub traces: Vec<AffectedTrace>,
    /// Where the next page begins; absent on the last one.
    pub next: Option<String>,
}

/// A trace that an alert affects, and whose business it was.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AffectedTrace {
    /// The trace.
    pub trace_id: TraceId,
    /// When it ended, in nanoseconds since the Unix epoch.
    pub ended_at: Timestamp,
    /// Its value in the alert's series.
    pub value: Value,
    /// The conversation.
    pub conversation_id: Option<String>,
    /// The end user.
    pub user_id: Option<String>,
    /// Business ids and other configured attributes.
    pub attributes: BTreeMap<String, String>,
}

/// An alert with what is behind it. `watched` names the baseline, `web` is where people reach the web listener.
///
/// # Errors
/// There is no alert with this id, or the store failed.
pub async fn alert_detail(
    store: &Store,
    id: &str,
    watched: &str,
    web: &str,
    now: Timestamp,
) -> Result<AlertDetail, QueryError> {
    let alert = super::alerts::alert(store, id).await?;
    let mut since_onset = SinceOnset { alert: &alert, affected: 0, summarizer: Summarizer::default() };
    store.visit_records(&selection(&alert), |record| since_onset.add(record)).await?;
    let (affected_traces, current_estimate) = since_onset.finish();
    let silences = store.silences(now).await?.into_iter().filter(|silence| silence.holds(&alert, now)).collect();
    Ok(AlertDetail {
        baseline_estimate: baseline(store, watched, &alert).await?,
        current_estimate,
        link: alert.link(web),
        runbook_url: alert.runbook_url(web),
        silences,
        group: group(store, &alert).await?,
        affected_are: alert.evidence.affects.to_string(),
        affected_traces,
        affected: affected(store, id, None, DEFAULT_AFFECTED).await?,
        history: store.alert_events(&alert.fingerprint).await?,
        alert,
    })
}

async fn group(store: &Store, alert: &Alert) -> Result<Vec<Alert>, QueryError> {
    let filter = AlertFilter { open_only: false, service: Some(alert.service.clone()) };
    let mut alerts = store.alerts(&filter).await?;
    alerts.retain(|other| other.is_told_by(alert));
    Ok(alerts)
}

/// The affected traces that follow a place, which is the `next` of the page before.
///
/// # Errors
/// There is no alert with this id, the place or the limit means nothing, or the store failed.
pub async fn affected(store: &Store, id: &str, after: Option<&str>, limit: usize) -> Result<Affected, QueryError> {
    if !(1..=MOST_AFFECTED).contains(&limit) {
        return Err(QueryError::OutOfRange { name: "limit", value: limit as f64, expected: "1 to 1000" });
    }
    let alert = super::alerts::alert(store, id).await?;
    let (selection, mut place) = (selection(&alert), after.map(read_place).transpose()?);
    let mut found: Vec<(TraceRecord, Value)> = Vec::new();
    // One more than is asked for tells whether there is another page.
    while found.len() <= limit {
        let (records, end) = store.records_after(&selection, place).await?;
        let is_here = |record: TraceRecord| affected_value(&record, &alert).cloned().map(|value| (record, value));
        found.extend(records.into_iter().filter_map(is_here));
        place = end;
        if place.is_none() {
            break;
        }
    }
    let has_more = found.len() > limit;
    found.truncate(limit);
    let next = found.last().filter(|_| has_more).map(|(record, _)| written_place((record.ended_at, record.trace_id)));
    Ok(Affected { traces: with_business(store, found).await?, next })
}

/// The traces of an alert's service and segment since its onset, counted and summarised as they are read.
struct SinceOnset<'a> {
    alert: &'a Alert,
    affected: u64,
    summarizer: Summarizer,
}

impl SinceOnset<'_> {
    fn add(&mut self, mut record: TraceRecord) {
        if !is_in_segment(&record, &self.alert.segment) {
            return;
        }
        self.affected += u64::from(affected_value(&record, self.alert).is_some());
        record.measurements.retain(|measurement| measurement.series == self.alert.series);
        record.segments.clear();
        if !record.measurements.is_empty() {
            self.summarizer.add(record);
        }
    }

    /// How many traces are affected, and the estimate of the series.
    fn finish(self) -> (u64, Option<Estimate>) {
        let summary = self.summarizer.finish("", self.alert.onset_at, "");
        let key = SeriesKey { segment: ALL.to_owned(), ..series_of(self.alert) };
        (self.affected, summary.series.get(&key).and_then(estimate_of_values))
    }
}

/// The estimate of a series of values; of categories it would be the share of one that is not named, and not what moved.
fn estimate_of_values(summary: &SeriesSummary) -> Option<Estimate> {
    let has_values = !matches!(summary.kind(), SeriesKind::Categorical | SeriesKind::Sequence);
    has_values.then(|| estimate(summary))
}

fn series_of(alert: &Alert) -> SeriesKey {
    SeriesKey { service: alert.service.clone(), series: alert.series.clone(), segment: alert.segment.clone() }
}

fn selection(alert: &Alert) -> Selection {
    Selection {
        service: Some(alert.service.clone()),
        since: Some(alert.onset_at),
        until: alert.resolved_at,
        ..Selection::default()
    }
}

/// The series in the watched baseline, if that has it.
async fn baseline(store: &Store, watched: &str, alert: &Alert) -> Result<Option<Estimate>, QueryError> {
    match super::baselines::baseline(store, watched).await {
        Ok(baseline) => Ok(baseline.series.get(&series_of(alert)).and_then(estimate_of_values)),
        Err(QueryError::UnknownBaseline { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

async fn with_business(store: &Store, found: Vec<(TraceRecord, Value)>) -> Result<Vec<AffectedTrace>, QueryError> {
    let trace_ids: Vec<TraceId> = found.iter().map(|(record, _)| record.trace_id).collect();
    let stored = store.traces(&trace_ids).await?.into_iter().map(|trace| (trace.trace_id, trace));
    let mut stored: HashMap<TraceId, StoredTrace> = stored.collect();
    let affected = |(record, value): (TraceRecord, Value)| {
        let trace = stored.remove(&record.trace_id)?;
        Some(AffectedTrace {
            trace_id: record.trace_id,
            ended_at: record.ended_at,
            value,
            conversation_id: trace.conversation_id,
            user_id: trace.user_id,
            attributes: trace.attributes,
        })
    };
    Ok(found.into_iter().filter_map(affected).collect())
}

fn written_place((ended_at, trace_id): Place) -> String {
    format!("{}-{trace_id}", ended_at.0)
}

fn read_place(text: &str) -> Result<Place, QueryError> {
    let place = text
        .rsplit_once('-')
        .and_then(|(ended_at, trace_id)| Some((Timestamp(ended_at.parse().ok()?), trace_id.parse().ok()?)));
    place.ok_or_else(|| QueryError::Cursor { text: text.to_owned() })
}
