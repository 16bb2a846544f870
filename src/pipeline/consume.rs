//! Messages of a RabbitMQ queue: what our receivers publish, and traces as the OpenTelemetry Collector's RabbitMQ
//! exporter publishes them: one OTLP body a message, protobuf or JSON, many traces in one message and one trace over
//! several, no headers to rely on.
//!
//! A message is acknowledged after the commit that holds its pieces. What happens to one that gives trouble:
//!
//! - it cannot be decoded: to the dead-letter queue at once, with the reason;
//! - the store refuses it, and takes others: to the queue for retries, and to the dead letters after some attempts;
//! - it was delivered before and not acknowledged: it is begun alone, and that is noted first. One that was begun too
//!   often takes its worker down, and goes to the dead letters;
//! - the store or the broker is away: it waits, unacknowledged, with all the others;
//! - the broker has no room for it in the other queue: it waits, unacknowledged, and the others do not.

use std::error::Error;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::body::Bytes;
use ring::digest::{SHA256, digest};
use serde_json::{Map, Value};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::Shared;
use super::crash_point::{crash_point, crash_point_in};
use super::intake::{Intake, NotStored, Received};
use super::publish::Content;
use crate::backends::rabbitmq::{Delivery, Mover, RabbitMqConsumer, RabbitMqError};
use crate::domain::external_score::ScoreIdentity;
use crate::domain::feedback::parse;
use crate::otlp::{Compression, Encoding, Rejection, decode_logs, decompress, split_logs};
use crate::telemetry::logs::causes;
use crate::telemetry::metrics::Transport;

/// Messages that share a commit at most, and bytes of them after decompression, which are in memory at one time.
const LARGEST_BATCH: usize = 256;
const LARGEST_BATCH_BYTES: usize = 16 * 1024 * 1024;
/// How long to wait for a message before looking whether the process is to end.
const PATIENCE: Duration = Duration::from_millis(500);
/// Pause before a broker or a store that failed is tried again.
const PAUSE: Duration = Duration::from_secs(1);
/// Pause before a message is offered again to a queue that refused it, because it is full or is not there: someone has to
/// see to that.
const PAUSE_AFTER_REFUSAL: Duration = Duration::from_secs(10);

/// The queue to consume.
#[derive(Debug, Clone)]
pub struct QueueSource {
    /// `amqp://` or `amqps://` address, with its password.
    pub url: String,
    /// Name of the queue.
    pub name: String,
    /// Messages in flight, unacknowledged, at once.
    pub prefetch: u16,
    /// Largest message after decompression.
    pub max_body_bytes: usize,
    /// Attempts at one message that fails for a reason of its own, before it is a dead letter.
    pub attempts: u32,
    /// How long such a message waits between two attempts.
    pub retry_delay: Duration,
}

/// Consumes until the process is to end; a lost broker is connected to again. `is_connected` tells whether it is.
pub async fn consume(shared: Shared, intake: Intake, source: QueueSource, is_connected: Arc<AtomicBool>) {
    let worker = Worker { shared: &shared, intake: &intake, source: &source };
    while !shared.is_stopping() {
        let drained = worker.drain(&is_connected).await.map(|()| false);
        is_connected.store(false, Ordering::Relaxed);
        shared.rest("consume", PAUSE, drained).await;
    }
}

#[derive(Clone, Copy)]
struct Worker<'a> {
    shared: &'a Shared,
    intake: &'a Intake,
    source: &'a QueueSource,
}

/// What was read of a message.
struct Message {
    delivery: Delivery,
    received: Received,
    /// Its size after decompression.
    bytes: usize,
}

/// One connection to the queue, and the messages that are on their way from it to another one: a broker without room
/// takes them only when it has some, and the messages behind them do not wait for that.
struct Draining {
    consumer: RabbitMqConsumer,
    leaving: JoinSet<Result<(), RabbitMqError>>,
}

