//! Which evaluations put their trace before people because something is wrong, bounded by day, service and evaluator.

use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row};

use super::columns::{count, flag, key, limit, parse_word};
use super::labels::{Undrawn, insert_draws};
use super::retry::retried;
use super::statement::{Statement, insert};
use super::{Store, StoreError};
use crate::domain::evaluation::AnnotatorKind;
use crate::domain::ids::TraceId;
use crate::domain::label::{Draw, FlagReason};
use crate::domain::time::Timestamp;

/// Whether another revision of the same judge says the opposite, as 0 or 1.
pub(super) const IS_DISPUTED: &str = "CAST(CASE WHEN EXISTS (SELECT 1 FROM evaluation AS other \
     WHERE other.trace_id = evaluation.trace_id AND other.evaluator = evaluation.evaluator \
     AND other.revision <> evaluation.revision AND other.annotator_kind = 'llm' AND other.outcome = 'scored' \
     AND (other.value < 0.5) <> (evaluation.value < 0.5)) THEN 1 ELSE 0 END AS BIGINT) AS is_disputed";

/// An evaluation that fails its trace or is in doubt, of which it is not decided yet whether people are asked about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unflagged {
    /// The trace.
    pub trace_id: TraceId,
    /// The rule or judge.
    pub evaluator: String,
    /// Its revision.
    pub revision: String,
    /// The trace's service.
    pub service: String,
    /// When it was evaluated.
    pub evaluated_at: Timestamp,
    /// Whether it fails the trace.
    pub fails: bool,
    /// Rules and judges that fail the trace.
    pub failures: u32,
}

/// An evaluation that puts its trace before people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flag {
    /// It.
    pub of: Unflagged,
    /// The day that it counts for.
    pub day: Timestamp,
    /// More severe ones come first, and stay when there are too many.
    pub severity: i64,
}

/// What people are to be asked about from now on.
#[derive(Debug, Clone, Copy)]
pub struct Offered<'a> {
    /// The random sample's draws; the first draw of a judgement stands.
    pub draws: &'a [(Undrawn, Draw)],
    /// What is drawn keeps its spans until then at least, for people to look at.
    pub keep_until: Timestamp,
    /// What is wrong.
    pub flags: &'a [Flag],
    /// Of each day, service and evaluator so many flags wait, at most.
    pub flags_a_day: u32,
    /// Flags of days before this one are forgotten.
    pub flags_since: Timestamp,
}

impl Store {
    /// Evaluations by these evaluators, recorded at or after `since`, for which it is not decided whether they put their
    /// trace before people; oldest first.
    ///
    /// # Errors
    /// The database failed.
    pub async fn unflagged(
        &self,
        since: Timestamp,
        evaluators: &[&str],
        most: usize,
    ) -> Result<Vec<Unflagged>, StoreError> {
        if evaluators.is_empty() {
            return Ok(Vec::new());
        }
        let names: Vec<String> = evaluators.iter().map(|name| key(name)).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        retried("look for evaluations to review", || async {
            let mut statement = Statement::new(
                "SELECT evaluation.trace_id, evaluation.evaluator, evaluation.revision, trace.service, evaluated_at, value, \
                 (SELECT count(*) FROM evaluation AS other WHERE other.trace_id = evaluation.trace_id \
                 AND other.annotator_kind IN ('code', 'llm') AND other.outcome = 'scored' AND other.value < 0.5) \
                 AS failures FROM evaluation JOIN trace ON trace.trace_id = evaluation.trace_id \
                 LEFT JOIN review_flag ON review_flag.trace_id = evaluation.trace_id \
                 AND review_flag.evaluator = evaluation.evaluator WHERE review_flag.trace_id IS NULL \
                 AND outcome = 'scored' AND (value < 0.5 OR split = 1) AND evaluated_at >= ",
            );
            statement.bind(since).sql(" AND evaluation.evaluator IN ");
            statement.list(&names).sql(" ORDER BY evaluated_at LIMIT ").bind(limit(most));
            statement.fetch(&self.readers).await?.iter().map(read_unflagged).collect()
        })
        .await
    }

