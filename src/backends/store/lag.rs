//! How long the oldest work that is due has been waiting.

use sqlx::Row;

use super::columns::count;
use super::retry::retried;
use super::statement::Statement;
use super::{Store, StoreError};
use crate::domain::time::Timestamp;

/// The work of a queue that is due longest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lag {
    /// When it became due.
    pub due_at: Timestamp,
    /// How often it was tried.
    pub attempts: u64,
    /// Why the last attempt failed.
    pub error: Option<String>,
}

impl Store {
    /// The trace that is due longest and waits for a worker.
    ///
    /// # Errors
    /// The database failed.
    pub async fn trace_lag(&self, now: Timestamp) -> Result<Option<Lag>, StoreError> {
        self.lag("SELECT due_at, attempts, CAST(NULL AS TEXT) AS last_error FROM pending", now).await
    }

    /// The judgement that is due longest.
    ///
    /// # Errors
    /// The database failed.
    pub async fn judge_lag(&self, now: Timestamp) -> Result<Option<Lag>, StoreError> {
        self.lag("SELECT due_at, attempts, last_error FROM judge_job", now).await
    }

    /// The delivery that is due longest.
    ///
    /// # Errors
    /// The database failed.
    pub async fn delivery_lag(&self, now: Timestamp) -> Result<Option<Lag>, StoreError> {
        self.lag("SELECT due_at, attempts, last_error FROM outbox", now).await
    }

    async fn lag(&self, queue: &str, now: Timestamp) -> Result<Option<Lag>, StoreError> {
        retried("look for the oldest work", || async {
            let mut statement = Statement::new(queue);
            statement.sql(" WHERE due_at <= ").bind(now).sql(" ORDER BY due_at LIMIT 1");
            let rows = statement.fetch(&self.readers).await?;
            let read = |row: &sqlx::any::AnyRow| {
                Ok(Lag {
                    due_at: row.try_get("due_at")?,
                    attempts: count(row, "attempts")?,
                    error: row.try_get("last_error")?,
                })
            };
            rows.first().map(read).transpose()
        })
        .await
    }
}
