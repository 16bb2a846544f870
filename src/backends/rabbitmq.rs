//! Consumes messages from a RabbitMQ quorum queue: at least once, and never more at a time than the prefetch.
//!
//! It knows nothing of what is in a message (`publisher` puts them there, `queues` says where). A consumer ends with its
//! connection, and whoever consumes connects anew: what was not acknowledged by then is delivered again, and its old
//! acknowledgement is quietly void.

mod connection;
mod counts;
mod dead_letters;
mod envelope;
mod mover;
mod publisher;
mod queues;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

pub use counts::{BrokerQueue, QueueCounts};
pub use dead_letters::{DeadLetter, DeadLetters};
pub use envelope::REASON_HEADER;
use futures_util::future::join_all;
use futures_util::{FutureExt, StreamExt};
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::{FieldTable, ShortString};
use lapin::{Channel, Connection, Consumer};
pub use mover::Mover;
pub use publisher::{NewMessage, RabbitMqPublisher};
use tokio::time::{Instant, timeout_at};

use connection::in_time;
use queues::QueueNames;

/// Why RabbitMQ did not do what it was asked. None of it names the broker's address, which holds a password.
#[derive(Debug, thiserror::Error)]
pub enum RabbitMqError {
    /// The address cannot be read.
    #[error("the address of RabbitMQ ([queue] url) is not amqp://USER:PASSWORD@HOST:PORT/VHOST")]
    Address,
    /// The certificates that the broker is to be known by cannot be used.
    #[error("cannot use {} to know RabbitMQ by (cacertfile in [queue] url)", path.display())]
    Authority {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: io::Error,
    },
    /// No connection.
    #[error("cannot connect to RabbitMQ")]
    Connect(#[source] lapin::Error),
    /// There is no connection at the moment.
    #[error("not connected to RabbitMQ; see the log for why")]
    NotConnected,
    /// No answer.
    #[error("RabbitMQ did not answer in time")]
    Timeout,
    /// The queue's name is longer than AMQP allows.
    #[error("queue name {queue:?} is longer than 255 bytes, with the .retry that is added")]
    QueueName {
        /// The name.
        queue: String,
    },
    /// The queue can neither be declared nor used as it is.
    #[error("cannot use queue {queue:?}")]
    Queue {
        /// The queue.
        queue: String,
        /// What the broker said.
        source: lapin::Error,
    },
    /// A connection is lost.
    #[error("the connection to RabbitMQ is lost")]
    Lost,
    /// The broker has ended the consumer: the queue was deleted, or the connection is lost.
    #[error("queue {queue:?} gives no more messages")]
    Ended {
        /// The queue.
        queue: String,
        /// What the broker said, if it said anything.
        source: Option<lapin::Error>,
    },
    /// The broker has no memory or disk left, and reads nothing that is published.
    #[error("RabbitMQ has no memory or disk left and takes nothing (see its alarms)")]
    Blocked,
    /// The queue takes no more messages at the moment.
    #[error("queue {queue:?} is full")]
    Full {
        /// The queue.
        queue: String,
    },
    /// A message could not be put into a queue; what comes from another queue stays there.
    #[error("cannot put a message into queue {queue:?}")]
    Publish {
        /// The queue.
        queue: String,
        /// What the broker said; nothing when it refused the message or has no such queue.
        source: Option<lapin::Error>,
    },
}

/// A message that was handed to us and waits to be acknowledged.
#[derive(Debug)]
pub struct Delivery {
    /// The message.
    pub body: Vec<u8>,
    /// The rest of it.
    message: lapin::message::Delivery,
}

impl Delivery {
    /// What the body holds, where its publisher says so.
    #[must_use]
    pub fn content(&self) -> Option<String> {
        envelope::text_header(&self.message.properties, envelope::CONTENT_HEADER)
    }

    /// Media type of the body, where its publisher says so.
    #[must_use]
    pub fn content_type(&self) -> Option<&str> {
        self.message.properties.content_type().as_ref().map(ShortString::as_str)
    }

    /// The name that its publisher gave it, the same at each delivery.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.message.properties.message_id().as_ref().map(ShortString::as_str)
    }

    /// Whether it may have been handed to someone before who did not acknowledge it.
    #[must_use]
    pub const fn is_redelivered(&self) -> bool {
        self.message.redelivered
    }

    /// Attempts that have failed, each put off with [`Mover::retry_later`].
    #[must_use]
    pub fn failed_attempts(&self) -> u32 {
        envelope::failed_attempts(&self.message.properties)
    }

    /// Whether the connection that handed it to us is lost: it comes again.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        !self.message.acker.usable()
    }

    async fn ack(&self) -> bool {
        matches!(in_time(self.message.ack(BasicAckOptions::default())).await, Ok(Ok(true)))
    }
}

