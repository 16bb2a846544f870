//! Which evaluated traces people are asked about, who is asked, and which are not asked about any more.

use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sqlx::Row;
use sqlx::any::AnyRow;

use super::columns::{count, flag, key, limit, text};
use super::flags::{IS_DISPUTED, read_reason};
use super::labels::read_label;
use super::retry::retried;
use super::statement::{Statement, insert};
use super::{Store, StoreError};
use crate::domain::ids::TraceId;
use crate::domain::label::{FlagReason, Label};
use crate::domain::time::Timestamp;

/// Waiting items are counted up to here.
pub const MOST_COUNTED: u64 = 1_000;

/// Why a person is asked about a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stream {
    /// It was drawn at random.
    Audit,
    /// Something is wrong with it, or its judge is in doubt; see [`FlagReason`].
    Flagged,
    /// Another person has labelled it; a second label, given blindly, tells how far people agree.
    Second,
}

impl Stream {
    /// Every stream, in the order in which they are worth a person's time.
    pub const ALL: [Self; 3] = [Self::Audit, Self::Flagged, Self::Second];

    /// The stream as it is written in JSON and addresses.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Audit => "audit",
            Self::Flagged => "flagged",
            Self::Second => "second",
        }
    }
}

impl FromStr for Stream {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|stream| stream.as_str() == text);
        found.ok_or_else(|| format!("{text:?} is none of audit, flagged, second"))
    }
}

/// Which waiting items are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReviewFilter<'a> {
    /// Of this stream.
    pub stream: Stream,
    /// Of this judge or rule, or of all.
    pub evaluator: Option<&'a str>,
    /// For this person: what is assigned to them first, and nothing that is assigned to others. Without a name, what is
    /// assigned to nobody.
    pub reviewer: Option<&'a str>,
}

/// An evaluated trace that waits for a label.
#[derive(Debug, Clone, PartialEq)]
pub struct ReviewItem {
    /// The trace.
    pub trace_id: TraceId,
    /// The judge or rule.
    pub evaluator: String,
    /// Its revision.
    pub revision: String,
    /// Why it is flagged; `None` in other streams.
    pub flagged: Option<FlagReason>,
    /// Its verdict.
    pub passed: bool,
    /// Why.
    pub reason: Option<String>,
    /// Whether its spans are still here.
    pub has_spans: bool,
}

impl Store {
    /// What waits for a label: what is assigned to the reviewer first, what still has its spans before what has not, then
    /// the audit sample oldest first, flagged ones most severe first, and of these and of what others answered the newest.
    ///
    /// # Errors
    /// The database failed.
    pub async fn review_items(&self, filter: ReviewFilter<'_>, most: usize) -> Result<Vec<ReviewItem>, StoreError> {
        retried("look for traces to review", || async {
            let mut statement = Statement::new(
                "SELECT evaluation.trace_id, evaluation.evaluator, evaluation.revision, annotator_kind, value, \
                 explanation, coalesce(body_purged, 1) AS has_no_spans, ",
            );
            statement.sql(IS_DISPUTED);
            waiting(&mut statement, filter);
            statement.sql(" ORDER BY CASE WHEN assignee IS NULL THEN 1 ELSE 0 END, has_no_spans, ").sql(
                match filter.stream {
                    Stream::Audit => "drawn_at, evaluation.trace_id",
                    Stream::Flagged => "severity DESC, evaluated_at DESC, evaluation.trace_id",
                    Stream::Second => "evaluated_at DESC, evaluation.trace_id",
                },
            );
            statement.sql(" LIMIT ").bind(limit(most));
            statement.fetch(&self.readers).await?.iter().map(|row| read_item(row, filter.stream)).collect()
        })
        .await
    }

    /// How many items wait, up to [`MOST_COUNTED`].
    ///
    /// # Errors
    /// The database failed.
    pub async fn count_review_items(&self, filter: ReviewFilter<'_>) -> Result<u64, StoreError> {
        retried("count traces to review", || async {
            let mut statement = Statement::new("SELECT count(*) AS waiting FROM (SELECT 1 AS one");
            waiting(&mut statement, filter);
            statement.sql(" LIMIT ").bind(i64::try_from(MOST_COUNTED).unwrap_or(i64::MAX)).sql(") AS items");
            statement.fetch(&self.readers).await?.first().map_or(Ok(0), |row| count(row, "waiting"))
        })
        .await
    }

    /// The last labels that a person gave here, newest first.
    ///
    /// # Errors
    /// The database failed.
    pub async fn labels_by(&self, reviewer: &str, since: Timestamp, most: usize) -> Result<Vec<Label>, StoreError> {
        retried("read a person's labels", || async {
            let mut statement = Statement::new(
                "SELECT trace_id, evaluator, revision, label, reviewer, note, labelled_at, origin, \
                 coalesce(probability, -1.0) AS probability FROM label WHERE origin = 'review' AND reviewer = ",
            );
            statement.bind(text(reviewer)).sql(" AND labelled_at >= ").bind(since);
            statement.sql(" ORDER BY labelled_at DESC, id LIMIT ").bind(limit(most));
            statement.fetch(&self.readers).await?.iter().map(read_label).collect()
        })
        .await
    }

