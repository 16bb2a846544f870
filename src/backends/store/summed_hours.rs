//! Hours of which sums are kept, and which of them hold.
//!
//! The database itself marks an hour when something of it comes, changes or goes, in the transaction that does so. Who sums
//! up begins the hour, reads it beside the writers, and then keeps what it read only if the hour was neither marked nor
//! begun anew since. So nobody waits for the reading, and no sum lacks what was committed before it. Only the beginning
//! waits for whoever is changing something, and others behind it: half a second, after which it is left for another time.

use std::ops::Range;
use std::time::Duration;

use sqlx::{AnyConnection, AssertSqlSafe, Row};

use super::columns::limit;
use super::dialect::{Dialect, LOCK_NOT_AVAILABLE, PATIENCE};
use super::retry::retried;
use super::statement::Statement;
use super::{Store, StoreError};
use crate::domain::time::Timestamp;

pub(super) const HOUR: Duration = Duration::from_hours(1);
/// Marked hours that are summed up again before others are looked at.
const MOST_MARKED: usize = 16;
/// Alternatives beside each other: SQLite takes expressions up to a depth of 1000, and each `OR` is one.
const MOST_ALTERNATIVES: usize = 100;

/// Whose hours.
#[derive(Debug, Clone, Copy)]
pub(super) enum Sums {
    /// What judges said.
    Judged,
    /// What runs used.
    Used,
}

impl Sums {
    /// The table of their hours.
    const fn hours(self) -> &'static str {
        match self {
            Self::Judged => "judged_hour",
            Self::Used => "used_hour",
        }
    }

    /// What they are made of: the column of its time, and the rest of a statement from its table to a condition.
    const fn source(self) -> (&'static str, &'static str) {
        match self {
            Self::Judged => ("evaluated_at", "evaluation WHERE annotator_kind = 'llm' AND outcome = 'scored' AND"),
            Self::Used => ("ended_at", "trace WHERE"),
        }
    }

    /// Hours whose sums do not hold any more, the first of them.
    pub(super) async fn marked(self, store: &Store) -> Result<Vec<Timestamp>, StoreError> {
        retried("look for hours to sum up", || async {
            let sql = format!("SELECT hour FROM {} WHERE state <> 1 ORDER BY hour LIMIT $1", self.hours());
            sqlx::query_scalar(AssertSqlSafe(sql)).bind(limit(MOST_MARKED)).fetch_all(&store.readers).await
        })
        .await
    }

    /// The first hour that something came into after all that were ever summed up, if it ended before `before`.
    pub(super) async fn next(self, store: &Store, before: Timestamp) -> Result<Option<Timestamp>, StoreError> {
        let (at, source) = self.source();
        retried("look for hours to sum up", || async {
            let connection = &mut *store.readers.acquire().await?;
            let after = self.last(connection).await?.map_or(Timestamp::default(), |last| last.plus(HOUR));
            let first = AssertSqlSafe(format!("SELECT min({at}) FROM {source} {at} >= $1"));
            let first: Option<Timestamp> = sqlx::query_scalar(first).bind(after).fetch_one(connection).await?;
            Ok(first.map(Timestamp::hour).filter(|hour| *hour <= before.minus(HOUR)))
        })
        .await
    }

    /// Begins to sum up an hour: from here on whoever changes something of it marks it, and what others have changed is
    /// there to be read. Answers how often the hour was begun; `None`, with nothing done, where someone takes too long to
    /// change something.
    pub(super) async fn begin(self, store: &Store, hour: Timestamp) -> Result<Option<i64>, StoreError> {
        retried("begin to sum up an hour", || async {
            match self.try_begin(store, hour).await {
                Err(sqlx::Error::Database(error)) if error.code().is_some_and(|code| code == LOCK_NOT_AVAILABLE) => {
                    tracing::debug!(hours = self.hours(), %hour, "the hour is summed up later");
                    Ok(None)
                }
                begun => begun.map(Some),
            }
        })
        .await
    }

    async fn try_begin(self, store: &Store, hour: Timestamp) -> Result<i64, sqlx::Error> {
        let (hours, (at, source), mut transaction) = (self.hours(), self.source(), store.begin().await?);
        if store.dialect == Dialect::Postgres {
            sqlx::query(PATIENCE).execute(&mut *transaction).await?;
            let lock = format!("LOCK TABLE {hours} IN SHARE ROW EXCLUSIVE MODE");
            sqlx::query(AssertSqlSafe(lock)).execute(&mut *transaction).await?;
        }
        // What came into an hour before this one since this one was chosen found it later than the last, and marked
        // nothing.
        let mark_skipped = format!(
            "INSERT INTO {hours} (hour, state) SELECT DISTINCT {at} / 3600000000000 * 3600000000000, 0 \
             FROM {source} {at} < $1 AND {at} >= (SELECT coalesce(max(hour) + 3600000000000, 0) FROM {hours}) \
             ON CONFLICT (hour) DO NOTHING"
        );
        sqlx::query(AssertSqlSafe(mark_skipped)).bind(hour).execute(&mut *transaction).await?;
        let begin = format!(
            "INSERT INTO {hours} (hour, state, begun) VALUES ($1, 2, 1) \
             ON CONFLICT (hour) DO UPDATE SET state = 2, begun = {hours}.begun + 1 RETURNING begun"
        );
        let row = sqlx::query(AssertSqlSafe(begin)).bind(hour).fetch_one(&mut *transaction).await?;
        transaction.commit().await?;
        row.try_get("begun")
    }

    /// Whether what was read since the hour was begun for that time holds; if so, whoever changes something of the hour
    /// waits until the transaction has ended, to mark it.
    pub(super) async fn hold(
        self,
        connection: &mut AnyConnection,
        hour: Timestamp,
        begun: i64,
    ) -> Result<bool, sqlx::Error> {
        let sql = format!("UPDATE {} SET state = 1 WHERE hour = $1 AND state = 2 AND begun = $2", self.hours());
        let held = sqlx::query(AssertSqlSafe(sql)).bind(hour).bind(begun).execute(connection).await?;
        Ok(held.rows_affected() > 0)
    }

    /// The last hour that was ever summed up.
    pub(super) async fn last(self, connection: &mut AnyConnection) -> Result<Option<Timestamp>, sqlx::Error> {
        let sql = format!("SELECT max(hour) FROM {}", self.hours());
        sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(connection).await
    }
}

