//! What judging costs, and how much of its budgets is left.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::QueryError;
use crate::backends::store::{BudgetDay, CostDimension, CostRow, CostSelection, Store};
use crate::domain::money::NanoUsd;
use crate::domain::time::Timestamp;
use crate::limits::budget::{ALL_SERVICES, BudgetPolicy, day_of};

/// How scopes are called where all services are meant.
const ALL: &str = "all";

/// What costs are told apart by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// The judge.
    #[default]
    Evaluator,
    /// Service of the judged traces.
    Service,
    /// The judge model, by its name in the settings.
    JudgeModel,
    /// The model that answered.
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

impl By {
    /// Every dimension with its name.
    pub const ALL: [(&'static str, Self); 8] = [
        ("evaluator", Self::Evaluator),
        ("service", Self::Service),
        ("judge_model", Self::JudgeModel),
        ("response_model", Self::ResponseModel),
        ("outcome", Self::Outcome),
        ("release", Self::Release),
        ("model", Self::Model),
        ("environment", Self::Environment),
    ];

    const fn dimension(self) -> CostDimension {
        match self {
            Self::Evaluator => CostDimension::Evaluator,
            Self::Service => CostDimension::Service,
            Self::JudgeModel => CostDimension::JudgeModel,
            Self::ResponseModel => CostDimension::ResponseModel,
            Self::Outcome => CostDimension::Outcome,
            Self::Release => CostDimension::Release,
            Self::Model => CostDimension::Model,
            Self::Environment => CostDimension::Environment,
        }
    }
}

impl FromStr for By {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let names = || Self::ALL.map(|(name, _)| name).join(", ");
        let found = Self::ALL.into_iter().find(|(known, _)| *known == name);
        found.map(|(_, by)| by).ok_or_else(|| format!("{name:?} is none of {}", names()))
    }
}

/// What judging has cost.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Costs {
    /// What the parts are told apart by.
    pub by: By,
    /// Requests sent at or after this instant count.
    pub since: Option<Timestamp>,
    /// Requests sent before this instant count.
    pub until: Option<Timestamp>,
    /// US dollars in all.
    pub cost_usd: f64,
    /// The parts, dearest first.
    pub parts: Vec<Part>,
    /// The budgets of today, UTC.
    pub budgets: Vec<Budget>,
}

/// What one part has cost.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Part {
    /// The part; `None` where it is not known.
    pub name: Option<String>,
    /// Requests.
    pub requests: u64,
    /// Those that were answered.
    pub answered: u64,
    /// Tokens of prompts, as far as providers said.
    pub input_tokens: u64,
    /// Tokens of answers, as far as providers said.
    pub output_tokens: u64,
    /// US dollars.
    pub cost_usd: f64,
    /// Of that, the most that requests can come to which are under way, or were when their process died.
    pub unsettled_usd: f64,
}

/// A day's budget.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Budget {
    /// A service, or `all`.
    pub scope: String,
    /// Whether money is left; without a limit there always is.
    pub allowed: bool,
    /// US dollars a day; `None` without a limit.
    pub limit_usd: Option<f64>,
    /// US dollars that are charged or reserved.
    pub committed_usd: f64,
    /// Whether judgements were left out because it was spent.
    pub partial: bool,
}

/// What judging has cost, and today's budgets.
///
/// # Errors
/// The store failed.
pub async fn costs(
    store: &Store,
    by: By,
    selection: &CostSelection,
    policy: &BudgetPolicy,
    now: Timestamp,
) -> Result<Costs, QueryError> {
    let rows = store.costs(by.dimension(), selection).await?;
    let days = store.budget_day(day_of(now)).await?;
    let total: NanoUsd = rows.iter().map(|row| row.charged).sum();
    Ok(Costs {
        by,
        since: selection.since,
        until: selection.until,
        cost_usd: total.usd(),
        parts: rows.into_iter().map(part).collect(),
        budgets: policy.daily.keys().map(|scope| budget(scope, &days, policy)).collect(),
    })
}

/// Today's budget of a scope: a service, or `all`.
///
/// # Errors
/// The store failed.
pub async fn budget_of(
    store: &Store,
    scope: &str,
    policy: &BudgetPolicy,
    now: Timestamp,
) -> Result<Budget, QueryError> {
    let scope = if scope == ALL { ALL_SERVICES } else { scope };
    Ok(budget(scope, &store.budget_day(day_of(now)).await?, policy))
}

fn part(row: CostRow) -> Part {
    Part {
        name: row.part,
        requests: row.requests,
        answered: row.answered,
        input_tokens: row.input_tokens,
        output_tokens: row.output_tokens,
        cost_usd: row.charged.usd(),
        unsettled_usd: row.unsettled.usd(),
    }
}

fn budget(scope: &str, days: &[BudgetDay], policy: &BudgetPolicy) -> Budget {
    let day = days.iter().find(|day| day.scope == scope);
    let committed = day.map(|day| day.committed).unwrap_or_default();
    let limit = policy.daily.get(scope).copied();
    Budget {
        scope: if scope == ALL_SERVICES { ALL.to_owned() } else { scope.to_owned() },
        allowed: limit.is_none_or(|limit| committed < limit),
        limit_usd: limit.map(NanoUsd::usd),
        committed_usd: committed.usd(),
        partial: day.is_some_and(|day| day.stopped_at.is_some()),
    }
}
