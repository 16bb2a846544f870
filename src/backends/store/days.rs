//! In PostgreSQL the pieces of a day lie in a partition of their own: it is added before its day begins, and dropped when
//! its day has gone, with all the room that rows leave behind when they are deleted one by one.
//!
//! Nothing depends on it. What began on a day that has no partition, because it is too old or its clock is wrong, lies in
//! `chunk_other`; retention deletes bodies trace by trace wherever they lie. SQLite has one table, and nothing to do here.

use std::collections::BTreeSet;
use std::time::Duration;

use sqlx::{Any, AnyConnection, AssertSqlSafe, Row, Transaction};

use super::columns::limit;
use super::dialect::{Dialect, LOCK_NOT_AVAILABLE, PATIENCE};
use super::retry::retried;
use super::{Store, StoreError};
use crate::domain::time::Timestamp;
use crate::limits::budget::day_of;

/// Days that have their partition before they begin.
const AHEAD: i64 = 3;
/// Rows that are moved from one partition to another at most: everyone waits meanwhile.
const MOST_MOVED: usize = 1_000;
/// A table that is not free, and what PostgreSQL says of one that another process has added or dropped.
const NOT_NOW: [&str; 3] = [LOCK_NOT_AVAILABLE, "42P07", "42P01"];

const COLUMNS: &str = "trace_id, content_hash, arrived_at, span_count, body, day";

impl Store {
    /// Adds the partitions of the days to come, and drops those of days that ended `keep` ago, if no more is left of them
    /// than can be moved out of the way. What cannot be done at once is left for the next time.
    ///
    /// # Errors
    /// The database failed.
    pub async fn turn_days(&self, now: Timestamp, keep: Duration) -> Result<(), StoreError> {
        if self.dialect == Dialect::Sqlite {
            return Ok(());
        }
        let there =
            retried("list the days of received traces", || async { days(&mut *self.readers.acquire().await?).await });
        let there = there.await?;
        let (today, oldest) = (day_of(now), day_of(now.minus(keep)));
        for day in (today - 1..=today + AHEAD).filter(|day| !there.contains(day)) {
            retried("add a day for received traces", || async { later_if_taken(self.add_day(day).await) }).await?;
        }
        for day in there.range(..oldest) {
            retried("drop a day of received traces", || async { later_if_taken(self.drop_day(*day).await) }).await?;
        }
        Ok(())
    }

    /// Adds the partition of a day, with the few pieces of it that have come before it.
    async fn add_day(&self, day: i64) -> Result<(), sqlx::Error> {
        let Some(mut transaction) = self.alone(&format!("chunk_other WHERE day = {day}")).await? else { return Ok(()) };
        let connection = &mut *transaction;
        run(connection, &format!("CREATE TABLE chunk_{day} (LIKE chunk INCLUDING DEFAULTS INCLUDING INDEXES)")).await?;
        let moved = format!(
            "WITH moved AS (DELETE FROM chunk_other WHERE day = {day} RETURNING {COLUMNS}) \
             INSERT INTO chunk_{day} ({COLUMNS}) SELECT {COLUMNS} FROM moved"
        );
        run(connection, &moved).await?;
        let attach = format!("ALTER TABLE chunk ATTACH PARTITION chunk_{day} FOR VALUES FROM ({day}) TO ({})", day + 1);
        run(connection, &attach).await?;
        transaction.commit().await
    }

    /// Drops the partition of a day; the few pieces that are kept longer go to the others.
    async fn drop_day(&self, day: i64) -> Result<(), sqlx::Error> {
        let Some(mut transaction) = self.alone(&format!("chunk_{day}")).await? else { return Ok(()) };
        let connection = &mut *transaction;
        run(connection, &format!("ALTER TABLE chunk DETACH PARTITION chunk_{day}")).await?;
        run(connection, &format!("INSERT INTO chunk ({COLUMNS}) SELECT {COLUMNS} FROM chunk_{day}")).await?;
        run(connection, &format!("DROP TABLE chunk_{day}")).await?;
        transaction.commit().await
    }

    /// A transaction that has the table to itself, if so few rows are in a part of it that they can be moved. Who stores a
    /// piece waits before it knows where that belongs: one that knew would be refused by what is there now.
    async fn alone(&self, part: &str) -> Result<Option<Transaction<'static, Any>>, sqlx::Error> {
        let mut transaction = self.begin().await?;
        if !is_few(&mut transaction, part).await? {
            return Ok(None);
        }
        run(&mut transaction, PATIENCE).await?;
        run(&mut transaction, "LOCK TABLE ONLY chunk IN ACCESS EXCLUSIVE MODE").await?;
        Ok(Some(transaction))
    }
}

/// The days that have a partition.
async fn days(connection: &mut AnyConnection) -> Result<BTreeSet<i64>, sqlx::Error> {
    let partitions = "SELECT CAST(relname AS TEXT) AS name FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid \
                      WHERE inhparent = CAST('chunk' AS regclass)";
    let mut days = BTreeSet::new();
    for row in sqlx::query(partitions).fetch_all(connection).await? {
        let name: &str = row.try_get("name")?;
        days.extend(name.strip_prefix("chunk_").and_then(|day| day.parse::<i64>().ok()));
    }
    Ok(days)
}

/// Whether as many rows as may be moved, or fewer, are in a part of a table.
async fn is_few(connection: &mut AnyConnection, part: &str) -> Result<bool, sqlx::Error> {
    let count = format!("SELECT count(*) FROM (SELECT 1 FROM {part} LIMIT $1) AS rows_of_it");
    let count = sqlx::query_scalar(AssertSqlSafe(count)).bind(limit(MOST_MOVED + 1));
    let rows: i64 = count.fetch_one(connection).await?;
    Ok(rows <= limit(MOST_MOVED))
}

async fn run(connection: &mut AnyConnection, sql: &str) -> Result<(), sqlx::Error> {
    sqlx::query(AssertSqlSafe(sql.to_owned())).execute(connection).await.map(drop)
}

/// A table that someone reads for long, or that another process has seen to, is none of our concern now.
fn later_if_taken(result: Result<(), sqlx::Error>) -> Result<(), sqlx::Error> {
    match result {
        Err(sqlx::Error::Database(error)) if error.code().is_some_and(|code| NOT_NOW.contains(&&*code)) => {
            tracing::debug!(%error, "the days of received traces are left as they are for now");
            Ok(())
        }
        result => result,
    }
}
