//! SQLite's write-ahead log, moved into its file beside the writer, which would otherwise do it between two commits and
//! keep everyone waiting meanwhile (<https://www.sqlite.org/wal.html>, section 2.3).

use sqlx::Row;

use super::dialect::Dialect;
use super::retry::retried;
use super::{Store, StoreError};

/// Attempts to empty the log, each of which waits for readers as long as any statement waits for a busy file.
const ATTEMPTS: usize = 3;

impl Store {
    /// Whether the store keeps a log that has to be moved: only a SQLite file does.
    #[must_use]
    pub const fn has_log(&self) -> bool {
        matches!(self.dialect, Dialect::Sqlite)
    }

    /// Moves what is committed from the log into the file, as far as no reader needs it where it is. Writers go on.
    ///
    /// # Errors
    /// The disk failed.
    pub async fn checkpoint(&self) -> Result<(), StoreError> {
        let _turn = self.moving.lock().await;
        retried("move its log", || async {
            sqlx::query("PRAGMA wal_checkpoint(PASSIVE)").fetch_all(&self.readers).await.map(drop)
        })
        .await
    }

    /// Moves all of the log into the file and empties it, so that nothing of before is left in it. Writers wait meanwhile.
    ///
    /// # Errors
    /// The disk failed, or others read what the log held for so long that it could not be emptied.
    pub(super) async fn empty_log(&self) -> Result<(), StoreError> {
        let _turn = self.moving.lock().await;
        for _ in 0..ATTEMPTS {
            let is_busy = retried("empty its log", || async {
                let moved = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").fetch_one(&self.writers).await?;
                // That it could not is a row like any other.
                Ok(moved.try_get::<i64, _>("busy")? != 0)
            });
            if !is_busy.await? {
                return Ok(());
            }
        }
        Err(StoreError::LogHeld)
    }
}
