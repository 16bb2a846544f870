//! Empties the outbox, one destination apart from every other: one that is down delays its own items and nothing else.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::join_all;
use prost::Message as _;

use super::Shared;
use super::crash_point::crash_point;
use super::forward::together;
use super::invariant::{Invariant, are_told_apart};
use super::notify::format::Format;
use super::notify::message::Message;
use super::retry::delay;
use super::score_api::ScoreApi;
use super::write_back::{WriteBack, events, spans};
use crate::backends::http::{HttpSender, SendError};
use crate::backends::store::{OutboxItem, StoreError};
use crate::domain::ids::TraceId;
use crate::domain::time::Timestamp;
use crate::telemetry::metrics::CallLabels;

/// How long a claim holds: longer than two requests may take.
const LEASE: Duration = Duration::from_secs(25);
const IDLE: Duration = Duration::from_millis(500);
/// A message about an alert that its channel refuses after as many attempts is given up: what follows waits for it.
const MOST_REFUSALS: u32 = 8;
/// A score whose span its backend still does not know after as many attempts, half an hour, is given up: the span may
/// have been sampled away on its way there.
const MOST_ABSENCES: u32 = 16;

/// How a destination is spoken to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Protocol {
    /// Evaluation spans and log events to an OTLP/HTTP endpoint, many items in one request.
    Otlp,
    /// Whole traces to an OTLP/HTTP endpoint, many in one request.
    Forward,
    /// Scores by a backend's own API.
    Scores(ScoreApi),
    /// Each item a message about an alert, claimed alone: the next one's failure must not send it again.
    Alerts(Format),
}

impl Protocol {
    /// Items in one claim, and in one request.
    const fn batch(&self) -> usize {
        match self {
            Self::Otlp => 200,
            Self::Forward => 20,
            Self::Scores(api) => api.batch(),
            Self::Alerts(_) => 1,
        }
    }

    /// Whether scores go there.
    #[must_use]
    pub const fn is_of_scores(&self) -> bool {
        matches!(self, Self::Otlp | Self::Scores(_))
    }

    /// Whether a refusal is of the body, or of what it is about, and not of us.
    const fn is_about_body(&self, error: &SendError) -> bool {
        let SendError::Refused { status, .. } = error else { return false };
        matches!(status, 400 | 413 | 422) || matches!((self, status), (Self::Scores(_), 404))
    }
}

/// Where items of the outbox go.
#[derive(Debug, Clone)]
pub struct Destination {
    /// Its name in the outbox.
    pub name: String,
    /// How it is spoken to.
    pub protocol: Protocol,
    /// The way there.
    pub sender: HttpSender,
}

/// Delivers to one destination until the process is to end.
pub async fn deliver(shared: Shared, destination: Destination) {
    while !shared.is_stopping() {
        let step = step(&shared, &destination).await;
        shared.rest("deliver", IDLE, step).await;
    }
}

/// One claim; whether there was something to do.
async fn step(shared: &Shared, destination: &Destination) -> Result<bool, StoreError> {
    let items = shared.store.claim_outbox(&destination.name, shared.now(), LEASE, destination.protocol.batch()).await?;
    if items.is_empty() {
        return Ok(false);
    }
    let items = match destination.protocol {
        Protocol::Scores(_) => without_superseded(shared, items).await?,
        Protocol::Otlp | Protocol::Forward | Protocol::Alerts(_) => items,
    };
    crash_point("deliver.send");
    let sent = destination.send(shared, &items).await;
    crash_point("deliver.sent");
    match sent {
        Err(error) if items.len() > 1 && destination.protocol.is_about_body(&error) => {
            // The body is refused, and not us: one item is at fault. Alone, it delays no other.
            let alone = items.iter().map(|item| deliver_one(shared, destination, item));
            join_all(alone).await.into_iter().collect::<Result<(), _>>()?;
        }
        sent => settle(shared, destination, &items, sent).await?,
    }
    Ok(true)
}

/// Leaves out what is about an earlier version of a trace: it would overwrite what is said of the later one.
async fn without_superseded(shared: &Shared, items: Vec<OutboxItem>) -> Result<Vec<OutboxItem>, StoreError> {
    let told: Vec<Option<(TraceId, i64)>> = items.iter().map(|item| read(item)?.subject()).collect();
    let trace_ids: BTreeSet<TraceId> = told.iter().flatten().map(|(trace_id, _)| *trace_id).collect();
    let traces = shared.store.traces(&trace_ids.into_iter().collect::<Vec<_>>()).await?;
    let is_superseded = |told: &Option<(TraceId, i64)>| {
        told.is_some_and(|(id, version)| traces.iter().any(|trace| trace.trace_id == id && trace.version > version))
    };
    let (superseded, current): (Vec<_>, Vec<_>) =
        items.into_iter().zip(told).partition(|(_, told)| is_superseded(told));
    if !superseded.is_empty() {
        shared.store.delivered(&superseded.iter().map(|(item, _)| item.id).collect::<Vec<_>>()).await?;
    }
    Ok(current.into_iter().map(|(item, _)| item).collect())
}

