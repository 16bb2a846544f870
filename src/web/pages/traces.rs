//! Traces of a selection, newest first, and what stands out among them.

use axum::extract::State;
use axum::response::Html;
use maud::{Markup, html};

use super::super::WebState;
use super::super::parameters::Parameters;
use super::PageError;
use super::figures::duration;
use super::layout::{badge, instant, page, trace_link};
use super::rankings::{offers, ranked};
use super::text::clipped;
use crate::queries::search::{DEFAULT_LIMIT, FoundTrace};
use crate::queries::selection::{Condition, recent};
use crate::queries::top::{Ranked, answered};

pub(in crate::web) async fn traces(
    State(state): State<WebState>,
    mut parameters: Parameters,
) -> Result<Html<String>, PageError> {
    let limit = parameters.parse("limit", "a number of traces")?.unwrap_or(DEFAULT_LIMIT);
    let ranking = parameters.parse("top", "tools, conversations or failures")?;
    let conditions = if ranking.is_some() { recent(parameters.rest()) } else { parameters.rest() };
    let asked_at = (&*state.names, state.clock.now());
    let found = answered(&state.store, ranking, &conditions, limit, asked_at).await?.found;
    Ok(page(
        "Traces",
        "/traces",
        &html! {
            h1 { "Traces" }
            (offers(ranking, &conditions))
            (chosen(&conditions))
            @match &found {
                Ranked::Traces(found) if ranking.is_none() => (newest(&found.traces)),
                found => (ranked(found)),
            }
        },
    ))
}

fn newest(traces: &[FoundTrace]) -> Markup {
    html! {
        @if traces.is_empty() {
            p.muted { "No evaluated trace matches." }
        } @else {
            (table(traces))
            p.muted { "The newest " (traces.len()) ", newest first. Add limit=… to the address for more." }
        }
    }
}

fn chosen(conditions: &[Condition]) -> Markup {
    html! {
        p {
            @for (key, value) in conditions { (badge("", &format!("{key} = {}", clipped(value, 80)))) " " }
            @if conditions.is_empty() { span.muted { "All services. Narrow with ?service=…&failing=true&since=24h" } }
            @else { a href="/traces" { "show all" } }
        }
    }
}

/// Traces, a row each.
pub(super) fn table(traces: &[FoundTrace]) -> Markup {
    html! { div.scroll { table { (head()) tbody { @for trace in traces { (row(trace)) } } } } }
}

fn head() -> Markup {
    html! {
        thead { tr {
            @for name in ["Trace", "Ended", "Service", "Release", "Model", "Conversation"] { th { (name) } }
            th.number { "Duration" }
            th { "State" }
        } }
    }
}

fn row(trace: &FoundTrace) -> Markup {
    let shown = |text: &Option<String>| clipped(text.as_deref().unwrap_or("–"), 40);
    html! {
        tr {
            td { (trace_link(trace.trace_id)) }
            td.nowrap { (instant(trace.ended_at)) }
            td { (clipped(&trace.service, 40)) }
            td { (shown(&trace.release)) }
            td { (shown(&trace.model)) }
            td { (shown(&trace.conversation_id)) }
            td.number { (trace.latency_seconds.map_or_else(|| "–".to_owned(), duration)) }
            td.nowrap {
                @if trace.failing { (badge("page", "flagged")) " " }
                @if trace.error { (badge("warn", "error")) " " }
                @if let Some(class) = trace.failure_class { (badge("warn", class.as_str())) " " }
                @if !trace.failing && !trace.error { (badge("good", "ok")) }
            }
        }
    }
}