    /// Keeps what people are to be asked about.
    ///
    /// # Errors
    /// The database failed; then none of it is kept.
    pub async fn offer(&self, offered: Offered<'_>, now: Timestamp) -> Result<(), StoreError> {
        retried("keep what is to be reviewed", || async {
            let mut transaction = self.begin().await?;
            insert_draws(&mut transaction, offered.draws, now, offered.keep_until).await?;
            insert_flags(&mut transaction, offered.flags).await?;
            if let Some(first) = offered.flags.iter().map(|flag| flag.day).min() {
                keep_most_severe(&mut transaction, first, offered.flags_a_day).await?;
            }
            let forget = sqlx::query("DELETE FROM review_flag WHERE day < $1").bind(offered.flags_since);
            forget.execute(&mut *transaction).await?;
            transaction.commit().await
        })
        .await
    }
}

async fn insert_flags(connection: &mut AnyConnection, flags: &[Flag]) -> Result<(), sqlx::Error> {
    insert(
        connection,
        "review_flag (trace_id, evaluator, revision, service, day, severity, is_waiting)",
        flags,
        |row, Flag { of, day, severity }| {
            row.bind(of.trace_id).bind(key(&of.evaluator)).bind(key(&of.revision)).bind(key(&of.service));
            row.bind(*day).bind(*severity).bind(1_i64);
        },
        "ON CONFLICT (trace_id, evaluator) DO NOTHING",
    )
    .await
    .map(drop)
}

/// Lets go of what is too much since a day. What people have answered or assigned keeps its place; what the random sample
/// has too is asked about there.
async fn keep_most_severe(
    connection: &mut AnyConnection,
    since: Timestamp,
    flags_a_day: u32,
) -> Result<(), sqlx::Error> {
    let mut statement = Statement::new(
        "UPDATE review_flag SET is_waiting = 0 WHERE is_waiting = 1 AND (trace_id, evaluator) IN (\
         SELECT trace_id, evaluator FROM (SELECT flag.trace_id, flag.evaluator, is_drawn, row_number() OVER (\
         PARTITION BY service, flag.evaluator, day \
         ORDER BY coalesce(is_drawn, 0), is_taken DESC, severity DESC, flag.trace_id) AS place \
         FROM (SELECT trace_id, evaluator, revision, service, day, severity, CASE WHEN \
         EXISTS (SELECT 1 FROM label WHERE label.evaluator = review_flag.evaluator AND label.trace_id = review_flag.trace_id) \
         OR EXISTS (SELECT 1 FROM review_item WHERE review_item.trace_id = review_flag.trace_id \
         AND review_item.evaluator = review_flag.evaluator) THEN 1 ELSE 0 END AS is_taken \
         FROM review_flag WHERE is_waiting = 1 AND day >= ",
    );
    statement.bind(since).sql(
        ") AS flag LEFT JOIN review_draw ON review_draw.trace_id = flag.trace_id \
         AND review_draw.evaluator = flag.evaluator AND review_draw.revision = flag.revision) AS ranked \
         WHERE is_drawn = 1 OR place > ",
    );
    statement.bind(i64::from(flags_a_day)).sql(")");
    statement.fetch(connection).await.map(drop)
}

fn read_unflagged(row: &AnyRow) -> Result<Unflagged, sqlx::Error> {
    Ok(Unflagged {
        trace_id: row.try_get("trace_id")?,
        evaluator: row.try_get("evaluator")?,
        revision: row.try_get("revision")?,
        service: row.try_get("service")?,
        evaluated_at: row.try_get("evaluated_at")?,
        fails: row.try_get::<f64, _>("value")? < 0.5,
        failures: count(row, "failures")?,
    })
}

/// Why an evaluation puts its trace before people, from its own columns and [`IS_DISPUTED`].
pub(super) fn read_reason(row: &AnyRow) -> Result<FlagReason, sqlx::Error> {
    let annotator: AnnotatorKind = parse_word(row.try_get("annotator_kind")?)?;
    let fails = row.try_get::<f64, _>("value")? < 0.5;
    Ok(match annotator {
        AnnotatorKind::Llm if flag(row, "is_disputed")? => FlagReason::JudgesDisagree,
        AnnotatorKind::Llm if fails => FlagReason::JudgeNo,
        AnnotatorKind::Llm => FlagReason::LowConfidence,
        AnnotatorKind::Code | AnnotatorKind::Human | AnnotatorKind::External => FlagReason::FailedRule,
    })
}
