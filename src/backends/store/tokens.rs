//! Access tokens. What is kept is the hash of a random number of 256 bits, which no one can guess back.

use sqlx::Row;
use sqlx::any::AnyRow;

use super::audit_log::append;
use super::columns::{key, parse_word};
use super::retry::retried;
use super::statement::Statement;
use super::{Store, StoreError};
use crate::domain::access::{AccessToken, Action, NewLogEntry};
use crate::domain::time::Timestamp;

/// Bytes of a hash that name its token.
const ID_BYTES: usize = 5;

impl Store {
    /// Keeps a token under its hash, and notes that.
    ///
    /// # Errors
    /// The database failed; then there is no such token.
    pub async fn insert_token(&self, hash: &[u8; 32], token: &AccessToken) -> Result<(), StoreError> {
        retried("keep a token", || async {
            let mut transaction = self.begin().await?;
            let mut statement =
                Statement::new("INSERT INTO access_token (hash, name, role, created_at, expires_at) VALUES (");
            statement.bind(hash.as_slice()).sql(", ").bind(key(&token.name)).sql(", ").bind(token.role.as_str());
            statement.sql(", ").bind(token.created_at).sql(", ").bind(token.expires_at).sql(")");
            statement.fetch(&mut *transaction).await?;
            let detail = format!("{} of {}", token.role.as_str(), token.name);
            let entry = NewLogEntry { action: Action::CreateToken, subject: token.id.clone(), detail };
            append(&mut transaction, &[entry], token.created_at).await?;
            transaction.commit().await
        })
        .await
    }

    /// Every token with its hash, oldest first.
    ///
    /// # Errors
    /// The database failed.
    pub async fn tokens(&self) -> Result<Vec<([u8; 32], AccessToken)>, StoreError> {
        retried("read tokens", || async {
            let sql = "SELECT hash, name, role, created_at, expires_at, revoked_at FROM access_token \
                       ORDER BY created_at, hash";
            sqlx::query(sql).fetch_all(&self.readers).await?.iter().map(read_token).collect()
        })
        .await
    }

    /// Revokes a token, if it is not yet, and notes that.
    ///
    /// # Errors
    /// The database failed; then nothing is changed.
    pub async fn revoke_token(&self, hash: &[u8; 32], now: Timestamp) -> Result<(), StoreError> {
        retried("revoke a token", || async {
            let mut transaction = self.begin().await?;
            let sql = "UPDATE access_token SET revoked_at = $1 WHERE hash = $2 AND revoked_at IS NULL";
            let query = sqlx::query(sql).bind(now).bind(hash.as_slice());
            if query.execute(&mut *transaction).await?.rows_affected() > 0 {
                let entry = NewLogEntry { action: Action::RevokeToken, subject: id_of(hash), detail: String::new() };
                append(&mut transaction, &[entry], now).await?;
            }
            transaction.commit().await
        })
        .await
    }
}

/// The name of a token by its hash.
#[must_use]
pub(crate) fn id_of(hash: &[u8; 32]) -> String {
    hex::encode(&hash[..ID_BYTES])
}

fn read_token(row: &AnyRow) -> Result<([u8; 32], AccessToken), sqlx::Error> {
    let hash: &[u8] = row.try_get("hash")?;
    let hash = <[u8; 32]>::try_from(hash).map_err(|error| sqlx::Error::Decode(error.into()))?;
    let token = AccessToken {
        id: id_of(&hash),
        name: row.try_get("name")?,
        role: parse_word(row.try_get("role")?)?,
        created_at: row.try_get("created_at")?,
        expires_at: row.try_get("expires_at")?,
        revoked_at: row.try_get("revoked_at")?,
    };
    Ok((hash, token))
}
