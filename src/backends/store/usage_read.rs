//! Which tools failed and which conversations call most, added up over the traces of a selection.
//!
//! Every evaluated trace counts, sampled for judging or not, each by what upstream sampling made of it; with what
//! probability it was kept upstream is taken as 1 where that is not known, and counted.

use sqlx::Row;
use sqlx::any::AnyRow;

use super::columns::{count, limit};
use super::retry::retried;
use super::selection::Selection;
use super::statement::Statement;
use super::{Store, StoreError};

/// The selected traces, under names of their own: other tables have columns of the same names.
pub(super) const CHOSEN: &str = " FROM (SELECT trace_id AS id, service, release, environment, user_id, conversation_id, ended_at, \
                      1.0 / coalesce(upstream_probability, 1.0) AS weight, \
                      CASE WHEN upstream_probability IS NULL THEN trace_id END AS unknown FROM trace WHERE 1 = 1";

/// How often calls of one tool failed.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolFailures {
    /// The tool.
    pub tool: String,
    /// Traces that call it, as they were received.
    pub traces: u64,
    /// Calls. This and what follows is weighted.
    pub calls: f64,
    /// Calls that did not succeed.
    pub failed: f64,
    /// Calls that succeeded and returned nothing.
    pub empty: f64,
}

/// What the runs of one conversation did.
#[derive(Debug, Clone, PartialEq)]
pub struct ConversationUse {
    /// The conversation.
    pub conversation: String,
    /// Its traces, as they were received.
    pub traces: u64,
    /// Tool calls in them.
    pub tool_calls: u64,
    /// Those that did not succeed.
    pub failed: u64,
}

impl Store {
    /// The tools that failed most often.
    ///
    /// # Errors
    /// The database failed.
    pub async fn failing_tools(&self, selection: &Selection, most: usize) -> Result<Vec<ToolFailures>, StoreError> {
        retried("rank tools", || async {
            let mut statement = Statement::new("SELECT tool, count(*) AS traces");
            for column in ["calls", "failed", "empty"] {
                sum(&mut statement, "trace_tool", column);
            }
            choose(&mut statement, selection, "trace_tool");
            statement.sql(" GROUP BY tool ORDER BY failed DESC, calls DESC, tool LIMIT ").bind(limit(most));
            let rows = statement.fetch(&self.readers).await?;
            let read = |row: &AnyRow| {
                Ok(ToolFailures {
                    tool: row.try_get("tool")?,
                    traces: count(row, "traces")?,
                    calls: row.try_get("calls")?,
                    failed: row.try_get("failed")?,
                    empty: row.try_get("empty")?,
                })
            };
            rows.iter().map(read).collect()
        })
        .await
    }

    /// The conversations with the most tool calls.
    ///
    /// # Errors
    /// The database failed.
    pub async fn busiest_conversations(
        &self,
        selection: &Selection,
        most: usize,
    ) -> Result<Vec<ConversationUse>, StoreError> {
        retried("rank conversations", || async {
            let mut statement = Statement::new(
                "SELECT conversation_id, count(DISTINCT chosen.id) AS traces, CAST(sum(calls) AS BIGINT) AS calls, \
                 CAST(sum(failed) AS BIGINT) AS failed",
            );
            choose(&mut statement, selection, "trace_tool");
            statement.sql(" WHERE conversation_id IS NOT NULL GROUP BY conversation_id");
            statement.sql(" ORDER BY calls DESC, conversation_id LIMIT ").bind(limit(most));
            let rows = statement.fetch(&self.readers).await?;
            let read = |row: &AnyRow| {
                Ok(ConversationUse {
                    conversation: row.try_get("conversation_id")?,
                    traces: count(row, "traces")?,
                    tool_calls: count(row, "calls")?,
                    failed: count(row, "failed")?,
                })
            };
            rows.iter().map(read).collect()
        })
        .await
    }
}

/// A sum that no hostile count can overflow.
pub(super) fn sum(statement: &mut Statement, table: &str, column: &str) {
    statement.sql(&format!(", CAST(sum({table}.{column} * chosen.weight) AS DOUBLE PRECISION) AS {column}"));
}

fn choose(statement: &mut Statement, selection: &Selection, table: &str) {
    statement.sql(CHOSEN);
    selection.narrow(statement);
    statement.sql(&format!(") AS chosen JOIN {table} ON {table}.trace_id = chosen.id"));
}
