//! What became of recent evaluations, counted.

use sqlx::Row;
use sqlx::any::AnyRow;

use super::columns::{count, limit, parse_word};
use super::retry::retried;
use super::{Store, StoreError};
use crate::domain::evaluation::Outcome;

/// How often one revision of an evaluator came to one outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutcomeCount {
    /// The evaluator.
    pub evaluator: String,
    /// Its revision.
    pub revision: String,
    /// The outcome.
    pub outcome: Outcome,
    /// How often.
    pub count: u64,
    /// How many of these are scores below a half.
    pub failing: u64,
}

impl Store {
    /// Outcomes by evaluator and revision over the newest traces.
    ///
    /// # Errors
    /// The database failed.
    pub async fn outcome_counts(&self, traces: usize) -> Result<Vec<OutcomeCount>, StoreError> {
        retried("count outcomes", || async {
            let sql = "WITH newest (trace_id) AS (SELECT trace_id FROM trace ORDER BY ended_at DESC LIMIT $1) \
                       SELECT evaluator, revision, outcome, count(*) AS evaluations, \
                       count(CASE WHEN outcome = 'scored' AND value < 0.5 THEN 1 END) AS failing FROM \
                       (SELECT evaluator, revision, outcome, value FROM evaluation \
                       WHERE trace_id IN (SELECT trace_id FROM newest) UNION ALL \
                       SELECT evaluator, revision, outcome, value FROM listed_evaluation \
                       WHERE trace_id IN (SELECT trace_id FROM newest)) AS either \
                       GROUP BY evaluator, revision, outcome ORDER BY evaluator, revision, outcome";
            let rows = sqlx::query(sql).bind(limit(traces)).fetch_all(&self.readers).await?;
            rows.iter().map(read).collect()
        })
        .await
    }
}

fn read(row: &AnyRow) -> Result<OutcomeCount, sqlx::Error> {
    Ok(OutcomeCount {
        evaluator: row.try_get("evaluator")?,
        revision: row.try_get("revision")?,
        outcome: parse_word(row.try_get("outcome")?)?,
        count: count(row, "evaluations")?,
        failing: count(row, "failing")?,
    })
}