/// Consumes one queue.
pub struct RabbitMqConsumer {
    queue: QueueNames,
    connection: Connection,
    channel: Channel,
    messages: Consumer,
    mover: Mover,
}

impl RabbitMqConsumer {
    /// Connects and starts to consume `queue`, with at most `prefetch` messages waiting for their acknowledgement. The
    /// quorum queue, `<queue>.retry` and `<queue>.dead` are declared; a queue that exists with other arguments is used as
    /// it is.
    ///
    /// # Errors
    /// The broker cannot be reached, does not answer in time, or refuses the queue.
    // The client library can take up a lost connection by itself. One that is lost again before its consumer is back (lapin
    // 4.12) comes back without it, says that it is connected, and gives nothing more. Whoever consumes connects anew.
    pub async fn connect(url: &str, queue: &str, prefetch: u16) -> Result<Self, RabbitMqError> {
        let queue = QueueNames::of(queue)?;
        let mover = Mover::connect(url, &queue).await?;
        let connection = connection::open(url, connection::properties()).await?;
        match begin(&connection, &queue, prefetch).await {
            Ok((channel, messages)) => Ok(Self { queue, connection, channel, messages, mover }),
            Err(error) => {
                // An answer that came later would make a consumer of which no one knows, and which keeps what it is given.
                let _ended = connection::close(&connection).await;
                Err(error)
            }
        }
    }

    /// Whether messages can come, and leave for other queues: not over a lost connection.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.connection.status().connected() && self.channel.status().connected() && self.mover.is_connected()
    }

    /// Waits up to `max_wait` for a message, and takes with it what else has arrived, up to `max`: batches grow with
    /// the load and cost no latency without it. Empty when there was nothing.
    ///
    /// # Errors
    /// The consumer has ended and has to be connected anew.
    pub async fn next_batch(&mut self, max: usize, max_wait: Duration) -> Result<Vec<Delivery>, RabbitMqError> {
        if !self.is_connected() {
            return Err(RabbitMqError::Lost);
        }
        let mut batch = Vec::new();
        let deadline = Instant::now() + max_wait;
        while batch.len() < max {
            let next = if batch.is_empty() {
                timeout_at(deadline, self.next()).await.ok()
            } else {
                self.next().now_or_never()
            };
            match next {
                Some(delivery) => batch.push(delivery?),
                None => break,
            }
        }
        Ok(batch)
    }

    async fn next(&mut self) -> Result<Delivery, RabbitMqError> {
        loop {
            match self.messages.next().await {
                // What was fetched before a connection was lost will come again.
                Some(Ok(message)) if !message.acker.usable() => {}
                Some(Ok(mut message)) => return Ok(Delivery { body: std::mem::take(&mut message.data), message }),
                Some(Err(error)) => return Err(self.ended(Some(error))),
                None => return Err(self.ended(None)),
            }
        }
    }

    fn ended(&self, source: Option<lapin::Error>) -> RabbitMqError {
        RabbitMqError::Ended { queue: self.queue.live.to_string(), source }
    }

    /// Acknowledges messages whose effect is committed, and counts those that the broker will hear of. The rest were
    /// delivered over a connection that is lost: they come again, which is no error.
    pub async fn ack<'a>(&self, deliveries: impl IntoIterator<Item = &'a Delivery>) -> usize {
        join_all(deliveries.into_iter().map(Delivery::ack)).await.into_iter().filter(|is_acked| *is_acked).count()
    }

    /// The way of its messages into the queues beside it; clones share it.
    #[must_use]
    pub fn mover(&self) -> Mover {
        self.mover.clone()
    }

    /// Ends its connections; what is not acknowledged goes back to the queue.
    ///
    /// # Errors
    /// The broker did not take leave; the connections are gone all the same.
    pub async fn close(self) -> Result<(), RabbitMqError> {
        let moved_on = self.mover.close().await;
        connection::close(&self.connection).await.and(moved_on)
    }
}

/// Declares the queues and starts to consume.
async fn begin(
    connection: &Connection,
    queue: &QueueNames,
    prefetch: u16,
) -> Result<(Channel, Consumer), RabbitMqError> {
    queue.declare(connection).await?;
    let failed = |source| RabbitMqError::Queue { queue: queue.live.to_string(), source };
    let channel = in_time(connection.create_channel()).await?.map_err(failed)?;
    in_time(channel.basic_qos(prefetch, BasicQosOptions::default())).await?.map_err(failed)?;
    let (tag, options) = (ShortString::default(), BasicConsumeOptions::default());
    let consuming = channel.basic_consume(queue.live.clone(), tag, options, FieldTable::default());
    let messages = in_time(consuming).await?.map_err(failed)?;
    Ok((channel, messages))
}
