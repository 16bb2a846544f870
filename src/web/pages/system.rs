//! How the service itself is: what it depends on, what waits, how far it lags.

use axum::extract::State;
use axum::response::Html;
use maud::{Markup, html};

use super::super::WebState;
use super::super::health::dependencies;
use super::super::parameters::Parameters;
use super::PageError;
use super::figures::duration;
use super::layout::{badge, instant, page};
use super::text::clipped;
use crate::domain::time::Timestamp;
use crate::queries::system::{Lag, ServiceLag, System, system as ask};

pub(in crate::web) async fn system(
    State(state): State<WebState>,
    parameters: Parameters,
) -> Result<Html<String>, PageError> {
    parameters.finish()?;
    let now = state.clock.now();
    let dependencies = dependencies(&state).await;
    let found = ask(&state.store, now).await?;
    Ok(page(
        "System",
        "/system",
        &html! {
            h1 { "System" }
            h2 { "Dependencies" }
            dl.facts { @for one in &dependencies {
                div { dt { (clipped(&one.name, 60)) } dd {
                    @match &one.error {
                        None => (badge("good", "answers")),
                        Some(error) => { (badge("page", "does not answer")) " " (clipped(error, 300)) }
                    }
                } }
            } }
            h2 { "This process" }
            dl.facts {
                div { dt { "Roles" } dd { (state.roles.join(", ")) } }
                div { dt { "Version" } dd { (env!("CARGO_PKG_VERSION")) } }
                div { dt { "Receives at" } dd { code { (clipped(&state.receive_url, 120)) } } }
            }
            (queues(&found, now))
            (watching(&found.services, now))
            h2 { "Dead letters" }
            p.muted { "What no retry helped is kept in the queue's dead letters: " code { "driftline dead-letters list" }
                ". Metrics of all of it are at " a href="/metrics" { "/metrics" } "." }
        },
    ))
}

fn queues(found: &System, now: Timestamp) -> Markup {
    let depths = found.depths;
    let rows: [(&str, u64, Option<&Lag>); 4] = [
        ("Traces waiting for completion", depths.pending, None),
        ("of those, complete and waiting for a worker", depths.due, found.due.as_ref()),
        ("Judgements to make", depths.judge_jobs, found.judge_jobs.as_ref()),
        ("Scores and alerts to send", depths.outbox, found.outbox.as_ref()),
    ];
    html! {
        h2 { "Queues" }
        div.scroll { table {
            thead { tr { th { "Queue" } th.number { "Waiting" } th.number { "Due for" } th.number { "Attempts" } th { "Last failure" } } }
            tbody { @for (name, depth, lag) in rows { tr {
                td { (name) }
                td.number { (depth) }
                td.number { (lag.map_or_else(|| "–".to_owned(), |lag| duration(now.seconds_since(lag.due_at).max(0.0)))) }
                td.number { (lag.map_or(0, |lag| lag.attempts)) }
                td { @if let Some(error) = lag.and_then(|lag| lag.error.as_ref()) { (clipped(error, 200)) } }
            } } }
        } }
    }
}

fn watching(services: &[ServiceLag], now: Timestamp) -> Markup {
    html! {
        h2 { "Watching" }
        @if services.is_empty() { p.muted { "No hour has been watched yet." } }
        @else {
            div.scroll { table {
                thead { tr { th { "Service" } th { "Last hour watched" } th.number { "Hours waiting" } th.number { "Oldest waits" } } }
                tbody { @for one in services { tr {
                    td { (clipped(&one.service, 80)) }
                    td { @match one.watched { Some(hour) => (instant(hour)), None => span.muted { "none" } } }
                    td.number { (one.waiting) }
                    td.number { (one.oldest.map_or_else(|| "–".to_owned(), |hour| duration(now.seconds_since(hour).max(0.0)))) }
                } } }
            } }
        }
    }
}
