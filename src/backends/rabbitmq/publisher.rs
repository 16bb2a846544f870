//! Publishes into a queue: each message is answered for by the broker, or the sender hears that it was not taken.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use lapin::{Channel, Connection};
use tokio::time::{sleep, timeout};

use super::connection::{Published, confirming_channel, open, properties, publish};
use super::queues::{QueueNames, look_at};
use super::{RabbitMqError, envelope};

/// How long a confirmation may take: exporters give up after ten seconds.
const PATIENCE: Duration = Duration::from_secs(8);
/// How often the broker is asked how many messages wait.
const INTERVAL: Duration = Duration::from_secs(1);

/// A message to publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewMessage {
    /// What the body holds, in the words of whoever reads it.
    pub content: &'static str,
    /// Media type of the body.
    pub content_type: &'static str,
    /// A name that no other message has.
    pub name: String,
    /// The message itself.
    pub body: Vec<u8>,
}

/// The way into one queue.
pub struct RabbitMqPublisher {
    url: String,
    queue: QueueNames,
    /// The way there, while there is one.
    open: Mutex<Option<Open>>,
}

#[derive(Clone)]
struct Open {
    channel: Channel,
    /// Messages that waited when the broker was last asked.
    waiting: u32,
    /// Whether the broker has no memory or disk left and reads nothing.
    is_blocked: bool,
}

impl RabbitMqPublisher {
    /// A publisher that is not connected yet.
    ///
    /// # Errors
    /// The queue's name is too long.
    pub fn new(url: &str, queue: &str) -> Result<Self, RabbitMqError> {
        Ok(Self { url: url.to_owned(), queue: QueueNames::of(queue)?, open: Mutex::new(None) })
    }

    /// Connects, declares the queue, and stays connected for as long as that lasts. Dropped, it ends the connection.
    ///
    /// # Errors
    /// Always: why it is not connected any longer.
    pub async fn stay_connected(&self) -> Result<std::convert::Infallible, RabbitMqError> {
        self.queue.declare(&self.url).await?;
        let connection = open(&self.url, properties()).await?;
        let _closed_at_the_end = Closing(self);
        let failed = |source| RabbitMqError::Queue { queue: self.queue.live.to_string(), source };
        let asking = connection.create_channel().await.map_err(failed)?;
        let mut channel = confirming_channel(&connection).await.map_err(failed)?;
        loop {
            let queue = timeout(PATIENCE, look_at(&asking, &self.queue.live)).await;
            let waiting = queue.map_err(|_| RabbitMqError::Timeout)?.map_err(failed)?.message_count();
            if !channel.status().connected() {
                // A message that the broker refuses to look at ends the channel, and not the connection.
                channel = confirming_channel(&connection).await.map_err(failed)?;
            }
            self.set(Some(Open { channel: channel.clone(), waiting, is_blocked: is_blocked(&connection) }));
            sleep(INTERVAL).await;
        }
    }

    /// Messages that wait in the queue, as of a moment ago.
    ///
    /// # Errors
    /// There is no connection.
    pub fn waiting(&self) -> Result<u32, RabbitMqError> {
        self.get().map(|open| open.waiting)
    }

    /// Puts a message into the queue and waits until the broker has confirmed it.
    ///
    /// # Errors
    /// It may not be there: there is no connection, or it broke, or the queue is full.
    pub async fn publish(&self, message: NewMessage) -> Result<(), RabbitMqError> {
        let open = self.get()?;
        if open.is_blocked {
            return Err(RabbitMqError::Full { queue: self.queue.live.to_string() });
        }
        let failed = |source| RabbitMqError::Publish { queue: self.queue.live.to_string(), source };
        let properties = envelope::of_new(message.content, message.content_type, &message.name);
        let published = timeout(PATIENCE, publish(&open.channel, &self.queue.live, &message.body, properties)).await;
        match published.map_err(|_| RabbitMqError::Timeout)?.map_err(|error| failed(Some(error)))? {
            Published::Taken => Ok(()),
            Published::Refused => Err(RabbitMqError::Full { queue: self.queue.live.to_string() }),
            Published::Returned => Err(failed(None)),
        }
    }

    fn get(&self) -> Result<Open, RabbitMqError> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.clone().filter(|open| open.channel.status().connected()).ok_or(RabbitMqError::NotConnected)
    }

    fn set(&self, open: Option<Open>) {
        *self.open.lock().unwrap_or_else(PoisonError::into_inner) = open;
    }
}

fn is_blocked(connection: &Connection) -> bool {
    connection.status().blocked()
}

/// Takes the way away when its connection ends, however that comes.
struct Closing<'a>(&'a RabbitMqPublisher);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        self.0.set(None);
    }
}
