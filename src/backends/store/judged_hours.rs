//! What judges said of traces that nobody labelled, summed by hour, so that nobody reads months of judgements one by one.
//!
//! An hour is summed up when it is over. Whatever changes a judgement of it later (a new version of its trace, another
//! score, a draw, a label, its end, a commit that took long) makes the database mark the hour in the same transaction, and
//! the hour is read judgement by judgement until it has been summed up again.

use std::ops::Range;

use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row};

use super::columns::{count, flag, key};
use super::judgements::{JUDGED, only, read_draw};
use super::retry::retried;
use super::statement::{Statement, insert};
use super::summed_hours::{HOUR, Sums, within};
use super::{Store, StoreError};
use crate::domain::label::{JudgedSum, LabelledCount, RevisionSum};
use crate::domain::time::Timestamp;

/// What stands for no draw, in a sum as in a judgement.
const NO_DRAW: f64 = -1.0;

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

    /// Hours whose sums do not hold any more, the first of them.
    ///
    /// # Errors
    /// The database failed.
    pub async fn marked_judged_hours(&self) -> Result<Vec<Timestamp>, StoreError> {
        Sums::Judged.marked(self).await
    }

    /// The first hour with judgements after all that were ever summed up, if it ended before `before`.
    ///
    /// # Errors
    /// The database failed.
    pub async fn next_judged_hour(&self, before: Timestamp) -> Result<Option<Timestamp>, StoreError> {
        Sums::Judged.next(self, before).await
    }

    /// Sums up an hour. When a judgement of it changes meanwhile, it stays marked. False, with nothing done, where it cannot
    /// be begun now, because a change of judgements takes long.
    ///
    /// # Errors
    /// The database failed; then the hour is read judgement by judgement.
    pub async fn sum_judged_hour(&self, hour: Timestamp) -> Result<bool, StoreError> {
        let Some(begun) = Sums::Judged.begin(self, hour).await? else { return Ok(false) };
        let sums = retried("sum up an hour of judgements", || async {
            let mut statement = Statement::new(SUMS);
            statement.sql(JUDGED).sql(UNLABELLED);
            within(&mut statement, "evaluated_at", &[hour..hour.plus(HOUR)]);
            statement.sql(ALIKE);
            let rows = statement.fetch(&self.readers).await?;
            rows.iter().map(read_sum).collect::<Result<Vec<RevisionSum>, _>>()
        });
        let sums = sums.await?;
        retried("keep the sums of an hour of judgements", || async {
            let mut transaction = self.begin().await?;
            let connection = &mut *transaction;
            if !Sums::Judged.hold(connection, hour, begun).await? {
                return Ok(());
            }
            sqlx::query("DELETE FROM judged_sum WHERE hour = $1").bind(hour).execute(&mut *connection).await?;
            keep(connection, hour, &sums).await?;
            transaction.commit().await
        })
        .await?;
        Ok(true)
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
    let marked = "SELECT hour FROM judged_hour WHERE state <> 1 AND hour >= $1 ORDER BY hour";
    let marked = sqlx::query_scalar(marked).bind(since).fetch_all(&mut *connection).await?;
    let end = Sums::Judged.last(connection).await?.map(|last| last.plus(HOUR));
    statement.sql(SUMS).sql(JUDGED).sql(UNLABELLED);
    only(statement, evaluator, since);
    within(statement, "evaluated_at", &unsummed(since, marked, end));
    statement.sql(ALIKE).sql(
        " UNION ALL SELECT evaluator, revision, passed, draw_probability, is_drawn, judgements, weight, weight_squared, \
         upstream_unknown, judged_sum.hour FROM judged_sum JOIN judged_hour ON judged_hour.hour = judged_sum.hour \
         WHERE state = 1 AND judged_sum.hour >= ",
    );
    statement.bind(since);
    if let Some(evaluator) = evaluator {
        statement.sql(" AND evaluator = ").bind(key(evaluator));
    }
    Ok(())
}

async fn keep(connection: &mut AnyConnection, hour: Timestamp, sums: &[RevisionSum]) -> Result<(), sqlx::Error> {
    insert(
        connection,
        "judged_sum (hour, evaluator, revision, passed, draw_probability, is_drawn, judgements, weight, weight_squared, \
         upstream_unknown)",
        sums,
        |row, RevisionSum { evaluator, revision, judged }| {
            row.bind(hour).bind(evaluator.as_str()).bind(revision.as_str()).bind(i64::from(judged.passed));
            row.bind(judged.draw.map_or(NO_DRAW, |draw| draw.probability));
            row.bind(i64::from(judged.draw.is_some_and(|draw| draw.is_drawn)));
            row.bind(judged.count.cast_signed()).bind(judged.weight).bind(judged.weight_squared);
            row.bind(judged.upstream_unknown.cast_signed());
        },
        "",
    )
    .await
    .map(drop)
}

/// When the judgements were given that are in no sum: what there is of the first hour, the marked ones, and all since the
/// end of the last.
fn unsummed(since: Timestamp, marked: Vec<Timestamp>, end: Option<Timestamp>) -> Vec<Range<Timestamp>> {
    let always = Timestamp(i64::MAX);
    let Some(end) = end.filter(|end| *end > since) else { return vec![since..always] };
    let first = Some(since..since.hour().plus(HOUR)).filter(|_| since.hour() < since);
    let marked = marked.into_iter().map(|hour| hour..hour.plus(HOUR));
    let mut times: Vec<Range<Timestamp>> = Vec::new();
    for time in first.into_iter().chain(marked).chain([end..always]) {
        match times.last_mut().filter(|before| before.end == time.start) {
            Some(before) => before.end = time.end,
            None => times.push(time),
        }
    }
    times
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_beside_each_other_are_read_as_one_time() {
        const HOURS: i64 = Timestamp::NANOS_PER_HOUR;
        let of = |since: i64, marked: &[i64], end: i64| -> Vec<(i64, i64)> {
            let marked = marked.iter().map(|hour| Timestamp(hour * HOURS)).collect();
            let times = unsummed(Timestamp(since), marked, Some(Timestamp(end * HOURS)));
            times.into_iter().map(|time| (time.start.0, time.end.0)).collect()
        };
        let rest = |start: i64| (start * HOURS, i64::MAX);
        assert_eq!(of(0, &[], 5), [rest(5)]);
        assert_eq!(of(7, &[1, 2, 4], 9), [(7, 3 * HOURS), (4 * HOURS, 5 * HOURS), rest(9)]);
        assert_eq!(of(7, &[7, 8], 9), [(7, HOURS), rest(7)]);
        assert_eq!(of(9 * HOURS, &[], 9), [rest(9)]);
    }
}
