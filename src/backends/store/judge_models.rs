//! Which models have answered for the judge models of the settings.

use sqlx::Row;

use super::columns::key;
use super::retry::retried;
use super::{Store, StoreError};
use crate::domain::time::Timestamp;

/// A model that has judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JudgeModelSeen {
    /// The judge model, by its name in the settings.
    pub lane: String,
    /// The model that was asked for.
    pub asked: String,
    /// The model that answered, as its provider names it.
    pub answered: String,
    /// When it first answered.
    pub first_seen_at: Timestamp,
    /// When it last took over from another.
    pub last_seen_at: Timestamp,
}

impl Store {
    /// Notes that a model answers from now on; whether it never did before.
    ///
    /// # Errors
    /// The database failed; then nothing is noted.
    pub async fn note_judge_model(
        &self,
        lane: &str,
        asked: &str,
        answered: &str,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        retried("note a judge's model", || async {
            let mut transaction = self.begin().await?;
            let insert = "INSERT INTO judge_model (lane, asked, answered, first_seen_at, last_seen_at) \
                          VALUES ($1, $2, $3, $4, $4) ON CONFLICT (lane, asked, answered) DO NOTHING";
            let query = sqlx::query(insert).bind(key(lane)).bind(key(asked)).bind(key(answered)).bind(now);
            let is_new = query.execute(&mut *transaction).await?.rows_affected() > 0;
            let update = "UPDATE judge_model SET last_seen_at = $1 WHERE lane = $2 AND asked = $3 AND answered = $4";
            let query = sqlx::query(update).bind(now).bind(key(lane)).bind(key(asked)).bind(key(answered));
            query.execute(&mut *transaction).await?;
            transaction.commit().await?;
            Ok(is_new)
        })
        .await
    }

    /// Every model that has judged, by judge model and in the order in which they first answered.
    ///
    /// # Errors
    /// The database failed.
    pub async fn judge_models(&self) -> Result<Vec<JudgeModelSeen>, StoreError> {
        retried("read the judges' models", || async {
            let sql = "SELECT lane, asked, answered, first_seen_at, last_seen_at FROM judge_model \
                       ORDER BY lane, first_seen_at, answered";
            let rows = sqlx::query(sql).fetch_all(&self.readers).await?;
            rows.iter()
                .map(|row| {
                    Ok(JudgeModelSeen {
                        lane: row.try_get("lane")?,
                        asked: row.try_get("asked")?,
                        answered: row.try_get("answered")?,
                        first_seen_at: row.try_get("first_seen_at")?,
                        last_seen_at: row.try_get("last_seen_at")?,
                    })
                })
                .collect()
        })
        .await
    }
}
