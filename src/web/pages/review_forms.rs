//! What people send from the review page: answers, assignments, removals; and what they take from it.

use axum::extract::{RawForm, State};
use axum::http::header;
use axum::response::{Html, IntoResponse, Redirect};
use maud::{Markup, html};
use serde::Deserialize;

use super::super::WebState;
use super::super::parameters::Parameters;
use super::PageError;
use super::alert_forms::read;
use super::figures::percent;
use super::layout::{address, page, trace_link};
use super::review::{Desk, said};
use super::text::clipped;
use crate::backends::store::Stream;
use crate::domain::ids::TraceId;
use crate::domain::label::Answer;
use crate::queries::review::{GivenLabel, GivenLabels, add_labels};
use crate::queries::reviewing::{AssignRequest, RemoveRequest, agreement, assign, regression_line, remove};
use crate::watch::reviewers::{ReviewerDisagreement, ReviewerPair};

/// Disagreements shown.
const DISAGREEMENTS: usize = 100;

/// A case and the desk that it lies on.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CaseForm {
    reviewer: String,
    judge: String,
    stream: Stream,
    trace_id: TraceId,
    evaluator: String,
    #[serde(default)]
    label: Option<Answer>,
    #[serde(default)]
    note: Option<String>,
}

impl CaseForm {
    fn back(self) -> Redirect {
        let judge = Some(self.judge).filter(|name| !name.is_empty());
        let desk = Desk { reviewer: self.reviewer, judge, stream: Some(self.stream) };
        Redirect::to(&desk.address(&[]))
    }
}

pub(in crate::web) async fn label(
    State(state): State<WebState>,
    RawForm(body): RawForm,
) -> Result<Redirect, PageError> {
    let form: CaseForm = read(&body)?;
    let given = GivenLabel {
        trace_id: form.trace_id,
        evaluator: Some(form.evaluator.clone()),
        revision: None,
        label: form.label.unwrap_or(Answer::Skip),
        reviewer: Some(form.reviewer.trim().to_owned()),
        note: form.note.clone().filter(|note| !note.trim().is_empty()),
        labelled_at: None,
        origin: None,
        probability: None,
    };
    add_labels(&state.store, GivenLabels { labels: vec![given], import: false }, state.clock.now()).await?;
    Ok(form.back())
}

pub(in crate::web) async fn remove_case(
    State(state): State<WebState>,
    RawForm(body): RawForm,
) -> Result<Redirect, PageError> {
    let form: CaseForm = read(&body)?;
    let asked =
        RemoveRequest { reviewer: form.reviewer.clone(), trace_id: form.trace_id, evaluator: form.evaluator.clone() };
    remove(&state.store, &asked, state.clock.now()).await?;
    Ok(form.back())
}

pub(in crate::web) async fn assign_cases(
    State(state): State<WebState>,
    RawForm(body): RawForm,
) -> Result<Redirect, PageError> {
    let asked: AssignRequest = read(&body)?;
    let asked = AssignRequest { judge: asked.judge.filter(|name| !name.is_empty()), ..asked };
    assign(&state.store, &asked, state.clock.now()).await?;
    let desk = Desk { reviewer: asked.reviewer, judge: asked.judge, stream: Some(asked.stream) };
    Ok(Redirect::to(&desk.address(&[])))
}

/// A labelled run as a file that holds one line for its judge's cases.
pub(in crate::web) async fn regression_case(
    State(state): State<WebState>,
    mut parameters: Parameters,
) -> Result<impl IntoResponse, PageError> {
    let trace_id: TraceId = parameters.require("trace")?.parse()?;
    let evaluator = parameters.require("evaluator")?;
    parameters.finish()?;
    state.shown(&[trace_id]).await?;
    let line = regression_line(state.reading(), trace_id, &evaluator).await?;
    let name = format!("attachment; filename=\"case-{}.jsonl\"", &trace_id.to_string()[..8]);
    let headers = [(header::CONTENT_TYPE, "application/jsonl".to_owned()), (header::CONTENT_DISPOSITION, name)];
    Ok((headers, line + "\n"))
}

/// How far people agree, and on what they do not.
pub(in crate::web) async fn reviewer_agreement(
    State(state): State<WebState>,
    parameters: Parameters,
) -> Result<Html<String>, PageError> {
    parameters.finish()?;
    let found = agreement(&state.store).await?;
    let left = found.disagreements.len().saturating_sub(DISAGREEMENTS);
    Ok(page(
        "Agreement",
        "/review",
        &html! {
            h1 { "How far people agree" }
            p.muted { "Of cases that two people answered, the second without knowing what the first had said. A judge can be "
                "held against people no better than people agree. Of several answers to a case the last one holds." }
            @if found.pairs.is_empty() {
                p { "No case has been answered by two people yet. " a href="/review" { "Review" } " the stream second." }
            } @else { (pairs(&found.pairs)) }
            h2 { "Disagreements (" (found.disagreements.len()) ")" }
            @if found.disagreements.is_empty() { p.muted { "None." } }
            ul { @for one in found.disagreements.iter().take(DISAGREEMENTS) { (disagreement(one)) } }
            @if left > 0 { p.muted { "and " (left) " more; driftline review export has every label" } }
        },
    ))
}

fn pairs(pairs: &[ReviewerPair]) -> Markup {
    html! {
        div.scroll { table {
            thead { tr { th { "Question of" } th { "People" } th.number { "Cases" } th.number { "Agree" } th { "Cohen's kappa, 95 %" } } }
            tbody { @for pair in pairs { (row(pair)) } }
        } }
    }
}

fn row(pair: &ReviewerPair) -> Markup {
    let agreed = (pair.confusion.true_pass + pair.confusion.true_fail) / pair.confusion.total();
    html! {
        tr {
            td { (clipped(&pair.evaluator, 60)) }
            td { (clipped(&pair.first, 60)) " and " (clipped(&pair.second, 60)) }
            td.number { (pair.n) }
            td.number { (percent(agreed)) }
            td {
                @match &pair.kappa {
                    Some(kappa) => { (format!("{:.2}", kappa.value)) " " span.muted { (format!("{:.2} to {:.2}", kappa.low, kappa.high)) ", " (kappa.word) } }
                    None => span.muted { "cannot be told: no one ever varies" },
                }
            }
        }
    }
}

fn disagreement(of: &ReviewerDisagreement) -> Markup {
    let trace = of.trace_id.to_string();
    html! {
        li {
            (trace_link(of.trace_id)) " " (clipped(&of.evaluator, 60)) " · "
            @for (place, label) in of.labels.iter().enumerate() { @if place > 0 { " · " } (said(label)) }
            " · " a href=(address("/review/case", &[("trace", &trace), ("evaluator", &of.evaluator)])) download { "regression case" }
        }
    }
}
