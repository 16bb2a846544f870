//! OTLP: traces and log records pushed by SDKs and collectors (OTLP specification 1.x), over HTTP and gRPC.
//!
//! A request is answered when its spans and events are committed, or, where a broker has the queue, when the broker has
//! confirmed that it has them. What cannot be read of it is reported as a partial
//! success and harms nothing else. Metrics are refused, and said to be: a sender whose metrics vanish in silence would
//! take them for stored, while one that is told can point them elsewhere.

mod access;
mod feedback;
mod grpc;
mod http;
mod refusal;
mod way_in;

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::body::{Body, Bytes};
use futures_util::StreamExt as _;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::crash_point::crash_point;
use super::intake::{NotStored, Received};
use super::publish::{Content, Sent};
use super::redaction::{Redacted, Redaction, largest_redacted};
use super::room::Room;
use super::work::{HEAVY, work_on};
use crate::otlp::{
    Compression, DecodeError, DecompressError, Encoding, Rejection, Signal, decode_logs, decode_traces, decompress,
    split_by_trace, split_logs,
};
use crate::telemetry::metrics::{Metrics, Transport};
use refusal::Refusal;

pub use access::guarded;
pub use grpc::router as grpc_router;
pub use http::router as http_router;
pub use way_in::WayIn;

/// A body that is too large is read up to this many times the limit.
const HEARD_OUT: usize = 4;
/// What compression saves of spans, and rather more: it may be anything.
const LIKELY_RATIO: usize = 64;
/// How long a sender may take over one body: exporters give up after ten seconds, and a body that never ends holds room.
const PATIENCE: Duration = Duration::from_mins(1);

/// What the transports share: they read requests and answer them, this takes them in.
pub struct Receiver {
    way_in: WayIn,
    metrics: Arc<Metrics>,
    max_body_bytes: usize,
    /// Decoding takes many times the memory of the body: no more at a time than can be computed at a time.
    decoding: Arc<Semaphore>,
    has_refused_metrics: AtomicBool,
}

/// A request whose body has arrived.
struct Message {
    signal: Signal,
    encoding: Encoding,
    compression: Compression,
    body: Bytes,
    room: Room,
}

impl Message {
    /// About how much work it is to read, in bytes of plain protobuf.
    const fn likely_work(&self, is_redacted: bool) -> usize {
        let bytes = match self.compression {
            Compression::None => self.body.len(),
            _ => self.body.len().saturating_mul(LIKELY_RATIO),
        };
        match self.encoding {
            Encoding::Protobuf if !is_redacted => bytes,
            _ => bytes.saturating_mul(HEAVY),
        }
    }

    /// The body as it came, for whoever else is to read it.
    fn sent(&self) -> Sent {
        let content = match self.signal {
            Signal::Traces => Content::Traces,
            Signal::Logs => Content::Logs,
        };
        let (content_type, body) = (self.encoding.content_type(), self.body.clone());
        Sent { content, content_type, compression: self.compression, body }
    }
}

/// What a sender is told when its request was taken.
struct Accepted {
    /// Spans or log records that cannot be used.
    rejected: usize,
    /// Why the first of them cannot, or what is strange though none was rejected.
    reason: String,
}

/// A request taken apart.
#[derive(Default)]
struct Decoded {
    received: Received,
    rejected: Vec<Rejection>,
    /// Log records that belong to no span, or are our own evaluations.
    ignored: usize,
    /// What is strange about the request though nothing was rejected.
    warning: Option<String>,
    /// Size after decompression.
    bytes: usize,
    /// The body without what has to be taken out of it before it is handed on, where anything has.
    redacted: Option<Redacted>,
}

impl Receiver {
    /// Takes bodies up to `max_body_bytes`, before and after decompression.
    #[must_use]
    pub fn new(way_in: impl Into<WayIn>, metrics: Arc<Metrics>, max_body_bytes: usize) -> Arc<Self> {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Arc::new(Self {
            way_in: way_in.into(),
            metrics,
            max_body_bytes,
            decoding: Arc::new(Semaphore::new(cores)),
            has_refused_metrics: AtomicBool::new(false),
        })
    }

