//! The dead-letter queue looked at and emptied: what is in it, why, and back to where it came from.
//!
//! Messages are taken one by one and not acknowledged while they are looked at, so each is seen once, and those that
//! are only looked at are given back, in their order, when the connection ends.

use std::time::Duration;

use lapin::message::BasicGetMessage;
use lapin::options::{BasicAckOptions, BasicGetOptions};
use lapin::{Channel, Connection};
use ring::digest::{SHA256, digest};

use super::connection::{Published, close, confirming_channel, in_time, open, properties, publish, within};
use super::queues::{QueueNames, declare_dead_queue};
use super::{RabbitMqError, envelope};

/// A message of the dead-letter queue, without its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// Size of the body in bytes, as it was published.
    pub bytes: usize,
    /// Why it is here, as far as a header says.
    pub reason: Option<String>,
    /// How the body begins, whatever it is.
    pub start: Vec<u8>,
    /// `sha256:` and the body's digest, by which the letter is known wherever it stands in the queue.
    pub digest: String,
}

/// How long a letter may be under way: it may be large, and the way to the broker slow.
const PATIENCE: Duration = Duration::from_secs(30);

/// How much of a body is shown.
const START: usize = 64;

/// A connection to the dead-letter queue of one queue.
pub struct DeadLetters {
    queue: QueueNames,
    connection: Connection,
    channel: Channel,
}

impl DeadLetters {
    /// Connects to the dead-letter queue `<queue>.dead`, which is declared if it does not exist.
    ///
    /// # Errors
    /// The broker cannot be reached, or refuses the queue.
    pub async fn open(url: &str, queue: &str) -> Result<Self, RabbitMqError> {
        let queue = QueueNames::of(queue)?;
        let connection = open(url, properties()).await?;
        declare_dead_queue(&connection, &queue.dead).await?;
        let failed = |source| RabbitMqError::Queue { queue: queue.dead.to_string(), source };
        let channel = in_time(confirming_channel(&connection)).await?.map_err(failed)?;
        Ok(Self { queue, connection, channel })
    }

    /// The oldest dead letters, at most `limit`, and how many wait behind them.
    ///
    /// # Errors
    /// The broker failed.
    pub async fn list(&self, limit: usize) -> Result<(Vec<DeadLetter>, u32), RabbitMqError> {
        let (mut letters, mut behind) = (Vec::new(), 0);
        while letters.len() < limit {
            let Some(message) = self.take().await? else { break };
            behind = message.message_count;
            letters.push(describe(&message));
        }
        Ok((letters, behind))
    }

    /// Publishes the oldest dead letters that `chosen` wants, at most `limit`, to the queue they came from: first a
    /// letter is there for sure, then it is gone here. How many went back. A process that dies between the two leaves
    /// one message in both queues, which costs nothing: a span that comes twice is one span.
    ///
    /// # Errors
    /// The broker failed, or the queue did not take a message; that one and those behind it are still dead letters.
    pub async fn replay(&self, limit: usize, chosen: impl Fn(&DeadLetter) -> bool) -> Result<usize, RabbitMqError> {
        let mut replayed = 0;
        // What is put back may come straight back as a dead letter: only what was here at the beginning is looked at.
        let mut left = None;
        while replayed < limit && left != Some(0) {
            let Some(message) = self.take().await? else { break };
            left = Some(left.map_or(message.message_count, |left: u32| left - 1));
            if chosen(&describe(&message)) {
                self.put_back(&message).await?;
                replayed += 1;
            }
        }
        Ok(replayed)
    }

    async fn take(&self) -> Result<Option<BasicGetMessage>, RabbitMqError> {
        let taking = self.channel.basic_get(self.queue.dead.clone(), BasicGetOptions::default());
        let taken = within(PATIENCE, taking).await?;
        taken.map_err(|source| RabbitMqError::Queue { queue: self.queue.dead.to_string(), source })
    }

    async fn put_back(&self, message: &BasicGetMessage) -> Result<(), RabbitMqError> {
        let failed = |source| RabbitMqError::Publish { queue: self.queue.live.to_string(), source };
        let properties = envelope::of_replay(&message.properties);
        // A broker without memory or disk reads nothing, and says nothing.
        let publishing = publish(&self.channel, &self.queue.live, &message.data, properties);
        let published = within(PATIENCE, publishing).await?;
        match published.map_err(|error| failed(Some(error)))? {
            Published::Taken => {
                let acknowledged = in_time(message.ack(BasicAckOptions::default())).await?;
                acknowledged.map(|_| ()).map_err(|error| failed(Some(error)))
            }
            Published::Refused | Published::Returned => Err(failed(None)),
        }
    }

    /// Ends the connection; what was only looked at goes back to its place.
    ///
    /// # Errors
    /// The broker did not take leave; the connection is gone all the same.
    pub async fn close(self) -> Result<(), RabbitMqError> {
        close(&self.connection).await
    }
}

fn describe(message: &BasicGetMessage) -> DeadLetter {
    let start = message.data.get(..START).unwrap_or(&message.data).to_vec();
    let digest = format!("sha256:{}", hex::encode(digest(&SHA256, &message.data)));
    DeadLetter { bytes: message.data.len(), reason: reason(message), start, digest }
}

/// The reason that we wrote, else the one of the broker.
fn reason(message: &BasicGetMessage) -> Option<String> {
    envelope::text_header(&message.properties, envelope::REASON_HEADER).or_else(|| {
        let reason = envelope::text_header(&message.properties, "x-first-death-reason")?;
        Some(match reason.as_str() {
            "delivery_limit" => "delivered again and again without being acknowledged (delivery_limit)".to_owned(),
            _ => reason,
        })
    })
}
