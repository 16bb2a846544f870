//! Publishes into a queue: each message is answered for by the broker, or the sender hears that it was not taken.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use lapin::{Channel, ConnectionStatus};
use tokio::time::sleep;

use super::connection::{Published, confirming_channel, in_time, open, properties, publish};
use super::queues::{QueueNames, look_at};
use super::{RabbitMqError, envelope};

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
    /// Tells at any time whether the broker has no memory or disk left and reads nothing.
    connection: ConnectionStatus,
    /// Messages that waited when the broker was last asked.
    waiting: u32,
}

impl RabbitMqPublisher {
    /// A publisher that is not connected yet.
    ///
    /// # Errors
    /// The queue's name is too long.
    pub fn new(url: &str, queue: &str) -> Result<Self, RabbitMqError> {
        Ok(Self { url: url.to_owned(), queue: QueueNames::of(queue)?, open: Mutex::new(None) })
    }

    /// Connects, declares the queue, and stays connected for as long as that lasts. Dropped, it ends the connections.
    ///
    /// One connection publishes. Another asks how much waits: a broker without room stops reading the first, and one that
    /// is dropped then takes its leave only when there is room again.
    ///
    /// # Errors
    /// Always: why it is not connected any longer.
    pub async fn stay_connected(&self) -> Result<std::convert::Infallible, RabbitMqError> {
        let (asking, publishing) = (open(&self.url, properties()).await?, open(&self.url, properties()).await?);
        self.queue.declare(&asking).await?;
        let _closed_at_the_end = Closing(self);
        let failed = |source| RabbitMqError::Queue { queue: self.queue.live.to_string(), source };
        let asked = in_time(asking.create_channel()).await?.map_err(failed)?;
        let mut channel = in_time(confirming_channel(&publishing)).await?.map_err(failed)?;
        loop {
            let waiting = in_time(look_at(&asked, &self.queue.live)).await?.map_err(failed)?.message_count();
            let connection = publishing.status().clone();
            if !connection.connected() {
                return Err(RabbitMqError::NotConnected);
            }
            if !channel.status().connected() && !connection.blocked() {
                // A message that the broker refuses to look at ends the channel, and not the connection.
                channel = in_time(confirming_channel(&publishing)).await?.map_err(failed)?;
            }
            self.set(Some(Open { channel: channel.clone(), connection, waiting }));
            sleep(INTERVAL).await;
        }
    }

    /// Messages that wait in the queue, as of a moment ago.
    ///
    /// # Errors
    /// There is no connection, or the broker reads nothing from it.
    pub fn waiting(&self) -> Result<u32, RabbitMqError> {
        self.get().map(|open| open.waiting)
    }

    /// Puts a message into the queue and waits until the broker has confirmed it.
    ///
    /// # Errors
    /// It may not be there: there is no connection, or it broke, or the queue or the broker is full.
    pub async fn publish(&self, message: NewMessage) -> Result<(), RabbitMqError> {
        let open = self.get()?;
        let failed = |source| RabbitMqError::Publish { queue: self.queue.live.to_string(), source };
        let properties = envelope::of_new(message.content, message.content_type, &message.name);
        let published = in_time(publish(&open.channel, &self.queue.live, &message.body, properties)).await?;
        match published.map_err(|error| failed(Some(error)))? {
            Published::Taken => Ok(()),
            Published::Refused => Err(RabbitMqError::Full { queue: self.queue.live.to_string() }),
            Published::Returned => Err(failed(None)),
        }
    }

    fn get(&self) -> Result<Open, RabbitMqError> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let open = open.filter(|open| open.channel.status().connected()).ok_or(RabbitMqError::NotConnected)?;
        if open.connection.blocked() { Err(RabbitMqError::Blocked) } else { Ok(open) }
    }

    fn set(&self, open: Option<Open>) {
        *self.open.lock().unwrap_or_else(PoisonError::into_inner) = open;
    }
}

/// Takes the way away when its connection ends, however that comes.
struct Closing<'a>(&'a RabbitMqPublisher);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        self.0.set(None);
    }
}
