//! Judgements that wait to be made, apart from everything else: a provider's outage backs this up and nothing else.
//!
//! Each job has a lane, the judge model that makes it, and lanes are claimed apart: one that hangs takes nothing from
//! another.

use std::collections::BTreeSet;
use std::time::Duration;

use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row};

use super::columns::{count, key, limit, text};
use super::dialect::Dialect;
use super::evaluations::{Scored, StoredEvaluation, insert_evaluations};
use super::ledger::{JudgeCall, settle};
use super::outbox::{NewOutboxItem, insert_outbox};
use super::retry::{promptly, retried};
use super::statement::{Statement, for_keys, for_rows, insert};
use super::traces::classify;
use super::{Selection, Store, StoreError};
use crate::domain::evaluation::{Evaluation, FailureClass};
use crate::domain::ids::TraceId;
use crate::domain::time::Timestamp;
use crate::limits::budget::JudgingRates;

/// A judgement to be made, claimed by one worker.
#[derive(Debug, Clone, PartialEq)]
pub struct JudgeJob {
    /// The trace to judge.
    pub trace_id: TraceId,
    /// Version of the trace; a later version drops the job.
    pub trace_version: i64,
    /// The judge.
    pub evaluator: String,
    /// Its revision.
    pub revision: String,
    /// Service of the trace.
    pub service: String,
    /// Probability with which the trace was chosen for it: by sampling, times the judging rate.
    pub probability: f64,
    /// The judging rate when the job was first claimed; it stays.
    pub judging_rate: f64,
    /// How often it has been claimed, this claim included, but for claims that ended before anything was asked.
    pub attempts: u32,
    /// When it was first asked for and failed.
    pub first_attempt_at: Option<Timestamp>,
}

/// Whose jobs are claimed.
#[derive(Debug, Clone, Copy)]
pub enum Lane<'a> {
    /// Those of one judge model.
    Of(&'a str),
    /// Those of judge models that are none of these.
    Strays(&'a [String]),
}

/// What became of a claimed job.
#[derive(Debug, Clone, PartialEq)]
pub enum JobEnd {
    /// There is a row for it.
    Recorded {
        /// The row.
        evaluation: Evaluation,
        /// Whether it puts the trace before a person.
        flags: bool,
        /// The verdict to remember, under the hash of what was asked.
        cached: Option<([u8; 32], String)>,
    },
    /// It is tried again.
    Later {
        /// When.
        due_at: Timestamp,
        /// What has failed, if anything.
        error: Option<String>,
        /// Whether the claim counts as an attempt.
        is_attempt: bool,
        /// When it was first asked for and failed.
        first_attempt_at: Option<Timestamp>,
    },
}

/// A claimed job with all that its end leaves behind.
#[derive(Debug, Clone, PartialEq)]
pub struct FinishedJob {
    /// The job.
    pub job: JudgeJob,
    /// What became of it.
    pub end: JobEnd,
    /// Its requests, settled.
    pub calls: Vec<JudgeCall>,
    /// What is to be sent.
    pub outbox: Vec<NewOutboxItem>,
}

/// Judgements that were not made and are to be made after all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backfill {
    /// The judge.
    pub evaluator: String,
    /// Its revision; what an earlier one skipped stays skipped.
    pub revision: String,
    /// Its lane.
    pub lane: String,
    /// Whether judgements that failed are made again too.
    pub with_failed: bool,
    /// Of which traces.
    pub selection: Selection,
    /// At most so many.
    pub limit: usize,
}

type JobKey = (TraceId, String, String);

impl JudgeJob {
    fn key(&self) -> JobKey {
        (self.trace_id, self.evaluator.clone(), self.revision.clone())
    }
}

