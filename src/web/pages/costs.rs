//! What agents spend and what judging them costs, by whatever the money can be told apart by.

use std::time::Duration;

use axum::extract::State;
use axum::response::Html;
use maud::{Markup, html};

use super::super::WebState;
use super::super::charts;
use super::super::parameters::Parameters;
use super::PageError;
use super::agent_costs::{section, today as today_of_agents};
use super::figures::whole;
use super::layout::{address, badge, page};
use super::text::clipped;
use crate::backends::store::{CostDimension, CostSelection};
use crate::queries::QueryError;
use crate::queries::agent_costs::agent_costs;
use crate::queries::costs::{Budget, Costs, Payer, cost_dimension, costs as ask};
use crate::queries::selection::{Condition, cost_selection, recent, selection};

/// Parts shown.
const PARTS: usize = 50;
/// What the page offers to tell costs apart by.
const OFFERED: [CostDimension; 6] = [
    CostDimension::Evaluator,
    CostDimension::Service,
    CostDimension::Feature,
    CostDimension::Tier,
    CostDimension::Day,
    CostDimension::JudgeModel,
];

/// Ages that the page offers.
const AGES: [&str; 3] = ["24h", "7d", "30d"];
const DAY: Duration = Duration::from_hours(24);

pub(in crate::web) async fn costs(
    State(state): State<WebState>,
    mut parameters: Parameters,
) -> Result<Html<String>, PageError> {
    let content = match parameters.parse("of", "judges or agents")?.unwrap_or(Payer::Agents) {
        Payer::Agents => of_agents(&state, parameters).await?,
        Payer::Judges => of_judges(&state, parameters).await?,
    };
    Ok(page("Costs", "/costs", &html! { h1 { "Costs" } (content) }))
}

async fn of_agents(state: &WebState, mut parameters: Parameters) -> Result<Markup, PageError> {
    let by = parameters.take("by").unwrap_or_else(|| "model".to_owned());
    let (conditions, now) = (recent(parameters.rest()), state.clock.now());
    let selection = selection(&conditions, &state.names, now).map_err(QueryError::from)?;
    let today = CostSelection { since: Some(now.floor(DAY)), ..CostSelection::default() };
    let mut agents = agent_costs(&state.store, &by, &selection, &state.names, &state.agent_budgets, now).await?;
    if by == "day" {
        // The dearest come first, and who looks at days wants the newest.
        agents.parts.sort_by(|a, b| b.name.cmp(&a.name));
    }
    let judges = ask(&state.store, CostDimension::Day, &today, &state.budget, now).await?;
    Ok(html! {
        dl.facts {
            (today_of_agents(agents.today, &agents.budgets))
            div { dt { "Judging, today" } dd { (usd(judges.cost_usd)) } }
            (budgets(&judges.budgets))
        }
        (tabs(Payer::Agents, &by, &conditions))
        (section(state, &agents, &conditions))
    })
}

async fn of_judges(state: &WebState, mut parameters: Parameters) -> Result<Markup, PageError> {
    let by = cost_dimension(parameters.take("by").as_deref())?;
    let (conditions, now) = (parameters.rest(), state.clock.now());
    let selection = cost_selection(&conditions, now).map_err(QueryError::from)?;
    let (mut found, mut days) = tokio::try_join!(
        ask(&state.store, by, &selection, &state.budget, now),
        ask(&state.store, CostDimension::Day, &selection, &state.budget, now),
    )?;
    // Days come in their order; who looks wants the newest.
    days.parts.reverse();
    if by == CostDimension::Day {
        found.parts.reverse();
    }
    Ok(html! {
        dl.facts { (budgets(&found.budgets)) }
        (tabs(Payer::Judges, by.as_str(), &conditions))
        p { "In all " strong { (usd(found.cost_usd)) } @if selection.since.is_none() && selection.until.is_none() { ", since the first request" } "." }
        @if found.parts.is_empty() {
            p.muted { "No judge has been asked in this time. Rules cost nothing." }
        } @else {
            @if by != CostDimension::Day { (by_day(&days)) }
            (offers(by, &conditions))
            (table(&found))
        }
    })
}

