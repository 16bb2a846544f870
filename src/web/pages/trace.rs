//! One trace: what was asked and answered, its scores, what happened when, and why it was judged or not.

use axum::extract::{Path, State};
use axum::response::Html;
use maud::{Markup, html};
use serde_json::Value;

use super::super::WebState;
use super::super::parameters::Parameters;
use super::PageError;
use super::figures::duration;
use super::layout::{badge, instant, page};
use super::span_tree::walk;
use super::text::{Budget, clipped};
use crate::domain::ids::TraceId;
use crate::domain::time::Timestamp;
use crate::domain::trace::Trace;
use crate::queries::QueryError;
use crate::queries::explain::{EvaluatorOutcome, Explanation, explain};
use crate::queries::inspection::understood;
use crate::queries::span::StoredSpan;
use crate::queries::trace::{TraceView, trace as ask};

/// Spans shown.
const SPANS: usize = 300;
/// Attributes shown of one span.
const ATTRIBUTES: usize = 60;
/// Characters shown of one text.
const CHARACTERS: usize = 4_000;
/// Characters of span attributes shown in all.
const PAGE_CHARACTERS: usize = 400_000;
/// Deepest indentation that is drawn.
const DEEPEST: usize = 12;

pub(in crate::web) async fn trace(
    State(state): State<WebState>,
    Path(id): Path<String>,
    parameters: Parameters,
) -> Result<Html<String>, PageError> {
    parameters.finish()?;
    let trace_id: TraceId = id.parse()?;
    let explanation = explain(&state.store, trace_id, &state.evaluators, state.clock.now()).await?;
    let view = match ask(&state.store, trace_id).await {
        Ok(view) => view,
        Err(QueryError::PendingTrace { .. }) => return Ok(pending(&explanation)),
        Err(error) => return Err(error.into()),
    };
    let run = understood(&state.store, trace_id, &state.names).await.ok();
    Ok(page(
        &format!("Trace {}", &id[..8]),
        "/traces",
        &html! {
            h1 { "Trace " code { (trace_id) } }
            (identity(&view, &explanation, &state.trace_link))
            @if let Some(run) = &run { (conversation(run)) }
            (scores(&explanation))
            (timeline(&view))
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

fn identity(view: &TraceView, explanation: &Explanation, trace_link: &str) -> Markup {
    let facts = [
        ("Service", Some(&view.service)),
        ("Release", view.release.as_ref()),
        ("Model", view.model.as_ref()),
        ("Environment", view.environment.as_ref()),
        ("Conversation", view.conversation_id.as_ref()),
        ("User", view.user_id.as_ref()),
    ];
    let seconds = view.ended_at.seconds_since(view.started_at).max(0.0);
    html! {
        p {
            @if view.failing { (badge("page", "flagged")) } @else { (badge("good", "not flagged")) }
            " "
            @if view.error { (badge("warn", "error")) " " }
            (explanation.summary)
        }
        dl.facts {
            @for (name, value) in facts { @if let Some(value) = value { div { dt { (name) } dd { (clipped(value, 120)) } } } }
            @for (name, value) in view.attributes.iter().take(ATTRIBUTES) {
                div { dt { (clipped(name, 60)) } dd { (clipped(value, 120)) } }
            }
            div { dt { "Started" } dd { (instant(view.started_at)) } }
            div { dt { "Duration" } dd { (duration(seconds)) } }
        }
        @if let Some(reason) = &explanation.sampling_reason { p.muted { (reason) } }
        p {
            a href={ "/api/v1/traces/" (view.trace_id) } { "JSON" }
            @if let Some(url) = backend(trace_link, view.trace_id) {
                " · " a href=(url) rel="noreferrer" { "Open in the tracing backend" }
            }
        }
    }
}

/// The trace in the tracing backend; only web addresses become links.
fn backend(template: &str, trace_id: TraceId) -> Option<String> {
    let is_web = template.starts_with("https://") || template.starts_with("http://");
    is_web.then(|| template.replace("{trace_id}", &trace_id.to_string()))
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
            }
            td { (clipped(&outcome.why, 1_000)) }
            td { code { (clipped(&outcome.revision, 16)) } }
        }
    }
}

fn timeline(view: &TraceView) -> Markup {
    let walked = walk(&view.spans);
    let mut budget = Budget::new(PAGE_CHARACTERS);
    html! {
        section {
            h2 { "Timeline" }
            @if !view.body.kept {
                p.notice { "The spans were kept until " (instant(view.body.until)) "; what is left are the scores." }
            }
            div.timeline {
                @for (depth, span) in walked.iter().take(SPANS) { (row(view, *depth, span, &mut budget)) }
            }
            @if walked.len() > SPANS {
                p.muted { (walked.len() - SPANS) " more spans are in the "
                    a href={ "/api/v1/traces/" (view.trace_id) } { "JSON" } "." }
            }
        }
    }
}

fn row(view: &TraceView, depth: usize, span: &StoredSpan, budget: &mut Budget) -> Markup {
    let name = span.name.as_deref().unwrap_or("span not kept");
    html! {
        details.span {
            summary {
                span class={ "name depth-" (depth.min(DEEPEST)) } {
                    (clipped(name, 80))
                    @if span.status == "error" { " " (badge("page", "error")) }
                    @if is_judged(span) { " " (badge("info", "scored")) }
                }
                span.number { (span.seconds().map_or_else(|| "–".to_owned(), duration)) }
                (lane(view, span))
            }
            (detail(span, budget))
        }
    }
}

fn is_judged(span: &StoredSpan) -> bool {
    span.attributes.keys().any(|key| key.starts_with("driftline.eval."))
}

/// Where the span lies in the run.
fn lane(view: &TraceView, span: &StoredSpan) -> Markup {
    let whole = view.ended_at.seconds_since(view.started_at).max(1e-9);
    let share = |at: Timestamp| (at.seconds_since(view.started_at) / whole).clamp(0.0, 1.0) * 100.0;
    html! {
        svg.lane viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true" {
            @if let (Some(start), Some(end)) = (span.started_at, span.ended_at) {
                rect class=(tone(span)) x=(format!("{:.2}", share(start).min(99.4))) y="1" height="8"
                    width=(format!("{:.2}", (share(end) - share(start)).max(0.6))) {}
            }
        }
    }
}