impl Draining {
    /// Fails when messages cannot leave over this connection any longer.
    fn look_after_leaving(&mut self) -> Result<(), RabbitMqError> {
        while let Some(left) = self.leaving.try_join_next() {
            left.unwrap_or(Ok(()))?;
        }
        Ok(())
    }

    /// Waits for what is leaving, but not for long, and not at all while the broker takes nothing.
    async fn wait_for_leaving(&mut self) -> Result<(), RabbitMqError> {
        let all_left = async {
            while let Some(left) = self.leaving.join_next().await {
                left.unwrap_or(Ok(()))?;
            }
            Ok(())
        };
        if self.consumer.mover().is_blocked() {
            return Ok(());
        }
        timeout(PATIENCE, all_left).await.unwrap_or(Ok(()))
    }
}

/// Where a message goes that is not stored.
enum Elsewhere {
    /// To the dead letters, for this reason.
    Dead(String),
    /// To the queue for retries.
    Retry(Duration),
}

impl Worker<'_> {
    /// Consumes over one connection.
    async fn drain(self, is_connected: &AtomicBool) -> Result<(), RabbitMqError> {
        let source = self.source;
        let consumer = RabbitMqConsumer::connect(&source.url, &source.name, source.prefetch).await?;
        let mut queue = Draining { consumer, leaving: JoinSet::new() };
        tracing::info!(queue = source.name, "consuming traces from RabbitMQ");
        while !self.shared.is_stopping() {
            is_connected.store(queue.consumer.is_connected(), Ordering::Relaxed);
            let deliveries = queue.consumer.next_batch(LARGEST_BATCH, PATIENCE).await?;
            let (again, first): (Vec<Delivery>, Vec<Delivery>) =
                deliveries.into_iter().partition(Delivery::is_redelivered);
            self.take(&mut queue, first).await;
            for delivery in again {
                self.take_alone(&mut queue, delivery).await;
                queue.wait_for_leaving().await?;
            }
            queue.look_after_leaving()?;
        }
        queue.wait_for_leaving().await?;
        queue.leaving.abort_all();
        queue.consumer.close().await
    }

    /// Takes messages together. Those that cannot be read are dead letters from now on, after the others: what can be
    /// stored is stored, whatever becomes of them.
    async fn take(self, queue: &mut Draining, deliveries: Vec<Delivery>) {
        let (mut batch, mut bytes, mut unreadable) = (Vec::new(), 0, Vec::new());
        for delivery in deliveries {
            match self.read(&delivery) {
                Ok(read) => {
                    bytes += read.bytes;
                    batch.push(Message { delivery, received: read.received, bytes: read.bytes });
                }
                Err(reason) => unreadable.push((delivery, reason)),
            }
            if bytes >= LARGEST_BATCH_BYTES {
                self.settle(queue, std::mem::take(&mut batch)).await;
                bytes = 0;
            }
        }
        self.settle(queue, batch).await;
        for (delivery, reason) in unreadable {
            self.bury(queue, delivery, reason);
        }
    }

    /// Takes a message that may have taken a worker down: it is noted first, so that it cannot go on for ever.
    async fn take_alone(self, queue: &mut Draining, delivery: Delivery) {
        let message = name_of(&delivery);
        let begun = || async { self.intake.noted(self.shared.store.begin_message(&message, self.shared.now()).await) };
        let begun = self.insist(begun);
        let Some(begun) = begun.await else { return };
        if begun > self.source.attempts {
            let reason = format!("begun {} times and never ended: it takes its worker down", begun - 1);
            return self.bury(queue, delivery, reason);
        }
        self.take(queue, vec![delivery]).await;
        let ended = || async { self.intake.noted(self.shared.store.end_message(&message, self.shared.now()).await) };
        self.insist(ended).await;
    }

    /// Reads a message, or tells why it cannot be read.
    fn read(self, delivery: &Delivery) -> Result<Read, String> {
        crash_point_in("consume.read", &delivery.body);
        let limit = self.source.max_body_bytes;
        let reading = AssertUnwindSafe(|| read(delivery, limit));
        let read = tokio::task::block_in_place(|| catch_unwind(reading));
        let read = read.unwrap_or_else(|_| Err("reading it failed".to_owned()))?;
        self.count(&read.received, &read.rejected);
        Ok(read)
    }

    fn bury(self, queue: &mut Draining, delivery: Delivery, reason: String) {
        tracing::warn!(queue = self.source.name, reason, "message goes to the dead-letter queue");
        self.shared.metrics.rejected.get_or_create(&transport()).inc();
        self.send_away(queue, delivery, Elsewhere::Dead(reason));
    }

    fn send_away(self, queue: &mut Draining, delivery: Delivery, to: Elsewhere) {
        queue.leaving.spawn(leave(self.shared.clone(), queue.consumer.mover(), delivery, to));
    }

    /// Stores what is in the messages, then acknowledges them. Of messages that cannot be stored together, each is
    /// stored by itself.
    async fn settle(self, queue: &mut Draining, batch: Vec<Message>) {
        match self.store(&batch).await {
            Some(Err(NotStored::Refused)) if batch.len() > 1 => {
                for message in batch {
                    let alone = vec![message];
                    match self.store(&alone).await {
                        Some(stored) => self.end(queue, alone, stored).await,
                        None => return,
                    }
                }
            }
            Some(stored) => self.end(queue, batch, stored).await,
            None => {}
        }
    }

    /// Acknowledges what was stored, and puts off or buries what was refused.
    async fn end(self, queue: &mut Draining, messages: Vec<Message>, stored: Result<(), NotStored>) {
        let Err(error) = stored else {
            if !messages.is_empty() {
                crash_point("consume.ack");
                queue.consumer.ack(messages.iter().map(|message| &message.delivery)).await;
                crash_point("consume.acked");
            }
            return;
        };
        for Message { delivery, .. } in messages {
            if delivery.failed_attempts().saturating_add(1) >= self.source.attempts {
                let reason = format!("attempted {} times: {error}", self.source.attempts);
                self.bury(queue, delivery, reason);
            } else {
                tracing::warn!(queue = self.source.name, reason = %error, "message will be tried again");
                self.send_away(queue, delivery, Elsewhere::Retry(self.source.retry_delay));
            }
        }
    }

    /// Stores what was received, however long it takes; `None` when the process is to end before it is stored.
    async fn store(self, batch: &[Message]) -> Option<Result<(), NotStored>> {
        let bytes = batch.iter().map(|message| message.bytes).sum();
        let attempt = || async {
            let mut received = Received::default();
            for message in batch {
                received.pieces.extend_from_slice(&message.received.pieces);
                received.scores.extend_from_slice(&message.received.scores);
            }
            let mut room = self.intake.room();
            room.grow_to(bytes)?;
            match self.intake.store(received, room).await {
                Err(error @ (NotStored::Full | NotStored::Failed)) => Err(error),
                settled => Ok(settled),
            }
        };
        self.insist(attempt).await
    }

    /// Tries until it succeeds; `None` when the process is to end before that.
    async fn insist<T, E: Error, A: Future<Output = Result<T, E>>>(self, attempt: impl Fn() -> A) -> Option<T> {
        loop {
            match attempt().await {
                Ok(done) => return Some(done),
                Err(error) => tracing::debug!(error = causes(&error), "messages wait for the store"),
            }
            self.shared.pause(PAUSE).await;
            if self.shared.is_stopping() {
                return None;
            }
        }
    }

    fn count(self, received: &Received, rejected: &[Rejection]) {
        let metrics = &self.shared.metrics;
        metrics.received.get_or_create(&transport()).inc_by(received.pieces.len() as u64);
        if let Some(reason) = rejected.first() {
            tracing::warn!(spans = rejected.len(), %reason, "spans of a message cannot be used");
            metrics.rejected.get_or_create(&transport()).inc_by(rejected.len() as u64);
        }
    }
}

