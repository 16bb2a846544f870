//! What the watched agents cost, by whatever their runs can be told apart by.

use maud::{Markup, html};

use super::super::WebState;
use super::super::charts;
use super::costs::{address_of, usd};
use super::figures::{percent, whole};
use super::layout::{address, badge, instant};
use super::text::clipped;
use crate::backends::store::AgentDimension;
use crate::queries::agent_costs::{AgentBudgetState, AgentCost, AgentCosts, AgentPart, Today};
use crate::queries::costs::Payer;
use crate::queries::selection::{Condition, KEYS};

/// Parts shown.
const PARTS: usize = 50;

/// What they came to, part by part.
pub(super) fn section(state: &WebState, found: &AgentCosts, conditions: &[Condition]) -> Markup {
    html! {
        p {
            "In all " strong { (spent(&found.total)) } " for " (whole(found.total.traces as f64)) " runs."
            @if found.total.unpriced_calls > 0.0 {
                " " (badge("warn", "incomplete")) " " (whole(found.total.unpriced_calls)) " answered calls have no known price, "
                "so what they cost is not in these sums: see " code { "[prices]" } "."
            }
        }
        @if found.total.upstream_unknown > 0 {
            p.muted { "Upstream sampling is not known of " (whole(found.total.upstream_unknown as f64)) " runs, which count once." }
        }
        (offers(state, &found.by, conditions))
        @if found.parts.is_empty() {
            p.muted { "No run of this time calls a model." }
        } @else {
            (table(state, found, conditions))
        }
    }
}

fn spent(cost: &AgentCost) -> String {
    known(cost.cost_usd, cost.unpriced_calls)
}

/// Dollars as far as prices are known: what has none is not for nothing.
fn known(amount: f64, unpriced_calls: f64) -> String {
    match (amount > 0.0, unpriced_calls > 0.0) {
        (false, true) => "unknown".to_owned(),
        (true, true) => format!("≥ {}", usd(amount)),
        (_, false) => usd(amount),
    }
}

/// Today's money: what is spent, and where it leads at this pace.
pub(super) fn today(today: Today, budgets: &[AgentBudgetState]) -> Markup {
    html! {
        div { dt { "Agents, today" } dd {
            (known(today.spent_usd, today.unpriced_calls))
            @if today.spent_usd > 0.0 || today.unpriced_calls == 0.0 {
                span.muted { ", at this pace " (known(today.projected_usd, today.unpriced_calls)) }
            }
        } }
        @for budget in budgets { div {
            dt { "Today, " (clipped(&budget.scope, 80)) }
            dd {
                (usd(budget.spent_usd)) " of " (usd(budget.limit_usd)) " "
                span.muted { "at this pace " (usd(budget.projected_usd)) " by " (instant(budget.resets_at)) }
                @if !budget.allowed { " " (badge("page", "spent")) }
                @else if budget.projected_usd > budget.limit_usd { " " (badge("warn", "will not last")) }
            }
        } }
    }
}

/// Everything that runs can be told apart by.
fn offers(state: &WebState, by: &str, conditions: &[Condition]) -> Markup {
    let own = AgentDimension::OWN.into_iter().map(|(name, _)| name);
    let named = state.names.iter().map(|(name, _)| name).filter(|name| !own.clone().any(|own| own == *name));
    html! {
        h2 { "By " (clipped(&by.replace('_', " "), 60)) }
        p.desk {
            @for (place, other) in own.clone().chain(named).enumerate() {
                @if place > 0 { " · " }
                a href=(address_of(Payer::Agents, other, conditions)) aria-current=[(other == by).then_some("true")] { (other.replace('_', " ")) }
            }
        }
    }
}

fn table(state: &WebState, found: &AgentCosts, conditions: &[Condition]) -> Markup {
    let left = found.parts.len().saturating_sub(PARTS);
    let bars: Vec<(String, f64)> =
        found.parts.iter().take(charts::MOST_AMOUNTS).map(|part| (name(part), part.cost.cost_usd)).collect();
    html! {
        @if found.total.cost_usd > 0.0 { div.charts { (charts::amounts(&bars, usd)) } }
        div.scroll { table {
            thead { tr {
                th {}
                @for heading in ["Cost", "Share", "Runs", "Cost of a run", "Model calls", "Tokens in", "Tokens out", "From cache"] {
                    th.number { (heading) }
                }
            } }
            tbody { @for part in found.parts.iter().take(PARTS) { (row(state, found, part, conditions)) } }
        } }
        @if left > 0 { p.muted { "and more parts: driftline costs --of agents --by " (clipped(&found.by, 60)) } }
    }
}

fn row(state: &WebState, found: &AgentCosts, part: &AgentPart, conditions: &[Condition]) -> Markup {
    let cost = &part.cost;
    let is_unknown = cost.cost_usd <= 0.0 && cost.unpriced_calls > 0.0;
    let of =
        |amount: f64, whole: f64| if whole > 0.0 && !is_unknown { percent(amount / whole) } else { "–".to_owned() };
    html! {
        tr {
            td { @match runs(state, &found.by, part, conditions) {
                Some(path) => a href=(path) { (clipped(&name(part), 80)) },
                None => (clipped(&name(part), 80)),
            } }
            td.number { (spent(cost)) }
            td.number { (of(cost.cost_usd, found.total.cost_usd)) }
            td.number { (whole(cost.traces as f64)) }
            td.number { (known(cost.cost_usd / cost.traces.max(1) as f64, cost.unpriced_calls)) }
            td.number { (whole(cost.model_calls)) }
            td.number { (whole(cost.input_tokens)) }
            td.number { (whole(cost.output_tokens)) }
            td.number { (cost.cache_hit_share.map_or_else(|| "–".to_owned(), percent)) }
        }
    }
}

fn name(part: &AgentPart) -> String {
    part.name.clone().unwrap_or_else(|| "not known".to_owned())
}

/// The runs behind a part among those that the page is about, where they can be searched for by it. Runs are searched for
/// by one model each, while parts are of every model that a run called.
fn runs(state: &WebState, by: &str, part: &AgentPart, conditions: &[Condition]) -> Option<String> {
    let is_key = KEYS.contains(&by) || state.names.iter().any(|(name, _)| name == by);
    let name = part.name.as_deref().filter(|_| is_key && by != "model")?;
    let others = conditions.iter().filter(|(key, _)| key != by).map(|(key, value)| (key.as_str(), value.as_str()));
    Some(address("/traces", &others.chain([(by, name)]).collect::<Vec<_>>()))
}

#[cfg(test)]
mod tests {
    use super::known;

    #[test]
    fn what_has_no_price_is_not_free_and_what_has_one_in_part_is_at_least_that() {
        assert_eq!(known(0.0, 3.0), "unknown");
        assert_eq!(known(0.0, 0.0), "$ 0.00");
        assert_eq!(known(1.5, 3.0), "≥ $ 1.50");
        assert_eq!(known(1.5, 0.0), "$ 1.50");
    }
}
