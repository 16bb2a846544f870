//! What waits to be sent. A destination that is down delays its own items and nothing else.

use std::time::Duration;

use sqlx::any::AnyRow;
use sqlx::{AnyConnection, AssertSqlSafe, Row};

use super::columns::{count, key, limit, text};
use super::retry::promptly;
use super::statement::{Statement, for_keys, insert};
use super::{Store, StoreError};
use crate::domain::time::Timestamp;

/// Something to be sent once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewOutboxItem {
    /// Name of the destination.
    pub destination: String,
    /// Tells this item from every other of the destination; a second item with the same key is ignored.
    pub key: String,
    /// What is sent.
    pub payload: Vec<u8>,
}

/// An item, claimed for delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxItem {
    /// Names the item to [`Store::delivered`] and [`Store::retry_outbox`].
    pub id: i64,
    /// The item's key, which the destination sees too where it can: a repeat carries the same.
    pub key: String,
    /// What is sent.
    pub payload: Vec<u8>,
    /// How often it has been claimed, this claim included.
    pub attempts: u32,
}

/// An item that has waited too long, whoever it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpiredItem {
    /// Names the item to [`Store::delivered`].
    pub id: i64,
    /// Name of the destination.
    pub destination: String,
    /// What was to be sent, where it was asked for.
    pub payload: Option<Vec<u8>>,
}

/// Items that one call of [`Store::expired_outbox`] gives at most.
const EXPIRED_BATCH: usize = 200;

impl Store {
    /// Claims due items of a destination, longest due first. No one else gets them before `now + lease`. Of a lane only
    /// the first item can be claimed: the others wait until it is delivered.
    ///
    /// # Errors
    /// The database failed; then nothing is claimed.
    pub async fn claim_outbox(
        &self,
        destination: &str,
        now: Timestamp,
        lease: Duration,
        items: usize,
    ) -> Result<Vec<OutboxItem>, StoreError> {
        let sql = format!(
            "UPDATE outbox SET due_at = $1, attempts = attempts + 1, created_at = coalesce(created_at, $3) \
             WHERE id IN (SELECT id FROM outbox WHERE destination = $2 AND due_at <= $3 \
             AND (lane IS NULL OR id = (SELECT min(id) FROM outbox AS ahead \
             WHERE ahead.destination = outbox.destination AND ahead.lane = outbox.lane)) \
             ORDER BY due_at, id LIMIT $4{}) \
             RETURNING id, key, payload, attempts",
            self.dialect.claim()
        );
        promptly("claim what is to be sent", || async {
            let query = sqlx::query(AssertSqlSafe(sql.as_str())).bind(now.plus(lease)).bind(key(destination));
            let rows = query.bind(now).bind(limit(items)).fetch_all(&self.writers).await?;
            let item = |row| -> Result<OutboxItem, sqlx::Error> {
                let row: &AnyRow = row;
                Ok(OutboxItem {
                    id: row.try_get("id")?,
                    key: row.try_get("key")?,
                    payload: row.try_get("payload")?,
                    attempts: count(row, "attempts")?,
                })
            };
            let mut claimed: Vec<OutboxItem> = rows.iter().map(item).collect::<Result<_, _>>()?;
            claimed.sort_by_key(|item| item.id);
            Ok(claimed)
        })
        .await
    }

    /// Some of the oldest items that have waited since before `before`, also those that no one claims any more; with
    /// their payloads where the destination's name begins like that: whole traces are not read for nothing.
    ///
    /// # Errors
    /// The database failed.
    pub async fn expired_outbox(&self, before: Timestamp, with_payload: &str) -> Result<Vec<ExpiredItem>, StoreError> {
        // Ids grow with time, so that the oldest are found without an index that every claim would have to keep.
        let sql = "SELECT id, destination, CASE WHEN destination LIKE $1 THEN payload END AS payload FROM \
                   (SELECT id, destination, payload, coalesce(created_at, due_at) AS since FROM outbox \
                   ORDER BY id LIMIT $2) AS oldest WHERE since < $3 ORDER BY id";
        promptly("look for what has waited too long to be sent", || async {
            let query = sqlx::query(sql).bind(format!("{with_payload}%")).bind(limit(EXPIRED_BATCH)).bind(before);
            let rows = query.fetch_all(&self.readers).await?;
            let item = |row: &AnyRow| {
                let (id, destination) = (row.try_get("id")?, row.try_get("destination")?);
                Ok(ExpiredItem { id, destination, payload: row.try_get("payload")? })
            };
            rows.iter().map(item).collect()
        })
        .await
    }

    /// Forgets items that the destination has taken, or that are given up.
    ///
    /// # Errors
    /// The database failed; then the items will be sent again.
    pub async fn delivered(&self, ids: &[i64]) -> Result<(), StoreError> {
        promptly("note what was sent", || async {
            for_keys(&mut *self.writers.acquire().await?, "DELETE FROM outbox WHERE id IN", ids, "").await.map(drop)
        })
        .await
    }

    /// Gives claimed items back, to be claimed again from `due_at` on.
    ///
    /// # Errors
    /// The database failed; then the items come due when their lease ends.
    pub async fn retry_outbox(&self, ids: &[i64], due_at: Timestamp, error: &str) -> Result<(), StoreError> {
        promptly("give back what was not sent", || async {
            let mut transaction = self.begin().await?;
            let connection = &mut *transaction;
            for id in ids {
                let mut statement = Statement::new("UPDATE outbox SET due_at = ");
                statement.bind(due_at).sql(", last_error = ").bind(text(error)).sql(" WHERE id = ").bind(*id);
                statement.fetch(&mut *connection).await?;
            }
            transaction.commit().await
        })
        .await
    }
}

/// Adds items to a lane, in which each waits for those before it.
pub(super) async fn insert_in_order(
    connection: &mut AnyConnection,
    lane: &str,
    items: &[NewOutboxItem],
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    insert(
        connection,
        "outbox (destination, key, payload, due_at, created_at, attempts, lane)",
        items,
        |row, item| {
            row.bind(key(&item.destination)).bind(key(&item.key)).bind(item.payload.as_slice());
            row.bind(now).bind(now).bind(0_i64).bind(key(lane));
        },
        "ON CONFLICT (destination, key) DO NOTHING",
    )
    .await
    .map(drop)
}

/// Adds items, and ignores those whose destination has one with the same key already.
pub(super) async fn insert_outbox(
    connection: &mut AnyConnection,
    items: &[&NewOutboxItem],
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    insert(
        connection,
        "outbox (destination, key, payload, due_at, created_at, attempts)",
        items,
        |row, item| {
            row.bind(key(&item.destination)).bind(key(&item.key)).bind(item.payload.as_slice());
            row.bind(now).bind(now).bind(0_i64);
        },
        "ON CONFLICT (destination, key) DO NOTHING",
    )
    .await
    .map(drop)
}
