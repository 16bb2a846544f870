//! SQLite's write-ahead log, moved into its file beside the writer, which would otherwise do it between two commits and
//! keep everyone waiting meanwhile (<https://www.sqlite.org/wal.html>, section 2.3).

use super::dialect::Dialect;
use super::retry::retried;
use super::{Store, StoreError};

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
        retried("move its log", || async {
            sqlx::query("PRAGMA wal_checkpoint(PASSIVE)").fetch_all(&self.readers).await.map(drop)
        })
        .await
    }
}
