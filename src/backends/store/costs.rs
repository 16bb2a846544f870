//! What judging has cost, out of the spend ledger.

use sqlx::Row;

use super::columns::{count, key};
use super::retry::retried;
use super::statement::Statement;
use super::{Store, StoreError};
use crate::domain::money::NanoUsd;
use crate::domain::time::Timestamp;

/// What costs are told apart by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CostDimension {
    /// The judge.
    Evaluator,
    /// Service of the judged traces.
    Service,
    /// The judge model, by its name in the settings.
    JudgeModel,
    /// The model that answered, as the provider names it.
    ResponseModel,
    /// How requests ended.
    Outcome,
    /// Release of the judged traces.
    Release,
    /// Model of the judged traces.
    Model,
    /// Environment of the judged traces.
    Environment,
}

impl CostDimension {
    const fn column(self) -> &'static str {
        match self {
            Self::Evaluator => "judge_call.evaluator",
            Self::Service => "judge_call.service",
            Self::JudgeModel => "judge_call.lane",
            Self::ResponseModel => "judge_call.response_model",
            Self::Outcome => "judge_call.outcome",
            Self::Release => "trace.release",
            Self::Model => "trace.model",
            Self::Environment => "trace.environment",
        }
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
    /// What judging has cost, dearest part first.
    ///
    /// # Errors
    /// The database failed.
    pub async fn costs(&self, by: CostDimension, selection: &CostSelection) -> Result<Vec<CostRow>, StoreError> {
        retried("add up costs", || async {
            let mut statement = Statement::new("SELECT ");
            statement.sql(by.column()).sql(
                " AS part, count(*) AS requests, count(CASE WHEN judge_call.outcome = 'answered' THEN 1 END) AS answered, \
                 CAST(sum(input_tokens) AS BIGINT) AS input_tokens, CAST(sum(output_tokens) AS BIGINT) AS output_tokens, \
                 CAST(sum(coalesce(charged, reserved)) AS BIGINT) AS charged, \
                 CAST(sum(CASE WHEN settled_at IS NULL THEN reserved ELSE 0 END) AS BIGINT) AS unsettled \
                 FROM judge_call LEFT JOIN trace ON trace.trace_id = judge_call.trace_id \
                 WHERE judge_call.outcome <> 'not_sent'",
            );
            if let Some(service) = &selection.service {
                statement.sql(" AND judge_call.service = ").bind(key(service));
            }
            let bounds = [(" AND reserved_at >= ", selection.since), (" AND reserved_at < ", selection.until)];
            for (bound, instant) in bounds {
                if let Some(instant) = instant {
                    statement.sql(bound).bind(instant);
                }
            }
            statement.sql(" GROUP BY ").sql(by.column()).sql(" ORDER BY charged DESC, part");
            let rows = statement.fetch(&self.readers).await?;
            rows.iter()
                .map(|row| {
                    Ok(CostRow {
                        part: row.try_get("part")?,
                        requests: count(row, "requests")?,
                        answered: count(row, "answered")?,
                        input_tokens: count(row, "input_tokens")?,
                        output_tokens: count(row, "output_tokens")?,
                        charged: NanoUsd(row.try_get("charged")?),
                        unsettled: NanoUsd(row.try_get("unsettled")?),
                    })
                })
                .collect()
        })
        .await
    }
}