impl Store {
    /// Claims due jobs of a lane, longest due first. No one else gets them before `now + lease`. A job that is claimed
    /// for the first time takes on the judging rate of its service.
    ///
    /// # Errors
    /// The database failed; then nothing is claimed.
    pub async fn claim_judge_jobs(
        &self,
        lane: Lane<'_>,
        now: Timestamp,
        lease: Duration,
        jobs: usize,
        rates: &JudgingRates,
    ) -> Result<Vec<JudgeJob>, StoreError> {
        promptly("claim judge jobs", || async {
            let mut statement = Statement::new("UPDATE judge_job SET due_at = ");
            statement.bind(now.plus(lease)).sql(", attempts = attempts + 1, judging_rate = coalesce(judging_rate, ");
            bind_rate(&mut statement, rates);
            statement.sql(
                ") WHERE (trace_id, evaluator, revision) IN (SELECT trace_id, evaluator, revision FROM judge_job WHERE ",
            );
            bind_lane(&mut statement, lane);
            statement.sql(" AND due_at <= ").bind(now).sql(" ORDER BY due_at LIMIT ").bind(limit(jobs));
            statement.sql(self.dialect.claim()).sql(
                ") RETURNING trace_id, trace_version, evaluator, revision, service, probability, judging_rate, \
                 attempts, first_attempt_at",
            );
            let rows = statement.fetch(&self.writers).await?;
            rows.iter().map(read_job).collect()
        })
        .await
    }

    /// Ends claimed jobs: records their rows, flags their traces, puts off what failed, and settles their requests, all
    /// at once. Tells of each whether it was recorded: not when it was put off, is done already, or a later version of
    /// its trace has dropped it; then its requests are settled all the same.
    ///
    /// # Errors
    /// The database failed; then nothing is changed.
    pub async fn finish_judge_jobs(&self, finished: &[FinishedJob], now: Timestamp) -> Result<Vec<bool>, StoreError> {
        promptly("record judgements", || async {
            let mut transaction = self.begin().await?;
            let connection = &mut *transaction;
            let standing = lock_traces(connection, self.dialect, finished).await?;
            let recorded = end_jobs(connection, finished, &standing).await?;
            record(connection, finished, &recorded, now).await?;
            for job in finished {
                put_off(connection, job).await?;
            }
            let is_told =
                |it: &&FinishedJob| recorded.contains(&it.job.key()) || matches!(it.end, JobEnd::Later { .. });
            let outbox: Vec<&NewOutboxItem> = finished.iter().filter(is_told).flat_map(|it| &it.outbox).collect();
            insert_outbox(connection, &outbox, now).await?;
            let calls: Vec<&JudgeCall> = finished.iter().flat_map(|it| &it.calls).collect();
            settle(connection, &calls).await?;
            transaction.commit().await?;
            Ok(finished.iter().map(|it| recorded.contains(&it.job.key())).collect())
        })
        .await
    }

    /// Plans judgements that the budget left out, as far as the traces' bodies are still there; answers how many.
    ///
    /// # Errors
    /// The database failed; then nothing is planned.
    pub async fn backfill(&self, backfill: &Backfill, now: Timestamp) -> Result<u64, StoreError> {
        retried("plan judgements again", || async {
            let mut statement = Statement::new(
                "INSERT INTO judge_job (trace_id, evaluator, revision, trace_version, probability, ended_at, due_at, \
                 attempts, lane, service, judging_rate) SELECT trace_id, evaluator, revision, version, probability, \
                 ended_at, ",
            );
            statement.bind(now).sql(", 0, ").bind(backfill.lane.as_str()).sql(
                ", service, 1.0 FROM (SELECT trace.trace_id, version, service, release, model, environment, \
                 conversation_id, user_id, failing, ended_at, evaluator, revision, probability FROM trace JOIN evaluation ON evaluation.trace_id = trace.trace_id \
                 AND evaluation.trace_version = trace.version WHERE body_purged = 0 AND evaluation.evaluator = ",
            );
            statement.bind(key(&backfill.evaluator)).sql(" AND evaluation.revision = ").bind(key(&backfill.revision));
            statement.sql(if backfill.with_failed {
                " AND outcome IN ('skipped_budget', 'failed')) AS skipped WHERE 1 = 1"
            } else {
                " AND outcome = 'skipped_budget') AS skipped WHERE 1 = 1"
            });
            backfill.selection.narrow(&mut statement);
            statement.sql(" ORDER BY ended_at LIMIT ").bind(limit(backfill.limit));
            statement.sql(" ON CONFLICT (trace_id, evaluator, revision) DO NOTHING RETURNING trace_id");
            Ok(statement.fetch(&self.writers).await?.len() as u64)
        })
        .await
    }

