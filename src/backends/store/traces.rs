//! What came of a trace: one row of the newest version, its evaluations, and the work that follows from it.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row};

use super::bounds::put_off_grown;
use super::chunks::read_trace_ids;
use super::columns::{flag, json, key, parse_json, text};
use super::dialect::Dialect;
use super::evaluations::{StoredEvaluation, insert_recorded};
use super::outbox::{NewOutboxItem, insert_outbox};
use super::retry::promptly;
use super::statement::{for_keys, insert};
use super::usage::{charge, insert_usage};
use super::{Store, StoreError};
use crate::domain::evaluation::FailureClass;
use crate::domain::ids::{SpanId, TraceId};
use crate::domain::measurement::TraceRecord;
use crate::domain::time::Timestamp;
use crate::domain::usage::Usage;

/// An evaluated trace as it is kept and found.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredTrace {
    /// The trace.
    pub trace_id: TraceId,
    /// Counts evaluations of the whole trace, from 1; a later one supersedes the one before.
    pub version: i64,
    /// The root span, or the earliest when the root never arrived.
    pub root_span_id: SpanId,
    /// `service.name`. This and the other texts that are searched are kept to their first 512 bytes.
    pub service: String,
    /// The release.
    pub release: Option<String>,
    /// The model.
    pub model: Option<String>,
    /// The deployment environment.
    pub environment: Option<String>,
    /// The conversation.
    pub conversation_id: Option<String>,
    /// The end user.
    pub user_id: Option<String>,
    /// Further searchable names.
    pub attributes: BTreeMap<String, String>,
    /// Earliest span start.
    pub started_at: Timestamp,
    /// Latest span end; the trace belongs to the hour of this instant.
    pub ended_at: Timestamp,
    /// Whether a rule or a judge flags the trace.
    pub failing: bool,
    /// How the run failed, kept among its searchable names as `failure_class`.
    pub failure_class: Option<FailureClass>,
    /// Whether the run as a whole ended in an error.
    pub error: bool,
    /// Whether sampling chose the trace for judging.
    pub sampled: bool,
    /// Whether the run tells of a decision of its own; such runs are archived.
    pub reports_decision: bool,
    /// The body may be purged from this instant on.
    pub keep_body_until: Timestamp,
    /// What the trace fell under when it was sampled; absent for traces of an earlier release.
    pub stratum: Option<String>,
    /// The sampling decision, as JSON.
    pub decision: String,
    /// What statistics read, without the judges' scores: see [`Store::records`].
    pub record: TraceRecord,
}

/// A judgement to be made.
#[derive(Debug, Clone, PartialEq)]
pub struct NewJudgeJob {
    /// The judge.
    pub evaluator: String,
    /// Its revision.
    pub revision: String,
    /// Who makes it: a judge model's name in the settings.
    pub lane: String,
    /// Probability with which the trace was chosen for it.
    pub probability: f64,
}

/// Everything that one evaluation of a trace leaves behind.
#[derive(Debug, Clone, PartialEq)]
pub struct RecordedTrace {
    /// The trace, with a version one above the claimed one.
    pub trace: StoredTrace,
    /// The claimed generation.
    pub generation: i64,
    /// Evaluations that are known already.
    pub evaluations: Vec<StoredEvaluation>,
    /// Judgements that follow.
    pub judge_jobs: Vec<NewJudgeJob>,
    /// What the run used.
    pub usage: Usage,
    /// The budgets of agents that it counts for, as `dimension=value`.
    pub budgets: BTreeSet<String>,
    /// What is to be sent.
    pub outbox: Vec<NewOutboxItem>,
}

/// What became of recorded traces; the two add up to what was given.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RecordReport {
    /// Traces that now stand as given.
    pub recorded: usize,
    /// Traces of which the same or a later version stood already; nothing of them was changed.
    pub stale: usize,
}

