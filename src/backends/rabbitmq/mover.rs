//! Moves messages that were handed to us into the queues beside theirs: as dead letters, or for another attempt.
//!
//! Over a connection of its own. A broker that has no memory or disk left reads nothing more from a connection that
//! publishes, and acknowledgements of what was evaluated must not wait for that.

use std::sync::Arc;
use std::time::Duration;

use lapin::types::ShortString;
use lapin::{Channel, Connection};

use super::connection::{self, Published, confirming_channel, in_time};
use super::queues::QueueNames;
use super::{Delivery, RabbitMqError, envelope};

/// See [`RabbitMqConsumer::mover`](super::RabbitMqConsumer::mover).
#[derive(Clone)]
pub struct Mover {
    queue: QueueNames,
    connection: Arc<Connection>,
    to_dead: Channel,
    to_retry: Channel,
}

impl Mover {
    pub(super) async fn connect(url: &str, queue: &QueueNames) -> Result<Self, RabbitMqError> {
        Self::over(Arc::new(connection::open(url, connection::properties()).await?), queue).await
    }

    /// Each queue has a channel of its own: a message that is returned because its queue is gone the client library (lapin
    /// 4.12) gives to whichever message of the channel is confirmed next.
    async fn over(connection: Arc<Connection>, queue: &QueueNames) -> Result<Self, RabbitMqError> {
        let channel_to = async |queue: &ShortString| {
            let failed = |source| RabbitMqError::Queue { queue: queue.to_string(), source };
            in_time(confirming_channel(&connection)).await?.map_err(failed)
        };
        let (to_dead, to_retry) = (channel_to(&queue.dead).await?, channel_to(&queue.retry).await?);
        Ok(Self { queue: queue.clone(), connection, to_dead, to_retry })
    }

    /// The same over other channels. Of one to which it has refused a message, the broker goes on to refuse them, even when
    /// the limit of the queue was lifted meanwhile.
    ///
    /// # Errors
    /// The connection is lost, or [`Self::is_blocked`].
    pub async fn anew(self) -> Result<Self, RabbitMqError> {
        Self::over(self.connection, &self.queue).await
    }

    /// Whether messages can leave: not over a lost connection.
    pub(super) fn is_connected(&self) -> bool {
        self.connection.status().connected()
    }

    /// Whether the broker has no memory or disk left, so that nothing moves until it has.
    #[must_use]
    pub fn is_blocked(&self) -> bool {
        self.connection.status().blocked()
    }

    /// Moves a message to the dead-letter queue, with the reason in its headers: first it is there for sure, then it is
    /// acknowledged where it was. While [`Self::is_blocked`], that takes as long as it lasts.
    ///
    /// # Errors
    /// The dead-letter queue did not take it; it can be tried again, or it comes again with the next connection.
    pub async fn dead_letter(&self, delivery: &Delivery, reason: &str) -> Result<(), RabbitMqError> {
        let properties = envelope::of_dead_letter(&delivery.message.properties, reason);
        let published = connection::publish(&self.to_dead, &self.queue.dead, &delivery.body, properties).await;
        moved(&self.queue.dead, published, delivery).await
    }

    /// Lets a message come again after `wait`, with one more failed attempt to its name. While [`Self::is_blocked`], that
    /// takes as long as it lasts.
    ///
    /// # Errors
    /// The queue for retries did not take it; it can be tried again, or it comes again with the next connection.
    pub async fn retry_later(&self, delivery: &Delivery, wait: Duration) -> Result<(), RabbitMqError> {
        let failed_attempts = delivery.failed_attempts().saturating_add(1);
        let properties = envelope::of_retry(&delivery.message.properties, failed_attempts, wait);
        let published = connection::publish(&self.to_retry, &self.queue.retry, &delivery.body, properties).await;
        moved(&self.queue.retry, published, delivery).await
    }

    pub(super) async fn close(&self) -> Result<(), RabbitMqError> {
        // A broker that reads nothing would hear of it only when it has room again.
        if self.is_blocked() { Ok(()) } else { connection::close(&self.connection).await }
    }
}

/// Acknowledges what is in the other queue for sure.
async fn moved(
    queue: &ShortString,
    published: Result<Published, lapin::Error>,
    delivery: &Delivery,
) -> Result<(), RabbitMqError> {
    let failed = |source| RabbitMqError::Publish { queue: queue.to_string(), source };
    if published.map_err(|error| failed(Some(error)))? != Published::Taken {
        return Err(failed(None));
    }
    delivery.ack().await;
    Ok(())
}