    /// Asks one person about judged traces, and nobody else.
    ///
    /// # Errors
    /// The database failed; then none is assigned.
    pub async fn assign_reviews(
        &self,
        items: &[(TraceId, String)],
        assignee: &str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        retried("assign traces to review", || async {
            let mut transaction = self.begin().await?;
            insert(
                &mut transaction,
                "review_item (trace_id, evaluator, assignee, changed_at)",
                items,
                |row, (trace_id, evaluator)| {
                    row.bind(*trace_id).bind(key(evaluator)).bind(text(assignee)).bind(now);
                },
                "ON CONFLICT (trace_id, evaluator) DO UPDATE SET assignee = excluded.assignee, \
                 changed_at = excluded.changed_at",
            )
            .await?;
            transaction.commit().await
        })
        .await
    }

    /// Asks nobody about a judged trace any more, whatever judges it later.
    ///
    /// # Errors
    /// The database failed.
    pub async fn remove_review(
        &self,
        trace_id: TraceId,
        evaluator: &str,
        by: &str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        retried("remove a trace from review", || async {
            let mut transaction = self.begin().await?;
            insert(
                &mut transaction,
                "review_item (trace_id, evaluator, removed_by, changed_at)",
                &[trace_id],
                |row, trace_id| {
                    row.bind(*trace_id).bind(key(evaluator)).bind(text(by)).bind(now);
                },
                "ON CONFLICT (trace_id, evaluator) DO UPDATE SET removed_by = excluded.removed_by, \
                 changed_at = excluded.changed_at",
            )
            .await?;
            transaction.commit().await
        })
        .await
    }
}

/// Adds from where waiting items come, and which they are.
fn waiting(statement: &mut Statement, filter: ReviewFilter<'_>) {
    statement.sql(match filter.stream {
        Stream::Flagged => {
            " FROM review_flag JOIN evaluation ON evaluation.trace_id = review_flag.trace_id \
             AND evaluation.evaluator = review_flag.evaluator AND evaluation.revision = review_flag.revision"
        }
        Stream::Audit => " FROM evaluation",
        // Of a rule, people are asked a second time about what passed too.
        Stream::Second => {
            " FROM (SELECT trace_id, evaluator, revision, annotator_kind, outcome, value, explanation, evaluated_at \
             FROM evaluation WHERE (trace_id, evaluator) IN (SELECT trace_id, evaluator FROM label \
             WHERE origin = 'review' AND label <> 'skip') UNION ALL \
             SELECT trace_id, evaluator, revision, annotator_kind, outcome, value, explanation, evaluated_at \
             FROM listed_evaluation WHERE (trace_id, evaluator) IN (SELECT trace_id, evaluator FROM label \
             WHERE origin = 'review' AND label <> 'skip')) AS evaluation"
        }
    });
    statement.sql(
        " LEFT JOIN trace ON trace.trace_id = evaluation.trace_id \
         LEFT JOIN review_draw ON review_draw.trace_id = evaluation.trace_id \
         AND review_draw.evaluator = evaluation.evaluator AND review_draw.revision = evaluation.revision \
         LEFT JOIN review_item ON review_item.trace_id = evaluation.trace_id \
         AND review_item.evaluator = evaluation.evaluator WHERE outcome = 'scored' AND removed_by IS NULL",
    );
    if let Some(evaluator) = filter.evaluator {
        statement.sql(" AND evaluation.evaluator = ").bind(key(evaluator));
    }
    let reviewer = text(filter.reviewer.unwrap_or_default());
    statement.sql(" AND (assignee IS NULL OR assignee = ").bind(reviewer.as_str()).sql(")");
    let unlabelled = "NOT EXISTS (SELECT 1 FROM label WHERE label.trace_id = evaluation.trace_id \
                      AND label.evaluator = evaluation.evaluator";
    match filter.stream {
        Stream::Audit => statement.sql(" AND annotator_kind = 'llm' AND is_drawn = 1 AND ").sql(unlabelled).sql(")"),
        Stream::Flagged => {
            // A later version of the trace may not fail any more. The plus keeps SQLite from walking all that ever failed by
            // its index: what waits is little.
            statement.sql(" AND is_waiting = 1 AND (+value < 0.5 OR split = 1) AND coalesce(is_drawn, 0) = 0 AND ");
            statement.sql(unlabelled).sql(")")
        }
        Stream::Second => statement.sql(" AND ").sql(unlabelled).sql(" AND label.reviewer = ").bind(reviewer).sql(")"),
    };
}

fn read_item(row: &AnyRow, stream: Stream) -> Result<ReviewItem, sqlx::Error> {
    Ok(ReviewItem {
        trace_id: row.try_get("trace_id")?,
        evaluator: row.try_get("evaluator")?,
        revision: row.try_get("revision")?,
        flagged: (stream == Stream::Flagged).then(|| read_reason(row)).transpose()?,
        passed: row.try_get::<f64, _>("value")? >= 0.5,
        reason: row.try_get("explanation")?,
        has_spans: !flag(row, "has_no_spans")?,
    })
}