async fn deliver_one(shared: &Shared, destination: &Destination, item: &OutboxItem) -> Result<(), StoreError> {
    let item = std::slice::from_ref(item);
    settle(shared, destination, item, destination.send(shared, item).await).await
}

/// Forgets what was taken, and puts off what was not.
async fn settle(
    shared: &Shared,
    destination: &Destination,
    items: &[OutboxItem],
    sent: Result<(), SendError>,
) -> Result<(), StoreError> {
    if items.is_empty() {
        return Ok(());
    }
    let ids: Vec<i64> = items.iter().map(|item| item.id).collect();
    let result = if sent.is_ok() { "ok" } else { "retry" };
    let labels = CallLabels { to: destination.name.clone(), result: result.to_owned() };
    shared.metrics.deliveries.get_or_create(&labels).inc_by(items.len() as u64);
    let Err(error) = sent else { return shared.store.delivered(&ids).await };
    let attempts = items.iter().map(|item| item.attempts).max().unwrap_or(1);
    let reason = destination.reason(&error);
    if destination.gives_up(&error, attempts) {
        tracing::error!(destination = destination.name, reason, attempts, "delivery is given up");
        return shared.store.delivered(&ids).await;
    }
    let wait = delay(attempts, error.retry_after(), fastrand::f64());
    let seconds = wait.as_secs();
    tracing::warn!(
        destination = destination.name,
        items = items.len(),
        reason,
        seconds,
        "delivery will be tried again"
    );
    shared.store.retry_outbox(&ids, shared.now().plus(wait), &reason).await
}

/// What is in items that are sent together.
fn write_backs(shared: &Shared, items: &[OutboxItem]) -> Vec<WriteBack> {
    let write_backs: Vec<WriteBack> = items.iter().filter_map(read).collect();
    Invariant::WriteBacksAreToldApart.check(&shared.metrics, are_told_apart(&write_backs));
    write_backs
}

/// An item that this program wrote; one that it cannot read back is told and left out.
fn read(item: &OutboxItem) -> Option<WriteBack> {
    let write_back = serde_json::from_slice(&item.payload);
    write_back
        .inspect_err(|error| tracing::error!(key = item.key, %error, "scores cannot be read from the outbox"))
        .ok()
}

impl Destination {
    async fn send(&self, shared: &Shared, items: &[OutboxItem]) -> Result<(), SendError> {
        match &self.protocol {
            Protocol::Otlp => self.send_otlp(&write_backs(shared, items)).await,
            Protocol::Forward => {
                let body = together(items.iter().map(|item| item.payload.as_slice()));
                self.sender.post_below("v1/traces", "application/x-protobuf", body).await
            }
            Protocol::Scores(api) => api.send(&self.sender, &write_backs(shared, items)).await,
            Protocol::Alerts(format) => {
                for item in items {
                    self.send_alert(format, item, shared.now()).await?;
                }
                Ok(())
            }
        }
    }

    async fn send_alert(&self, format: &Format, item: &OutboxItem, now: Timestamp) -> Result<(), SendError> {
        let message = serde_json::from_slice::<Message>(&item.payload);
        let message = message
            .inspect_err(|error| tracing::error!(key = item.key, %error, "an alert cannot be read from the outbox"));
        let Some(body) = message.ok().and_then(|message| format.body(&message, now)) else { return Ok(()) };
        let body = body.to_string().into_bytes();
        match format.path() {
            "" => self.sender.post("application/json", body).await,
            path => self.sender.post_below(path, "application/json", body).await,
        }
    }

    /// Why something was not taken, without the secrets of the destination.
    fn reason(&self, error: &SendError) -> String {
        match &self.protocol {
            Protocol::Otlp | Protocol::Forward | Protocol::Scores(_) => error.to_string(),
            Protocol::Alerts(format) => format.without_secret(&error.to_string()),
        }
    }

    /// Whether it is the body that is refused, again and again, while others wait for their turn.
    fn gives_up(&self, error: &SendError, attempts: u32) -> bool {
        let most = match self.protocol {
            Protocol::Otlp | Protocol::Forward => return false,
            Protocol::Scores(_) => MOST_ABSENCES,
            Protocol::Alerts(_) => MOST_REFUSALS,
        };
        self.protocol.is_about_body(error) && attempts >= most
    }

    /// Spans first: a backend that takes no logs still shows the scores.
    async fn send_otlp(&self, write_backs: &[WriteBack]) -> Result<(), SendError> {
        let protobuf = "application/x-protobuf";
        self.sender.post_below("v1/traces", protobuf, spans(write_backs).encode_to_vec()).await?;
        match self.sender.post_below("v1/logs", protobuf, events(write_backs).encode_to_vec()).await {
            Err(SendError::Refused { status: 404 | 405 | 501, .. }) => {
                tracing::debug!(destination = self.name, "destination takes no logs; it has the evaluation spans");
                Ok(())
            }
            sent => sent,
        }
    }
}
