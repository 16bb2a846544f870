//! Alerts about what agents spend of their day's budgets: a warning at 80 %, a page when a budget closes, and the end of
//! both when the next day begins. What they have spent is counted as their traces are recorded.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Shared;
use super::budget_alert::{Spent, spent_alert};
use super::leadership::Leadership;
use crate::backends::store::{AgentBudgetDay, AlertFilter, StoreError};
use crate::domain::alert::{Alert, AlertState, Severity};
use crate::domain::money::NanoUsd;
use crate::domain::time::Timestamp;
use crate::limits::budget::{AGENT_BUDGET, day_of};
use crate::watch::budgets::{AgentBudget, AgentBudgets, WARNING_PART};

/// How often spending is looked at.
const INTERVAL: Duration = Duration::from_secs(1);
/// Scopes of one day that alert; each user may be one.
const MOST_ALERTS: usize = 100;
/// Traces that an alert shows.
const SHOWN: usize = 10;

/// Looks at the day's spending until the process is to end.
pub async fn guard_budgets(shared: Shared, budgets: AgentBudgets) {
    // Two whose clocks differ would raise and end the alerts of a day in turn around midnight.
    let mut leadership = Leadership::of("budgets");
    while !shared.is_stopping() {
        let step = leadership.lead(&shared, async { step(&shared, &budgets).await.map(|()| false) }).await;
        shared.rest("budgets", INTERVAL, step).await;
    }
}

/// Raises and ends what spending asks for.
///
/// # Errors
/// The store failed; what was raised stays so.
pub async fn step(shared: &Shared, budgets: &AgentBudgets) -> Result<(), StoreError> {
    let now = shared.now();
    let open = shared.store.alerts(&AlertFilter { open_only: true, service: None }).await?;
    let mut open: BTreeMap<String, Alert> = open
        .into_iter()
        .filter(|alert| alert.detector == AGENT_BUDGET)
        .map(|alert| (alert.fingerprint.clone(), alert))
        .collect();
    for (spent, severity) in over(shared, budgets, now).await? {
        let alert = alert(&spent, severity, budgets, now);
        let is_told = open.remove(&alert.fingerprint).is_some_and(|told| told.severity == severity);
        if !is_told {
            let trace_ids = shared.store.dearest_traces(day_of(now), &spent.scope, SHOWN).await?;
            tracing::warn!(severity = severity.as_str(), "a day's budget of agents is nearly or wholly spent");
            shared.store.put_alert(&Alert { trace_ids, ..alert }, now).await?;
        }
    }
    for alert in open.into_values() {
        let resolved = Alert { state: AlertState::Resolved, updated_at: now, resolved_at: Some(now), ..alert };
        shared.store.put_alert(&resolved, now).await?;
    }
    Ok(())
}

/// The scopes that have spent enough today for someone to be told, and how loud.
async fn over(
    shared: &Shared,
    budgets: &AgentBudgets,
    now: Timestamp,
) -> Result<Vec<(AgentBudgetDay, Severity)>, StoreError> {
    let Some(least) = budgets.0.iter().map(warning).min() else { return Ok(Vec::new()) };
    let days = shared.store.agent_budget_day(day_of(now), None, least, MOST_ALERTS).await?;
    let loud = |day: AgentBudgetDay| {
        let severity = severity(day.spent, budgets.of(&day.scope)?)?;
        Some((day, severity))
    };
    Ok(days.into_iter().filter_map(loud).collect())
}

fn warning(budget: &AgentBudget) -> NanoUsd {
    NanoUsd::from_usd(WARNING_PART * budget.daily_usd)
}

fn severity(spent: NanoUsd, budget: &AgentBudget) -> Option<Severity> {
    match spent {
        spent if spent >= budget.limit() => Some(Severity::Page),
        spent if spent >= warning(budget) => Some(Severity::Warn),
        _ => None,
    }
}

fn alert(day: &AgentBudgetDay, severity: Severity, budgets: &AgentBudgets, now: Timestamp) -> Alert {
    let (scope, spent) = (day.scope.as_str(), day.spent);
    let limit = budgets.of(scope).map(AgentBudget::limit).unwrap_or_default();
    let what = match severity {
        Severity::Page => "spent: it is closed until midnight UTC",
        Severity::Info | Severity::Warn => "spent to 80 %",
    };
    let service = scope.strip_prefix("service=");
    spent_alert(
        Spent {
            detector: AGENT_BUDGET,
            scope,
            severity,
            service: service.unwrap_or("all"),
            series: "agent_cost_usd",
            segment: if service.is_some() { "all" } else { scope },
            summary: format!("The budget of {limit} a day for {scope} is {what}. Agents have spent {spent}."),
            limit,
            spent,
            runbook: "cost-runaway",
        },
        now,
    )
}
