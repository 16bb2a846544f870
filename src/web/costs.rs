//! `/api/v1/costs` and `/api/v1/budgets`: of judges and of the agents that are watched.

use axum::Json;
use axum::extract::{Path, State};
use serde::Serialize;

use super::WebState;
use super::api::Answer;
use super::error::WebError;
use super::parameters::Parameters;
use crate::queries::QueryError;
use crate::queries::agent_costs::{AgentBudgetState, AgentCosts, agent_budget, agent_costs};
use crate::queries::costs::{Budget, Costs, Payer, budget_of, cost_dimension, costs as judge_costs};
use crate::queries::selection::cost_selection;

/// Costs of either.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum AnyCosts {
    Judges(Costs),
    Agents(AgentCosts),
}

/// A budget of either.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum AnyBudget {
    Judges(Budget),
    Agents(AgentBudgetState),
}

pub(super) async fn costs(State(state): State<WebState>, mut parameters: Parameters) -> Answer<AnyCosts> {
    let of: Payer = parameters.parse("of", "judges or agents")?.unwrap_or_default();
    Ok(Json(match of {
        Payer::Judges => AnyCosts::Judges(of_judges(&state, parameters).await?),
        Payer::Agents => AnyCosts::Agents(of_agents(&state, parameters).await?),
    }))
}

async fn of_judges(state: &WebState, mut parameters: Parameters) -> Result<Costs, WebError> {
    let by = cost_dimension(parameters.take("by").as_deref())?;
    let now = state.clock.now();
    let selection = cost_selection(&parameters.rest(), now).map_err(QueryError::from)?;
    Ok(judge_costs(&state.store, by, &selection, &state.budget, now).await?)
}

async fn of_agents(state: &WebState, mut parameters: Parameters) -> Result<AgentCosts, WebError> {
    let by = parameters.take("by").unwrap_or_else(|| "model".to_owned());
    let (selection, now) = (state.selection(parameters)?, state.clock.now());
    Ok(agent_costs(&state.store, &by, &selection, &state.names, &state.agent_budgets, now).await?)
}

/// A scope `dimension=value` is one of agents, any other one of judges.
pub(super) async fn budget(
    State(state): State<WebState>,
    Path(scope): Path<String>,
    parameters: Parameters,
) -> Answer<AnyBudget> {
    parameters.finish()?;
    let now = state.clock.now();
    Ok(Json(if scope.contains('=') {
        AnyBudget::Agents(agent_budget(&state.store, &scope, &state.agent_budgets, now).await?)
    } else {
        AnyBudget::Judges(budget_of(&state.store, &scope, &state.budget, now).await?)
    }))
}
