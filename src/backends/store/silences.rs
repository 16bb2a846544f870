//! Silences, kept for good.

use sqlx::Row;

use super::audit_log::append;
use super::columns::{json, key, parse_json};
use super::retry::retried;
use super::statement::Statement;
use super::{Store, StoreError};
use crate::domain::access::{Action, NewLogEntry};
use crate::domain::silence::Silence;
use crate::domain::time::Timestamp;

impl Store {
    /// Keeps a silence; one with the same id is left as it is.
    ///
    /// # Errors
    /// The database failed; then nothing is changed.
    pub async fn insert_silence(&self, silence: &Silence) -> Result<(), StoreError> {
        retried("keep a silence", || async {
            let mut statement = Statement::new("INSERT INTO silence (id, ends_at, silence) VALUES (");
            statement.bind(key(&silence.id)).sql(", ").bind(silence.ends_at).sql(", ").bind(json(silence)?);
            statement.sql(") ON CONFLICT (id) DO NOTHING RETURNING id");
            let mut transaction = self.begin().await?;
            if !statement.fetch(&mut *transaction).await?.is_empty() {
                let detail = format!("{} by {}", silence.matcher, silence.by);
                let entry = NewLogEntry { action: Action::Silence, subject: silence.id.clone(), detail };
                append(&mut transaction, &[entry], silence.created_at).await?;
            }
            transaction.commit().await
        })
        .await
    }

    /// Silences that end after an instant, soonest first.
    ///
    /// # Errors
    /// The database failed.
    pub async fn silences(&self, after: Timestamp) -> Result<Vec<Silence>, StoreError> {
        retried("read silences", || async {
            let mut statement = Statement::new("SELECT silence FROM silence WHERE ends_at > ");
            statement.bind(after).sql(" ORDER BY ends_at, id");
            let rows = statement.fetch(&self.readers).await?;
            rows.iter().map(|row| parse_json(row.try_get("silence")?)).collect()
        })
        .await
    }

    /// Ends a silence now, if it has not ended yet. Answers the silence as it is then; `None` when there is none.
    ///
    /// # Errors
    /// The database failed; then nothing is changed.
    pub async fn end_silence(&self, id: &str, by: &str, now: Timestamp) -> Result<Option<Silence>, StoreError> {
        retried("end a silence", || async {
            let mut transaction = self.begin().await?;
            let mut statement = Statement::new("SELECT silence FROM silence WHERE id = ");
            statement.bind(key(id)).sql(self.dialect.lock());
            let rows = statement.fetch(&mut *transaction).await?;
            let Some(row) = rows.first() else { return Ok(None) };
            let silence: Silence = parse_json(row.try_get("silence")?)?;
            if silence.ends_at <= now {
                return Ok(Some(silence));
            }
            let ended = Silence { ends_at: now, ended_by: Some(by.to_owned()), ..silence };
            let mut statement = Statement::new("UPDATE silence SET ends_at = ");
            statement.bind(now).sql(", silence = ").bind(json(&ended)?).sql(" WHERE id = ").bind(key(id));
            statement.fetch(&mut *transaction).await?;
            let entry = NewLogEntry { action: Action::Unsilence, subject: id.to_owned(), detail: format!("by {by}") };
            append(&mut transaction, &[entry], now).await?;
            transaction.commit().await?;
            Ok(Some(ended))
        })
        .await
    }
}