    /// How many judgements of a service's traces that ended before `hour_end` are still to be made.
    ///
    /// # Errors
    /// The database failed.
    pub async fn pending_judge_jobs_before(&self, service: &str, hour_end: Timestamp) -> Result<u64, StoreError> {
        promptly("count judge jobs", || async {
            let sql = "SELECT count(*) AS jobs FROM judge_job JOIN trace ON trace.trace_id = judge_job.trace_id \
                       WHERE judge_job.ended_at < $1 AND trace.service = $2";
            let query = sqlx::query(sql).bind(hour_end).bind(key(service));
            count(&query.fetch_one(&self.readers).await?, "jobs")
        })
        .await
    }
}

fn bind_rate(statement: &mut Statement, rates: &JudgingRates) {
    if rates.services.is_empty() {
        statement.bind(rates.overall);
        return;
    }
    statement.sql("CASE service");
    for service in rates.services.keys() {
        statement.sql(" WHEN ").bind(key(service)).sql(" THEN ").bind(rates.of(service));
    }
    statement.sql(" ELSE ").bind(rates.overall).sql(" END");
}

fn bind_lane(statement: &mut Statement, lane: Lane<'_>) {
    match lane {
        Lane::Of(name) => {
            statement.sql("lane = ").bind(key(name));
        }
        Lane::Strays(known) => {
            statement.sql("1 = 1");
            for name in known {
                statement.sql(" AND lane <> ").bind(key(name));
            }
        }
    }
}

fn read_job(row: &AnyRow) -> Result<JudgeJob, sqlx::Error> {
    let judging_rate: f64 = row.try_get("judging_rate")?;
    Ok(JudgeJob {
        trace_id: row.try_get("trace_id")?,
        trace_version: row.try_get("trace_version")?,
        evaluator: row.try_get("evaluator")?,
        revision: row.try_get("revision")?,
        service: row.try_get("service")?,
        probability: row.try_get::<f64, _>("probability")? * judging_rate,
        judging_rate,
        attempts: count(row, "attempts")?,
        first_attempt_at: row.try_get("first_attempt_at")?,
    })
}

/// The traces of which the jobs' versions still stand; they do so until the transaction ends.
async fn lock_traces(
    connection: &mut AnyConnection,
    dialect: Dialect,
    finished: &[FinishedJob],
) -> Result<BTreeSet<(TraceId, i64)>, sqlx::Error> {
    let trace_ids: BTreeSet<TraceId> = finished.iter().map(|it| it.job.trace_id).collect();
    let trace_ids: Vec<TraceId> = trace_ids.into_iter().collect();
    let lock = format!(" ORDER BY trace_id{}", dialect.lock());
    let rows = for_keys(connection, "SELECT trace_id, version FROM trace WHERE trace_id IN", &trace_ids, &lock).await?;
    rows.iter().map(|row| Ok((row.try_get("trace_id")?, row.try_get("version")?))).collect()
}

/// Removes the jobs that are to be recorded, and tells which of them were still there.
async fn end_jobs(
    connection: &mut AnyConnection,
    finished: &[FinishedJob],
    standing: &BTreeSet<(TraceId, i64)>,
) -> Result<BTreeSet<JobKey>, sqlx::Error> {
    let ends = |it: &&FinishedJob| {
        matches!(it.end, JobEnd::Recorded { .. }) && standing.contains(&(it.job.trace_id, it.job.trace_version))
    };
    let ended: Vec<&JudgeJob> = finished.iter().filter(ends).map(|it| &it.job).collect();
    let rows = for_rows(
        connection,
        "DELETE FROM judge_job WHERE (trace_id, evaluator, revision, trace_version) IN",
        &ended,
        |row, job| {
            row.bind(job.trace_id).bind(key(&job.evaluator)).bind(key(&job.revision)).bind(job.trace_version);
        },
        "RETURNING trace_id, evaluator, revision",
    );
    let read = |row: &AnyRow| Ok((row.try_get("trace_id")?, row.try_get("evaluator")?, row.try_get("revision")?));
    rows.await?.iter().map(read).collect()
}

