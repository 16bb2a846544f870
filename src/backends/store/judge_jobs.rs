//! Judgements that wait to be made, apart from everything else: a provider's outage backs this up and nothing else.

use std::time::Duration;

use sqlx::{AnyConnection, AssertSqlSafe, Row};

use super::columns::{count, key, limit, text};
use super::dialect::Dialect;
use super::outbox::{NewOutboxItem, insert_outbox};
use super::retry::retried;
use super::traces::{StoredEvaluation, classify, insert_evaluations};
use super::{Store, StoreError};
use crate::domain::evaluation::{Evaluation, FailureClass};
use crate::domain::ids::TraceId;
use crate::domain::time::Timestamp;

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
    /// Probability with which the trace was chosen for it.
    pub probability: f64,
    /// How often it has been claimed, this claim included.
    pub attempts: u32,
}

impl Store {
    /// Claims due jobs, longest due first. No one else gets them before `now + lease`.
    ///
    /// # Errors
    /// The database failed; then nothing is claimed.
    pub async fn claim_judge_jobs(
        &self,
        now: Timestamp,
        lease: Duration,
        jobs: usize,
    ) -> Result<Vec<JudgeJob>, StoreError> {
        let sql = format!(
            "UPDATE judge_job SET due_at = $1, attempts = attempts + 1 WHERE (trace_id, evaluator, revision) IN (\
             SELECT trace_id, evaluator, revision FROM judge_job WHERE due_at <= $2 \
             ORDER BY due_at LIMIT $3{}) \
             RETURNING trace_id, trace_version, evaluator, revision, probability, attempts",
            self.dialect.claim()
        );
        retried("claim judge jobs", || async {
            let query = sqlx::query(AssertSqlSafe(sql.as_str())).bind(now.plus(lease)).bind(now).bind(limit(jobs));
            let rows = query.fetch_all(&self.writers).await?;
            rows.iter()
                .map(|row| {
                    Ok(JudgeJob {
                        trace_id: row.try_get("trace_id")?,
                        trace_version: row.try_get("trace_version")?,
                        evaluator: row.try_get("evaluator")?,
                        revision: row.try_get("revision")?,
                        probability: row.try_get("probability")?,
                        attempts: count(row, "attempts")?,
                    })
                })
                .collect()
        })
        .await
    }

    /// Records a judgement, flags its trace when it fails, and ends the job. Answers false, and changes nothing, when
    /// the job is done already or a later version of the trace has dropped it.
    ///
    /// # Errors
    /// The database failed; then nothing is recorded.
    pub async fn record_judgement(
        &self,
        job: &JudgeJob,
        evaluation: Evaluation,
        outbox: &[NewOutboxItem],
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let failing = evaluation.is_failing();
        let stored = StoredEvaluation { evaluation, trace_version: job.trace_version, probability: job.probability };
        let outbox: Vec<&NewOutboxItem> = outbox.iter().collect();
        retried("record a judgement", || async {
            let mut transaction = self.begin().await?;
            let connection = &mut *transaction;
            if !lock_trace(connection, self.dialect, job).await? || !end(connection, job).await? {
                return Ok(false);
            }
            insert_evaluations(connection, &[&stored], now, REPLACE_EVALUATION).await?;
            if failing {
                let flag = "UPDATE trace SET failing = 1 WHERE trace_id = $1 AND failing = 0";
                sqlx::query(flag).bind(job.trace_id).execute(&mut *connection).await?;
                classify(connection, &[job.trace_id], FailureClass::Soft).await?;
            }
            insert_outbox(connection, &outbox, now).await?;
            transaction.commit().await?;
            Ok(true)
        })
        .await
    }

    /// Gives a claimed job back, to be claimed again from `due_at` on. Does nothing when someone else has it by now.
    ///
    /// # Errors
    /// The database failed.
    pub async fn retry_judge_job(&self, job: &JudgeJob, due_at: Timestamp, error: &str) -> Result<(), StoreError> {
        retried("give back a judge job", || async {
            sqlx::query(
                "UPDATE judge_job SET due_at = $1, last_error = $2 WHERE trace_id = $3 AND evaluator = $4 \
                 AND revision = $5 AND trace_version = $6 AND attempts = $7",
            )
            .bind(due_at)
            .bind(text(error))
            .bind(job.trace_id)
            .bind(job.evaluator.as_str())
            .bind(job.revision.as_str())
            .bind(job.trace_version)
            .bind(i64::from(job.attempts))
            .execute(&self.writers)
            .await
            .map(drop)
        })
        .await
    }

    /// How many judgements of a service's traces that ended before `hour_end` are still to be made.
    ///
    /// # Errors
    /// The database failed.
    pub async fn pending_judge_jobs_before(&self, service: &str, hour_end: Timestamp) -> Result<u64, StoreError> {
        retried("count judge jobs", || async {
            let sql = "SELECT count(*) AS jobs FROM judge_job JOIN trace ON trace.trace_id = judge_job.trace_id \
                       WHERE judge_job.ended_at < $1 AND trace.service = $2";
            let query = sqlx::query(sql).bind(hour_end).bind(key(service));
            count(&query.fetch_one(&self.readers).await?, "jobs")
        })
        .await
    }
}

/// A judgement of the same trace version stands in for the one before.
pub(super) const REPLACE_EVALUATION: &str = "ON CONFLICT (trace_id, evaluator, revision) DO UPDATE SET \
     trace_version = excluded.trace_version, span_id = excluded.span_id, annotator_kind = excluded.annotator_kind, \
     outcome = excluded.outcome, value = excluded.value, label = excluded.label, explanation = excluded.explanation, \
     probability = excluded.probability, evaluated_at = excluded.evaluated_at";

/// Whether the job's version of the trace still stands; it does so until the transaction ends.
async fn lock_trace(connection: &mut AnyConnection, dialect: Dialect, job: &JudgeJob) -> Result<bool, sqlx::Error> {
    let sql = format!("SELECT version FROM trace WHERE trace_id = $1 AND version = $2{}", dialect.lock());
    let query = sqlx::query(AssertSqlSafe(sql)).bind(job.trace_id).bind(job.trace_version);
    Ok(query.fetch_optional(connection).await?.is_some())
}

/// Removes the job, and tells whether it was still there.
async fn end(connection: &mut AnyConnection, job: &JudgeJob) -> Result<bool, sqlx::Error> {
    let deleted = sqlx::query(
        "DELETE FROM judge_job WHERE trace_id = $1 AND evaluator = $2 AND revision = $3 AND trace_version = $4",
    )
    .bind(job.trace_id)
    .bind(job.evaluator.as_str())
    .bind(job.revision.as_str())
    .bind(job.trace_version)
    .execute(connection)
    .await?;
    Ok(deleted.rows_affected() > 0)
}
