//! Consumes messages from a RabbitMQ quorum queue: at least once, and never more at a time than the prefetch.
//!
//! It knows nothing of what is in a message. A lost connection is taken up again by the client library; what was not
//! acknowledged by then is delivered again, and its old acknowledgement is quietly void.

mod dead_letters;

use std::time::Duration;

pub use dead_letters::{DeadLetter, DeadLetters};
use futures_util::future::join_all;
use futures_util::{FutureExt, StreamExt};
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions,
    QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable, LongString, ShortString};
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, Consumer};
use tokio::time::{Instant, timeout, timeout_at};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// A message that takes the worker down this often is dead-lettered by the broker (its own default from 4.0 on).
const DELIVERY_LIMIT: i32 = 20;

/// Header of a dead letter that says why it is one.
pub const REASON_HEADER: &str = "x-driftline-reason";

/// A reason is for a person, and headers have to fit one frame.
const LONGEST_REASON: usize = 1_024;

/// `delivery_mode` of a message that survives the broker's restart (AMQP 0-9-1, basic class).
const PERSISTENT: u8 = 2;

const REPLY_SUCCESS: u16 = 200;

/// Why RabbitMQ did not do what it was asked. None of it names the broker's address, which holds a password.
#[derive(Debug, thiserror::Error)]
pub enum RabbitMqError {
    /// No connection.
    #[error("cannot connect to RabbitMQ")]
    Connect(#[source] lapin::Error),
    /// No answer.
    #[error("RabbitMQ did not answer within {} s", CONNECT_TIMEOUT.as_secs())]
    Timeout,
    /// The queue's name is longer than AMQP allows.
    #[error("queue name {queue:?} is longer than 255 bytes, with the .dead that is added")]
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
    /// The broker has ended the consumer: the queue was deleted, or the connection could not be taken up again.
    #[error("queue {queue:?} gives no more messages")]
    Ended {
        /// The queue.
        queue: String,
        /// What the broker said, if it said anything.
        source: Option<lapin::Error>,
    },
    /// A message could not be put into another queue; it stays where it was.
    #[error("cannot put a message into queue {queue:?}")]
    Publish {
        /// The other queue.
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

/// Consumes one queue.
pub struct RabbitMqConsumer {
    queue: String,
    dead_queue: ShortString,
    connection: Connection,
    channel: Channel,
    dead_letters: Channel,
    messages: Consumer,
}

impl RabbitMqConsumer {
    /// Connects and starts to consume `queue`, with at most `prefetch` messages waiting for their acknowledgement. The
    /// quorum queue and its dead-letter queue `<queue>.dead` are declared; a queue that exists with other arguments is
    /// used as it is.
    ///
    /// # Errors
    /// The broker cannot be reached, or refuses the queue.
    pub async fn connect(url: &str, queue: &str, prefetch: u16) -> Result<Self, RabbitMqError> {
        let (live_queue, dead_queue) = queue_names(queue)?;
        declare(url, &live_queue, &dead_queue).await?;

        let connection = open(url, properties().enable_auto_recover()).await?;
        let failed = |source| RabbitMqError::Queue { queue: queue.to_owned(), source };
        let dead_letters = connection.create_channel().await.map_err(failed)?;
        dead_letters.confirm_select(ConfirmSelectOptions::default()).await.map_err(failed)?;
        let channel = connection.create_channel().await.map_err(failed)?;
        channel.basic_qos(prefetch, BasicQosOptions::default()).await.map_err(failed)?;
        let (tag, options) = (ShortString::default(), BasicConsumeOptions::default());
        let messages = channel.basic_consume(live_queue, tag, options, FieldTable::default()).await.map_err(failed)?;
        Ok(Self { queue: queue.to_owned(), dead_queue, connection, channel, dead_letters, messages })
    }

    /// Waits up to `max_wait` for a message, and takes with it what else has arrived, up to `max`: batches grow with
    /// the load and cost no latency without it. Empty when there was nothing.
    ///
    /// # Errors
    /// The consumer has ended and has to be connected anew.
    pub async fn next_batch(&mut self, max: usize, max_wait: Duration) -> Result<Vec<Delivery>, RabbitMqError> {
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
                Some(Err(error)) => {
                    tracing::warn!(queue = self.queue, %error, "RabbitMQ connection is lost and will be taken up again");
                    self.channel.wait_for_recovery(error).await.map_err(|error| self.ended(Some(error)))?;
                }
                None => return Err(self.ended(None)),
            }
        }
    }

    fn ended(&self, source: Option<lapin::Error>) -> RabbitMqError {
        RabbitMqError::Ended { queue: self.queue.clone(), source }
    }

    /// Acknowledges messages whose effect is committed, and counts those that the broker will hear of. The rest were
    /// delivered over a connection that is lost: they come again, which is no error.
    pub async fn ack(&self, deliveries: &[Delivery]) -> usize {
        let acks = deliveries.iter().map(|delivery| delivery.message.ack(BasicAckOptions::default()));
        join_all(acks).await.into_iter().filter(|acked| matches!(acked, Ok(true))).count()
    }

    /// Moves a message to the dead-letter queue, with the reason in its headers: first it is there for sure, then it is
    /// acknowledged here.
    ///
    /// # Errors
    /// The dead-letter queue did not take it; it can be tried again, or it comes again with the next connection.
    pub async fn dead_letter(&self, delivery: &Delivery, reason: &str) -> Result<(), RabbitMqError> {
        let failed = |source| RabbitMqError::Publish { queue: self.dead_queue.to_string(), source };
        let mut published = self.publish_dead_letter(delivery, reason).await;
        if let Err(error) = published {
            // After a lost connection this channel may be taken up again later than the one with the messages.
            self.dead_letters.wait_for_recovery(error).await.map_err(|error| failed(Some(error)))?;
            published = self.publish_dead_letter(delivery, reason).await;
        }
        match published.map_err(|error| failed(Some(error)))? {
            // A message that no queue took is returned, and acknowledged all the same.
            Confirmation::Ack(None) => {
                self.ack(std::slice::from_ref(delivery)).await;
                Ok(())
            }
            Confirmation::Ack(Some(_)) | Confirmation::Nack(_) | Confirmation::NotRequested => Err(failed(None)),
        }
    }

    async fn publish_dead_letter(&self, delivery: &Delivery, reason: &str) -> Result<Confirmation, lapin::Error> {
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let properties = dead_letter_properties(&delivery.message.properties, reason);
        let (exchange, queue) = (ShortString::default(), self.dead_queue.clone());
        self.dead_letters.basic_publish(exchange, queue, options, &delivery.body, properties).await?.await
    }

    /// Ends the connection; what is not acknowledged goes back to the queue.
    ///
    /// # Errors
    /// The broker did not take leave; the connection is gone all the same.
    pub async fn close(self) -> Result<(), RabbitMqError> {
        self.connection.close(REPLY_SUCCESS, ShortString::default()).await.map_err(RabbitMqError::Connect)
    }
}

/// The names of a queue and of its dead-letter queue.
fn queue_names(queue: &str) -> Result<(ShortString, ShortString), RabbitMqError> {
    let name =
        |name: String| ShortString::try_new(name).map_err(|_| RabbitMqError::QueueName { queue: queue.to_owned() });
    Ok((name(queue.to_owned())?, name(format!("{queue}.dead"))?))
}

fn properties() -> ConnectionProperties {
    ConnectionProperties::default().with_connection_name("driftline".into())
}

async fn open(url: &str, properties: ConnectionProperties) -> Result<Connection, RabbitMqError> {
    let connecting = timeout(CONNECT_TIMEOUT, Connection::connect(url, properties)).await;
    connecting.map_err(|_| RabbitMqError::Timeout)?.map_err(RabbitMqError::Connect)
}

/// Declares both queues over a connection of its own: one that recovers would repeat a refused declaration.
async fn declare(url: &str, queue: &ShortString, dead_queue: &ShortString) -> Result<(), RabbitMqError> {
    let connection = open(url, properties()).await?;
    declare_dead_queue(&connection, dead_queue).await?;
    let mut arguments = quorum();
    arguments.insert("x-delivery-limit".into(), AMQPValue::LongInt(DELIVERY_LIMIT));
    arguments.insert("x-dead-letter-exchange".into(), AMQPValue::LongString("".into()));
    arguments.insert("x-dead-letter-routing-key".into(), AMQPValue::LongString(dead_queue.as_str().into()));
    declare_queue(&connection, queue, arguments).await
}

/// A dead letter may be looked at any number of times: without a limit of its own a queue of a broker from 4.0 on would
/// drop it after the twentieth.
async fn declare_dead_queue(connection: &Connection, queue: &ShortString) -> Result<(), RabbitMqError> {
    let mut arguments = quorum();
    arguments.insert("x-delivery-limit".into(), AMQPValue::LongInt(i32::MAX));
    declare_queue(connection, queue, arguments).await
}

fn quorum() -> FieldTable {
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    arguments
}

/// Declares a queue, or makes sure that it exists, with other arguments than ours.
async fn declare_queue(connection: &Connection, queue: &ShortString, ours: FieldTable) -> Result<(), RabbitMqError> {
    let failed = |source| RabbitMqError::Queue { queue: queue.to_string(), source };
    let channel = connection.create_channel().await.map_err(failed)?;
    let Err(error) = channel.queue_declare(queue.clone(), QueueDeclareOptions::durable(), ours).await else {
        return Ok(());
    };
    // The refusal has closed the channel.
    let channel = connection.create_channel().await.map_err(failed)?;
    let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(queue.clone(), passive, FieldTable::default()).await.map_err(failed)?;
    tracing::warn!(%queue, %error, "queue exists with other arguments and is used as it is");
    Ok(())
}

/// The message's own way of being encoded, and the reason why it is here.
fn dead_letter_properties(original: &BasicProperties, reason: &str) -> BasicProperties {
    let reason = &reason[..reason.floor_char_boundary(LONGEST_REASON)];
    let mut headers = FieldTable::default();
    headers.insert(REASON_HEADER.into(), AMQPValue::LongString(LongString::from(reason)));
    encoding_of(original, BasicProperties::default().with_delivery_mode(PERSISTENT).with_headers(headers))
}

/// Properties that say of a body what the original's say.
fn encoding_of(original: &BasicProperties, mut properties: BasicProperties) -> BasicProperties {
    if let Some(content_type) = original.content_type() {
        properties = properties.with_content_type(content_type.clone());
    }
    if let Some(content_encoding) = original.content_encoding() {
        properties = properties.with_content_encoding(content_encoding.clone());
    }
    properties
}
