//! The evaluators: what is loaded, and what became of it on recent traces.

use axum::extract::State;
use axum::response::Html;
use maud::{Markup, html};

use super::super::WebState;
use super::super::parameters::Parameters;
use super::PageError;
use super::layout::{badge, page};
use super::text::clipped;
use crate::domain::evaluation::Outcome;
use crate::queries::evaluators::{EvaluatorStanding, TRACES, evaluators as ask};

/// Outcomes in the order of their columns.
const OUTCOMES: [Outcome; 6] = [
    Outcome::Scored,
    Outcome::NotApplicable,
    Outcome::NotEvaluable,
    Outcome::Failed,
    Outcome::SkippedBudget,
    Outcome::SampledOut,
];

pub(in crate::web) async fn evaluators(
    State(state): State<WebState>,
    parameters: Parameters,
) -> Result<Html<String>, PageError> {
    parameters.finish()?;
    let found = ask(&state.store, &state.evaluators).await?;
    Ok(page(
        "Evaluators",
        "/evaluators",
        &html! {
            h1 { "Evaluators" }
            p.muted { "What scores traces here, and what became of it on the newest " (TRACES) " of them. Only what is scored "
                "enters an estimate." }
            div.scroll { table {
                thead { tr {
                    th { "Evaluator" } th { "Kind" } th { "Revision" } th.number { "Failing" }
                    @for outcome in OUTCOMES { th.number { (outcome.as_str().replace('_', " ")) } }
                    th.number { "Cases" }
                } }
                tbody { @for evaluator in &found { (row(evaluator)) } }
            } }
        },
    ))
}

fn row(of: &EvaluatorStanding) -> Markup {
    html! {
        tr {
            td.wide {
                strong { (clipped(&of.name, 60)) } " "
                @match &of.loaded {
                    Some(loaded) => {
                        @if loaded.flag { (badge("", "flags")) }
                        br; span.muted { (clipped(&loaded.description, 300)) }
                    }
                    None => (badge("", "past")),
                }
            }
            td.nowrap {
                @if let Some(loaded) = &of.loaded { (loaded.kind) " " span.muted { (loaded.annotator_kind.as_str()) } }
            }
            td.nowrap { code { (clipped(&of.revision, 16)) } }
            td.number { @if of.failing > 0 { strong { (of.failing) } } @else { "0" } }
            @for outcome in OUTCOMES { td.number { (of.outcomes.get(&outcome).copied().unwrap_or_default()) } }
            td.number { @if let Some(loaded) = &of.loaded { (loaded.cases) } }
        }
    }
}