impl Store {
    /// Records evaluated traces: the trace, its evaluations in place of the last version's, judge jobs in place of the
    /// pending ones, and what is to be sent. A trace that grew since it was claimed stays pending and can be claimed
    /// again as soon as it is due.
    ///
    /// # Errors
    /// The database failed; then nothing is recorded.
    pub async fn record_traces(&self, traces: &[RecordedTrace], now: Timestamp) -> Result<RecordReport, StoreError> {
        // In one order everywhere, and one row for each trace.
        let by_id: BTreeMap<TraceId, &RecordedTrace> = traces.iter().map(|it| (it.trace.trace_id, it)).collect();
        let offered: Vec<&RecordedTrace> = by_id.into_values().collect();
        promptly("record evaluated traces", || async {
            let mut transaction = self.begin().await?;
            let connection = &mut *transaction;
            let pending = lock_pending(connection, self.dialect, &offered).await?;
            let accepted = upsert_traces(connection, &offered, &pending, now).await?;
            let recorded: Vec<&RecordedTrace> =
                offered.iter().copied().filter(|it| accepted.contains(&it.trace.trace_id)).collect();
            supersede(connection, &recorded).await?;
            insert_attributes(connection, &recorded).await?;
            insert_usage(connection, &recorded).await?;
            insert_recorded(connection, &recorded, now).await?;
            insert_judge_jobs(connection, &recorded, now).await?;
            insert_hours(connection, &recorded).await?;
            charge(connection, self.dialect, &recorded).await?;
            let outbox: Vec<&NewOutboxItem> = recorded.iter().flat_map(|it| &it.outbox).collect();
            insert_outbox(connection, &outbox, now).await?;
            release_pending(connection, self.dialect, &recorded, &pending, now).await?;
            transaction.commit().await?;
            Ok(RecordReport { recorded: recorded.len(), stale: traces.len() - recorded.len() })
        })
        .await
    }
}

/// How far a pending trace has come.
struct Pending {
    generation: i64,
    stored_bytes: i64,
}

/// How far each offered trace has come, kept from growing until the transaction ends.
async fn lock_pending(
    connection: &mut AnyConnection,
    dialect: Dialect,
    offered: &[&RecordedTrace],
) -> Result<BTreeMap<TraceId, Pending>, sqlx::Error> {
    let trace_ids: Vec<TraceId> = offered.iter().map(|it| it.trace.trace_id).collect();
    let lock = format!(" ORDER BY trace_id{}", dialect.lock());
    let select = "SELECT trace_id, generation, stored_bytes FROM pending WHERE trace_id IN";
    let rows = for_keys(connection, select, &trace_ids, &lock).await?;
    let pending = |row: &AnyRow| {
        let pending = Pending { generation: row.try_get("generation")?, stored_bytes: row.try_get("stored_bytes")? };
        Ok((row.try_get("trace_id")?, pending))
    };
    rows.iter().map(pending).collect()
}

/// Whether a trace has not grown since it was claimed.
fn is_done(it: &RecordedTrace, pending: &BTreeMap<TraceId, Pending>) -> bool {
    pending.get(&it.trace.trace_id).is_some_and(|pending| pending.generation == it.generation)
}

