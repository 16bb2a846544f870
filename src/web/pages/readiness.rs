//! What the telemetry of each service can answer, and what its sender would have to add.

use axum::extract::State;
use axum::response::Html;
use maud::{Markup, html};

use super::super::WebState;
use super::super::parameters::Parameters;
use super::PageError;
use super::layout::{badge, page, trace_link};
use super::text::clipped;
use crate::queries::readiness::{Ability, Answer, BrokenRuns, FactShare, ServiceReadiness, readiness as survey};

pub(in crate::web) async fn readiness(
    State(state): State<WebState>,
    parameters: Parameters,
) -> Result<Html<String>, PageError> {
    let selection = state.selection(parameters)?;
    let found = survey(&state.store, &selection, &state.names, &state.prices).await?;
    Ok(page(
        "Readiness",
        "/readiness",
        &html! {
            h1 { "Readiness" }
            p.muted { "What the newest traces of each service can answer, by what their spans carry." }
            @if found.services.is_empty() {
                p { "There is no trace whose spans are kept." }
            }
            @for service in &found.services { (section(service)) }
        },
    ))
}

fn section(service: &ServiceReadiness) -> Markup {
    let conventions = service.conventions.iter().map(|(name, traces)| format!("{name} {traces}"));
    html! {
        h2 { (clipped(&service.service, 80)) }
        p.muted { (service.traces) " traces: " (conventions.collect::<Vec<_>>().join(", ")) }
        @if service.damaged > 0 {
            p { (badge("warn", "damaged")) " the spans of " (service.damaged) " more are kept and cannot be read" }
        }
        (abilities("Questions", &service.questions))
        (abilities("Capabilities", &service.capabilities))
        (broken(&service.propagation))
        (lacking(&service.facts))
    }
}

fn abilities(title: &str, abilities: &[Ability]) -> Markup {
    html! {
        h3 { (title) }
        div.scroll { table.abilities {
            thead { tr { th { "" } th { "Answered" } th.number { "Of traces" } th { "Missing" } } }
            tbody { @for ability in abilities { tr {
                td { (ability.about) }
                td { (word(ability.answer)) }
                td.number { (share(ability.share)) }
                td.muted { (ability.missing.join(", ")) }
            } } }
        } }
    }
}

fn word(answer: Answer) -> Markup {
    match answer {
        Answer::Yes => badge("good", "yes"),
        Answer::Partly => badge("warn", "partly"),
        Answer::No => badge("page", "no"),
        Answer::NotApplicable => badge("", "nothing to ask"),
    }
}

fn share(share: Option<f64>) -> String {
    share.map_or_else(|| "–".to_owned(), |share| format!("{:.0} %", 100.0 * share))
}

fn broken(broken: &BrokenRuns) -> Markup {
    html! {
        @if !broken.trace_ids.is_empty() {
            h3 { "Broken propagation" }
            ul { @for runs in broken.told() { li { (runs) } } }
            p { @for trace_id in &broken.trace_ids { (trace_link(*trace_id)) " " } }
        }
    }
}

fn lacking(facts: &[FactShare]) -> Markup {
    html! {
        @if facts.iter().any(|fact| fact.add.is_some()) {
            h3 { "What to add" }
            div.scroll { table {
                thead { tr { th { "Fact" } th.number { "Carried" } th { "Add" } } }
                tbody { @for fact in facts { @if let Some(add) = &fact.add { tr {
                    td { (fact.fact.replace('_', " ")) }
                    td.number { (share(Some(fact.share))) }
                    td { code { (clipped(add, 300)) } }
                } } } }
            } }
        }
    }
}
