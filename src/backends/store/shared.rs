//! Values that all processes share: read, changed and written back in one transaction.

use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::{AssertSqlSafe, Row};

use super::columns::{json, parse_json};
use super::retry::retried;
use super::{Store, StoreError};

impl Store {
    /// Changes a shared value, which is its type's default before its first change, and gives what `change` answers.
    /// Changes of one value happen one after the other, over all processes.
    ///
    /// # Errors
    /// The database failed, or the value cannot be read; then it is as it was.
    pub async fn change_shared<T: Serialize + DeserializeOwned + Default, A>(
        &self,
        name: &str,
        change: impl Fn(&mut T) -> A,
    ) -> Result<A, StoreError> {
        retried("change what all workers share", || async {
            let mut transaction = self.begin().await?;
            let connection = &mut *transaction;
            let read = format!("SELECT state FROM shared_state WHERE name = $1{}", self.dialect.lock());
            let read = || sqlx::query(AssertSqlSafe(read.clone())).bind(name);
            let row = match read().fetch_optional(&mut *connection).await? {
                Some(row) => row,
                None => {
                    let first = "INSERT INTO shared_state (name, state) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING";
                    sqlx::query(first).bind(name).bind(json(&T::default())?).execute(&mut *connection).await?;
                    read().fetch_one(&mut *connection).await?
                }
            };
            let mut value: T = parse_json(row.try_get("state")?)?;
            let answer = change(&mut value);
            let write = "UPDATE shared_state SET state = $2 WHERE name = $1";
            sqlx::query(write).bind(name).bind(json(&value)?).execute(&mut *connection).await?;
            transaction.commit().await?;
            Ok(answer)
        })
        .await
    }

    /// A shared value as it is, or its type's default.
    ///
    /// # Errors
    /// The database failed, or the value cannot be read.
    pub async fn shared<T: DeserializeOwned + Default>(&self, name: &str) -> Result<T, StoreError> {
        retried("read what all workers share", || async {
            let query = sqlx::query("SELECT state FROM shared_state WHERE name = $1").bind(name);
            let row = query.fetch_optional(&self.readers).await?;
            row.map_or_else(|| Ok(T::default()), |row| parse_json(row.try_get("state")?))
        })
        .await
    }
}