/// Writes the rows, the flags and the cache of what was recorded.
async fn record(
    connection: &mut AnyConnection,
    finished: &[FinishedJob],
    recorded: &BTreeSet<JobKey>,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    let (mut evaluations, mut failing, mut verdicts) = (Vec::new(), BTreeSet::new(), Vec::new());
    for it in finished.iter().filter(|it| recorded.contains(&it.job.key())) {
        let JobEnd::Recorded { evaluation, flags, cached } = &it.end else { continue };
        if *flags {
            failing.insert(it.job.trace_id);
        }
        verdicts.extend(cached.iter().map(|(key, verdict)| (key, verdict, it.job.trace_id)));
        evaluations.push(StoredEvaluation {
            evaluation: evaluation.clone(),
            trace_version: it.job.trace_version,
            probability: it.job.probability,
        });
    }
    drop_unresolved(connection, finished, recorded).await?;
    let rows: Vec<&StoredEvaluation> = evaluations.iter().collect();
    insert_evaluations(connection, &rows, now, Scored::Later).await?;
    let failing: Vec<TraceId> = failing.into_iter().collect();
    for_keys(connection, "UPDATE trace SET failing = 1 WHERE trace_id IN", &failing, " AND failing = 0").await?;
    classify(connection, &failing, FailureClass::Soft).await?;
    insert(
        connection,
        "judge_cache (key, verdict, cached_at)",
        &verdicts,
        |row, (key, verdict, _)| {
            row.bind(key.as_slice()).bind(text(verdict)).bind(now);
        },
        "ON CONFLICT (key) DO NOTHING",
    )
    .await?;
    insert(
        connection,
        "judge_cache_trace (key, trace_id)",
        &verdicts,
        |row, (key, _, trace_id)| {
            row.bind(key.as_slice()).bind(*trace_id);
        },
        "ON CONFLICT (key, trace_id) DO NOTHING",
    )
    .await
    .map(drop)
}

/// Removes rows that said why there was no judgement, where the judgement has now made a revision of its own.
async fn drop_unresolved(
    connection: &mut AnyConnection,
    finished: &[FinishedJob],
    recorded: &BTreeSet<JobKey>,
) -> Result<(), sqlx::Error> {
    let is_resolved = |it: &&FinishedJob| match &it.end {
        JobEnd::Recorded { evaluation, .. } => evaluation.revision != it.job.revision,
        JobEnd::Later { .. } => false,
    };
    let jobs = finished.iter().filter(is_resolved).map(|it| &it.job).filter(|job| recorded.contains(&job.key()));
    for_rows(
        connection,
        "DELETE FROM evaluation WHERE (trace_id, evaluator, revision) IN",
        &jobs.collect::<Vec<_>>(),
        |row, job| {
            row.bind(job.trace_id).bind(key(&job.evaluator)).bind(key(&job.revision));
        },
        "",
    )
    .await
    .map(drop)
}

/// Puts a job off, unless someone else has it by now.
async fn put_off(connection: &mut AnyConnection, finished: &FinishedJob) -> Result<(), sqlx::Error> {
    let JobEnd::Later { due_at, error, is_attempt, first_attempt_at } = &finished.end else { return Ok(()) };
    let job = &finished.job;
    let mut statement = Statement::new("UPDATE judge_job SET due_at = ");
    statement.bind(*due_at);
    statement.sql(if *is_attempt { "" } else { ", attempts = attempts - 1" });
    if let Some(error) = error {
        statement.sql(", last_error = ").bind(text(error));
    }
    if let Some(first_attempt_at) = first_attempt_at {
        statement.sql(", first_attempt_at = ").bind(*first_attempt_at);
    }
    statement.sql(" WHERE trace_id = ").bind(job.trace_id).sql(" AND evaluator = ").bind(key(&job.evaluator));
    statement.sql(" AND revision = ").bind(key(&job.revision)).sql(" AND trace_version = ").bind(job.trace_version);
    statement.sql(" AND attempts = ").bind(i64::from(job.attempts));
    statement.fetch(connection).await.map(drop)
}
