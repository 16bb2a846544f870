//! Empties the outbox, one destination apart from every other: one that is down delays its own items and nothing else.

use std::time::Duration;

use futures_util::future::join_all;
use prost::Message as _;

use super::Shared;
use super::crash_point::crash_point;
use super::notify::format::Format;
use super::notify::message::Message;
use super::retry::delay;
use super::write_back::{WriteBack, events, spans};
use crate::backends::http::{HttpSender, SendError};
use crate::backends::store::{OutboxItem, StoreError};
use crate::domain::time::Timestamp;
use crate::telemetry::metrics::CallLabels;

/// How long a claim holds: longer than two requests may take.
const LEASE: Duration = Duration::from_secs(25);
const IDLE: Duration = Duration::from_millis(500);
/// A message about an alert that its channel refuses after as many attempts is given up: what follows waits for it.
const MOST_REFUSALS: u32 = 8;

/// How a destination is spoken to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Protocol {
    /// Evaluation spans and log events to an OTLP/HTTP endpoint, many items in one request.
    Otlp,
    /// Each item a message about an alert, claimed alone: the next one's failure must not send it again.
    Alerts(Format),
}

impl Protocol {
    /// Items in one claim, and in one request.
    const fn batch(&self) -> usize {
        match self {
            Self::Otlp => 200,
            Self::Alerts(_) => 1,
        }
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
    crash_point("deliver.send");
    let sent = destination.send(&items, shared.now()).await;
    crash_point("deliver.sent");
    match sent {
        Err(SendError::Refused { status: 400 | 413 | 422, .. }) if items.len() > 1 => {
            // The body is refused, and not us: one item is at fault. Alone, it delays no other.
            let alone = items.iter().map(|item| deliver_one(shared, destination, item));
            join_all(alone).await.into_iter().collect::<Result<(), _>>()?;
        }
        sent => settle(shared, destination, &items, sent).await?,
    }
    Ok(true)
}

async fn deliver_one(shared: &Shared, destination: &Destination, item: &OutboxItem) -> Result<(), StoreError> {
    let item = std::slice::from_ref(item);
    settle(shared, destination, item, destination.send(item, shared.now()).await).await
}

/// Forgets what was taken, and puts off what was not.
async fn settle(
    shared: &Shared,
    destination: &Destination,
    items: &[OutboxItem],
    sent: Result<(), SendError>,
) -> Result<(), StoreError> {
    let ids: Vec<i64> = items.iter().map(|item| item.id).collect();
    let result = if sent.is_ok() { "ok" } else { "retry" };
    let labels = CallLabels { to: destination.name.clone(), result: result.to_owned() };
    shared.metrics.deliveries.get_or_create(&labels).inc_by(items.len() as u64);
    let Err(error) = sent else {
        shared.store.delivered(&ids).await?;
        crash_point("deliver.settled");
        return Ok(());
    };
    let attempts = items.iter().map(|item| item.attempts).max().unwrap_or(1);
    let reason = destination.reason(&error);
    if destination.gives_up(&error, attempts) {
        tracing::error!(destination = destination.name, reason, attempts, "a message about an alert is given up");
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

/// An item that this program wrote; one that it cannot read back is told and left out.
fn read(item: &OutboxItem) -> Option<WriteBack> {
    let write_back = serde_json::from_slice(&item.payload);
    write_back
        .inspect_err(|error| tracing::error!(key = item.key, %error, "scores cannot be read from the outbox"))
        .ok()
}

impl Destination {
    async fn send(&self, items: &[OutboxItem], now: Timestamp) -> Result<(), SendError> {
        match &self.protocol {
            Protocol::Otlp => self.send_otlp(items).await,
            Protocol::Alerts(format) => {
                for item in items {
                    self.send_alert(format, item, now).await?;
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
            Protocol::Otlp => error.to_string(),
            Protocol::Alerts(format) => format.without_secret(&error.to_string()),
        }
    }

    /// Whether it is the body that is refused, again and again, while others wait for their turn.
    fn gives_up(&self, error: &SendError, attempts: u32) -> bool {
        let is_body = matches!(error, SendError::Refused { status: 400 | 413 | 422, .. });
        matches!(self.protocol, Protocol::Alerts(_)) && is_body && attempts >= MOST_REFUSALS
    }

    /// Spans first: a backend that takes no logs still shows the scores.
    async fn send_otlp(&self, items: &[OutboxItem]) -> Result<(), SendError> {
        let write_backs: Vec<WriteBack> = items.iter().filter_map(read).collect();
        let protobuf = "application/x-protobuf";
        self.sender.post_below("v1/traces", protobuf, spans(&write_backs).encode_to_vec()).await?;
        match self.sender.post_below("v1/logs", protobuf, events(&write_backs).encode_to_vec()).await {
            Err(SendError::Refused { status: 404 | 405 | 501, .. }) => {
                tracing::debug!(destination = self.name, "destination takes no logs; it has the evaluation spans");
                Ok(())
            }
            sent => sent,
        }
    }
}
