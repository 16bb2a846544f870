//! The spans of a trace over time, each opening into its attributes.

use std::collections::HashMap;

use maud::{Markup, html};
use serde_json::Value;

use super::figures::duration;
use super::layout::{badge, instant};
use super::span_tree::walk;
use super::text::{Budget, clipped};
use crate::domain::ids::SpanId;
use crate::domain::time::Timestamp;
use crate::domain::trace::{Step, ToolCall, ToolStatus, Trace};
use crate::queries::span::StoredSpan;
use crate::queries::trace::TraceView;

/// Spans shown.
const SPANS: usize = 300;
/// Attributes and events shown of one span.
const ATTRIBUTES: usize = 60;
/// Characters shown of one text.
const CHARACTERS: usize = 4_000;
/// Characters of span attributes shown in all.
const PAGE_CHARACTERS: usize = 400_000;
/// Deepest indentation that is drawn.
const DEEPEST: usize = 12;

/// Steps of the run by the span that records them; a message may record several tool calls, of which one is shown.
type Steps<'a> = HashMap<SpanId, &'a Step>;

pub(super) fn timeline(view: &TraceView, run: Option<&Trace>) -> Markup {
    let walked = walk(&view.spans);
    let steps = run.map(steps).unwrap_or_default();
    let mut budget = Budget::new(PAGE_CHARACTERS);
    html! {
        section {
            h2 { "Timeline" }
            @if !view.body.kept {
                p.notice { "The spans were kept until " (instant(view.body.until)) "; what is left are the scores." }
            }
            div.timeline {
                @for (depth, span) in walked.iter().take(SPANS) {
                    (row(view, *depth, span, steps.get(&span.span_id).copied(), &mut budget))
                }
            }
            @if walked.len() > SPANS {
                p.muted { (walked.len() - SPANS) " more spans are in the "
                    a href={ "/api/v1/traces/" (view.summary.trace_id) } { "JSON" } "." }
            }
            (legend())
        }
    }
}

fn steps(run: &Trace) -> Steps<'_> {
    let span_id = |step: &Step| match step {
        Step::Model(call) => call.span_id,
        Step::Tool(call) => call.span_id,
        Step::Retrieval(retrieval) => retrieval.span_id,
    };
    run.steps.iter().map(|step| (span_id(step), step)).collect()
}

fn legend() -> Markup {
    let tones = [("model", "model call"), ("tool", "tool call"), ("retrieval", "retrieval"), ("failed", "error")];
    html! {
        p.legend {
            @for (tone, name) in tones {
                svg viewBox="0 0 10 10" aria-hidden="true" { rect class=(tone) width="10" height="10" rx="2" {} }
                " " (name) " "
            }
        }
    }
}

fn row(view: &TraceView, depth: usize, span: &StoredSpan, step: Option<&Step>, budget: &mut Budget) -> Markup {
    let name = span.name.as_deref().unwrap_or("span not kept");
    html! {
        details.span {
            summary {
                span class={ "name depth-" (depth.min(DEEPEST)) } {
                    (clipped(name, 80))
                    @if span.status == "error" { " " (badge("page", "error")) }
                    @if let Some(Step::Tool(call)) = step { (outcome(call)) }
                    @if span.span_id != view.root_span_id && is_judged(span) { " " (badge("info", "scored")) }
                }
                span.number { (span.seconds().map_or_else(|| "–".to_owned(), duration)) }
                (lane(view, span, tone(span, step)))
            }
            (detail(span, budget))
        }
    }
}

/// What is worth noticing about a tool call.
fn outcome(call: &ToolCall) -> Markup {
    html! {
        @if !matches!(call.status, ToolStatus::Success | ToolStatus::Error) {
            " " (badge("warn", &call.status.as_str().replace('_', " ")))
        }
        @if call.result_empty == Some(true) { " " (badge("warn", "empty result")) }
        @if call.repeat_of.is_some() { " " (badge("", "repeat")) }
    }
}

fn is_judged(span: &StoredSpan) -> bool {
    span.attributes.keys().any(|key| key.starts_with("driftline.eval."))
}

/// Where the span lies in the run.
fn lane(view: &TraceView, span: &StoredSpan, tone: &str) -> Markup {
    let whole = view.summary.ended_at.seconds_since(view.summary.started_at).max(1e-9);
    let share = |at: Timestamp| (at.seconds_since(view.summary.started_at) / whole).clamp(0.0, 1.0) * 100.0;
    html! {
        svg.lane viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true" {
            @if let (Some(start), Some(end)) = (span.started_at, span.ended_at) {
                rect class=(tone) x=(format!("{:.2}", share(start).min(99.4))) y="1" height="8"
                    width=(format!("{:.2}", (share(end) - share(start)).max(0.6))) {}
            }
        }
    }
}

/// Colours tell kinds of steps apart; names, badges and the legend say the same.
fn tone(span: &StoredSpan, step: Option<&Step>) -> &'static str {
    match step {
        _ if span.status == "error" => "failed",
        Some(Step::Model(_)) => "model",
        Some(Step::Tool(_)) => "tool",
        Some(Step::Retrieval(_)) => "retrieval",
        None => "other",
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
