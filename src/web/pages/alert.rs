//! One alert: what moved, since when, how sure, what it affects, and its life so far.

use axum::extract::{Path, State};
use axum::response::Html;
use maud::{Markup, html};

use super::super::WebState;
use super::PageError;
use super::alerts::{card, runbook_link};
use super::layout::{instant, page, trace_link};
use super::text::clipped;
use crate::domain::alert::{AlertEvent, Transition};
use crate::domain::report::Estimate;
use crate::queries::affected::{AffectedTrace, AlertDetail, alert_detail};

pub(in crate::web) async fn alert(
    State(state): State<WebState>,
    Path(id): Path<String>,
) -> Result<Html<String>, PageError> {
    let now = state.clock.now();
    let detail = alert_detail(&state.store, &id, &state.baseline, &state.public_url, now).await?;
    Ok(page(
        "Alert",
        "/alerts",
        &html! {
            h1 { "Alert " (detail.alert.fingerprint) }
            (card(&detail.alert))
            (hands(&detail))
            table {
                tr { th {} th { "n" } th { "estimate" } th { "95 % interval" } }
                (estimate("baseline", detail.baseline_estimate.as_ref()))
                (estimate("since the onset", detail.current_estimate.as_ref()))
            }
            h2 { "Affected traces (" (detail.affected_traces) ")" }
            (affected(&detail))
            h2 { "History" }
            table { @for event in &detail.history { (step(event)) } }
        },
    ))
}

/// Who has it, and who silenced it.
fn hands(detail: &AlertDetail) -> Markup {
    html! {
        @if let Some(taken) = &detail.alert.acknowledgement {
            p {
                "Acknowledged by " (clipped(&taken.by, 80)) " at " (instant(taken.at))
                @if let Some(note) = &taken.note { ": " (clipped(note, 500)) }
            }
        }
        @if let Some(since) = detail.alert.no_data_since { p { "No detector has confirmed it since " (instant(since)) } }
        @for silence in &detail.silences {
            p { "Silenced by " (clipped(&silence.by, 80)) " until " (instant(silence.ends_at)) ": " (clipped(&silence.reason, 500)) }
        }
        p { (runbook_link(&detail.alert)) " · " code { "driftline alerts ack " (detail.alert.fingerprint) } }
    }
}

fn estimate(name: &str, estimate: Option<&Estimate>) -> Markup {
    let number = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.4}"));
    html! {
        @if let Some(Estimate { n, estimate, low, high, .. }) = estimate {
            tr { td { (name) } td { (n) } td { (number(*estimate)) } td { (number(*low)) " to " (number(*high)) } }
        }
    }
}

fn affected(detail: &AlertDetail) -> Markup {
    html! {
        table { @for trace in &detail.affected.traces { (row(trace)) } }
        @if let Some(next) = &detail.affected.next {
            p {
                a href={ "/api/v1/alerts/" (detail.alert.fingerprint) "/traces?limit=1000&after=" (next) } { "more, as JSON" }
                " · all: " code { "driftline alerts show " (detail.alert.fingerprint) " --all" }
            }
        }
    }
}

fn row(trace: &AffectedTrace) -> Markup {
    let ids = trace.attributes.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ");
    html! {
        tr {
            td { (trace_link(trace.trace_id)) }
            td { (instant(trace.ended_at)) }
            td { (clipped(trace.user_id.as_deref().unwrap_or_default(), 40)) }
            td { (clipped(&ids, 200)) }
        }
    }
}

fn step(event: &AlertEvent) -> Markup {
    let by = event.alert.acknowledgement.as_ref().filter(|_| event.transition == Transition::Acknowledged);
    html! {
        tr {
            td { (instant(event.at)) }
            td { (event.transition.as_str()) @if let Some(taken) = by { " by " (clipped(&taken.by, 80)) } }
            td { (event.alert.severity.as_str()) }
        }
    }
}
