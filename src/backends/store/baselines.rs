//! Baselines: named, and never changed.

use sqlx::Row;

use super::columns::text;
use super::retry::retried;
use super::{Store, StoreError};
use crate::domain::time::Timestamp;

/// A baseline without its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredBaseline {
    /// Its name.
    pub name: String,
    /// When it was taken.
    pub created_at: Timestamp,
    /// What it was taken from, as it was asked for.
    pub selection: String,
}

impl Store {
    /// Keeps a baseline for good.
    ///
    /// # Errors
    /// The name is taken, or the database failed.
    pub async fn insert_baseline(
        &self,
        name: &str,
        created_at: Timestamp,
        selection: &str,
        json: &str,
    ) -> Result<(), StoreError> {
        let insert = "INSERT INTO baseline (name, created_at, selection, summary) VALUES ($1, $2, $3, $4) \
                      ON CONFLICT (name) DO NOTHING";
        let inserted = retried("keep a baseline", || async {
            let query = sqlx::query(insert).bind(text(name)).bind(created_at).bind(text(selection)).bind(text(json));
            Ok(query.execute(&self.writers).await?.rows_affected() > 0)
        });
        if inserted.await? { Ok(()) } else { Err(StoreError::BaselineExists { name: name.to_owned() }) }
    }

    /// The content of a baseline, as JSON.
    ///
    /// # Errors
    /// The database failed.
    pub async fn baseline(&self, name: &str) -> Result<Option<String>, StoreError> {
        retried("read a baseline", || async {
            let query = sqlx::query_scalar("SELECT summary FROM baseline WHERE name = $1").bind(text(name));
            query.fetch_optional(&self.readers).await
        })
        .await
    }

    /// Every baseline, newest first.
    ///
    /// # Errors
    /// The database failed.
    pub async fn baselines(&self) -> Result<Vec<StoredBaseline>, StoreError> {
        retried("list baselines", || async {
            let query = "SELECT name, created_at, selection FROM baseline ORDER BY created_at DESC, name";
            let rows = sqlx::query(query).fetch_all(&self.readers).await?;
            rows.iter()
                .map(|row| {
                    Ok(StoredBaseline {
                        name: row.try_get("name")?,
                        created_at: row.try_get("created_at")?,
                        selection: row.try_get("selection")?,
                    })
                })
                .collect()
        })
        .await
    }
}
