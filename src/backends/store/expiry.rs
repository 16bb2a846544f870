//! What is kept of a trace for months, once its body is gone, and then goes with all that hangs on it. What was made of
//! many traces stays: watched hours, what days have cost, budgets, baselines. So do labels, which are a log.

use sqlx::AssertSqlSafe;

use super::chunks::read_trace_ids;
use super::columns::limit;
use super::external_scores::forget_names;
use super::retry::retried;
use super::statement::for_keys;
use super::{Store, StoreError};
use crate::domain::time::Timestamp;

/// Traces that one call of [`Store::purge_records`] deletes at most.
const BATCH: usize = 500;

/// Its names go with the last of its scores.
const SCORES: &str = "external_score";

/// Tables with rows of a trace, itself the first: rows are locked in this order everywhere.
const TABLES: [&str; 10] = [
    "trace",
    "trace_attribute",
    "trace_model",
    "trace_tool",
    "evaluation",
    SCORES,
    "judge_job",
    "review_draw",
    "review_item",
    "agent_charge",
];

/// Whose body is still kept, in the store or in the archive, keeps its record too, and what was erased its tombstone.
const EXPIRED: &str = "SELECT trace_id FROM trace WHERE recorded_at < $1 AND body_purged = 1 AND erased_at IS NULL \
                       AND NOT EXISTS (SELECT 1 FROM archived_trace WHERE archived_trace.trace_id = trace.trace_id) \
                       AND NOT EXISTS (SELECT 1 FROM pending WHERE pending.trace_id = trace.trace_id) \
                       ORDER BY recorded_at LIMIT $2";

impl Store {
    /// Deletes what is left of traces that were recorded before `before` and have no body any more, a bounded number at a
    /// time; whether there may be more.
    ///
    /// # Errors
    /// The database failed; then nothing is deleted.
    pub async fn purge_records(&self, before: Timestamp) -> Result<bool, StoreError> {
        retried("purge records", || async {
            let mut transaction = self.begin().await?;
            let connection = &mut *transaction;
            let expired = format!("{EXPIRED}{}", self.dialect.claim());
            let query = sqlx::query(AssertSqlSafe(expired)).bind(before).bind(limit(BATCH));
            let expired = read_trace_ids(&query.fetch_all(&mut *connection).await?)?;
            let mut scores = Vec::new();
            for table in TABLES {
                let delete = format!("DELETE FROM {table} WHERE trace_id IN");
                let names_of = if table == SCORES { " RETURNING annotator_kind, name" } else { "" };
                scores.extend(for_keys(connection, &delete, &expired, names_of).await?);
            }
            forget_names(connection, self.dialect, &scores).await?;
            transaction.commit().await?;
            Ok(expired.len() == BATCH)
        })
        .await
    }
}
