//! What judging costs, by whatever the money can be told apart by.

use axum::extract::State;
use axum::response::Html;
use maud::{Markup, html};

use super::super::WebState;
use super::super::charts;
use super::super::parameters::Parameters;
use super::PageError;
use super::layout::{address, badge, page};
use super::text::clipped;
use crate::backends::store::CostDimension;
use crate::queries::QueryError;
use crate::queries::costs::{Budget, Costs, costs as ask};
use crate::queries::selection::cost_selection;

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

pub(in crate::web) async fn costs(
    State(state): State<WebState>,
    mut parameters: Parameters,
) -> Result<Html<String>, PageError> {
    let by = parameters.parse("by", "what costs are told apart by")?.unwrap_or_default();
    let now = state.clock.now();
    let selection = cost_selection(&parameters.rest(), now).map_err(QueryError::from)?;
    let found = ask(&state.store, by, &selection, &state.budget, now).await?;
    let days = ask(&state.store, CostDimension::Day, &selection, &state.budget, now).await?;
    Ok(page(
        "Costs",
        "/costs",
        &html! {
            h1 { "What judging costs" }
            (budgets(&found.budgets))
            p { "In all " strong { (usd(found.cost_usd)) } "." }
            @if found.parts.is_empty() {
                p.muted { "No judge has been asked yet. Rules cost nothing." }
            } @else {
                (by_day(&days))
                (offers(by))
                (table(&found))
            }
        },
    ))
}

/// Dollars, to as many digits as they have meaning.
fn usd(amount: f64) -> String {
    if amount == 0.0 || amount >= 1.0 { format!("$ {amount:.2}") } else { format!("$ {amount:.5}") }
}

fn budgets(budgets: &[Budget]) -> Markup {
    html! {
        dl.facts {
            @for budget in budgets {
                div {
                    dt { "Today, " (clipped(&budget.scope, 80)) }
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
}

fn by_day(days: &Costs) -> Markup {
    let bars: Vec<(String, f64)> =
        days.parts.iter().map(|part| (part.name.clone().unwrap_or_default(), part.cost_usd)).collect();
    html! { @if bars.len() > 1 { h2 { "By day" } div.charts { (charts::amounts(&bars, usd)) } } }
}

fn offers(by: CostDimension) -> Markup {
    html! {
        h2 { "By " (by.as_str().replace('_', " ")) }
        p.desk {
            @for (place, other) in OFFERED.into_iter().enumerate() {
                @if place > 0 { " · " }
                a href=(address("/costs", &[("by", other.as_str())])) aria-current=[(other == by).then_some("true")] {
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
                        td.number { (part.requests) }
                        td.number { (part.answered) }
                        td.number { (part.input_tokens) }
                        td.number { (part.output_tokens) }
                        td.number { (usd(part.unsettled_usd)) }
                    }
                }
            }
        } }
        @if left > 0 { p.muted { "and " (left) " more parts: driftline costs --by " (found.by.as_str()) } }
    }
}