    /// Stores what a request holds, or publishes it for others to store.
    async fn take(&self, message: Message, transport: &str) -> Result<Accepted, Refusal> {
        let sent = message.sent();
        let (decoded, mut room) = self.decode(message).await?;
        let Decoded { received, rejected, ignored, warning, bytes, redacted } = decoded;
        self.metrics.redacted.inc_by(redacted.as_ref().map_or(0, |redacted| redacted.count));
        let sent = sent.replaced_by(redacted, Encoding::Protobuf.content_type());
        let reason = rejected.first().map(ToString::to_string).or(warning).unwrap_or_default();
        let count = received.pieces.len() as u64;
        let stored = match room.grow_to(bytes) {
            Ok(()) => self.way_in.take(received, sent, room).await,
            full => full,
        };
        stored.map_err(|error| self.not_stored(error))?;
        crash_point("receive.answer");
        let transport = Transport { transport: transport.to_owned() };
        self.metrics.received.get_or_create(&transport).inc_by(count);
        self.metrics.rejected.get_or_create(&transport).inc_by(rejected.len() as u64);
        self.metrics.ignored_log_records.inc_by(ignored as u64);
        Ok(Accepted { rejected: rejected.len(), reason })
    }

    async fn decode(&self, message: Message) -> Result<(Decoded, Room), Refusal> {
        let unreadable = || Refusal::Invalid("body cannot be read".to_owned());
        let turn = Arc::clone(&self.decoding).acquire_owned().await.map_err(|_| unreadable())?;
        let (limit, redaction) = (self.max_body_bytes, self.way_in.redaction());
        let decoding = work_on(message.likely_work(redaction.is_some()), move || {
            // Held until the work ends, even when the sender has gone.
            let _turn = turn;
            decode(&message, limit, redaction.as_deref()).map(|decoded| (decoded, message.room))
        });
        decoding.await.ok_or_else(unreadable)?
    }

    /// Reads a body of at most `limit` bytes, and the room that it takes. One that cannot be taken is read on for a
    /// while and dropped, because a sender that is cut off while it writes never sees the answer, and sends again.
    async fn read(&self, body: Body, limit: usize) -> Result<(Bytes, Room), Refusal> {
        timeout(PATIENCE, self.read_on(body, limit)).await.unwrap_or(Err(Refusal::TooSlow))
    }

    async fn read_on(&self, body: Body, limit: usize) -> Result<(Bytes, Room), Refusal> {
        let mut chunks = body.into_data_stream();
        let (mut bytes, mut length) = (Vec::new(), 0_usize);
        let mut room = Ok(self.way_in.room());
        while length <= limit.saturating_mul(HEARD_OUT)
            && let Some(chunk) = chunks.next().await
        {
            let chunk = chunk.map_err(|_| Refusal::Invalid("body ends early".to_owned()))?;
            length = length.saturating_add(chunk.len());
            let too_large = Refusal::TooLarge { limit: limit.min(self.max_body_bytes) };
            room = room.and_then(|room| if length > limit { Err(too_large) } else { self.grown(room, length) });
            if room.is_ok() {
                bytes.extend_from_slice(&chunk);
            } else {
                bytes = Vec::new();
            }
        }
        match room {
            Err(_) if length > limit => Err(Refusal::TooLarge { limit: limit.min(self.max_body_bytes) }),
            room => Ok((bytes.into(), room?)),
        }
    }

    fn grown(&self, mut room: Room, bytes: usize) -> Result<Room, Refusal> {
        room.grow_to(bytes).map_err(|error| self.not_stored(error)).map(|()| room)
    }

    /// What senders of metrics are told. Most of them show their users only the status, so the first is logged here too.
    fn refuse_metrics(&self) -> Refusal {
        if !self.has_refused_metrics.swap(true, Ordering::Relaxed) {
            tracing::warn!("{}", Refusal::Metrics);
        }
        Refusal::Metrics
    }

    fn not_stored(&self, error: NotStored) -> Refusal {
        if error == NotStored::Full {
            self.metrics.turned_away.inc();
        }
        Refusal::NotStored(error)
    }
}

