//! The audit log: who changed or read what. Changes are noted in the transaction that makes them.

use std::sync::Arc;

use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Connection, Row};

use super::columns::{limit, parse_word, text, word};
use super::connect::connect_beside;
use super::retry::retried;
use super::statement::{Statement, insert};
use super::{Store, StoreError};
use crate::domain::access::{LogEntry, NewLogEntry};
use crate::domain::time::Timestamp;

tokio::task_local! {
    static ACTOR: Arc<str>;
}

/// Does something in someone's name: what is noted meanwhile is noted of them.
pub async fn acting_as<T>(actor: Arc<str>, work: impl Future<Output = T>) -> T {
    ACTOR.scope(actor, work).await
}

/// In whose name things are done here; the service's own where no one else asked for them.
#[must_use]
pub fn actor() -> Arc<str> {
    ACTOR.try_with(Arc::clone).unwrap_or_else(|_| "driftline".into())
}

impl Store {
    /// Notes what is about to be shown, or was done outside of the store. A store that is open for reading only notes it
    /// over a connection of its own.
    ///
    /// # Errors
    /// The database failed, or may not be written to; then nothing must be shown.
    pub async fn note(&self, entries: &[NewLogEntry], now: Timestamp) -> Result<(), StoreError> {
        retried("write its audit log", || async {
            if let Some(address) = &self.beside {
                let mut connection = connect_beside(address).await?;
                append(&mut connection, entries, now).await?;
                return connection.close().await;
            }
            let mut transaction = self.begin().await?;
            append(&mut transaction, entries, now).await?;
            transaction.commit().await
        })
        .await
    }

    /// The newest lines of the log since an instant, newest first.
    ///
    /// # Errors
    /// The database failed.
    pub async fn audit_log(&self, since: Timestamp, lines: usize) -> Result<Vec<LogEntry>, StoreError> {
        retried("read its audit log", || async {
            let mut statement =
                Statement::new("SELECT id, at, actor, action, subject, detail FROM audit_log WHERE at >= ");
            statement.bind(since).sql(" ORDER BY at DESC, id DESC LIMIT ").bind(limit(lines));
            statement.fetch(&self.readers).await?.iter().map(read_entry).collect()
        })
        .await
    }
}

/// Adds lines within a transaction.
pub(super) async fn append(
    connection: &mut AnyConnection,
    entries: &[NewLogEntry],
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    let actor = actor();
    let mut rows = Vec::with_capacity(entries.len());
    for entry in entries {
        rows.push((word(&entry.action)?, entry));
    }
    insert(
        connection,
        "audit_log (at, actor, action, subject, detail)",
        &rows,
        |row, (action, entry)| {
            row.bind(now).bind(text(&actor)).bind(action.as_str());
            row.bind(text(&entry.subject)).bind(text(&entry.detail));
        },
        "",
    )
    .await
    .map(drop)
}

fn read_entry(row: &AnyRow) -> Result<LogEntry, sqlx::Error> {
    Ok(LogEntry {
        id: row.try_get("id")?,
        at: row.try_get("at")?,
        actor: row.try_get("actor")?,
        action: parse_word(row.try_get("action")?)?,
        subject: row.try_get("subject")?,
        detail: row.try_get("detail")?,
    })
}
