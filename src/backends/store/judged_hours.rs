//! What judges said of traces that nobody labelled, summed by hour, so that nobody reads months of judgements one by one.
//!
//! An hour is summed up when it is over. Whatever changes a judgement of it later (a new version of its trace, another
//! score, a draw, a label, its end, a commit that took long) makes the database mark the hour in the same transaction, and
//! the hour is read judgement by judgement until it has been summed up again. Who sums up keeps others from marking
//! meanwhile: what they changed before is in the sums, and what they change afterwards finds the hour to mark.

use std::ops::Range;
use std::time::Duration;

use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row};

use super::columns::{count, flag, key};
use super::dialect::Dialect;
use super::judgements::{JUDGED, only, read_draw};
use super::retry::retried;
use super::statement::Statement;
use super::used_hours::within;
use super::{Store, StoreError};
use crate::domain::label::{JudgedSum, LabelledCount, RevisionSum};
use crate::domain::time::Timestamp;

const HOUR: Duration = Duration::from_hours(1);

/// What a sum is of, and the sum; the hour follows.
const SUMS: &str = "SELECT evaluator, revision, passed, draw_probability, is_drawn, count(*) AS judgements, \
                    sum(weight) AS weight, sum(weight * weight) AS weight_squared, \
                    count(nullif(upstream_unknown, 0)) AS upstream_unknown, \
                    evaluated_at / 3600000000000 * 3600000000000 AS hour FROM (";
const ALIKE: &str = ") AS judged GROUP BY evaluator, revision, passed, draw_probability, is_drawn, \
                     evaluated_at / 3600000000000 * 3600000000000";
const UNLABELLED: &str = "NOT EXISTS (SELECT 1 FROM label WHERE label.trace_id = evaluation.trace_id \
                          AND label.evaluator = evaluation.evaluator)";

impl Store {
    /// What judges said of all traces without a label since an instant, of one judge or of all: by revision, verdict,
    /// draw and hour.
    ///
    /// # Errors
    /// The database failed.
    pub async fn unlabelled_sums(
        &self,
        evaluator: Option<&str>,
        since: Timestamp,
    ) -> Result<Vec<RevisionSum>, StoreError> {
        retried("sum judgements", || async {
            let mut transaction = self.begin_read().await?;
            let mut statement = Statement::new("");
            unlabelled(&mut transaction, &mut statement, evaluator, since).await?;
            let rows = statement.fetch(&mut *transaction).await?;
            transaction.commit().await?;
            rows.iter().map(read_sum).collect()
        })
        .await
    }

    /// Sums up one hour that ended before `before` and is not summed up as it is now; whether there was one.
    ///
    /// # Errors
    /// The database failed; then nothing is changed.
    pub async fn sum_judged_hour(&self, before: Timestamp) -> Result<bool, StoreError> {
        retried("sum up an hour of judgements", || async {
            let last = before.minus(HOUR);
            let Some(hour) = next_hour(&mut *self.readers.acquire().await?).await?.filter(|hour| *hour <= last) else {
                return Ok(false);
            };
            let mut transaction = self.begin().await?;
            let connection = &mut *transaction;
            if self.dialect == Dialect::Postgres {
                let lock = "LOCK TABLE judged_hour IN SHARE ROW EXCLUSIVE MODE";
                sqlx::query(lock).execute(&mut *connection).await?;
            }
            sum_up(connection, hour).await?;
            transaction.commit().await?;
            Ok(true)
        })
        .await
    }
}

/// How many judgements were drawn of traces that nobody labelled, by judge, revision and verdict.
pub(super) async fn drawn_counts(connection: &mut AnyConnection) -> Result<Vec<LabelledCount>, sqlx::Error> {
    let mut statement =
        Statement::new("SELECT evaluator, revision, passed, CAST(sum(judgements) AS BIGINT) AS judgements FROM (");
    unlabelled(connection, &mut statement, None, Timestamp::default()).await?;
    statement.sql(") AS unlabelled WHERE is_drawn = 1 GROUP BY evaluator, revision, passed");
    statement.fetch(connection).await?.iter().map(read_drawn).collect()
}

