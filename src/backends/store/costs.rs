//! What judging has cost, out of the spend ledger and the sums that are left of its old rows.

use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, AssertSqlSafe, Row};

use super::columns::{count, key};
use super::retry::retried;
use super::statement::Statement;
use super::{Store, StoreError};
use crate::domain::money::NanoUsd;
use crate::domain::time::Timestamp;
use crate::limits::budget::{NANOS_PER_DAY, day_of};

/// A searchable name of the judged trace.
macro_rules! named {
    ($name:literal) => {
        concat!(
            "(SELECT value FROM trace_attribute WHERE trace_attribute.trace_id = judge_call.trace_id AND name = '",
            $name,
            "')"
        )
    };
}

/// What is summed of the ledger's rows.
const SUMS: &str = "count(*) AS requests, count(CASE WHEN judge_call.outcome = 'answered' THEN 1 END) AS answered, \
     CAST(sum(input_tokens) AS BIGINT) AS input_tokens, CAST(sum(output_tokens) AS BIGINT) AS output_tokens, \
     CAST(sum(coalesce(charged, reserved)) AS BIGINT) AS charged, \
     CAST(sum(CASE WHEN settled_at IS NULL THEN reserved ELSE 0 END) AS BIGINT) AS unsettled \
     FROM judge_call LEFT JOIN trace ON trace.trace_id = judge_call.trace_id WHERE judge_call.outcome <> 'not_sent'";
/// The same of the sums that are left of old rows.
const OLD_SUMS: &str = "CAST(sum(requests) AS BIGINT) AS requests, CAST(sum(answered) AS BIGINT) AS answered, \
     CAST(sum(input_tokens) AS BIGINT) AS input_tokens, CAST(sum(output_tokens) AS BIGINT) AS output_tokens, \
     CAST(sum(charged) AS BIGINT) AS charged, CAST(sum(unsettled) AS BIGINT) AS unsettled FROM ";
/// What the sums are told apart by, in the order of their columns; the first is the day as a number.
const KEPT: [CostDimension; 11] = [
    CostDimension::JudgeModel,
    CostDimension::Evaluator,
    CostDimension::Service,
    CostDimension::ResponseModel,
    CostDimension::Outcome,
    CostDimension::Release,
    CostDimension::Model,
    CostDimension::Environment,
    CostDimension::Feature,
    CostDimension::Tier,
    CostDimension::PromptVersion,
];
/// Held while old rows are summed up, so that no two processes sum up the same.
const SUMMING: &str = "judge_cost";

/// What costs are told apart by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CostDimension {
    /// The judge.
    #[default]
    Evaluator,
    /// Service of the judged traces.
    Service,
    /// The judge model, by its name in the settings.
    JudgeModel,
    /// The model that answered, as the provider names it.
    ResponseModel,
    /// How requests ended.
    Outcome,
    /// The day of the request, UTC.
    Day,
    /// Release of the judged traces.
    Release,
    /// Model of the judged traces.
    Model,
    /// Environment of the judged traces.
    Environment,
    /// Feature of the judged traces.
    Feature,
    /// Tier of the judged traces.
    Tier,
    /// Prompt version of the judged traces.
    PromptVersion,
}

impl CostDimension {
    /// Every dimension with its name.
    pub const ALL: [(&'static str, Self); 12] = [
        ("evaluator", Self::Evaluator),
        ("service", Self::Service),
        ("judge_model", Self::JudgeModel),
        ("response_model", Self::ResponseModel),
        ("outcome", Self::Outcome),
        ("day", Self::Day),
        ("release", Self::Release),
        ("model", Self::Model),
        ("environment", Self::Environment),
        ("feature", Self::Feature),
        ("tier", Self::Tier),
        ("prompt_version", Self::PromptVersion),
    ];

    /// The dimension as it is written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        Self::ALL.into_iter().find(|(_, known)| *known == self).map_or("", |(name, _)| name)
    }

    /// What tells rows of the ledger apart, and the column of the sums that keeps it.
    const fn columns(self) -> (&'static str, &'static str) {
        match self {
            Self::Evaluator => ("judge_call.evaluator", "evaluator"),
            Self::Service => ("judge_call.service", "service"),
            Self::JudgeModel => ("judge_call.lane", "lane"),
            Self::ResponseModel => ("judge_call.response_model", "response_model"),
            Self::Outcome => ("judge_call.outcome", "outcome"),
            Self::Day => ("CAST(judge_call.day AS TEXT)", "CAST(day AS TEXT)"),
            Self::Release => ("trace.release", "release"),
            Self::Model => ("trace.model", "model"),
            Self::Environment => ("trace.environment", "environment"),
            Self::Feature => (named!("feature"), "feature"),
            Self::Tier => (named!("tier"), "tier"),
            Self::PromptVersion => (named!("prompt_version"), "prompt_version"),
        }
    }

    /// A part as a person reads it.
    fn shown(self, part: Option<String>) -> Option<String> {
        match (self, part.as_ref().and_then(|day| day.parse::<i64>().ok())) {
            (Self::Day, Some(day)) => Some(
                Timestamp(day.saturating_mul(NANOS_PER_DAY)).to_string().chars().take("2026-01-01".len()).collect(),
            ),
            _ => part,
        }
    }
}

impl FromStr for CostDimension {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let names = || Self::ALL.map(|(name, _)| name).join(", ");
        let found = Self::ALL.into_iter().find(|(known, _)| *known == name);
        found.map(|(_, dimension)| dimension).ok_or_else(|| format!("{name:?} is none of {}", names()))
    }
}