/// Writes the traces that are newer than what stands, and tells which those are.
async fn upsert_traces(
    connection: &mut AnyConnection,
    offered: &[&RecordedTrace],
    pending: &BTreeMap<TraceId, Pending>,
    now: Timestamp,
) -> Result<BTreeSet<TraceId>, sqlx::Error> {
    let mut rows = Vec::with_capacity(offered.len());
    for it in offered {
        // What is evaluated is counted here from now on; of what has grown it goes on being counted there.
        let counted = pending.get(&it.trace.trace_id).filter(|_| is_done(it, pending));
        rows.push((&it.trace, json(&it.trace.record)?, counted.map_or(0, |pending| pending.stored_bytes)));
    }
    let written = insert(
        connection,
        "trace (trace_id, version, root_span_id, service, release, model, environment, conversation_id, user_id, \
         started_at, ended_at, recorded_at, failing, error, sampled, keep_body_until, body_purged, decision, record, \
         stratum, upstream_probability, stored_bytes, prompt_version, agent_version, reports_decision)",
        &rows,
        |row, (trace, record, stored_bytes)| {
            row.bind(trace.trace_id).bind(trace.version).bind(trace.root_span_id).bind(key(&trace.service));
            for name in [&trace.release, &trace.model, &trace.environment, &trace.conversation_id, &trace.user_id] {
                row.bind(name.as_deref().map(key));
            }
            row.bind(trace.started_at).bind(trace.ended_at).bind(now);
            row.bind(i64::from(trace.failing)).bind(i64::from(trace.error)).bind(i64::from(trace.sampled));
            row.bind(trace.keep_body_until).bind(0_i64).bind(text(&trace.decision)).bind(record.as_str());
            row.bind(trace.stratum.as_deref().map(key)).bind_score(trace.record.upstream_probability);
            row.bind(*stored_bytes);
            for dimension in ["prompt_version", "agent_version"] {
                row.bind(trace.record.segments.get(dimension).map(|value| key(value)));
            }
            row.bind(i64::from(trace.reports_decision));
        },
        "ON CONFLICT (trace_id) DO UPDATE SET version = excluded.version, root_span_id = excluded.root_span_id, \
         service = excluded.service, release = excluded.release, model = excluded.model, \
         environment = excluded.environment, conversation_id = excluded.conversation_id, user_id = excluded.user_id, \
         started_at = excluded.started_at, ended_at = excluded.ended_at, recorded_at = excluded.recorded_at, \
         failing = excluded.failing, error = excluded.error, sampled = excluded.sampled, \
         keep_body_until = CASE WHEN trace.keep_body_until > excluded.keep_body_until \
         THEN trace.keep_body_until ELSE excluded.keep_body_until END, decision = excluded.decision, record = excluded.record, \
         stratum = excluded.stratum, upstream_probability = excluded.upstream_probability, \
         stored_bytes = trace.stored_bytes + excluded.stored_bytes, \
         prompt_version = excluded.prompt_version, agent_version = excluded.agent_version, \
         reports_decision = excluded.reports_decision \
         WHERE trace.version < excluded.version AND trace.erased_at IS NULL RETURNING trace_id",
    );
    Ok(read_trace_ids(&written.await?)?.into_iter().collect())
}

/// Removes what hangs on an earlier version; a first version has none. Its list of evaluations goes with it by a trigger.
async fn supersede(connection: &mut AnyConnection, recorded: &[&RecordedTrace]) -> Result<(), sqlx::Error> {
    let again: Vec<TraceId> = recorded.iter().filter(|it| it.trace.version > 1).map(|it| it.trace.trace_id).collect();
    for_keys(connection, "DELETE FROM trace_attribute WHERE trace_id IN", &again, "").await?;
    for_keys(connection, "DELETE FROM trace_model WHERE trace_id IN", &again, "").await?;
    for_keys(connection, "DELETE FROM trace_tool WHERE trace_id IN", &again, "").await?;
    for_keys(connection, "DELETE FROM judge_job WHERE trace_id IN", &again, "").await?;
    for_keys(connection, "DELETE FROM evaluation WHERE trace_id IN", &again, "").await?;
    Ok(())
}

/// The searchable name that holds a trace's failure class; an attribute of the same name is left out.
pub(super) const FAILURE_CLASS: &str = "failure_class";

async fn insert_attributes(connection: &mut AnyConnection, recorded: &[&RecordedTrace]) -> Result<(), sqlx::Error> {
    let attributes: Vec<(TraceId, &str, &str)> = recorded.iter().flat_map(|it| names_of(&it.trace)).collect();
    insert(
        connection,
        "trace_attribute (trace_id, name, value)",
        &attributes,
        |row, (trace_id, name, value)| {
            row.bind(*trace_id).bind(key(name)).bind(key(value));
        },
        // Two long names may be the same once they are cut.
        "ON CONFLICT (trace_id, name) DO NOTHING",
    )
    .await
    .map(drop)
}

fn names_of(trace: &StoredTrace) -> impl Iterator<Item = (TraceId, &str, &str)> {
    let class = trace.failure_class.map(|class| (FAILURE_CLASS, class.as_str()));
    let names = trace.attributes.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let names = names.filter(|(name, _)| *name != FAILURE_CLASS);
    class.into_iter().chain(names).map(|(name, value)| (trace.trace_id, name, value))
}

/// Notes the failure class of traces that have none, or only `drifting`.
pub(super) async fn classify(
    connection: &mut AnyConnection,
    trace_ids: &[TraceId],
    class: FailureClass,
) -> Result<(), sqlx::Error> {
    insert(
        connection,
        "trace_attribute (trace_id, name, value)",
        trace_ids,
        |row, trace_id| {
            row.bind(*trace_id).bind(FAILURE_CLASS).bind(class.as_str());
        },
        "ON CONFLICT (trace_id, name) DO UPDATE SET value = excluded.value WHERE trace_attribute.value = 'drifting'",
    )
    .await
    .map(drop)
}