/// Adds that something happened within one of these times.
pub(super) fn within(statement: &mut Statement, column: &str, times: &[Range<Timestamp>]) {
    if times.is_empty() {
        statement.sql(" AND 1 = 0");
        return;
    }
    for (place, some) in times.chunks(MOST_ALTERNATIVES).enumerate() {
        statement.sql(if place == 0 { " AND ((" } else { ") OR (" });
        for (place, time) in some.iter().enumerate() {
            statement.sql(if place == 0 { "(" } else { " OR (" }).sql(column).sql(" >= ").bind(time.start);
            statement.sql(" AND ").sql(column).sql(" < ").bind(time.end).sql(")");
        }
    }
    statement.sql("))");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_was_read_holds_only_if_nobody_marked_the_hour_or_began_it_anew_meanwhile() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", folder.path().join("store.db").display());
        let store = Store::open(&url, false).await.unwrap();
        let hour = Timestamp(480_000 * Timestamp::NANOS_PER_HOUR);
        for sums in [Sums::Judged, Sums::Used] {
            let hold = async |begun| {
                let connection = &mut *store.writers.acquire().await.unwrap();
                sums.hold(connection, hour, begun).await.unwrap()
            };
            let mark = format!("UPDATE {} SET state = 0", sums.hours());
            let mark = async || sqlx::query(AssertSqlSafe(mark.clone())).execute(&store.writers).await.unwrap();
            let first = sums.begin(&store, hour).await.unwrap().unwrap();
            mark().await;
            assert!(!hold(first).await, "something has changed since it was read");
            let second = sums.begin(&store, hour).await.unwrap().unwrap();
            assert!(!hold(first).await, "nor does it hold because another one reads");
            assert_eq!(sums.marked(&store).await.unwrap(), [hour]);
            assert!(hold(second).await);
            assert!(sums.marked(&store).await.unwrap().is_empty());
        }
    }

    #[tokio::test]
    async fn any_number_of_times_can_be_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", folder.path().join("store.db").display());
        let store = Store::open(&url, false).await.unwrap();
        let hour = |number: i64| Timestamp(2 * number * Timestamp::NANOS_PER_HOUR);
        let times: Vec<_> = (0..5_000).map(|number| hour(number)..hour(number).plus(HOUR)).collect();
        for some in [0, 1, 100, 101, 5_000] {
            let mut statement =
                Statement::new("SELECT count(*) AS hours FROM (WITH RECURSIVE every (hour) AS (SELECT 0 UNION ALL ");
            statement.sql("SELECT hour + 3600000000000 FROM every WHERE hour < 36000000000000000) SELECT hour FROM every WHERE TRUE");
            within(&mut statement, "hour", &times[..some]);
            statement.sql(")");
            let rows = statement.fetch(&store.readers).await.unwrap();
            assert_eq!(rows[0].get::<i64, _>("hours"), i64::try_from(some).unwrap());
        }
    }
}
