//! Work that one process at a time does for all: it holds a lease, and another takes it when that has run out.

use std::time::Duration;

use super::dialect::Dialect;
use super::retry::promptly;
use super::{Store, StoreError};
use crate::domain::time::Timestamp;

impl Store {
    /// Takes a lease, or takes it for longer; false when someone else holds it. A lease keeps two processes from doing the
    /// same work at the same time; that nothing happens twice is what each commit sees to itself. One that ends later than
    /// any clock near this one would let it was taken by a clock that has jumped since, and holds no one up.
    ///
    /// # Errors
    /// The database failed.
    pub async fn hold_lease(
        &self,
        name: &str,
        holder: &str,
        now: Timestamp,
        duration: Duration,
    ) -> Result<bool, StoreError> {
        promptly("take a lease", || async {
            let held = sqlx::query(
                "INSERT INTO lease (name, holder, held_until) VALUES ($1, $2, $3) ON CONFLICT (name) DO UPDATE \
                 SET holder = excluded.holder, held_until = excluded.held_until \
                 WHERE lease.holder = excluded.holder OR lease.held_until <= $4 OR lease.held_until > $5",
            );
            let held = held.bind(name).bind(holder).bind(now.plus(duration)).bind(now);
            let held = held.bind(now.plus(duration.saturating_mul(2)));
            Ok(held.execute(&self.writers).await?.rows_affected() > 0)
        })
        .await
    }

    /// Forgets every lease in an embedded store, of which this process is the only one: who held them is gone.
    ///
    /// # Errors
    /// The database failed; then they run out.
    pub async fn forget_leases(&self) -> Result<(), StoreError> {
        if self.dialect != Dialect::Sqlite {
            return Ok(());
        }
        promptly("forget leases", || async { sqlx::query("DELETE FROM lease").execute(&self.writers).await.map(drop) })
            .await
    }

    /// Gives up every lease of a process, so that others need not wait for their end.
    ///
    /// # Errors
    /// The database failed; then they run out.
    pub async fn release_leases(&self, holder: &str) -> Result<(), StoreError> {
        promptly("release leases", || async {
            sqlx::query("DELETE FROM lease WHERE holder = $1").bind(holder).execute(&self.writers).await.map(drop)
        })
        .await
    }
}
