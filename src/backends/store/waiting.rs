//! What one trace still waits for, for people who ask where it is.

use sqlx::Row;

use super::columns::{count, flag};
use super::retry::retried;
use super::{Store, StoreError};
use crate::domain::ids::TraceId;
use crate::domain::time::Timestamp;

/// A trace that has not been evaluated since it last grew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PendingTrace {
    /// When its first piece came.
    pub first_seen_at: Timestamp,
    /// When its last piece came.
    pub last_seen_at: Timestamp,
    /// When it counts as complete.
    pub due_at: Timestamp,
    /// Whether its root span has ended.
    pub root_ended: bool,
    /// Attempts at evaluating it since it last grew.
    pub attempts: u32,
}

/// A judgement that has not been made.
#[derive(Debug, Clone, PartialEq)]
pub struct WaitingJudgement {
    /// The judge.
    pub evaluator: String,
    /// Its revision.
    pub revision: String,
    /// Probability with which the trace was chosen for it.
    pub probability: f64,
    /// When it may be tried next, or until when a worker has it.
    pub due_at: Timestamp,
    /// Attempts so far.
    pub attempts: u32,
    /// Why the last attempt failed.
    pub last_error: Option<String>,
}

impl Store {
    /// The wait of a trace that is not evaluated, or has grown since.
    ///
    /// # Errors
    /// The database failed.
    pub async fn pending_trace(&self, trace_id: TraceId) -> Result<Option<PendingTrace>, StoreError> {
        retried("read what a trace waits for", || async {
            let sql =
                "SELECT first_seen_at, last_seen_at, due_at, root_ended, attempts FROM pending WHERE trace_id = $1";
            let Some(row) = sqlx::query(sql).bind(trace_id).fetch_optional(&self.readers).await? else {
                return Ok(None);
            };
            Ok(Some(PendingTrace {
                first_seen_at: row.try_get("first_seen_at")?,
                last_seen_at: row.try_get("last_seen_at")?,
                due_at: row.try_get("due_at")?,
                root_ended: flag(&row, "root_ended")?,
                attempts: count(&row, "attempts")?,
            }))
        })
        .await
    }

    /// Whether more traces than that wait for their evaluation.
    ///
    /// # Errors
    /// The database failed.
    pub async fn has_more_pending_than(&self, most: u32) -> Result<bool, StoreError> {
        retried("look how many traces wait", || async {
            let sql = "SELECT count(*) FROM (SELECT 1 AS one FROM pending LIMIT $1) AS some";
            let found: i64 = sqlx::query_scalar(sql).bind(i64::from(most) + 1).fetch_one(&self.readers).await?;
            Ok(found > i64::from(most))
        })
        .await
    }

    /// The judgements of a trace that have not been made, by evaluator and revision.
    ///
    /// # Errors
    /// The database failed.
    pub async fn waiting_judgements(&self, trace_id: TraceId) -> Result<Vec<WaitingJudgement>, StoreError> {
        retried("read the judgements a trace waits for", || async {
            let sql = "SELECT evaluator, revision, probability, due_at, attempts, last_error FROM judge_job \
                       WHERE trace_id = $1 ORDER BY evaluator, revision";
            let rows = sqlx::query(sql).bind(trace_id).fetch_all(&self.readers).await?;
            rows.iter()
                .map(|row| {
                    Ok(WaitingJudgement {
                        evaluator: row.try_get("evaluator")?,
                        revision: row.try_get("revision")?,
                        probability: row.try_get("probability")?,
                        due_at: row.try_get("due_at")?,
                        attempts: count(row, "attempts")?,
                        last_error: row.try_get("last_error")?,
                    })
                })
                .collect()
        })
        .await
    }
}