/// Moves a message to where it goes. A queue that refuses it is asked again and again; meanwhile the message keeps its
/// place among those that are out. Fails when the connection does not carry it.
async fn leave(shared: Shared, mut mover: Mover, delivery: Delivery, to: Elsewhere) -> Result<(), RabbitMqError> {
    while !delivery.is_lost() && !shared.is_stopping() {
        let moved = match &to {
            Elsewhere::Dead(reason) => {
                crash_point("consume.dead_letter");
                mover.dead_letter(&delivery, reason).await
            }
            Elsewhere::Retry(wait) => {
                crash_point("consume.retry");
                mover.retry_later(&delivery, *wait).await
            }
        };
        match (moved, &to) {
            (Err(error @ RabbitMqError::Publish { source: None, .. }), _) => {
                tracing::warn!(error = causes(&error), "message cannot leave its queue and will be tried again");
                shared.pause(PAUSE_AFTER_REFUSAL).await;
                if !mover.is_blocked() {
                    mover = mover.anew().await?;
                }
            }
            (Ok(()), Elsewhere::Dead(_)) => {
                crash_point("consume.dead_lettered");
                // Should that fail, it is remembered for a day that this message was begun.
                let _forgotten = shared.store.end_message(&name_of(&delivery), shared.now()).await;
                return Ok(());
            }
            (Ok(()), Elsewhere::Retry(_)) => {
                crash_point("consume.retried");
                return Ok(());
            }
            (Err(error), _) => return Err(error),
        }
    }
    Ok(())
}

