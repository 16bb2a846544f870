//! Estimates of series for those who scrape: computed at most four times an hour, however often someone
//! asks.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::task::JoinHandle;

use super::WebState;
use crate::backends::store::Selection;
use crate::domain::measurement::SeriesKind;
use crate::domain::time::Timestamp;
use crate::queries::QueryError;
use crate::queries::objectives::objectives;
use crate::queries::series::{SeriesView, series};
use crate::telemetry::agents::{BudgetLeft, SeriesEstimate, ServiceShares};
use crate::watch::rules::ErrorBudget;

/// How old they may be: each time, the records of the last traces are read.
const MAX_AGE: Duration = Duration::from_mins(15);

/// Brings the estimates of recent traffic up to date, unless they are young or somebody is at it. The work goes on when
/// nobody waits for it any more.
pub(super) fn refresh(state: &WebState) -> JoinHandle<()> {
    let state = state.clone();
    tokio::spawn(async move {
        let (agents, now) = (&state.metrics.agents, state.clock.now());
        let Some(_turn) = agents.turn() else { return };
        if agents.is_published_since(now.minus(MAX_AGE).0) {
            return;
        }
        // What was published before stays.
        if let Err(error) = publish(&state, now).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "estimates could not be computed");
        }
    })
}

async fn publish(state: &WebState, now: Timestamp) -> Result<(), QueryError> {
    let watched = series(&state.store, state.watched(), &Selection::default()).await?;
    let estimates: Vec<SeriesEstimate> = watched.series.iter().filter_map(estimate).collect();
    let mut services: BTreeMap<&str, Vec<&SeriesView>> = BTreeMap::new();
    for view in &watched.series {
        services.entry(&view.service).or_default().push(view);
    }
    let shares: Vec<ServiceShares> = services.into_iter().map(|(service, views)| shares(service, &views)).collect();
    let budgets = objectives(&state.store, &state.objectives, now).await?.objectives;
    state.metrics.agents.publish_budgets(&budgets.iter().map(budget).collect::<Vec<_>>());
    state.metrics.agents.publish(&estimates, &shares, now.0);
    Ok(())
}

fn budget(of: &ErrorBudget) -> BudgetLeft {
    let limit = of.at_most.map_or_else(String::new, |most| format!("<={most}"));
    let objective = format!("{}{limit} {}", of.series, of.objective);
    BudgetLeft { service: of.service.clone(), objective, remaining: of.remaining }
}

/// Means and shares; the largest category says nothing without its name.
fn estimate(view: &SeriesView) -> Option<SeriesEstimate> {
    let of = &view.current.as_ref()?.estimate;
    if matches!(view.kind, SeriesKind::Categorical | SeriesKind::Sequence) {
        return None;
    }
    Some(SeriesEstimate {
        service: view.service.clone(),
        series: view.series.clone(),
        estimate: of.estimate?,
        interval: of.low.zip(of.high),
        traces: of.n,
    })
}

fn shares(service: &str, views: &[&SeriesView]) -> ServiceShares {
    let current = |name: &str| views.iter().find(|view| view.series == name)?.current.as_ref();
    let succeeded = |category: &&crate::queries::series::Share| category.to == "success";
    let tool_errors = current("tool_outcomes")
        .map(|figures| 1.0 - figures.shares.iter().find(succeeded).map_or(0.0, |category| category.share));
    let judged = current("task_completion").and_then(|figures| figures.estimate.estimate);
    let answered = current("answer_length").map(|figures| figures.coverage);
    let answered = answered.and_then(|of| Some(of.with_value as f64 / of.traces.filter(|all| *all > 0)? as f64));
    ServiceShares { service: service.to_owned(), tool_errors, completed: judged.or(answered) }
}
