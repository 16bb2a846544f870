//! One alert with all that is behind it: estimates with intervals, its life, and every trace that it affects.
//!
//! A trace is affected when it ended at or after the alert's onset, belongs to its service and segment, and its value
//! lies on the side to which the series moved: what fails, where a share of passes fell; what is above the baseline's
//! mean, where a number rose. Where a shape changed, every trace with a value is.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use super::{QueryError, compute};
use crate::backends::store::{Place, Selection, Store, StoredTrace};
use crate::domain::alert::{Alert, AlertEvent};
use crate::domain::ids::TraceId;
use crate::domain::measurement::{TraceRecord, Value};
use crate::domain::report::Estimate;
use crate::domain::silence::Silence;
use crate::domain::time::Timestamp;
use crate::watch::estimate;
use crate::watch::key::{ALL, SeriesKey};
use crate::watch::summary::{Observation, SeriesSummary};

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
    let records = records(store, &alert).await?;
    let affected_traces = records.iter().filter(|record| value(record, &alert).is_some()).count() as u64;
    let (series, of_series) = (alert.series.clone(), records);
    let current_estimate = compute(move || current(&of_series, &series)).await?;
    let silences = store.silences(now).await?.into_iter().filter(|silence| silence.holds(&alert, now)).collect();
    Ok(AlertDetail {
        baseline_estimate: baseline(store, watched, &alert).await?,
        current_estimate,
        link: alert.link(web),
        runbook_url: alert.runbook_url(web),
        silences,
        affected_traces,
        affected: affected(store, id, None, DEFAULT_AFFECTED).await?,
        history: store.alert_events(&alert.fingerprint).await?,
        alert,
    })
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
        let is_here = |record: TraceRecord| value(&record, &alert).map(|value| (record, value));
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

/// The records of the alert's service since its onset that could be affected, with that series alone.
async fn records(store: &Store, alert: &Alert) -> Result<Vec<TraceRecord>, QueryError> {
    let mut records = Vec::new();
    let keep = |mut record: TraceRecord| {
        record.measurements.retain(|measurement| measurement.series == alert.series);
        if is_in_segment(&record, &alert.segment) && !record.measurements.is_empty() {
            records.push(record);
        }
    };
    store.visit_records(&selection(alert), keep).await?;
    Ok(records)
}

fn selection(alert: &Alert) -> Selection {
    Selection {
        service: Some(alert.service.clone()),
        since: Some(alert.onset_at),
        until: alert.resolved_at,
        ..Selection::default()
    }
}

fn is_in_segment(record: &TraceRecord, segment: &str) -> bool {
    let part = segment.split_once('=');
    segment == ALL
        || part.is_some_and(|(dimension, value)| record.segments.get(dimension).is_some_and(|it| it == value))
}

/// The trace's value, if the alert affects it.
pub(super) fn value(record: &TraceRecord, alert: &Alert) -> Option<Value> {
    let value = &record.measurement(&alert.series).filter(|_| is_in_segment(record, &alert.segment))?.value;
    let number = match value {
        Value::Boolean(passes) => f64::from(u8::from(*passes)),
        Value::Number(number) => *number,
        Value::Sequence(_) | Value::Counts(_) => return Some(value.clone()),
    };
    let is_affected = match (alert.direction.as_str(), alert.baseline) {
        ("up", Some(baseline)) => number > baseline,
        ("down", Some(baseline)) => number < baseline,
        _ => true,
    };
    is_affected.then(|| value.clone())
}

fn current(records: &[TraceRecord], series: &str) -> Option<Estimate> {
    let measured = records.iter().filter_map(|record| Some((record, record.measurement(series)?)));
    let observations: Vec<Observation<'_>> =
        measured.map(|(record, measurement)| Observation::of(record, measurement)).collect();
    SeriesSummary::of(&observations).map(|summary| estimate(&summary))
}

/// The series in the watched baseline, if that has it.
async fn baseline(store: &Store, watched: &str, alert: &Alert) -> Result<Option<Estimate>, QueryError> {
    let key =
        SeriesKey { service: alert.service.clone(), series: alert.series.clone(), segment: alert.segment.clone() };
    match super::baselines::baseline(store, watched).await {
        Ok(baseline) => Ok(baseline.series.get(&key).map(estimate)),
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
