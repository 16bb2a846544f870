//! Traces from a RabbitMQ queue, as the OpenTelemetry Collector's RabbitMQ exporter publishes them: one OTLP body a
//! message, protobuf or JSON, many traces in one message and one trace over several, no headers to rely on.
//!
//! A message is acknowledged after the commit that holds its pieces. One that cannot be decoded goes to the dead-letter
//! queue at once with the reason; the messages around it are not touched by that.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::Shared;
use super::intake::{Intake, Received};
use crate::backends::rabbitmq::{Delivery, RabbitMqConsumer, RabbitMqError};
use crate::otlp::{Compression, Encoding, SplitTraces, decode_traces, decompress, split_by_trace};
use crate::telemetry::metrics::Transport;

/// Messages that share a commit at most, and bytes of them after decompression, which are in memory at one time.
const LARGEST_BATCH: usize = 256;
const LARGEST_BATCH_BYTES: usize = 16 * 1024 * 1024;
/// How long to wait for a message before looking whether the process is to end.
const PATIENCE: Duration = Duration::from_millis(500);
/// Pause before a broker or a store that failed is tried again.
const PAUSE: Duration = Duration::from_secs(1);

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
}

/// Consumes until the process is to end; a lost broker is connected to again. `is_connected` tells whether it is.
pub async fn consume(shared: Shared, intake: Intake, source: QueueSource, is_connected: Arc<AtomicBool>) {
    while !shared.is_stopping() {
        let drained = drain(&shared, &intake, &source, &is_connected).await.map(|()| false);
        is_connected.store(false, Ordering::Relaxed);
        shared.rest("consume", PAUSE, drained).await;
    }
}

/// Consumes over one connection.
async fn drain(
    shared: &Shared,
    intake: &Intake,
    source: &QueueSource,
    is_connected: &AtomicBool,
) -> Result<(), RabbitMqError> {
    let mut consumer = RabbitMqConsumer::connect(&source.url, &source.name, source.prefetch).await?;
    is_connected.store(true, Ordering::Relaxed);
    tracing::info!(queue = source.name, "consuming traces from RabbitMQ");
    while !shared.is_stopping() {
        let deliveries = consumer.next_batch(LARGEST_BATCH, PATIENCE).await?;
        if !deliveries.is_empty() {
            take(shared, intake, source, &consumer, deliveries).await?;
        }
    }
    consumer.close().await
}

async fn take(
    shared: &Shared,
    intake: &Intake,
    source: &QueueSource,
    consumer: &RabbitMqConsumer,
    deliveries: Vec<Delivery>,
) -> Result<(), RabbitMqError> {
    let mut batch = Batch::default();
    for delivery in deliveries {
        match tokio::task::block_in_place(|| decode(&delivery.body, source.max_body_bytes)) {
            Ok((split, bytes)) => {
                count(shared, &split);
                batch.received.pieces.extend(split.traces);
                batch.received.scores.extend(split.scores);
                batch.bytes += bytes;
                batch.deliveries.push(delivery);
            }
            Err(reason) => {
                tracing::warn!(queue = source.name, reason, "message cannot be read and goes to the dead-letter queue");
                shared.metrics.rejected.get_or_create(&transport()).inc();
                consumer.dead_letter(&delivery, &reason).await?;
            }
        }
        if batch.bytes >= LARGEST_BATCH_BYTES {
            batch.settle(shared, intake, consumer).await;
            batch = Batch::default();
        }
    }
    batch.settle(shared, intake, consumer).await;
    Ok(())
}

/// Messages that share a commit.
#[derive(Default)]
struct Batch {
    deliveries: Vec<Delivery>,
    received: Received,
    bytes: usize,
}

impl Batch {
    /// Stores what is in the messages, then acknowledges them.
    async fn settle(self, shared: &Shared, intake: &Intake, consumer: &RabbitMqConsumer) {
        if store(shared, intake, self.received, self.bytes).await {
            consumer.ack(&self.deliveries).await;
        }
    }
}

/// Stores what was received, however long it takes; false when the process is to end before it is stored.
async fn store(shared: &Shared, intake: &Intake, received: Received, bytes: usize) -> bool {
    let attempt = async || {
        let mut room = intake.room();
        room.grow_to(bytes)?;
        intake.store(received.clone(), room).await
    };
    while let Err(error) = attempt().await {
        tracing::debug!(%error, "messages wait for the store");
        shared.pause(PAUSE).await;
        if shared.is_stopping() {
            return false;
        }
    }
    true
}

/// A message's spans by trace, and its size after decompression; else why it cannot be read.
fn decode(body: &[u8], limit: usize) -> Result<(SplitTraces, usize), String> {
    let body = decompress(body, Compression::sniff(body), limit).map_err(|error| error.to_string())?;
    let resource_spans = decode_traces(&body, Encoding::sniff(&body)).map_err(|error| error.to_string())?;
    let split = split_by_trace(resource_spans);
    match split.rejected.first() {
        Some(reason) if split.traces.is_empty() => Err(format!("no span can be used: {reason}")),
        _ => Ok((split, body.len())),
    }
}

fn count(shared: &Shared, split: &SplitTraces) {
    shared.metrics.received.get_or_create(&transport()).inc_by(split.traces.len() as u64);
    if let Some(reason) = split.rejected.first() {
        tracing::warn!(spans = split.rejected.len(), %reason, "spans of a message cannot be used");
        shared.metrics.rejected.get_or_create(&transport()).inc_by(split.rejected.len() as u64);
    }
}

fn transport() -> Transport {
    Transport { transport: "rabbitmq".to_owned() }
}
