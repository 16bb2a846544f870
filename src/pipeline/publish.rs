//! The way into a broker's queue, for receivers that do not store themselves: what a sender was told is taken is in a
//! quorum queue, confirmed, and any worker completes it.
//!
//! A message holds what the sender sent, as it was sent but for compression and for what is taken out of everything, so
//! that a worker reads exactly what a receiver that stores reads.

use std::sync::Arc;
use std::time::Duration;

use ring::rand::{SystemRandom, generate};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::Shared;
use super::crash_point::crash_point;
use super::intake::NotStored;
use super::redaction::{Redacted, Redaction};
use super::room::Rooms;
use super::work::work_on;
use crate::backends::rabbitmq::{NewMessage, RabbitMqError, RabbitMqPublisher};
use crate::otlp::{Compression, pack};
use crate::telemetry::logs::causes;

/// Pause before a broker that was lost is connected to again.
const PAUSE: Duration = Duration::from_secs(1);

/// What a message of the queue holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    /// An OTLP request of spans; also what a message holds that does not say.
    Traces,
    /// An OTLP request of log records.
    Logs,
    /// One JSON object of feedback.
    Feedback,
}

impl Content {
    const ALL: [Self; 3] = [Self::Traces, Self::Logs, Self::Feedback];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Traces => "traces",
            Self::Logs => "logs",
            Self::Feedback => "feedback",
        }
    }

    /// The content of a message that says so, or says nothing; `None` for what we do not know.
    pub(super) fn of(said: Option<&str>) -> Option<Self> {
        said.map_or(Some(Self::Traces), |said| Self::ALL.into_iter().find(|content| content.as_str() == said))
    }
}

/// A body as it was received, or without what is taken out of it.
#[derive(Debug, Clone)]
pub(super) struct Sent {
    pub(super) content: Content,
    /// Its media type.
    pub(super) content_type: &'static str,
    pub(super) compression: Compression,
    pub(super) body: axum::body::Bytes,
}

impl Sent {
    /// With the body that takes its place, if one does.
    pub(super) fn replaced_by(self, redacted: Option<Redacted>, content_type: &'static str) -> Self {
        match redacted {
            Some(Redacted { body, .. }) => {
                Self { content_type, compression: Compression::None, body: body.into(), ..self }
            }
            None => self,
        }
    }
}

/// The queue that receivers publish to; clones share it.
#[derive(Clone)]
pub struct Outgoing {
    publisher: Arc<RabbitMqPublisher>,
    pub(super) rooms: Rooms,
    limits: QueueLimits,
    pub(super) redaction: Option<Arc<Redaction>>,
    _in_use: Arc<DropGuard>,
}

/// How much the queue takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueLimits {
    /// Messages that may wait in it.
    pub max_waiting: u32,
    /// Bytes of one message, compressed.
    pub max_message_bytes: usize,
}

impl Outgoing {
    /// The way into a publisher's queue, with room for `max_waiting_bytes` of bodies that are not confirmed yet, and the
    /// task that keeps it connected. The task ends when every clone of the way is gone.
    pub fn new(
        shared: Shared,
        publisher: Arc<RabbitMqPublisher>,
        limits: QueueLimits,
        max_waiting_bytes: usize,
    ) -> (Self, impl Future<Output = ()> + Send) {
        let unused = CancellationToken::new();
        let in_use = Arc::new(unused.clone().drop_guard());
        let rooms = Rooms::new(max_waiting_bytes);
        let outgoing = Self { publisher: Arc::clone(&publisher), rooms, limits, redaction: None, _in_use: in_use };
        (outgoing, keep_connected(shared, publisher, unused))
    }

    /// The same way, on which something is taken out of what is received.
    #[must_use]
    pub fn with_redaction(self, redaction: Option<Arc<Redaction>>) -> Self {
        Self { redaction, ..self }
    }

    /// Puts a body into the queue, and returns when the broker has confirmed it.
    pub(super) async fn publish(&self, sent: Sent) -> Result<(), NotStored> {
        if self.publisher.waiting().map_err(|error| not_stored(&error))? >= self.limits.max_waiting {
            return Err(NotStored::Full);
        }
        let Ok(name) = generate::<[u8; 16]>(&SystemRandom::new()) else { return Err(NotStored::Failed) };
        let (content, content_type) = (sent.content.as_str(), sent.content_type);
        let body = compressed(sent).await?;
        if body.len() > self.limits.max_message_bytes {
            return Err(NotStored::TooLarge);
        }
        crash_point("publish.send");
        let message = NewMessage { content, content_type, name: hex::encode(name.expose()), body };
        let published = self.publisher.publish(message).await;
        crash_point("publish.sent");
        published.map_err(|error| not_stored(&error))
    }
}

/// What has no compression gets some: the broker keeps each message several times.
async fn compressed(sent: Sent) -> Result<Vec<u8>, NotStored> {
    let Sent { compression: Compression::None, body, .. } = sent else { return Ok(sent.body.into()) };
    work_on(body.len(), move || pack(&body)).await.ok_or(NotStored::Failed)
}

fn not_stored(error: &RabbitMqError) -> NotStored {
    match error {
        RabbitMqError::Full { .. } | RabbitMqError::Blocked => NotStored::Full,
        error => {
            tracing::debug!(error = causes(error), "a request could not be published; its sender keeps it");
            NotStored::Failed
        }
    }
}

/// Requests that are under way when the process is to end are still published.
async fn keep_connected(shared: Shared, publisher: Arc<RabbitMqPublisher>, unused: CancellationToken) {
    while !shared.is_stopping() {
        tokio::select! {
            lost = publisher.stay_connected() => shared.rest("publish", PAUSE, lost.map(|_| false)).await,
            () = unused.cancelled() => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_that_does_not_say_what_it_holds_holds_spans() {
        assert_eq!(Content::of(None), Some(Content::Traces));
        assert_eq!(Content::of(Some("logs")), Some(Content::Logs));
        assert_eq!(Content::of(Some("metrics")), None);
    }
}
