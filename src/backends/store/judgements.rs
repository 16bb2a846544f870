//! What judges have said, as calibration asks for it: labelled traces one by one; `judged_hours` sums the others.

use std::collections::BTreeSet;

use sqlx::Row;
use sqlx::any::AnyRow;

use super::columns::{count, flag, key, parse_word};
use super::judged_hours::drawn_counts;
use super::retry::retried;
use super::statement::Statement;
use super::{Store, StoreError};
use crate::domain::ids::TraceId;
use crate::domain::label::{Draw, HeldLabel, Judgement, LabelledCount};
use crate::domain::time::Timestamp;

/// A judgement with its draw. Of upstream sampling that is not known, 1 is taken.
pub(super) const JUDGED: &str = "SELECT evaluation.trace_id, evaluation.evaluator, evaluation.revision, explanation, evaluated_at, \
                      CAST(CASE WHEN value >= 0.5 THEN 1 ELSE 0 END AS BIGINT) AS passed, \
                      1.0 / (evaluation.probability * coalesce(upstream_probability, 1.0)) AS weight, \
                      CAST(CASE WHEN upstream_probability IS NULL THEN 1 ELSE 0 END AS BIGINT) AS upstream_unknown, \
                      coalesce(review_draw.probability, -1.0) AS draw_probability, coalesce(is_drawn, 0) AS is_drawn \
                      FROM evaluation JOIN trace ON trace.trace_id = evaluation.trace_id \
                      LEFT JOIN review_draw ON review_draw.trace_id = evaluation.trace_id \
                      AND review_draw.evaluator = evaluation.evaluator AND review_draw.revision = evaluation.revision \
                      WHERE annotator_kind = 'llm' AND outcome = 'scored' AND evaluation.probability > 0 AND ";

impl Store {
    /// What judges said of labelled traces since an instant, of one judge or of all, with its place in the audit sample.
    ///
    /// # Errors
    /// The database failed.
    pub async fn labelled_judgements(
        &self,
        evaluator: Option<&str>,
        since: Timestamp,
    ) -> Result<Vec<Judgement>, StoreError> {
        retried("read labelled judgements", || async {
            let mut statement = Statement::new(JUDGED);
            statement.sql("(evaluation.trace_id, evaluation.evaluator) IN (SELECT trace_id, evaluator FROM label)");
            only(&mut statement, evaluator, since);
            statement.fetch(&self.readers).await?.iter().map(read_judgement).collect()
        })
        .await
    }

    /// All judgements that were drawn or labelled, counted by revision, verdict, draw and the label that holds.
    ///
    /// # Errors
    /// The database failed.
    pub async fn labelled_counts(&self) -> Result<Vec<LabelledCount>, StoreError> {
        retried("count labels", || async {
            let sql = "SELECT evaluator, revision, passed, is_drawn, answer, origin, has_probability, \
                       count(*) AS judgements FROM (SELECT evaluation.evaluator, evaluation.revision, \
                       CAST(CASE WHEN value >= 0.5 THEN 1 ELSE 0 END AS BIGINT) AS passed, \
                       coalesce(is_drawn, 0) AS is_drawn, label.label AS answer, origin, \
                       CAST(CASE WHEN label.probability IS NULL THEN 0 ELSE 1 END AS BIGINT) AS has_probability \
                       FROM label JOIN evaluation ON evaluation.trace_id = label.trace_id \
                       AND evaluation.evaluator = label.evaluator \
                       LEFT JOIN review_draw ON review_draw.trace_id = label.trace_id \
                       AND review_draw.evaluator = label.evaluator AND review_draw.revision = evaluation.revision \
                       WHERE NOT EXISTS (SELECT 1 FROM label AS later WHERE later.trace_id = label.trace_id \
                       AND later.evaluator = label.evaluator \
                       AND (later.labelled_at, later.id) > (label.labelled_at, label.id)) \
                       AND annotator_kind = 'llm' AND outcome = 'scored' AND evaluation.probability > 0) AS judged \
                       GROUP BY evaluator, revision, passed, is_drawn, answer, origin, has_probability";
            let mut transaction = self.begin_read().await?;
            let labelled = sqlx::query(sql).fetch_all(&mut *transaction).await?;
            let mut counts: Vec<LabelledCount> = labelled.iter().map(read_count).collect::<Result<_, _>>()?;
            counts.extend(drawn_counts(&mut transaction).await?);
            transaction.commit().await?;
            Ok(counts)
        })
        .await
    }