/// What is in a body.
#[derive(Default)]
struct Read {
    received: Received,
    rejected: Vec<Rejection>,
    bytes: usize,
}

/// What is in a message; else why it cannot be read.
fn read(delivery: &Delivery, limit: usize) -> Result<Read, String> {
    let body = &delivery.body;
    let body = decompress(body, Compression::sniff(body), limit).map_err(|error| error.to_string())?;
    let body = Bytes::from(body.into_owned());
    let encoding = delivery.content_type().and_then(Encoding::from_content_type);
    let encoding = encoding.unwrap_or_else(|| Encoding::sniff(&body));
    let content = delivery.content();
    let content = Content::of(content.as_deref()).ok_or_else(|| "what it holds is not known here".to_owned())?;
    let mut read = match content {
        Content::Traces => {
            let (received, rejected) = Received::of_spans(&body, encoding).map_err(|error| error.to_string())?;
            Read { received, rejected, ..Read::default() }
        }
        Content::Logs => {
            let split = split_logs(decode_logs(&body, encoding).map_err(|error| error.to_string())?);
            let received = Received::new(split.traces, split.scores);
            Read { received, rejected: split.rejected, ..Read::default() }
        }
        Content::Feedback => Read { received: feedback(&body)?, ..Read::default() },
    };
    if let (true, Some(reason)) = (read.received.is_empty(), read.rejected.first()) {
        return Err(format!("no span can be used: {reason}"));
    }
    name_scores(&mut read.received, delivery);
    Ok(Read { bytes: body.len(), ..read })
}

fn feedback(body: &[u8]) -> Result<Received, String> {
    let object: Map<String, Value> = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let score = parse(&object).map_err(|error| error.to_string())?;
    Ok(Received { scores: vec![score], ..Received::default() })
}

/// A message may be delivered twice: a score that its sender gave no id has one from the message from now on.
fn name_scores(received: &mut Received, delivery: &Delivery) {
    for (place, new) in received.scores.iter_mut().enumerate() {
        if new.identity == ScoreIdentity::Separate {
            new.identity = ScoreIdentity::Given(format!("message {}:{place}", hex::encode(&name_of(delivery)[..16])));
        }
    }
}

/// By which a message is known at each delivery: the name that its publisher gave it, and what is in it.
fn name_of(delivery: &Delivery) -> [u8; 32] {
    let named = [delivery.name().unwrap_or_default().as_bytes(), &delivery.body].concat();
    let mut name = [0; 32];
    name.copy_from_slice(digest(&SHA256, &named).as_ref());
    name
}

fn transport() -> Transport {
    Transport { transport: "rabbitmq".to_owned() }
}
