//! Connections to the broker, and messages that are put into a queue for sure.

use std::str::FromStr as _;
use std::time::Duration;

use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::ShortString;
use lapin::uri::AMQPUri;
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties};
use tokio::time::timeout;

use super::RabbitMqError;

pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// A peer that says nothing for so long is gone, in seconds. Without it a broker behind a cut cable is alive for minutes.
const HEARTBEAT_SECONDS: u16 = 10;

const REPLY_SUCCESS: u16 = 200;

pub(super) fn properties() -> ConnectionProperties {
    ConnectionProperties::default().with_connection_name("driftline".into())
}

pub(super) async fn open(url: &str, properties: ConnectionProperties) -> Result<Connection, RabbitMqError> {
    let mut address = AMQPUri::from_str(url).map_err(|_| RabbitMqError::Address)?;
    address.query.heartbeat.get_or_insert(HEARTBEAT_SECONDS);
    let connecting = timeout(CONNECT_TIMEOUT, Connection::connect_uri(address, properties)).await;
    connecting.map_err(|_| RabbitMqError::Timeout)?.map_err(RabbitMqError::Connect)
}

/// Takes leave of the broker.
pub(super) async fn close(connection: &Connection) -> Result<(), RabbitMqError> {
    connection.close(REPLY_SUCCESS, ShortString::default()).await.map_err(RabbitMqError::Connect)
}

/// A channel on which the broker confirms what it has taken.
pub(super) async fn confirming_channel(connection: &Connection) -> Result<Channel, lapin::Error> {
    let channel = connection.create_channel().await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    Ok(channel)
}

/// What the broker said of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Published {
    /// It is in the queue, on the disks of most of its members.
    Taken,
    /// The queue is full.
    Refused,
    /// There is no such queue.
    Returned,
}

/// Puts a message into a queue and waits until the broker has said what became of it.
pub(super) async fn publish(
    channel: &Channel,
    queue: &ShortString,
    body: &[u8],
    properties: BasicProperties,
) -> Result<Published, lapin::Error> {
    let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
    let sent = channel.basic_publish(ShortString::default(), queue.clone(), options, body, properties).await?;
    Ok(match sent.await? {
        // A message that no queue took is returned, and acknowledged all the same.
        Confirmation::Ack(None) => Published::Taken,
        Confirmation::Ack(Some(_)) => Published::Returned,
        Confirmation::Nack(_) | Confirmation::NotRequested => Published::Refused,
    })
}
