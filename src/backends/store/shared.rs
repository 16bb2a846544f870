//! Values that all processes share: read, changed and written back in one transaction.

use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::Row;

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
        retried("change what all workers share", || self.change_once(name, &change)).await
    }

    /// The same in one attempt, for a change that must not be made twice: one whose commit is not heard of fails here and
    /// may have been made.
    ///
    /// # Errors
    /// The database failed, or the value cannot be read.
    pub async fn try_change_shared<T: Serialize + DeserializeOwned + Default, A>(
        &self,
        name: &str,
        change: impl Fn(&mut T) -> A,
    ) -> Result<A, StoreError> {
        let operation = "change what all workers share";
        self.change_once(name, &change).await.map_err(|source| StoreError::Database { operation, source })
    }

    async fn change_once<T: Serialize + DeserializeOwned + Default, A>(
        &self,
        name: &str,
        change: &impl Fn(&mut T) -> A,
    ) -> Result<A, sqlx::Error> {
        let mut transaction = self.begin().await?;
        let connection = &mut *transaction;
        // Written before it is read, so that nobody else can change it in between.
        let hold = || sqlx::query("UPDATE shared_state SET state = state WHERE name = $1 RETURNING state").bind(name);
        let row = match hold().fetch_optional(&mut *connection).await? {
            Some(row) => row,
            None => {
                let first = "INSERT INTO shared_state (name, state) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING";
                sqlx::query(first).bind(name).bind(json(&T::default())?).execute(&mut *connection).await?;
                hold().fetch_one(&mut *connection).await?
            }
        };
        let mut value: T = parse_json(row.try_get("state")?)?;
        let answer = change(&mut value);
        let write = "UPDATE shared_state SET state = $2 WHERE name = $1";
        sqlx::query(write).bind(name).bind(json(&value)?).execute(&mut *connection).await?;
        transaction.commit().await?;
        Ok(answer)
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
