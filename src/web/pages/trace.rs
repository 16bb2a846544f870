//! One trace: what was asked and answered, its scores, what happened when, and why it was judged or not.

use axum::extract::{Path, State};
use axum::response::Html;
use maud::{Markup, html};

use super::super::WebState;
use super::super::parameters::Parameters;
use super::PageError;
use super::figures::duration;
use super::layout::{badge, elsewhere, instant, page, uncalibrated, whose};
use super::text::clipped;
use super::timeline::timeline;
use crate::domain::ids::TraceId;
use crate::domain::trace::Trace;
use crate::queries::QueryError;
use crate::queries::explain::{EvaluatorOutcome, Explanation, explain};
use crate::queries::scores::ScoreRow;
use crate::queries::search::FoundTrace;
use crate::queries::trace::trace_and_run;

/// Attributes shown of a trace.
const ATTRIBUTES: usize = 60;
/// Characters shown of one text.
const CHARACTERS: usize = 4_000;

pub(in crate::web) async fn trace(
    State(state): State<WebState>,
    Path(id): Path<String>,
    parameters: Parameters,
) -> Result<Html<String>, PageError> {
    parameters.finish()?;
    let trace_id: TraceId = id.parse()?;
    let explanation = explain(&state.store, trace_id, &state.evaluators, state.clock.now()).await?;
    let (view, run) = match trace_and_run(&state.store, trace_id, &state.names, &state.prices).await {
        Ok(found) => found,
        Err(QueryError::PendingTrace { .. }) => return Ok(pending(&explanation)),
        Err(error) => return Err(error.into()),
    };
    state.shown(&[trace_id]).await?;
    Ok(page(
        &format!("Trace {}", &id[..8]),
        "/traces",
        &html! {
            h1 { "Trace " code { (trace_id) } }
            (identity(&view.summary, &explanation))
            (links(&state, trace_id))
            @if let Some(run) = &run { (conversation(run)) }
            (scores(&explanation))
            @if !explanation.external_scores.is_empty() { (external_scores(&explanation.external_scores)) }
            (timeline(&view, run.as_ref()))
        },
    ))
}

fn pending(explanation: &Explanation) -> Html<String> {
    page(
        "Trace",
        "/traces",
        &html! {
            h1 { "Trace " code { (explanation.trace_id) } }
            p { (badge("info", "pending")) " " (explanation.summary) }
            p.muted { "Reload this page then." }
        },
    )
}

fn identity(trace: &FoundTrace, explanation: &Explanation) -> Markup {
    html! {
        p {
            @if trace.failing { (badge("page", "flagged")) } @else { (badge("good", "not flagged")) }
            " "
            @if trace.error { (badge("warn", "error")) " " }
            @if let Some(class) = trace.failure_class { (badge("warn", class.as_str())) " " }
            (explanation.summary)
        }
        dl.facts {
            @for (name, value) in whose(trace) { div { dt { (name) } dd { (clipped(value, 120)) } } }
            @for (name, value) in trace.attributes.iter().take(ATTRIBUTES) {
                div { dt { (clipped(name, 60)) } dd { (clipped(value, 120)) } }
            }
            div { dt { "Started" } dd { (instant(trace.started_at)) } }
            div { dt { "Duration" } dd { (trace.latency_seconds.map_or_else(unmeasured, duration)) } }
        }
        @if let Some(reason) = &explanation.sampling_reason { p.muted { (reason) } }
        @if !explanation.notes.is_empty() {
            div.notice { @for note in &explanation.notes { p { (note) "." } } }
        }
    }
}

fn links(state: &WebState, trace_id: TraceId) -> Markup {
    let places = [(&state.trace_link, "Open in the tracing backend"), (&state.logs_link, "Open its logs")];
    html! {
        p {
            a href={ "/api/v1/traces/" (trace_id) } { "JSON" }
            " · " a href={ "/audit?id=" (trace_id) } { "Audit" }
            @for (template, name) in places {
                @if let Some(url) = elsewhere(template, "trace_id", &trace_id.to_string()) {
                    " · " a href=(url) rel="noreferrer" { (name) }
                }
            }
        }
    }
}

fn unmeasured() -> String {
    "not measured: the sender's times are invented".to_owned()
}

fn conversation(run: &Trace) -> Markup {
    let said = |who: &str, text: &Option<String>| {
        html! {
            div.said {
                h3 { (who) }
                @if let Some(text) = text { pre { (clipped(text, CHARACTERS)) } }
                @else { p.muted { "not recorded" } }
            }
        }
    };
    html! { section.conversation { (said("Input", &run.input)) (said("Final answer", &run.output)) } }
}

fn scores(explanation: &Explanation) -> Markup {
    html! {
        section {
            h2 { "Scores" }
            div.scroll { table {
                thead { tr { th { "Evaluator" } th { "Verdict" } th { "Why" } th { "Revision" } } }
                tbody { @for outcome in &explanation.evaluators { (score(outcome)) } }
            } }
        }
    }
}

fn score(outcome: &EvaluatorOutcome) -> Markup {
    let class = match outcome.value {
        Some(value) if value < 0.5 => "page",
        Some(_) => "good",
        None => "",
    };
    let word = outcome.label.as_deref().filter(|_| outcome.value.is_some());
    html! {
        tr {
            td { (clipped(&outcome.evaluator, 60)) }
            td.nowrap {
                (badge(class, &clipped(word.unwrap_or(&outcome.outcome.replace('_', " ")), 40)))
                @if let Some(value) = outcome.value { " " span.muted { (format!("{value:.2}")) } }
                " " (uncalibrated(outcome.calibrated))
            }
            td { (clipped(&outcome.why, 1_000)) }
            td.nowrap { code { (clipped(&outcome.revision, 16)) } }
        }
    }
}

/// Scores on scales of their own: no colour says whether they are good.
fn external_scores(rows: &[ScoreRow]) -> Markup {
    html! {
        section {
            h2 { "Scores of others" }
            div.scroll { table {
                thead { tr { th { "Name" } th { "Score" } th { "Why" } th { "By" } th { "Source" } } }
                tbody { @for row in rows { (external_score(row)) } }
            } }
        }
    }
}

fn external_score(row: &ScoreRow) -> Markup {
    let score = &row.evaluation;
    let word =
        score.label.as_deref().unwrap_or_else(|| if score.value.is_some() { "" } else { score.outcome.as_str() });
    html! {
        tr {
            td { (clipped(&score.evaluator, 60)) }
            td.nowrap {
                @if !word.is_empty() { (badge("", &clipped(word, 40))) " " }
                @if let Some(value) = score.value { span.muted { (value) } }
            }
            td { @if let Some(why) = &score.explanation { (clipped(why, 1_000)) } }
            td { (score.annotator_kind.as_str()) }
            td { (row.source.as_deref().map(|source| clipped(source, 60)).unwrap_or_default()) }
        }
    }
}