/// Writes a `SELECT` of the sums of all judgements since an instant: those that are kept, and what is in none of them.
async fn unlabelled(
    connection: &mut AnyConnection,
    statement: &mut Statement,
    evaluator: Option<&str>,
    since: Timestamp,
) -> Result<(), sqlx::Error> {
    let marked = "SELECT hour FROM judged_hour WHERE is_summed = 0 AND hour >= $1 ORDER BY hour";
    let marked = sqlx::query_scalar(marked).bind(since).fetch_all(&mut *connection).await?;
    let end = last_hour(connection).await?.map(|last| last.plus(HOUR));
    statement.sql(SUMS).sql(JUDGED).sql(UNLABELLED);
    only(statement, evaluator, since);
    within(statement, "evaluated_at", &unsummed(since, marked, end));
    statement.sql(ALIKE).sql(
        " UNION ALL SELECT evaluator, revision, passed, draw_probability, is_drawn, judgements, weight, weight_squared, \
         upstream_unknown, judged_sum.hour FROM judged_sum JOIN judged_hour ON judged_hour.hour = judged_sum.hour \
         WHERE is_summed = 1 AND judged_sum.hour >= ",
    );
    statement.bind(since);
    if let Some(evaluator) = evaluator {
        statement.sql(" AND evaluator = ").bind(key(evaluator));
    }
    Ok(())
}

/// The last hour that was ever summed up.
async fn last_hour(connection: &mut AnyConnection) -> Result<Option<Timestamp>, sqlx::Error> {
    sqlx::query_scalar("SELECT max(hour) FROM judged_hour").fetch_one(connection).await
}

/// The first hour that was marked, else the first with judgements after all that were ever summed up.
async fn next_hour(connection: &mut AnyConnection) -> Result<Option<Timestamp>, sqlx::Error> {
    let marked = "SELECT min(hour) AS hour FROM judged_hour WHERE is_summed = 0";
    let marked: Option<Timestamp> = sqlx::query_scalar(marked).fetch_one(&mut *connection).await?;
    if marked.is_some() {
        return Ok(marked);
    }
    let after = last_hour(connection).await?.map_or(Timestamp::default(), |last| last.plus(HOUR));
    let first = "SELECT min(evaluated_at) FROM evaluation WHERE annotator_kind = 'llm' AND outcome = 'scored' \
                 AND evaluated_at >= $1";
    let first: Option<Timestamp> = sqlx::query_scalar(first).bind(after).fetch_one(connection).await?;
    Ok(first.map(Timestamp::hour))
}

async fn sum_up(connection: &mut AnyConnection, hour: Timestamp) -> Result<(), sqlx::Error> {
    let summed =
        "INSERT INTO judged_hour (hour, is_summed) VALUES ($1, 1) ON CONFLICT (hour) DO UPDATE SET is_summed = 1";
    sqlx::query(summed).bind(hour).execute(&mut *connection).await?;
    sqlx::query("DELETE FROM judged_sum WHERE hour = $1").bind(hour).execute(&mut *connection).await?;
    let mut statement = Statement::new(
        "INSERT INTO judged_sum (evaluator, revision, passed, draw_probability, is_drawn, judgements, weight, \
         weight_squared, upstream_unknown, hour) ",
    );
    statement.sql(SUMS).sql(JUDGED).sql(UNLABELLED);
    within(&mut statement, "evaluated_at", &[hour..hour.plus(HOUR)]);
    statement.sql(ALIKE);
    statement.fetch(connection).await.map(drop)
}

/// When the judgements were given that are in no sum: what there is of the first hour, the marked ones, and all since the
/// end of the last.
fn unsummed(since: Timestamp, marked: Vec<Timestamp>, end: Option<Timestamp>) -> Vec<Range<Timestamp>> {
    let always = Timestamp(i64::MAX);
    let Some(end) = end.filter(|end| *end > since) else { return vec![since..always] };
    let first = Some(since..since.hour().plus(HOUR)).filter(|_| since.hour() < since);
    let marked = marked.into_iter().map(|hour| hour..hour.plus(HOUR));
    first.into_iter().chain(marked).chain([end..always]).collect()
}

fn read_sum(row: &AnyRow) -> Result<RevisionSum, sqlx::Error> {
    Ok(RevisionSum {
        evaluator: row.try_get("evaluator")?,
        revision: row.try_get("revision")?,
        judged: JudgedSum {
            passed: flag(row, "passed")?,
            draw: read_draw(row)?,
            since: row.try_get("hour")?,
            count: count(row, "judgements")?,
            weight: row.try_get("weight")?,
            weight_squared: row.try_get("weight_squared")?,
            upstream_unknown: count(row, "upstream_unknown")?,
        },
    })
}

fn read_drawn(row: &AnyRow) -> Result<LabelledCount, sqlx::Error> {
    Ok(LabelledCount {
        evaluator: row.try_get("evaluator")?,
        revision: row.try_get("revision")?,
        passed: flag(row, "passed")?,
        is_drawn: true,
        label: None,
        count: count(row, "judgements")?,
    })
}
