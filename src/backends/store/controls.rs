//! What judges made of their control questions.

use sqlx::Row;

use super::columns::{count, key};
use super::retry::retried;
use super::statement::Statement;
use super::{Store, StoreError};
use crate::domain::time::Timestamp;
use crate::limits::budget::day_of;

/// What one revision of a judge made of its control questions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JudgeControls {
    /// The judge.
    pub evaluator: String,
    /// Its revision.
    pub revision: String,
    /// Answered NO, as is right.
    pub caught: u64,
    /// Answered YES.
    pub missed: u64,
}

impl Store {
    /// Counts the answer to a control question.
    ///
    /// # Errors
    /// The database failed; then it is not counted.
    pub async fn count_control(
        &self,
        evaluator: &str,
        revision: &str,
        is_caught: bool,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        retried("count the answer to a control question", || async {
            let mut statement =
                Statement::new("INSERT INTO judge_control (evaluator, revision, day, caught, missed) VALUES (");
            statement.bind(key(evaluator)).sql(", ").bind(key(revision)).sql(", ").bind(day_of(now)).sql(", ");
            statement.bind(i64::from(is_caught)).sql(", ").bind(i64::from(!is_caught)).sql(
                ") ON CONFLICT (evaluator, revision, day) DO UPDATE SET caught = judge_control.caught + excluded.caught, \
                 missed = judge_control.missed + excluded.missed",
            );
            statement.fetch(&self.writers).await.map(drop)
        })
        .await
    }

    /// What every judge revision made of the control questions of so many days, today included.
    ///
    /// # Errors
    /// The database failed.
    pub async fn controls(&self, days: i64, now: Timestamp) -> Result<Vec<JudgeControls>, StoreError> {
        retried("count control questions", || async {
            let sql = "SELECT evaluator, revision, CAST(sum(caught) AS BIGINT) AS caught, \
                       CAST(sum(missed) AS BIGINT) AS missed FROM judge_control WHERE day > $1 \
                       GROUP BY evaluator, revision ORDER BY evaluator, revision";
            let rows = sqlx::query(sql).bind(day_of(now) - days).fetch_all(&self.readers).await?;
            rows.iter()
                .map(|row| {
                    Ok(JudgeControls {
                        evaluator: row.try_get("evaluator")?,
                        revision: row.try_get("revision")?,
                        caught: count(row, "caught")?,
                        missed: count(row, "missed")?,
                    })
                })
                .collect()
        })
        .await
    }
}
