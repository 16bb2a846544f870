//! How often messages of the broker were begun and not ended: that tells the one that takes its worker down.

use std::time::Duration;

use sqlx::Row;

use super::retry::promptly;
use super::{Store, StoreError};
use crate::domain::time::Timestamp;

/// A message that was begun longer ago is as good as new.
const REMEMBERED: Duration = Duration::from_hours(24);

impl Store {
    /// Notes that a message, known by a hash, is begun; how often it has been, this time included.
    ///
    /// # Errors
    /// The database failed; then it is not noted.
    pub async fn begin_message(&self, message: &[u8; 32], now: Timestamp) -> Result<u32, StoreError> {
        promptly("note that a message is begun", || async {
            let begun = sqlx::query(
                "INSERT INTO message_attempt (message, attempts, begun_at) VALUES ($1, 1, $2) \
                 ON CONFLICT (message) DO UPDATE SET begun_at = excluded.begun_at, attempts = \
                 CASE WHEN message_attempt.begun_at < $3 THEN 1 ELSE message_attempt.attempts + 1 END \
                 RETURNING attempts",
            );
            let begun = begun.bind(message.as_slice()).bind(now).bind(now.minus(REMEMBERED));
            let attempts: i64 = begun.fetch_one(&self.writers).await?.try_get("attempts")?;
            Ok(u32::try_from(attempts).unwrap_or(u32::MAX))
        })
        .await
    }

    /// Forgets a message that was ended, whichever way.
    ///
    /// # Errors
    /// The database failed; then it is remembered for a day.
    pub async fn end_message(&self, message: &[u8; 32], now: Timestamp) -> Result<(), StoreError> {
        promptly("note that a message is ended", || async {
            let ended = sqlx::query("DELETE FROM message_attempt WHERE message = $1 OR begun_at < $2");
            ended.bind(message.as_slice()).bind(now.minus(REMEMBERED)).execute(&self.writers).await.map(drop)
        })
        .await
    }
}
