//! A decision rebuilt whole: what a run was given, did and said, what it was worth, and what else was going on.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::account::Account;
use super::explain::sampling_sentence;
use super::releases::{ReleaseFilter, releases};
use super::scores::{ScoreRow, rows};
use super::search::FoundTrace;
use super::selection::{Condition, selection};
use super::{QueryError, body, compute, not_evaluated};
use crate::backends::store::{AlertFilter, BodyPlace, Selection, Store, StoreError, StoredTrace};
use crate::domain::access::{Action, LogEntry, NewLogEntry};
use crate::domain::alert::{Alert, AlertState};
use crate::domain::evaluation::{AnnotatorKind, Outcome};
use crate::domain::ids::TraceId;
use crate::domain::label::Label;
use crate::domain::measurement::{Measurement, SeriesKind, TraceRecord, Value};
use crate::domain::release::Release;
use crate::domain::time::Timestamp;
use crate::evaluate::sampling::SamplingDecision;
use crate::normalize::{AttributeMapping, PriceTable, normalize_priced};
use crate::watch::affects::affected_value;

/// Runs in one answer when no number is asked for.
pub const DEFAULT_RUNS: usize = 20;
/// Most runs in one answer.
pub const MOST_RUNS: usize = 100;

/// Lines of the log in one answer.
const MOST_LINES: usize = 1_000;

/// Which runs are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuditOf {
    /// A trace, a conversation, a user or a business id: whichever of them there is, in this order.
    Id(String),
    /// `key=value` conditions, as elsewhere.
    Conditions(Vec<Condition>),
}

/// The runs that were asked about.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Audit {
    /// What they were found by, for example `conversation=c-17`; the question as it is where nothing was found.
    pub found_by: String,
    /// When this was put together.
    pub at: Timestamp,
    /// The runs, earliest first.
    pub runs: Vec<AuditedRun>,
    /// Whether there are earlier ones that are not in this answer.
    pub has_more: bool,
}

/// One run with all that is known of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AuditedRun {
    /// Who, when, which version.
    pub trace: FoundTrace,
    /// Counts evaluations of the whole trace, from 1.
    pub version: i64,
    /// What is left of it.
    pub state: AuditState,
    /// Its spans are or were in the store until here.
    pub kept_until: Timestamp,
    /// What it did; absent when only the record remains.
    pub account: Option<Account>,
    /// Whether it was chosen to be judged, with what probability and why, in a sentence.
    pub sampling: Option<String>,
    /// What limits its numbers.
    pub notes: Vec<String>,
    /// What every evaluator made of it, with reasons; then what others scored.
    pub scores: Vec<ScoreRow>,
    /// Who labelled it, when, and how.
    pub labels: Vec<Label>,
    /// Alerts whose time and values it falls into.
    pub alerts: Vec<AuditedAlert>,
    /// Versions that it ran under, with when each was first and last seen.
    pub releases: Vec<AuditedRelease>,
}

/// What is left of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuditState {
    /// Its spans are in the store.
    Whole,
    /// Its spans are in the archive.
    Archived,
    /// Its spans are gone; scores, labels and decisions remain.
    RecordOnly,
    /// Its texts were erased on request; counts and scores remain.
    Erased,
}

impl AuditState {
    /// What it means, for a person.
    #[must_use]
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::Whole => "The run is kept whole.",
            Self::Archived => "The run is past its time in the store and was read from the archive, whole.",
            Self::RecordOnly => {
                "The spans of this run have expired: its texts and calls are gone, and only the record remains, with \
                 who, when, scores, labels and alerts."
            }
            Self::Erased => "What this run said and whose it was has been erased on request; only its counts remain.",
        }
    }
}

/// An alert that a run falls into.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AuditedAlert {
    /// The alert.
    pub fingerprint: String,
    /// Where it is in its life.
    pub state: AlertState,
    /// The series that moved.
    pub series: String,
    /// What moved, in a sentence.
    pub summary: String,
    /// Since when.
    pub onset_at: Timestamp,
    /// The run's value in that series.
    pub value: Value,
}

/// A version that a run ran under.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AuditedRelease {
    /// `release`, `model`, `prompt_version` or `agent_version`.
    pub dimension: String,
    /// The version.
    pub value: String,
    /// End of its first trace.
    pub first_seen_at: Timestamp,
    /// End of its last trace.
    pub last_seen_at: Timestamp,
}

/// Who changed or read what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditLog {
    /// The lines, newest first.
    pub entries: Vec<LogEntry>,
    /// Whether there are earlier ones in this time that are not in this answer.
    pub has_more: bool,
}

/// What runs are read by.
#[derive(Debug, Clone, Copy)]
pub struct Reading<'a> {
    /// Names that traces can be selected by.
    pub names: &'a AttributeMapping,
    /// What model calls cost.
    pub prices: &'a PriceTable,
    /// The time of asking.
    pub now: Timestamp,
}