/// Whose costs, and since when.
fn tabs(of: Payer, by: &str, conditions: &[Condition]) -> Markup {
    let since = conditions.iter().find(|(key, _)| key == "since").map(|(_, since)| since.as_str());
    let is_time = |key: &str| key == "since" || key == "until";
    let aged = |age| {
        let others = conditions.iter().filter(|(key, _)| !is_time(key)).cloned();
        address_of(of, by, &others.chain([("since".to_owned(), String::from(age))]).collect::<Vec<_>>())
    };
    html! {
        p.desk {
            @for (place, (payer, what)) in [(Payer::Agents, "what agents spent"), (Payer::Judges, "what judging them cost")].into_iter().enumerate() {
                @if place > 0 { " · " }
                a href=(address("/costs", &[("of", payer.as_str())])) aria-current=[(payer == of).then_some("true")] { (what) }
            }
        }
        p.desk {
            "In the last: "
            @for (place, age) in AGES.into_iter().enumerate() {
                @if place > 0 { " · " }
                a href=(aged(age)) aria-current=[(since == Some(age)).then_some("true")] { (age) }
            }
            @for (key, value) in conditions.iter().filter(|(key, value)| key != "since" || !AGES.contains(&value.as_str())) {
                " · " (clipped(key, 60)) " = " (clipped(value, 60))
            }
        }
    }
}

/// The same page, told apart by something.
pub(super) fn address_of(of: Payer, by: &str, conditions: &[Condition]) -> String {
    let conditions = conditions.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    address("/costs", &[("of", of.as_str()), ("by", by)].into_iter().chain(conditions).collect::<Vec<_>>())
}

/// Dollars, to as many digits as they have meaning.
pub(super) fn usd(amount: f64) -> String {
    match amount {
        amount if amount == 0.0 || amount >= 1.0 => format!("$ {amount:.2}"),
        amount if amount >= 0.01 => format!("$ {amount:.3}"),
        amount => format!("$ {amount:.5}"),
    }
}

fn budgets(budgets: &[Budget]) -> Markup {
    html! {
        @for budget in budgets {
            div {
                dt { "Judging budget today, " (clipped(&budget.scope, 80)) }
                dd {
                    (usd(budget.committed_usd))
                    @if let Some(limit) = budget.limit_usd { " of " (usd(limit)) }
                    @if !budget.allowed { " " (badge("page", "spent")) }
                    @if budget.partial { " " (badge("warn", "partial")) }
                }
            }
        }
    }
}

fn by_day(days: &Costs) -> Markup {
    let bars: Vec<(String, f64)> =
        days.parts.iter().map(|part| (part.name.clone().unwrap_or_default(), part.cost_usd)).collect();
    html! { @if bars.len() > 1 { h2 { "By day" } div.charts { (charts::amounts(&bars, usd)) } } }
}

fn offers(by: CostDimension, conditions: &[Condition]) -> Markup {
    html! {
        h2 { "By " (by.as_str().replace('_', " ")) }
        p.desk {
            @for (place, other) in OFFERED.into_iter().enumerate() {
                @if place > 0 { " · " }
                a href=(address_of(Payer::Judges, other.as_str(), conditions)) aria-current=[(other == by).then_some("true")] {
                    (other.as_str().replace('_', " "))
                }
            }
        }
    }
}

fn table(found: &Costs) -> Markup {
    let left = found.parts.len().saturating_sub(PARTS);
    let bars: Vec<(String, f64)> = found
        .parts
        .iter()
        .take(charts::MOST_AMOUNTS)
        .map(|part| (part.name.clone().unwrap_or_else(|| "not known".to_owned()), part.cost_usd))
        .collect();
    html! {
        @if found.cost_usd > 0.0 { div.charts { (charts::amounts(&bars, usd)) } }
        div.scroll { table {
            thead { tr { th {} th.number { "Cost" } th.number { "Requests" } th.number { "Answered" } th.number { "Tokens in" } th.number { "Tokens out" } th.number { "Not settled" } } }
            tbody {
                @for part in found.parts.iter().take(PARTS) {
                    tr {
                        td { (part.name.as_deref().map_or_else(|| "not known".to_owned(), |name| clipped(name, 80))) }
                        td.number { (usd(part.cost_usd)) }
                        @for count in [part.requests, part.answered, part.input_tokens, part.output_tokens] {
                            td.number { (whole(count as f64)) }
                        }
                        td.number { (usd(part.unsettled_usd)) }
                    }
                }
            }
        } }
        @if left > 0 { p.muted { "and " (left) " more parts: driftline costs --by " (found.by.as_str()) } }
    }
}
