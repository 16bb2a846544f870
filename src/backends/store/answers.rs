//! What users' own services answered. The questions wait in the outbox, each service's apart from every other's.

use sqlx::{AnyConnection, AssertSqlSafe};

use super::dialect::Dialect;
use super::evaluations::{Scored, StoredEvaluation, insert_evaluations};
use super::outbox::{NewOutboxItem, insert_outbox};
use super::retry::retried;
use super::traces::classify;
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
            let stands = lock_trace(connection, self.dialect, &answer.evaluation).await?;
            let ended = sqlx::query("DELETE FROM outbox WHERE id = $1").bind(answer.item).execute(&mut *connection);
            let is_open = ended.await?.rows_affected() > 0;
            if !stands || !is_open {
                transaction.commit().await?;
                return Ok(false);
            }
            insert_evaluations(connection, &[&answer.evaluation], now, Scored::Later).await?;
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

/// Whether the trace's version still stands; if so, it does until the transaction ends.
async fn lock_trace(
    connection: &mut AnyConnection,
    dialect: Dialect,
    stored: &StoredEvaluation,
) -> Result<bool, sqlx::Error> {
    let sql = format!("SELECT 1 FROM trace WHERE trace_id = $1 AND version = $2{}", dialect.lock());
    let query = sqlx::query(AssertSqlSafe(sql)).bind(stored.evaluation.trace_id).bind(stored.trace_version);
    Ok(query.fetch_optional(connection).await?.is_some())
}