/// Which requests count.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CostSelection {
    /// Of this service.
    pub service: Option<String>,
    /// Sent at or after this instant.
    pub since: Option<Timestamp>,
    /// Sent before this instant.
    pub until: Option<Timestamp>,
}

/// What the requests of one part have cost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CostRow {
    /// The part, by the dimension that was asked for; `None` where it is not known.
    pub part: Option<String>,
    /// Requests, those under way included.
    pub requests: u64,
    /// Requests that were answered.
    pub answered: u64,
    /// Tokens of prompts, as far as providers said.
    pub input_tokens: u64,
    /// Tokens of answers, as far as providers said.
    pub output_tokens: u64,
    /// What they cost; what is not settled counts with the most that it can cost.
    pub charged: NanoUsd,
    /// Of that, what is not settled.
    pub unsettled: NanoUsd,
}

impl Store {
    /// What judging has cost, dearest part first; days in order. Of days that are kept only as sums, those count that
    /// begin within the selection.
    ///
    /// # Errors
    /// The database failed.
    pub async fn costs(&self, by: CostDimension, selection: &CostSelection) -> Result<Vec<CostRow>, StoreError> {
        retried("add up costs", || async {
            let (column, kept) = by.columns();
            let mut statement = Statement::new("SELECT part, ");
            statement.sql(OLD_SUMS).sql("(SELECT ").sql(column).sql(" AS part, ").sql(SUMS);
            selection.narrow(&mut statement, "judge_call.service", "reserved_at");
            statement.sql(" GROUP BY 1 UNION ALL SELECT ").sql(kept).sql(" AS part, ").sql(OLD_SUMS);
            statement.sql("judge_cost WHERE 1 = 1");
            selection.narrow(&mut statement, "service", &format!("day * {NANOS_PER_DAY}"));
            statement.sql(" GROUP BY 1) AS cost GROUP BY part ORDER BY ");
            statement.sql(if by == CostDimension::Day { "part" } else { "charged DESC, part" });
            let rows = statement.fetch(&self.readers).await?;
            rows.iter().map(|row| read_cost(row, by)).collect()
        })
        .await
    }

    /// Replaces the oldest hour of the ledger that began on a day before that of `before` by its sums; answers whether
    /// there was one. A request that was not settled by then never will be: it stays charged with the most it can cost.
    ///
    /// # Errors
    /// The database failed; then nothing is changed.
    pub async fn sum_up_ledger(&self, before: Timestamp) -> Result<bool, StoreError> {
        retried("sum up the ledger", || async {
            let mut transaction = self.begin().await?;
            let connection = &mut *transaction;
            let first = "INSERT INTO shared_state (name, state) VALUES ($1, '') ON CONFLICT (name) DO NOTHING";
            sqlx::query(first).bind(SUMMING).execute(&mut *connection).await?;
            let lock = format!("SELECT state FROM shared_state WHERE name = $1{}", self.dialect.lock());
            sqlx::query(AssertSqlSafe(lock)).bind(SUMMING).execute(&mut *connection).await?;
            let oldest = "SELECT min(reserved_at) FROM judge_call WHERE day < $1";
            let oldest: Option<Timestamp> =
                sqlx::query_scalar(oldest).bind(day_of(before)).fetch_one(&mut *connection).await?;
            let Some(oldest) = oldest else { return Ok(false) };
            let end = oldest.hour().plus(Duration::from_hours(1));
            sum_up(connection, end).await?;
            let delete = "DELETE FROM judge_call WHERE reserved_at < $1";
            sqlx::query(delete).bind(end).execute(&mut *connection).await?;
            transaction.commit().await?;
            Ok(true)
        })
        .await
    }
}

impl CostSelection {
    /// Adds its conditions to a statement that ends in a `WHERE` clause.
    fn narrow(&self, statement: &mut Statement, service: &str, instant: &str) {
        if let Some(name) = &self.service {
            statement.sql(" AND ").sql(service).sql(" = ").bind(key(name));
        }
        for (bound, at) in [(" >= ", self.since), (" < ", self.until)] {
            if let Some(at) = at {
                statement.sql(" AND ").sql(instant).sql(bound).bind(at);
            }
        }
    }
}

/// Writes the sums of the ledger's rows before an instant.
async fn sum_up(connection: &mut AnyConnection, end: Timestamp) -> Result<(), sqlx::Error> {
    let mut statement = Statement::new(
        "INSERT INTO judge_cost (day, lane, evaluator, service, response_model, outcome, release, model, environment, \
         feature, tier, prompt_version, requests, answered, input_tokens, output_tokens, charged, unsettled) \
         SELECT judge_call.day, ",
    );
    for dimension in KEPT {
        statement.sql(dimension.columns().0).sql(", ");
    }
    statement.sql(SUMS).sql(" AND reserved_at < ").bind(end);
    statement.sql(" GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12");
    statement.fetch(connection).await.map(drop)
}

fn read_cost(row: &AnyRow, by: CostDimension) -> Result<CostRow, sqlx::Error> {
    Ok(CostRow {
        part: by.shown(row.try_get("part")?),
        requests: count(row, "requests")?,
        answered: count(row, "answered")?,
        input_tokens: count(row, "input_tokens")?,
        output_tokens: count(row, "output_tokens")?,
        charged: NanoUsd(row.try_get("charged")?),
        unsettled: NanoUsd(row.try_get("unsettled")?),
    })
}
