//! What agents cost, by whatever their traces can be told apart by, and what is left of their budgets.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::QueryError;
use crate::backends::store::{AgentBudgetDay, AgentCostRow, AgentDimension, Selection, Store};
use crate::domain::money::NanoUsd;
use crate::domain::time::Timestamp;
use crate::limits::budget::day_of;
use crate::normalize::AttributeMapping;
use crate::watch::budgets::{AgentBudgets, projected_usd, resets_at};

/// Parts that one answer lists.
const PARTS: usize = 100;
/// Budgets that one answer lists.
const BUDGETS: usize = 20;
const DAY: Duration = Duration::from_hours(24);
const USD: f64 = 1e9;

/// What agents cost.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AgentCosts {
    /// What the parts are told apart by.
    pub by: String,
    /// Runs that ended at or after this instant count.
    pub since: Option<Timestamp>,
    /// Runs that ended before this instant count.
    pub until: Option<Timestamp>,
    /// All of it.
    #[serde(flatten)]
    pub total: AgentCost,
    /// The parts, dearest first.
    pub parts: Vec<AgentPart>,
    /// The same agents today, UTC.
    pub today: Today,
    /// Today's budgets, those that have spent most first.
    pub budgets: Vec<AgentBudgetState>,
}

/// What one part came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AgentPart {
    /// The part; `None` where it is not known.
    pub name: Option<String>,
    /// What it came to.
    #[serde(flatten)]
    pub cost: AgentCost,
}

/// What runs came to. Every run counts, judged or not; all but `traces` and `upstream_unknown` is weighted by one over the
/// probability with which upstream sampling kept each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct AgentCost {
    /// Runs that call models, as they were received.
    pub traces: u64,
    /// Those of them of which upstream sampling is not known, and taken as 1.
    pub upstream_unknown: u64,
    /// US dollars.
    pub cost_usd: f64,
    /// Calls of models.
    pub model_calls: f64,
    /// Answered calls without a known price: what they cost is not in `cost_usd`.
    pub unpriced_calls: f64,
    /// Prompt tokens.
    pub input_tokens: f64,
    /// Completion tokens.
    pub output_tokens: f64,
    /// Prompt tokens that were read from a cache.
    pub cached_tokens: f64,
    /// The share of prompt tokens that were; `None` without prompt tokens.
    pub cache_hit_share: Option<f64>,
}

/// A day under way.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Today {
    /// US dollars so far.
    pub spent_usd: f64,
    /// US dollars at its end, at the pace since it began.
    pub projected_usd: f64,
    /// Answered calls without a known price: what they cost is in neither.
    #[serde(default)]
    pub unpriced_calls: f64,
}

/// What is left of a day's budget.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AgentBudgetState {
    /// `dimension=value`.
    pub scope: String,
    /// Whether money is left.
    pub allowed: bool,
    /// US dollars that were spent today, UTC, by the runs that are evaluated.
    pub spent_usd: f64,
    /// US dollars a day.
    pub limit_usd: f64,
    /// US dollars at the end of the day, at the pace since it began.
    pub projected_usd: f64,
    /// When the next day begins, in nanoseconds since the Unix epoch.
    pub resets_at: Timestamp,
}

/// The dimension of a name.
///
/// # Errors
/// It is neither one that every run has nor a name of `[attributes]`.
pub fn dimension(name: &str, names: &AttributeMapping) -> Result<AgentDimension, QueryError> {
    let own = AgentDimension::OWN.into_iter().find(|(known, _)| *known == name).map(|(_, own)| own);
    let mapped = || names.iter().any(|(known, _)| known == name).then(|| AgentDimension::Attribute(name.to_owned()));
    let unknown = || {
        let own = AgentDimension::OWN.into_iter().map(|(name, _)| name);
        let known = own.chain(names.iter().map(|(name, _)| name)).map(str::to_owned).collect();
        QueryError::UnknownDimension { name: name.to_owned(), known }
    };
    own.or_else(mapped).ok_or_else(unknown)
}

/// What the agents of a selection cost, by a dimension, and what is left of today's budgets.
///
/// # Errors
/// There is no such dimension, or the store failed.
pub async fn agent_costs(
    store: &Store,
    by: &str,
    selection: &Selection,
    names: &AttributeMapping,
    budgets: &AgentBudgets,
    now: Timestamp,
) -> Result<AgentCosts, QueryError> {
    let dimension = dimension(by, names)?;
    let today = Selection { since: Some(now.floor(DAY)), until: None, ..selection.clone() };
    // Two at a time, so that some of a store's few readers are left to others.
    let (parts, total) =
        tokio::try_join!(store.agent_costs(&dimension, selection, PARTS), store.agent_cost(selection))?;
    let (spent, days) =
        tokio::try_join!(store.agent_cost(&today), store.agent_budget_day(day_of(now), None, NanoUsd::ZERO, BUDGETS))?;
    let (spent_usd, unpriced_calls) = spent.map_or((0.0, 0.0), |cost| (cost.cost / USD, cost.unpriced));
    Ok(AgentCosts {
        by: by.to_owned(),
        since: selection.since,
        until: selection.until,
        total: total.as_ref().map(AgentCost::from).unwrap_or_default(),
        parts: parts.into_iter().map(AgentPart::from).collect(),
        today: Today { spent_usd, projected_usd: projected_usd(spent_usd, now), unpriced_calls },
        budgets: days.iter().filter_map(|day| state(day, budgets, now)).collect(),
    })
}

/// What is left today of the budget of a scope, `dimension=value`.
///
/// # Errors
/// No `[[budget]]` covers the scope, or the store failed.
pub async fn agent_budget(
    store: &Store,
    scope: &str,
    budgets: &AgentBudgets,
    now: Timestamp,
) -> Result<AgentBudgetState, QueryError> {
    let unknown = || {
        let known = budgets.0.iter().map(|budget| budget.scope.to_string()).collect();
        QueryError::UnknownScope { scope: scope.to_owned(), known }
    };
    budgets.of(scope).ok_or_else(unknown)?;
    let found = store.agent_budget_day(day_of(now), Some(scope), NanoUsd(i64::MIN), 1).await?;
    let spent = found.first().map_or(NanoUsd::ZERO, |day| day.spent);
    state(&AgentBudgetDay { scope: scope.to_owned(), spent }, budgets, now).ok_or_else(unknown)
}

fn state(day: &AgentBudgetDay, budgets: &AgentBudgets, now: Timestamp) -> Option<AgentBudgetState> {
    let limit = budgets.of(&day.scope)?.limit();
    Some(AgentBudgetState {
        scope: day.scope.clone(),
        allowed: day.spent < limit,
        spent_usd: day.spent.usd(),
        limit_usd: limit.usd(),
        projected_usd: projected_usd(day.spent.usd(), now),
        resets_at: resets_at(now),
    })
}

impl From<&AgentCostRow> for AgentCost {
    fn from(row: &AgentCostRow) -> Self {
        Self {
            traces: row.traces,
            upstream_unknown: row.upstream_unknown,
            cost_usd: row.cost / USD,
            model_calls: row.calls,
            unpriced_calls: row.unpriced,
            input_tokens: row.input_tokens,
            output_tokens: row.output_tokens,
            cached_tokens: row.cached_tokens,
            cache_hit_share: (row.input_tokens > 0.0).then(|| (row.cached_tokens / row.input_tokens).min(1.0)),
        }
    }
}

impl From<AgentCostRow> for AgentPart {
    fn from(row: AgentCostRow) -> Self {
        Self { cost: AgentCost::from(&row), name: row.part }
    }
}
