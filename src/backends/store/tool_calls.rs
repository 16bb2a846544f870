//! Which tools failed and which conversations call most, added up over the runs of a selection: of whole hours out of the
//! sums that are kept of them, of all others run by run.

use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row};

use super::columns::{count, limit};
use super::retry::retried;
use super::selection::Selection;
use super::statement::Statement;
use super::used_hours::{Hours, MOST_PARTS, MOST_USERS, choose, write_totals, write_weighted};
use super::{Store, StoreError};

/// What is added up.
const AMOUNTS: [&str; 3] = ["calls", "failed", "empty"];

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
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConversationUse {
    /// The conversation.
    pub conversation: String,
    /// Its traces that call tools, as they were received.
    pub traces: u64,
    /// Tool calls in them.
    pub tool_calls: u64,
    /// Those that did not succeed.
    pub failed: u64,
}

/// What calls of tools are told apart by.
#[derive(Debug, Clone, Copy)]
pub(super) enum ToolDimension {
    /// The tool; calls are weighted.
    Tool,
    /// The conversation, where it is known; calls are as they were received.
    Conversation,
}

/// What the calls of tools of one part came to.
#[derive(Debug)]
pub(super) struct ToolSums {
    pub(super) part: String,
    /// Traces that call tools, as they were received.
    pub(super) traces: u64,
    pub(super) calls: f64,
    pub(super) failed: f64,
    pub(super) empty: f64,
}

impl ToolDimension {
    pub(super) const ALL: [Self; 2] = [Self::Tool, Self::Conversation];

    /// The dimension of the sums that tell calls apart so.
    pub(super) const fn kept(self) -> &'static str {
        match self {
            Self::Tool => "tool",
            Self::Conversation => "tools of conversation",
        }
    }

    /// Pairs of service and part in one hour of which sums are kept.
    pub(super) const fn most_parts(self) -> usize {
        match self {
            Self::Tool => MOST_PARTS,
            Self::Conversation => MOST_USERS,
        }
    }

    /// What comes first in a ranking.
    const fn order(self) -> &'static str {
        match self {
            Self::Tool => "failed DESC, calls DESC, part",
            Self::Conversation => "calls DESC, part",
        }
    }

    /// Adds what each run came to: the part, the trace, the amounts.
    fn write_runs(self, statement: &mut Statement, selection: &Selection, hours: Option<&Hours>) {
        statement.sql(match self {
            Self::Tool => "trace_tool.tool AS part, 1 AS traces",
            Self::Conversation => "chosen.conversation_id AS part, 1 AS traces",
        });
        for column in AMOUNTS {
            match self {
                Self::Tool => write_weighted(statement, "trace_tool", column),
                Self::Conversation => {
                    statement.sql(&format!(", CAST(sum({column}) AS DOUBLE PRECISION) AS {column}"));
                }
            }
        }
        choose(statement, selection, hours, "trace_tool");
        if matches!(self, Self::Conversation) {
            statement.sql(" WHERE chosen.conversation_id IS NOT NULL");
        }
    }
}

impl Store {
    /// The tools that failed most often.
    ///
    /// # Errors
    /// The database failed.
    pub async fn failing_tools(&self, selection: &Selection, most: usize) -> Result<Vec<ToolFailures>, StoreError> {
        let sums = self.rank(ToolDimension::Tool, selection, most).await?;
        let read =
            |ToolSums { part: tool, traces, calls, failed, empty }| ToolFailures { tool, traces, calls, failed, empty };
        Ok(sums.into_iter().map(read).collect())
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
        let sums = self.rank(ToolDimension::Conversation, selection, most).await?;
        // A float cast saturates.
        let read = |it: ToolSums| ConversationUse {
            conversation: it.part,
            traces: it.traces,
            tool_calls: it.calls as u64,
            failed: it.failed as u64,
        };
        Ok(sums.into_iter().map(read).collect())
    }

    async fn rank(&self, by: ToolDimension, selection: &Selection, most: usize) -> Result<Vec<ToolSums>, StoreError> {
        retried("add up calls of tools", || async {
            let mut transaction = self.begin_read().await?;
            let hours = Hours::of(&mut transaction, by.kept().to_owned(), selection).await?;
            let mut statement = Statement::new("SELECT part");
            write_totals(&mut statement, &["traces"], &AMOUNTS);
            statement.sql(" FROM (SELECT ");
            by.write_runs(&mut statement, selection, hours.as_ref());
            statement.sql(" GROUP BY 1, chosen.id");
            if let Some(hours) = &hours {
                statement.sql(" UNION ALL SELECT part, traces, ").sql(&AMOUNTS.join(", "));
                hours.write_sums(&mut statement, "used_tool_sum");
            }
            statement.sql(") AS parts GROUP BY part ORDER BY ").sql(by.order()).sql(" LIMIT ").bind(limit(most));
            let rows = statement.fetch(&mut *transaction).await?;
            transaction.commit().await?;
            rows.iter().map(read_sums).collect()
        })
        .await
    }
}

/// What the calls of tools of each service and part came to, run by run.
pub(super) async fn tools_by_service(
    connection: &mut AnyConnection,
    by: ToolDimension,
    selection: &Selection,
    most: usize,
) -> Result<Vec<(String, ToolSums)>, sqlx::Error> {
    let mut statement = Statement::new("SELECT service, part");
    write_totals(&mut statement, &["traces"], &AMOUNTS);
    statement.sql(" FROM (SELECT chosen.service AS service, ");
    by.write_runs(&mut statement, selection, None);
    statement.sql(" GROUP BY 1, 2, chosen.id) AS runs GROUP BY service, part LIMIT ").bind(limit(most));
    let rows = statement.fetch(connection).await?;
    rows.iter().map(|row| Ok((row.try_get("service")?, read_sums(row)?))).collect()
}

fn read_sums(row: &AnyRow) -> Result<ToolSums, sqlx::Error> {
    Ok(ToolSums {
        part: row.try_get("part")?,
        traces: count(row, "traces")?,
        calls: row.try_get("calls")?,
        failed: row.try_get("failed")?,
        empty: row.try_get("empty")?,
    })
}