    /// The names of all judges that have scored a trace.
    ///
    /// # Errors
    /// The database failed.
    pub async fn judges(&self) -> Result<BTreeSet<String>, StoreError> {
        retried("list judges", || async {
            // From one name to the next by the index: there are few names and many scores.
            let sql = "WITH RECURSIVE judge (name) AS (SELECT min(evaluator) FROM evaluation \
                       WHERE annotator_kind = 'llm' AND outcome = 'scored' UNION ALL \
                       SELECT (SELECT min(evaluator) FROM evaluation WHERE annotator_kind = 'llm' \
                       AND outcome = 'scored' AND evaluator > judge.name) FROM judge WHERE judge.name IS NOT NULL) \
                       SELECT name FROM judge WHERE name IS NOT NULL";
            let rows = sqlx::query(sql).fetch_all(&self.readers).await?;
            rows.iter().map(|row| row.try_get("name")).collect()
        })
        .await
    }

    /// The judges and revisions whose judgements of a trace can be labelled, and those of one evaluator that may be a rule.
    ///
    /// # Errors
    /// The database failed.
    pub async fn judged_by(
        &self,
        trace_id: TraceId,
        evaluator: Option<&str>,
    ) -> Result<BTreeSet<(String, String)>, StoreError> {
        retried("read who judged a trace", || async {
            let sql = "SELECT evaluator, revision FROM evaluation WHERE trace_id = $1 AND outcome = 'scored' \
                       AND (annotator_kind = 'llm' OR (annotator_kind = 'code' AND evaluator = $2)) UNION \
                       SELECT evaluator, revision FROM listed_evaluation WHERE trace_id = $1 AND outcome = 'scored' \
                       AND evaluator = $2";
            let query = sqlx::query(sql).bind(trace_id).bind(key(evaluator.unwrap_or_default()));
            let rows = query.fetch_all(&self.readers).await?;
            rows.iter().map(|row| Ok((row.try_get("evaluator")?, row.try_get("revision")?))).collect()
        })
        .await
    }
}

pub(super) fn only(statement: &mut Statement, evaluator: Option<&str>, since: Timestamp) {
    statement.sql(" AND evaluated_at >= ").bind(since);
    if let Some(evaluator) = evaluator {
        statement.sql(" AND evaluation.evaluator = ").bind(key(evaluator));
    }
}

fn read_judgement(row: &AnyRow) -> Result<Judgement, sqlx::Error> {
    Ok(Judgement {
        trace_id: row.try_get("trace_id")?,
        evaluator: row.try_get("evaluator")?,
        revision: row.try_get("revision")?,
        passed: flag(row, "passed")?,
        reason: row.try_get("explanation")?,
        judged_at: row.try_get("evaluated_at")?,
        weight: row.try_get("weight")?,
        is_upstream_known: !flag(row, "upstream_unknown")?,
        draw: read_draw(row)?,
    })
}

pub(super) fn read_draw(row: &AnyRow) -> Result<Option<Draw>, sqlx::Error> {
    let probability: f64 = row.try_get("draw_probability")?;
    let is_drawn = flag(row, "is_drawn")?;
    Ok((probability >= 0.0).then_some(Draw { probability, is_drawn }))
}

fn read_count(row: &AnyRow) -> Result<LabelledCount, sqlx::Error> {
    Ok(LabelledCount {
        evaluator: row.try_get("evaluator")?,
        revision: row.try_get("revision")?,
        passed: flag(row, "passed")?,
        is_drawn: flag(row, "is_drawn")?,
        label: Some(HeldLabel {
            answer: parse_word(row.try_get("answer")?)?,
            origin: parse_word(row.try_get("origin")?)?,
            has_probability: flag(row, "has_probability")?,
        }),
        count: count(row, "judgements")?,
    })
}