/// Rebuilds the newest `limit` of the runs that are meant, and notes that they are read.
///
/// # Errors
/// A condition or the limit means nothing, the one trace that is asked for is still pending, its spans are damaged, or
/// the store failed. Nothing found is an answer without runs.
pub async fn audit(store: &Store, of: &AuditOf, limit: usize, reading: Reading<'_>) -> Result<Audit, QueryError> {
    if !(1..=MOST_RUNS).contains(&limit) {
        return Err(QueryError::OutOfRange { name: "limit", value: limit as f64, expected: "1 to 100" });
    }
    let (found_by, mut found) = find(store, of, limit + 1, reading).await?;
    let has_more = found.len() > limit;
    found.truncate(limit);
    found.reverse();
    let mut around = Around::default();
    let mut runs = Vec::with_capacity(found.len());
    for stored in found {
        around.learn(store, &stored.service).await?;
        runs.push(rebuilt(store, stored, &around, reading).await?);
    }
    let trace_ids: Vec<TraceId> = runs.iter().map(|run: &AuditedRun| run.trace.trace_id).collect();
    shown(store, &trace_ids, reading.now).await?;
    Ok(Audit { found_by, at: reading.now, runs, has_more })
}

/// Notes that text of these traces is about to be shown.
///
/// # Errors
/// The store failed; then nothing must be shown.
pub async fn shown(store: &Store, trace_ids: &[TraceId], now: Timestamp) -> Result<(), StoreError> {
    note_reads(store, trace_ids.iter().map(ToString::to_string), "", now).await
}

/// Notes that the beginnings of dead letters are about to be shown, by the digests of their bodies: which traces are in
/// them nobody could read.
///
/// # Errors
/// The store failed; then nothing must be shown.
pub async fn letters_shown(
    store: &Store,
    queue: &str,
    digests: impl Iterator<Item = String>,
    now: Timestamp,
) -> Result<(), StoreError> {
    note_reads(store, digests, &format!("dead letter of {queue}"), now).await
}

async fn note_reads(
    store: &Store,
    subjects: impl Iterator<Item = String>,
    detail: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    let entry = |subject| NewLogEntry { action: Action::Read, subject, detail: detail.to_owned() };
    let entries: Vec<NewLogEntry> = subjects.map(entry).collect();
    if entries.is_empty() { Ok(()) } else { store.note(&entries, now).await }
}

/// The log of changes and reads since an instant, newest first.
///
/// # Errors
/// The store failed.
pub async fn log(store: &Store, since: Timestamp) -> Result<AuditLog, QueryError> {
    let mut entries = store.audit_log(since, MOST_LINES + 1).await?;
    let has_more = entries.len() > MOST_LINES;
    entries.truncate(MOST_LINES);
    Ok(AuditLog { entries, has_more })
}

/// The newest traces that are meant, and what they were found by.
async fn find(
    store: &Store,
    of: &AuditOf,
    limit: usize,
    reading: Reading<'_>,
) -> Result<(String, Vec<StoredTrace>), QueryError> {
    match of {
        AuditOf::Conditions(conditions) => {
            let written: Vec<String> = conditions.iter().map(|(key, value)| format!("{key}={value}")).collect();
            let selection = selection(conditions, reading.names, reading.now)?;
            Ok((written.join(","), store.search(&selection, limit).await?))
        }
        AuditOf::Id(id) => {
            if let Ok(trace_id) = id.parse::<TraceId>()
                && let Some(stored) = by_trace(store, trace_id).await?
            {
                return Ok((format!("trace={trace_id}"), vec![stored]));
            }
            by_any_id(store, id, limit, reading.names).await
        }
    }
}

/// The trace of an id; `None` where there is none, for other ids may look like one.
async fn by_trace(store: &Store, trace_id: TraceId) -> Result<Option<StoredTrace>, QueryError> {
    match store.trace(trace_id).await? {
        Some(stored) => Ok(Some(stored)),
        None => match not_evaluated(store, trace_id).await? {
            QueryError::UnknownTrace { .. } => Ok(None),
            pending => Err(pending),
        },
    }
}

/// Looks for an id among conversations, users, and each name that traces are searched by.
async fn by_any_id(
    store: &Store,
    id: &str,
    limit: usize,
    names: &AttributeMapping,
) -> Result<(String, Vec<StoredTrace>), QueryError> {
    let conversation = Selection { conversation: Some(id.to_owned()), ..Selection::default() };
    let user = Selection { user: Some(id.to_owned()), ..Selection::default() };
    let of_name = |name: &str| {
        let attributes = [(name.to_owned(), id.to_owned())].into();
        (name.to_owned(), Selection { attributes, ..Selection::default() })
    };
    let known = [("conversation".to_owned(), conversation), ("user".to_owned(), user)];
    for (name, selection) in known.into_iter().chain(names.iter().map(|(name, _)| of_name(name))) {
        let found = store.search(&selection, limit).await?;
        if !found.is_empty() {
            return Ok((format!("{name}={id}"), found));
        }
    }
    Ok((id.to_owned(), Vec::new()))
}

