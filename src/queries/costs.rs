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

/// Whose costs are meant.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Payer {
    /// The judges that driftline asks.
    #[default]
    Judges,
    /// The agents that are watched.
    Agents,
}

impl Payer {
    /// The payer as it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Judges => "judges",
            Self::Agents => "agents",
        }
    }
}

impl FromStr for Payer {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "judges" => Ok(Self::Judges),
            "agents" => Ok(Self::Agents),
            _ => Err(format!("{name:?} is neither agents nor judges")),
        }
    }
}

/// What judging has cost.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Costs {
    /// What the parts are told apart by.
    pub by: CostDimension,
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
    by: CostDimension,
    selection: &CostSelection,
    policy: &BudgetPolicy,
    now: Timestamp,
) -> Result<Costs, QueryError> {
    let rows = store.costs(by, selection).await?;
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

/// The dimension of a name, by default the evaluator.
///
/// # Errors
/// There is no such dimension.
pub fn cost_dimension(name: Option<&str>) -> Result<CostDimension, QueryError> {
    let Some(name) = name else { return Ok(CostDimension::default()) };
    let known = || CostDimension::ALL.map(|(name, _)| name.to_owned()).into();
    name.parse().map_err(|_| QueryError::UnknownDimension { name: name.to_owned(), known: known() })
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