/// Colours tell model calls, tool calls and the rest apart; the names say the same.
fn tone(span: &StoredSpan) -> &'static str {
    let has = |prefix: &str| span.attributes.keys().any(|key| key.starts_with(prefix));
    match span {
        span if span.status == "error" => "failed",
        _ if has("gen_ai.tool.") || has("tool.") => "tool",
        _ if has("gen_ai.usage.") || has("llm.") => "model",
        _ => "other",
    }
}

fn detail(span: &StoredSpan, budget: &mut Budget) -> Markup {
    html! {
        div.detail {
            p.muted { "span " code { (span.span_id) } " · " (span.kind) " · status " (span.status)
                @if let Some(message) = &span.status_message { ": " (budget.clip(message, 500)) } }
            dl.attributes {
                @for (key, value) in span.attributes.iter().take(ATTRIBUTES) {
                    dt { (budget.clip(key, 120)) }
                    dd { pre { (budget.clip(&shown(value), CHARACTERS)) } }
                }
                @for event in span.events.iter().take(ATTRIBUTES) {
                    dt { "event " (budget.clip(&event.name, 120)) }
                    dd { pre { (budget.clip(&shown(&event.attributes.clone().into_iter().collect()), CHARACTERS)) } }
                }
            }
            @if span.attributes.len() > ATTRIBUTES || budget.is_spent() { p.muted { "More is in the JSON." } }
        }
    }
}

/// A value as text; JSON inside of text is laid out.
fn shown(value: &Value) -> String {
    let laid_out = |value: &Value| serde_json::to_string_pretty(value).unwrap_or_default();
    match value {
        Value::String(text) if text.starts_with(['{', '[']) && text.len() < 10 * CHARACTERS => {
            serde_json::from_str::<Value>(text).map_or_else(|_| text.clone(), |json| laid_out(&json))
        }
        Value::String(text) => text.clone(),
        Value::Array(_) | Value::Object(_) => laid_out(value),
        other => other.to_string(),
    }
}
