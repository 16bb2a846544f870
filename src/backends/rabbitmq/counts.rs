//! How many messages wait in a queue and in those that belong to it.

use lapin::Channel;
use serde::{Deserialize, Serialize};

use super::RabbitMqError;
use super::connection::{close, in_time, open, properties};
use super::queues::{QueueNames, look_at};

/// Messages that wait, and are out at no worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueCounts {
    /// For a worker.
    pub waiting: u32,
    /// For the pause before their next attempt to end.
    pub retrying: u32,
    /// For a person, as dead letters.
    pub dead_letters: u32,
}

/// A queue that can be asked how much waits in it. Each time over a connection of its own, for that is seldom asked.
#[derive(Clone)]
pub struct BrokerQueue {
    /// The broker's address, which holds a password.
    pub url: String,
    /// The queue's name.
    pub name: String,
}

impl BrokerQueue {
    /// What waits now.
    ///
    /// # Errors
    /// The broker cannot be reached, or one of the queues is not there.
    pub async fn counts(&self) -> Result<QueueCounts, RabbitMqError> {
        let names = QueueNames::of(&self.name)?;
        let connection = open(&self.url, properties()).await?;
        let channel = in_time(connection.create_channel()).await?.map_err(RabbitMqError::Connect)?;
        let counts = counts(&channel, &names).await;
        // What was counted holds, whether or not the broker takes leave.
        let _left = close(&connection).await;
        counts
    }
}

async fn counts(channel: &Channel, names: &QueueNames) -> Result<QueueCounts, RabbitMqError> {
    let count = async |queue| {
        let failed = |source| RabbitMqError::Queue { queue: ToString::to_string(queue), source };
        in_time(look_at(channel, queue)).await?.map(|found| found.message_count()).map_err(failed)
    };
    Ok(QueueCounts {
        waiting: count(&names.live).await?,
        retrying: count(&names.retry).await?,
        dead_letters: count(&names.dead).await?,
    })
}