fn decode(message: &Message, limit: usize, redaction: Option<&Redaction>) -> Result<Decoded, Refusal> {
    let body = decompress(&message.body, message.compression, limit).map_err(|error| match error {
        DecompressError::TooLarge { .. } => Refusal::TooLarge { limit },
        error => Refusal::Invalid(error.to_string()),
    })?;
    let body = match body {
        Cow::Borrowed(body) => message.body.slice_ref(body),
        Cow::Owned(body) => body.into(),
    };
    let decoded = Decoded { bytes: body.len(), ..Decoded::default() };
    let decoded = match message.signal {
        Signal::Traces => {
            let (received, rejected, redacted) = match redaction {
                None => {
                    let (received, rejected) = Received::of_spans(&body, message.encoding).map_err(unreadable)?;
                    (received, rejected, None)
                }
                Some(redaction) => {
                    let mut groups = decode_traces(&body, message.encoding).map_err(unreadable)?;
                    let redacted = redaction.of_spans(&mut groups);
                    let split = split_by_trace(groups);
                    (Received::new(split.traces, split.scores), split.rejected, Some(redacted))
                }
            };
            let is_empty = received.is_empty() && rejected.is_empty();
            let warning = is_empty.then(|| without("resourceSpans", &body, message.encoding)).flatten();
            Decoded { received, rejected, warning, redacted, ..decoded }
        }
        Signal::Logs => {
            let mut groups = decode_logs(&body, message.encoding).map_err(unreadable)?;
            let warning = groups.is_empty().then(|| without("resourceLogs", &body, message.encoding)).flatten();
            let redacted = redaction.map(|redaction| redaction.of_logs(&mut groups));
            let split = split_logs(groups);
            let received = Received::new(split.traces, split.scores);
            Decoded { received, rejected: split.rejected, ignored: split.ignored, warning, redacted, ..decoded }
        }
    };
    // Whoever takes it out of the queue would not take it.
    let is_too_large = |redacted: &Redacted| redacted.body.len() > largest_redacted(limit);
    if decoded.redacted.as_ref().is_some_and(is_too_large) { Err(Refusal::TooLarge { limit }) } else { Ok(decoded) }
}

/// Says so when a JSON object has other members than the one that is read. OTLP passes over what it does not know, and
/// a sender that writes `resource_spans` would lose everything in silence.
fn without(member: &str, body: &[u8], encoding: Encoding) -> Option<String> {
    let has = |text: &str| body.windows(text.len()).any(|window| window == text.as_bytes());
    let is_lost = encoding == Encoding::Json && has("\"") && !has(member);
    is_lost.then(|| format!("nothing was read: the request has no member {member:?}"))
}

#[expect(clippy::needless_pass_by_value, reason = "an adapter for map_err")]
fn unreadable(error: DecodeError) -> Refusal {
    let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
    Refusal::Invalid(format!("{error}{cause}"))
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use ring::hmac;

    use super::*;
    use crate::evaluate::redaction::Redactor;
    use crate::pipeline::room::Rooms;

    #[test]
    fn what_grows_too_much_by_what_is_taken_out_is_refused_and_not_left_to_the_worker_that_would_not_take_it() {
        let patterns = BTreeMap::from([("a_long_name".to_owned(), "x".to_owned())]);
        let redaction = Redaction {
            redactor: Arc::new(Redactor::new(&[], &patterns).unwrap()),
            drop: BTreeSet::new(),
            hash: BTreeSet::new(),
            key: hmac::Key::new(hmac::HMAC_SHA256, b"key"),
        };
        let decoded = |secrets: usize| {
            let span = serde_json::json!({ "traceId": "0123456789abcdef0123456789abcdef", "name": "x".repeat(secrets),
                "spanId": "0123456789abcdef", "startTimeUnixNano": "1", "endTimeUnixNano": "2" });
            let body = serde_json::json!({ "resourceSpans": [{ "scopeSpans": [{ "spans": [span] }] }] }).to_string();
            let (encoding, compression) = (Encoding::Json, Compression::None);
            let room = Rooms::new(0).room();
            let message = Message { signal: Signal::Traces, encoding, compression, body: body.into(), room };
            decode(&message, 1_000, Some(&redaction))
        };
        assert!(decoded(50).is_ok());
        assert!(matches!(decoded(200), Err(Refusal::TooLarge { limit: 1_000 })));
    }
}