/// Alerts and releases of the services that are asked about.
#[derive(Default)]
struct Around {
    of_service: HashMap<String, (Vec<Alert>, Vec<Release>)>,
}

impl Around {
    async fn learn(&mut self, store: &Store, service: &str) -> Result<(), QueryError> {
        if self.of_service.contains_key(service) {
            return Ok(());
        }
        let of_service = Some(service.to_owned());
        let alerts = store.alerts(&AlertFilter { open_only: false, service: of_service.clone() }).await?;
        let filter = ReleaseFilter { service: of_service, unsettled: true };
        let releases = releases(store, &filter).await?.releases;
        self.of_service.insert(service.to_owned(), (alerts, releases));
        Ok(())
    }

    fn alerts(&self, record: &TraceRecord) -> Vec<AuditedAlert> {
        let during = |alert: &&Alert| {
            record.ended_at >= alert.onset_at && alert.resolved_at.is_none_or(|end| record.ended_at < end)
        };
        let audited = |alert: &Alert| {
            Some(AuditedAlert {
                value: affected_value(record, alert)?.clone(),
                fingerprint: alert.fingerprint.clone(),
                state: alert.state,
                series: alert.series.clone(),
                summary: alert.summary.clone(),
                onset_at: alert.onset_at,
            })
        };
        let (alerts, _) = self.of_service.get(&record.service).unwrap_or(&NOTHING);
        alerts.iter().filter(during).filter_map(audited).collect()
    }

    fn releases(&self, record: &TraceRecord) -> Vec<AuditedRelease> {
        let (_, releases) = self.of_service.get(&record.service).unwrap_or(&NOTHING);
        let is_run = |release: &&Release| record.segments.get(&release.dimension) == Some(&release.value);
        let audited = |release: &Release| AuditedRelease {
            dimension: release.dimension.clone(),
            value: release.value.clone(),
            first_seen_at: release.first_seen_at,
            last_seen_at: release.last_seen_at,
        };
        releases.iter().filter(is_run).map(audited).collect()
    }
}

static NOTHING: (Vec<Alert>, Vec<Release>) = (Vec::new(), Vec::new());

async fn rebuilt(
    store: &Store,
    stored: StoredTrace,
    around: &Around,
    reading: Reading<'_>,
) -> Result<AuditedRun, QueryError> {
    let trace_id = stored.trace_id;
    let place = store.body_place(trace_id).await?;
    let account = account(store, trace_id, reading).await?;
    let scores = rows(store, &stored).await?;
    let record = judged(&stored.record, &scores);
    let decision: Option<SamplingDecision> = serde_json::from_str(&stored.decision).ok();
    Ok(AuditedRun {
        version: stored.version,
        state: state(place, account.is_some()),
        kept_until: stored.keep_body_until,
        account,
        sampling: decision.as_ref().map(sampling_sentence),
        notes: stored.record.notes.clone(),
        labels: store.labels_of(trace_id).await?,
        alerts: around.alerts(&record),
        releases: around.releases(&record),
        scores,
        trace: FoundTrace::from(stored),
    })
}

const fn state(place: BodyPlace, is_readable: bool) -> AuditState {
    match place {
        BodyPlace::Erased => AuditState::Erased,
        BodyPlace::Store if is_readable => AuditState::Whole,
        BodyPlace::Archive if is_readable => AuditState::Archived,
        BodyPlace::Store | BodyPlace::Archive | BodyPlace::Gone => AuditState::RecordOnly,
    }
}

async fn account(store: &Store, trace_id: TraceId, reading: Reading<'_>) -> Result<Option<Account>, QueryError> {
    let Some(raw) = body(store, trace_id).await? else { return Ok(None) };
    let (names, prices) = (reading.names.clone(), reading.prices.clone());
    compute(move || normalize_priced(&raw, &names, &prices).as_ref().map(Account::from)).await
}

/// The record with what judges scored, which alerts may be about.
fn judged(record: &TraceRecord, scores: &[ScoreRow]) -> TraceRecord {
    let is_judged = |row: &&ScoreRow| {
        row.source.is_none()
            && row.evaluation.annotator_kind == AnnotatorKind::Llm
            && row.evaluation.outcome == Outcome::Scored
    };
    let measured = |row: &ScoreRow| {
        Some(Measurement {
            series: row.evaluation.evaluator.clone(),
            kind: SeriesKind::Boolean,
            value: Value::Boolean(row.evaluation.value? >= 0.5),
            probability: row.probability.unwrap_or(1.0),
            revision: Some(row.evaluation.revision.clone()),
        })
    };
    let mut record = record.clone();
    record.measurements.extend(scores.iter().filter(is_judged).filter_map(measured));
    record
}
