//! What users' own services answered. The questions wait in the outbox, each service's apart from every other's.

use sqlx::{AnyConnection, AssertSqlSafe, Row};

use super::dialect::Dialect;
use super::judge_jobs::REPLACE_EVALUATION;
use super::outbox::{NewOutboxItem, insert_outbox};
use super::retry::retried;
use super::traces::{StoredEvaluation, classify, insert_evaluations};
use super::{Store, StoreError};
use crate::domain::evaluation::FailureClass;
use crate::domain::time::Timestamp;

/// An answer, and what follows from it.
#[derive(Debug, Clone, PartialEq)]
pub struct ServiceAnswer {
    /// The question's place in the outbox.
    pub item: i64,
    /// The evaluation, of the trace version that the question was about.
    pub evaluation: StoredEvaluation,
    /// Whether it puts the trace before a person.
    pub flags: bool,
    /// What is to be sent.
    pub outbox: Vec<NewOutboxItem>,
}

impl Store {
    /// Records an answer and ends its question. Answers false where the question is answered already, or where a later
    /// version of the trace has made it pointless: then the question ends and nothing else changes.
    ///
    /// # Errors
    /// The database failed; then nothing is recorded.
    pub async fn record_answer(&self, answer: &ServiceAnswer, now: Timestamp) -> Result<bool, StoreError> {
        let outbox: Vec<&NewOutboxItem> = answer.outbox.iter().collect();
        let trace_id = answer.evaluation.evaluation.trace_id;
        retried("record a service's answer", || async {
            let mut transaction = self.begin().await?;
            let connection = &mut *transaction;
            let recorded_at = lock_trace(connection, self.dialect, &answer.evaluation).await?;
            let ended = sqlx::query("DELETE FROM outbox WHERE id = $1").bind(answer.item).execute(&mut *connection);
            let is_open = ended.await?.rows_affected() > 0;
            let (Some(recorded_at), true) = (recorded_at, is_open) else {
                transaction.commit().await?;
                return Ok(false);
            };
            // Later than the trace's own rows, which is how statistics tell what came after them.
            let evaluated_at = now.max(Timestamp(recorded_at.0.saturating_add(1)));
            insert_evaluations(connection, &[&answer.evaluation], evaluated_at, REPLACE_EVALUATION).await?;
            if answer.flags {
                let flag = "UPDATE trace SET failing = 1 WHERE trace_id = $1 AND failing = 0";
                sqlx::query(flag).bind(trace_id).execute(&mut *connection).await?;
                classify(connection, &[trace_id], FailureClass::Soft).await?;
            }
            insert_outbox(connection, &outbox, now).await?;
            transaction.commit().await?;
            Ok(true)
        })
        .await
    }
}

/// When the trace's version was recorded, if it still stands; it does so until the transaction ends.
async fn lock_trace(
    connection: &mut AnyConnection,
    dialect: Dialect,
    stored: &StoredEvaluation,
) -> Result<Option<Timestamp>, sqlx::Error> {
    let sql = format!("SELECT recorded_at FROM trace WHERE trace_id = $1 AND version = $2{}", dialect.lock());
    let query = sqlx::query(AssertSqlSafe(sql)).bind(stored.evaluation.trace_id).bind(stored.trace_version);
    query.fetch_optional(connection).await?.map(|row| row.try_get("recorded_at")).transpose()
}
