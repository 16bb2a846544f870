//! What agents have cost and which tools failed, added up over the traces of a selection.
//!
//! Every evaluated trace counts, sampled for judging or not, each by what upstream sampling made of it; with what
//! probability it was kept upstream is taken as 1 where that is not known, and counted.

use sqlx::Row;
use sqlx::any::AnyRow;

use super::columns::{count, key, limit};
use super::retry::retried;
use super::selection::Selection;
use super::statement::Statement;
use super::{Store, StoreError};
use crate::domain::time::Timestamp;
use crate::limits::budget::NANOS_PER_DAY;

/// The selected traces, under names of their own: other tables have columns of the same names.
const CHOSEN: &str = " FROM (SELECT trace_id AS id, service, release, environment, user_id, conversation_id, ended_at, \
                      1.0 / coalesce(upstream_probability, 1.0) AS weight, \
                      CASE WHEN upstream_probability IS NULL THEN trace_id END AS unknown FROM trace WHERE 1 = 1";

/// What the costs of agents are told apart by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AgentDimension {
    /// The model that was called.
    Model,
    /// The feature, else the agent.
    Operation,
    /// The service.
    Service,
    /// The release.
    Release,
    /// The deployment environment.
    Environment,
    /// The end user.
    User,
    /// The conversation.
    Conversation,
    /// The day on which the run ended, UTC.
    Day,
    /// A name of the settings' `[attributes]`.
    Attribute(String),
}

/// What the runs of one part came to.
#[derive(Debug, Clone, PartialEq)]
pub struct AgentCostRow {
    /// The part; `None` where it is not known.
    pub part: Option<String>,
    /// Traces as they were received.
    pub traces: u64,
    /// Those of them of which upstream sampling is not known, and taken as 1.
    pub upstream_unknown: u64,
    /// Calls of models. This and what follows is weighted.
    pub calls: f64,
    /// Answered calls without a known price.
    pub unpriced: f64,
    /// Prompt tokens.
    pub input_tokens: f64,
    /// Completion tokens.
    pub output_tokens: f64,
    /// Prompt tokens that were read from a cache.
    pub cached_tokens: f64,
    /// Nanodollars.
    pub cost: f64,
}

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

impl AgentDimension {
    /// Every dimension that needs no settings.
    pub const OWN: [(&'static str, Self); 8] = [
        ("model", Self::Model),
        ("operation", Self::Operation),
        ("service", Self::Service),
        ("release", Self::Release),
        ("environment", Self::Environment),
        ("user", Self::User),
        ("conversation", Self::Conversation),
        ("day", Self::Day),
    ];

    /// Adds what tells rows apart.
    fn write(&self, statement: &mut Statement) {
        match self {
            Self::Model => statement.sql("nullif(trace_model.model, '')"),
            Self::Operation => statement.sql("trace_model.operation"),
            Self::Service => statement.sql("chosen.service"),
            Self::Release => statement.sql("chosen.release"),
            Self::Environment => statement.sql("chosen.environment"),
            Self::User => statement.sql("chosen.user_id"),
            Self::Conversation => statement.sql("chosen.conversation_id"),
            Self::Day => statement.sql(&format!("CAST(chosen.ended_at / {NANOS_PER_DAY} AS TEXT)")),
            Self::Attribute(name) => {
                let of_trace =
                    "(SELECT value FROM trace_attribute WHERE trace_attribute.trace_id = chosen.id AND name = ";
                statement.sql(of_trace).bind(key(name)).sql(")")
            }
        };
    }

    /// A part as a person reads it.
    fn shown(&self, part: Option<String>) -> Option<String> {
        match (self, part.as_ref().and_then(|day| day.parse::<i64>().ok())) {
            (Self::Day, Some(day)) => {
                let start = Timestamp(day.saturating_mul(NANOS_PER_DAY)).to_string();
                Some(start.chars().take("2026-01-01".len()).collect())
            }
            _ => part,
        }
    }
}

impl Store {
    /// What agents have cost, dearest part first.
    ///
    /// # Errors
    /// The database failed.
    pub async fn agent_costs(
        &self,
        by: &AgentDimension,
        selection: &Selection,
        most: usize,
    ) -> Result<Vec<AgentCostRow>, StoreError> {
        retried("add up the costs of agents", || async {
            let mut statement = Statement::new("SELECT ");
            by.write(&mut statement);
            sum_costs(&mut statement, selection);
            statement.sql(" GROUP BY 1 ORDER BY cost DESC, part LIMIT ").bind(limit(most));
            let rows = statement.fetch(&self.readers).await?;
            let read = |row: &AnyRow| {
                let cost = read_cost(row)?;
                Ok(AgentCostRow { part: by.shown(cost.part), ..cost })
            };
            rows.iter().map(read).collect()
        })
        .await
    }

    /// What agents have cost in all; `None` where no trace of the selection calls a model.
    ///
    /// # Errors
    /// The database failed.
    pub async fn agent_cost(&self, selection: &Selection) -> Result<Option<AgentCostRow>, StoreError> {
        retried("add up the cost of agents", || async {
            let mut statement = Statement::new("SELECT CAST(NULL AS TEXT)");
            sum_costs(&mut statement, selection);
            statement.sql(" GROUP BY 1");
            let rows = statement.fetch(&self.readers).await?;
            rows.first().map(read_cost).transpose()
        })
        .await
    }

    /// The tools that failed most often.
    ///
    /// # Errors
    /// The database failed.
    pub async fn failing_tools(&self, selection: &Selection, most: usize) -> Result<Vec<ToolFailures>, StoreError> {
        retried("rank tools", || async {
            let mut statement = Statement::new("SELECT tool, count(DISTINCT chosen.id) AS traces");
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

/// Adds the sums of costs and where they come from to a statement that ends in what they are told apart by.
fn sum_costs(statement: &mut Statement, selection: &Selection) {
    statement.sql(" AS part, count(DISTINCT chosen.id) AS traces, count(DISTINCT chosen.unknown) AS upstream_unknown");
    for column in ["calls", "unpriced", "input_tokens", "output_tokens", "cached_tokens", "cost"] {
        sum(statement, "trace_model", column);
    }
    choose(statement, selection, "trace_model");
}

/// A sum that no hostile count can overflow.
fn sum(statement: &mut Statement, table: &str, column: &str) {
    statement.sql(&format!(", CAST(sum({table}.{column} * chosen.weight) AS DOUBLE PRECISION) AS {column}"));
}

fn choose(statement: &mut Statement, selection: &Selection, table: &str) {
    statement.sql(CHOSEN);
    selection.narrow(statement);
    statement.sql(&format!(") AS chosen JOIN {table} ON {table}.trace_id = chosen.id"));
}

fn read_cost(row: &AnyRow) -> Result<AgentCostRow, sqlx::Error> {
    Ok(AgentCostRow {
        part: row.try_get("part")?,
        traces: count(row, "traces")?,
        upstream_unknown: count(row, "upstream_unknown")?,
        calls: row.try_get("calls")?,
        unpriced: row.try_get("unpriced")?,
        input_tokens: row.try_get("input_tokens")?,
        output_tokens: row.try_get("output_tokens")?,
        cached_tokens: row.try_get("cached_tokens")?,
        cost: row.try_get("cost")?,
    })
}
