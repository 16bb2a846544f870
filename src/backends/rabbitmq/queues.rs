//! The three queues of a name, and how they are declared.
//!
//! ```text
//! <queue> ──► worker ──► (acknowledged)
//!    ▲          │ ├─ fails for a reason of its own ──► <queue>.retry ─┐
//!    └──────────│─│──────── when its time is over ◄─────────────────┘
//!               └─┴─ cannot be read, or failed too often ──► <queue>.dead
//! ```
//!
//! All are quorum queues, and what moves from one to another by the broker's own hand is confirmed before it is removed
//! (dead-letter strategy at-least-once, RabbitMQ manual, quorum queues).

use lapin::options::QueueDeclareOptions;
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{Connection, Queue};

use super::RabbitMqError;
use super::connection::in_time;

/// The broker dead-letters what was delivered this often without being acknowledged. Workers count for themselves which
/// message takes them down, and act much earlier; this is for what they do not live to count.
const DELIVERY_LIMIT: i32 = 100;

/// A queue and those that belong to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct QueueNames {
    /// Where messages are published to.
    pub(super) live: ShortString,
    /// Where they wait for their next attempt.
    pub(super) retry: ShortString,
    /// Where those are that will have none.
    pub(super) dead: ShortString,
}

impl QueueNames {
    pub(super) fn of(queue: &str) -> Result<Self, RabbitMqError> {
        let name =
            |name: String| ShortString::try_new(name).map_err(|_| RabbitMqError::QueueName { queue: queue.to_owned() });
        Ok(Self {
            live: name(queue.to_owned())?,
            retry: name(format!("{queue}.retry"))?,
            dead: name(format!("{queue}.dead"))?,
        })
    }

    /// Declares all three.
    pub(super) async fn declare(&self, connection: &Connection) -> Result<(), RabbitMqError> {
        declare_dead_queue(connection, &self.dead).await?;
        declare_queue(connection, &self.retry, moving_on_to(&self.live)).await?;
        let mut arguments = moving_on_to(&self.dead);
        arguments.insert("x-delivery-limit".into(), AMQPValue::LongInt(DELIVERY_LIMIT));
        declare_queue(connection, &self.live, arguments).await
    }
}

/// A dead letter may be looked at any number of times: without a limit of its own a queue of a broker from 4.0 on would
/// drop it after the twentieth.
pub(super) async fn declare_dead_queue(connection: &Connection, queue: &ShortString) -> Result<(), RabbitMqError> {
    let mut arguments = quorum();
    arguments.insert("x-delivery-limit".into(), AMQPValue::LongInt(i32::MAX));
    declare_queue(connection, queue, arguments).await
}

fn quorum() -> FieldTable {
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    arguments
}

/// What leaves the queue unacknowledged goes to another one, and is gone here only when it is there. A full queue refuses
/// what is published, and does not drop what it has.
fn moving_on_to(queue: &ShortString) -> FieldTable {
    let mut arguments = quorum();
    arguments.insert("x-dead-letter-exchange".into(), AMQPValue::LongString("".into()));
    arguments.insert("x-dead-letter-routing-key".into(), AMQPValue::LongString(queue.as_str().into()));
    arguments.insert("x-dead-letter-strategy".into(), AMQPValue::LongString("at-least-once".into()));
    arguments.insert("x-overflow".into(), AMQPValue::LongString("reject-publish".into()));
    arguments
}

/// Declares a queue, or makes sure that it exists, with other arguments than ours.
async fn declare_queue(connection: &Connection, queue: &ShortString, ours: FieldTable) -> Result<(), RabbitMqError> {
    let failed = |source| RabbitMqError::Queue { queue: queue.to_string(), source };
    let channel = in_time(connection.create_channel()).await?.map_err(failed)?;
    let declared = in_time(channel.queue_declare(queue.clone(), QueueDeclareOptions::durable(), ours)).await?;
    let Err(error) = declared else { return Ok(()) };
    // The refusal has closed the channel.
    let channel = in_time(connection.create_channel()).await?.map_err(failed)?;
    in_time(look_at(&channel, queue)).await?.map_err(failed)?;
    tracing::warn!(%queue, %error, "queue exists with other arguments and is used as it is");
    Ok(())
}

/// Asks for a queue that has to exist, and how many messages wait in it.
pub(super) async fn look_at(channel: &lapin::Channel, queue: &ShortString) -> Result<Queue, lapin::Error> {
    let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(queue.clone(), passive, FieldTable::default()).await
}
