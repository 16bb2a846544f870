//! What agents have cost, added up over the runs of a selection: of whole hours out of the sums that are kept of them, of
//! all others run by run.

use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row};

use super::columns::{count, key, limit};
use super::retry::retried;
use super::selection::Selection;
use super::statement::Statement;
use super::used_hours::{Hours, MOST_PARTS, MOST_USERS, choose, write_totals, write_weighted};
use super::{Store, StoreError};
use crate::domain::time::Timestamp;
use crate::limits::budget::NANOS_PER_DAY;

/// What is added up as it was received.
const COUNTS: [&str; 2] = ["traces", "upstream_unknown"];
/// What is weighted and added up.
const AMOUNTS: [&str; 6] = ["calls", "unpriced", "input_tokens", "output_tokens", "cached_tokens", "cost"];

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

    /// Adds what tells rows apart; nothing, where all are one.
    fn write(by: Option<&Self>, statement: &mut Statement) {
        let Some(by) = by else {
            statement.sql("CAST(NULL AS TEXT)");
            return;
        };
        match by {
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

    /// The dimension of the sums that tell rows apart so.
    pub(super) fn kept(&self) -> String {
        match self {
            // The day follows from the hour.
            Self::Service | Self::Day => "service".to_owned(),
            Self::Model => "model".to_owned(),
            Self::Operation => "operation".to_owned(),
            Self::Release => "release".to_owned(),
            Self::Environment => "environment".to_owned(),
            Self::User => "user".to_owned(),
            Self::Conversation => "conversation".to_owned(),
            // No name of ours has a dot.
            Self::Attribute(name) => format!("attribute.{}", key(name)),
        }
    }

    /// Pairs of service and part in one hour of which sums are kept.
    pub(super) const fn most_parts(&self) -> usize {
        match self {
            Self::User | Self::Conversation => MOST_USERS,
            _ => MOST_PARTS,
        }
    }

    /// A part of the sums.
    fn kept_part(by: Option<&Self>) -> String {
        match by {
            None => "CAST(NULL AS TEXT)".to_owned(),
            Some(Self::Day) => format!("CAST(used_sum.hour / {NANOS_PER_DAY} AS TEXT)"),
            Some(_) => "part".to_owned(),
        }
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
        let rows = self.add_up(Some(by), selection, most).await?;
        Ok(rows.into_iter().map(|row| AgentCostRow { part: by.shown(row.part), ..row }).collect())
    }

    /// What agents have cost in all; `None` where no trace of the selection calls a model.
    ///
    /// # Errors
    /// The database failed.
    pub async fn agent_cost(&self, selection: &Selection) -> Result<Option<AgentCostRow>, StoreError> {
        Ok(self.add_up(None, selection, 1).await?.pop())
    }

    async fn add_up(
        &self,
        by: Option<&AgentDimension>,
        selection: &Selection,
        most: usize,
    ) -> Result<Vec<AgentCostRow>, StoreError> {
        retried("add up the costs of agents", || async {
            let mut transaction = self.begin_read().await?;
            let kept = by.unwrap_or(&AgentDimension::Service).kept();
            let hours = Hours::of(&mut transaction, kept, selection).await?;
            let mut statement = Statement::new("SELECT part");
            write_totals(&mut statement, &COUNTS, &AMOUNTS);
            statement.sql(" FROM (SELECT ");
            AgentDimension::write(by, &mut statement);
            write_runs(&mut statement, selection, hours.as_ref());
            statement.sql(" GROUP BY 1, chosen.id, chosen.unknown");
            if let Some(hours) = &hours {
                statement.sql(" UNION ALL SELECT ").sql(&AgentDimension::kept_part(by)).sql(" AS part");
                statement.sql(", ").sql(&COUNTS.join(", ")).sql(", ").sql(&AMOUNTS.join(", "));
                hours.write_sums(&mut statement, "used_sum");
            }
            statement.sql(") AS parts GROUP BY part ORDER BY cost DESC, part LIMIT ").bind(limit(most));
            let rows = statement.fetch(&mut *transaction).await?;
            transaction.commit().await?;
            rows.iter().map(read_cost).collect()
        })
        .await
    }
}

/// What the runs of each service and part came to, one by one.
pub(super) async fn costs_by_service(
    connection: &mut AnyConnection,
    by: &AgentDimension,
    selection: &Selection,
    most: usize,
) -> Result<Vec<(String, AgentCostRow)>, sqlx::Error> {
    let mut statement = Statement::new("SELECT service, part");
    write_totals(&mut statement, &COUNTS, &AMOUNTS);
    statement.sql(" FROM (SELECT chosen.service AS service, ");
    AgentDimension::write(Some(by), &mut statement);
    write_runs(&mut statement, selection, None);
    statement.sql(" GROUP BY 1, 2, chosen.id, chosen.unknown) AS runs GROUP BY service, part LIMIT ");
    statement.bind(limit(most));
    let rows = statement.fetch(connection).await?;
    rows.iter().map(|row| Ok((row.try_get("service")?, read_cost(row)?))).collect()
}

/// Adds what each run came to, and where that is known from, to a statement that ends in what runs are told apart by. Rows
/// are of a run and a part: to count the runs of each part without that, a database sorts them.
fn write_runs(statement: &mut Statement, selection: &Selection, hours: Option<&Hours>) {
    statement.sql(" AS part, 1 AS traces, CASE WHEN chosen.unknown IS NULL THEN 0 ELSE 1 END AS upstream_unknown");
    for column in AMOUNTS {
        write_weighted(statement, "trace_model", column);
    }
    choose(statement, selection, hours, "trace_model");
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