async fn insert_judge_jobs(
    connection: &mut AnyConnection,
    recorded: &[&RecordedTrace],
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    let jobs: Vec<(&StoredTrace, &NewJudgeJob)> =
        recorded.iter().flat_map(|it| it.judge_jobs.iter().map(|job| (&it.trace, job))).collect();
    insert(
        connection,
        "judge_job (trace_id, evaluator, revision, trace_version, probability, ended_at, due_at, attempts, lane, service)",
        &jobs,
        |row, (trace, job)| {
            row.bind(trace.trace_id).bind(key(&job.evaluator)).bind(key(&job.revision)).bind(trace.version);
            row.bind(job.probability).bind(trace.ended_at).bind(now).bind(0_i64);
            row.bind(key(&job.lane)).bind(key(&trace.service));
        },
        "",
    )
    .await
    .map(drop)
}

/// Notes which hours have traces, so that the watchers need not look for them.
async fn insert_hours(connection: &mut AnyConnection, recorded: &[&RecordedTrace]) -> Result<(), sqlx::Error> {
    let hours: BTreeSet<(String, Timestamp)> =
        recorded.iter().map(|it| (key(&it.trace.service), it.trace.ended_at.hour())).collect();
    let hours: Vec<(String, Timestamp)> = hours.into_iter().collect();
    insert(
        connection,
        "service_hour (service, hour)",
        &hours,
        |row, (service, hour)| {
            row.bind(service.as_str()).bind(*hour);
        },
        "ON CONFLICT (service, hour) DO NOTHING",
    )
    .await
    .map(drop)
}

/// Ends the wait of the traces that have not grown since they were claimed, and the claim on those that have.
async fn release_pending(
    connection: &mut AnyConnection,
    dialect: Dialect,
    recorded: &[&RecordedTrace],
    pending: &BTreeMap<TraceId, Pending>,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    let (done, grown): (Vec<&RecordedTrace>, Vec<&RecordedTrace>) =
        recorded.iter().partition(|it| is_done(it, pending));
    let ids = |traces: &[&RecordedTrace]| -> Vec<TraceId> { traces.iter().map(|it| it.trace.trace_id).collect() };
    for_keys(connection, "DELETE FROM pending WHERE trace_id IN", &ids(&done), "").await?;
    for_keys(connection, "UPDATE pending SET claimed_until = 0 WHERE trace_id IN", &ids(&grown), "").await?;
    for it in grown {
        put_off_grown(connection, dialect, (it.trace.trace_id, it.trace.version), now).await?;
    }
    Ok(())
}

/// Columns that [`read_trace`] reads.
pub(super) const TRACE_COLUMNS: &str = "trace_id, version, root_span_id, service, release, model, environment, \
     conversation_id, user_id, started_at, ended_at, failing, error, sampled, keep_body_until, stratum, \
     decision, record, reports_decision";

/// Reads a row of `trace`; its attributes and failure class lie elsewhere.
pub(super) fn read_trace(row: &AnyRow) -> Result<StoredTrace, sqlx::Error> {
    Ok(StoredTrace {
        trace_id: row.try_get("trace_id")?,
        version: row.try_get("version")?,
        root_span_id: row.try_get("root_span_id")?,
        service: row.try_get("service")?,
        release: row.try_get("release")?,
        model: row.try_get("model")?,
        environment: row.try_get("environment")?,
        conversation_id: row.try_get("conversation_id")?,
        user_id: row.try_get("user_id")?,
        attributes: BTreeMap::new(),
        started_at: row.try_get("started_at")?,
        ended_at: row.try_get("ended_at")?,
        failing: flag(row, "failing")?,
        failure_class: None,
        error: flag(row, "error")?,
        sampled: flag(row, "sampled")?,
        reports_decision: flag(row, "reports_decision")?,
        keep_body_until: row.try_get("keep_body_until")?,
        stratum: row.try_get("stratum")?,
        decision: row.try_get("decision")?,
        record: parse_json(row.try_get("record")?)?,
    })
}
