//! Traces of a selection, newest first, and what stands out among them.

use axum::extract::State;
use axum::response::Html;
use maud::{Markup, html};

use super::super::WebState;
use super::super::parameters::Parameters;
use super::PageError;
use super::figures::{capitalized, duration};
use super::layout::{address, badge, instant, page, trace_link};
use super::rankings::{offers, ranked};
use super::text::clipped;
use crate::queries::search::{DEFAULT_LIMIT, FoundTrace, LARGEST_LIMIT};
use crate::queries::selection::{Condition, recent};
use crate::queries::top::{Ranked, Ranking, answered};

/// What the form narrows by besides flags, each with an example.
const FIELDS: [(&str, &str); 3] = [("service", ""), ("release", ""), ("since", "24h, or 2026-01-31")];

pub(in crate::web) async fn traces(
    State(state): State<WebState>,
    mut parameters: Parameters,
) -> Result<Html<String>, PageError> {
    let limit = parameters.parse("limit", "a number of traces")?.unwrap_or(DEFAULT_LIMIT);
    let ranking = parameters.parse("top", "tools, conversations or failures")?;
    // A field that was left empty is sent all the same.
    let given: Vec<Condition> = parameters.rest().into_iter().filter(|(_, value)| !value.is_empty()).collect();
    let conditions = if ranking.is_some() { recent(given) } else { given };
    let asked_at = (&*state.names, state.clock.now());
    let found = answered(&state.store, ranking, &conditions, limit, asked_at).await?.found;
    Ok(page(
        "Traces",
        "/traces",
        &html! {
            h1 { "Traces" }
            (offers(ranking, &conditions))
            (narrowing(ranking, &conditions))
            (chosen(ranking, &conditions))
            @match &found {
                Ranked::Traces(found) if ranking.is_none() => (newest(&found.traces, limit, &conditions)),
                found => (ranked(found)),
            }
            @if matches!(found, Ranked::Traces(_)) { (meanings()) }
        },
    ))
}

/// Fields to narrow by; what else narrows already stays.
fn narrowing(ranking: Option<Ranking>, conditions: &[Condition]) -> Markup {
    let of = |name: &str| conditions.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    let others = conditions.iter().filter(|(key, _)| !FIELDS.iter().any(|(name, _)| name == key) && key != "failing");
    html! {
        form method="get" action="/traces" {
            @if let Some(ranking) = ranking { input type="hidden" name="top" value=(ranking.as_str()); }
            @for (key, value) in others { input type="hidden" name=(key) value=(value); }
            @for (name, example) in FIELDS {
                label { (capitalized(name)) input name=(name) value=(of(name).unwrap_or_default()) placeholder=(example); }
            }
            label { "Flagged"
                select name="failing" {
                    @for (value, word) in [("", "all"), ("true", "flagged"), ("false", "not flagged")] {
                        option value=(value) selected[of("failing").unwrap_or_default() == value] { (word) }
                    }
                }
            }
            button { "Narrow" }
        }
    }
}

/// What the words of the column of states mean.
fn meanings() -> Markup {
    html! {
        p.muted { "Flagged: a rule or a judge fails the run. Hard: it says itself that something went wrong; soft: all reports "
            "success, and the answer or the conduct is wrong; looping: it goes round in circles; drifting: it is evidence of an "
            "open alert." }
    }
}

fn newest(traces: &[FoundTrace], limit: usize, conditions: &[Condition]) -> Markup {
    // Ten times as many, as far as one page goes.
    let next = limit.saturating_mul(10).min(LARGEST_LIMIT);
    html! {
        @if traces.is_empty() {
            p.muted { "No evaluated trace matches." }
        } @else {
            (table(traces))
            p.muted {
                "The newest " (traces.len()) ", newest first."
                @if traces.len() == limit && next > limit {
                    " " a href=(of(None, conditions, &[("limit", &next.to_string())])) { "more" }
                }
            }
        }
    }
}

fn chosen(ranking: Option<Ranking>, conditions: &[Condition]) -> Markup {
    html! {
        @if !conditions.is_empty() { p {
            @for (key, value) in conditions { (badge("", &format!("{key} = {}", clipped(value, 80)))) " " }
            a href=(of(ranking, &[], &[])) { "show all" }
        } }
    }
}

/// The page of a ranking and conditions, with further parameters.
pub(super) fn of(ranking: Option<Ranking>, conditions: &[Condition], further: &[(&str, &str)]) -> String {
    let ranking = ranking.map(|ranking| ("top", ranking.as_str()));
    let conditions = conditions.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    address("/traces", &ranking.into_iter().chain(conditions).chain(further.iter().copied()).collect::<Vec<_>>())
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
            td { @match &trace.conversation_id {
                Some(id) => a href=(address("/traces", &[("conversation", id)])) { (clipped(id, 24)) },
                None => "–",
            } }
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
