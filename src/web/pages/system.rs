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
use crate::queries::system::{BrokerState, QueueLag, ServiceLag, system as ask};

pub(in crate::web) async fn system(
    State(state): State<WebState>,
    parameters: Parameters,
) -> Result<Html<String>, PageError> {
    parameters.finish()?;
    let now = state.clock.now();
    let dependencies = dependencies(&state).await;
    let found = ask(&state.store, state.queue.as_ref(), now).await?;
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
            h2 { "Queues" }
            (queues(&found.queues, now))
            h2 { "Dead letters" }
            (dead_letters(found.broker.as_ref()))
            (watching(&found.services, now))
            p.muted { "Metrics of all of it are at " a href="/metrics" { "/metrics" } ", this page as JSON at "
                a href="/api/v1/system" { "/api/v1/system" } "." }
        },
    ))
}

fn queues(queues: &[QueueLag], now: Timestamp) -> Markup {
    html! {
        div.scroll { table {
            thead { tr { th { "Queue" } th.number { "Waiting" } th.number { "Due for" } th.number { "Attempts" } th { "Last failure" } } }
            tbody { @for of in queues { tr {
                td { (in_words(&of.queue)) }
                td.number { (of.waiting) }
                td.number { (of.due_at.map_or_else(|| "–".to_owned(), |due_at| duration(now.seconds_since(due_at).max(0.0)))) }
                td.number { (of.attempts) }
                td { @if let Some(error) = &of.error { (clipped(error, 200)) } }
            } } }
        } }
    }
}

fn in_words(queue: &str) -> &str {
    match queue {
        "pending" => "Traces waiting for completion",
        "due" => "of those, complete and waiting for a worker",
        "judge" => "Judgements to make",
        "outbox" => "Scores and alerts to send",
        other => other,
    }
}

/// What no retry helped, or has yet helped.
fn dead_letters(broker: Option<&BrokerState>) -> Markup {
    let Some(broker) = broker else {
        return html! { p.muted {
            "No broker is configured: what cannot be read is refused to its sender, and nothing is a dead letter."
        } };
    };
    let Some(counts) = broker.counts else {
        let why = broker.error.as_deref().unwrap_or_default();
        return html! { p {
            (badge("page", "not known")) " The broker could not be asked: " (clipped(why, 300)) ". Whatever was in it is in it."
        } };
    };
    html! {
        dl.facts {
            div { dt { "Queue" } dd { code { (clipped(&broker.queue, 120)) } } }
            div { dt { "Messages waiting for a worker" } dd { (counts.waiting) } }
            div { dt { "Waiting for another attempt" } dd { (counts.retrying) } }
            div { dt { "Dead letters" } dd {
                @if counts.dead_letters == 0 { (badge("good", "0")) } @else { (badge("page", &counts.dead_letters.to_string())) }
            } }
        }
        p.muted {
            "What cannot be read, or failed again and again, is kept as a dead letter. Why: "
            code { "driftline dead-letters list" } "; back into the queue: " code { "driftline dead-letters replay" } "."
        }
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
