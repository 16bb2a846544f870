//! Connections to the broker, and messages that are put into a queue for sure.

use std::io;
use std::str::FromStr as _;
use std::time::Duration;

use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::runtime::default_runtime;
use lapin::tcp::OwnedTLSConfig;
use lapin::types::ShortString;
use lapin::uri::AMQPUri;
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties};
use tokio::time::timeout;

use super::RabbitMqError;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// How long an answer of the broker may take: exporters give up after ten seconds.
const PATIENCE: Duration = Duration::from_secs(8);

/// A peer that says nothing for so long is gone, in seconds. Without it a broker behind a cut cable is alive for minutes.
const HEARTBEAT_SECONDS: u16 = 10;

/// How long a broker may take to say goodbye: one that has no room reads nothing more from a connection that publishes.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(2);

const REPLY_SUCCESS: u16 = 200;

pub(super) fn properties() -> ConnectionProperties {
    ConnectionProperties::default().with_connection_name("driftline".into())
}

pub(super) async fn open(url: &str, properties: ConnectionProperties) -> Result<Connection, RabbitMqError> {
    let mut address = AMQPUri::from_str(url).map_err(|_| RabbitMqError::Address)?;
    address.query.heartbeat.get_or_insert(HEARTBEAT_SECONDS);
    let tls = OwnedTLSConfig { cert_chain: authority(url).await?, ..OwnedTLSConfig::default() };
    let runtime = default_runtime().map_err(RabbitMqError::Connect)?;
    let connecting = Connection::connect_uri_with_config(address, properties, tls, runtime);
    let connected = timeout(CONNECT_TIMEOUT, connecting).await;
    connected.map_err(|_| RabbitMqError::Timeout)?.map_err(RabbitMqError::Connect)
}

/// The certificates that an address names as `cacertfile` (RabbitMQ manual, URI query parameters), beside the public
/// authorities. The client library passes over the parameter.
async fn authority(url: &str) -> Result<Option<String>, RabbitMqError> {
    let parameters = url.split_once('?').map_or("", |(_, parameters)| parameters);
    let Some(path) = parameters.split('&').find_map(|parameter| parameter.strip_prefix("cacertfile=")) else {
        return Ok(None);
    };
    let unusable = |source| RabbitMqError::Authority { path: path.into(), source };
    let certificates = tokio::fs::read_to_string(path).await.map_err(unusable)?;
    if !certificates.contains("-----BEGIN CERTIFICATE-----") {
        return Err(unusable(io::Error::new(io::ErrorKind::InvalidData, "there is no PEM certificate in it")));
    }
    Ok(Some(certificates))
}

/// What the broker says, if it says it in time. What the client library (lapin 4.12) is asked at the moment in which it
/// loses its connection, it may never answer.
pub(super) async fn in_time<T>(said: impl Future<Output = T>) -> Result<T, RabbitMqError> {
    within(PATIENCE, said).await
}

/// The same with another deadline.
pub(super) async fn within<T>(limit: Duration, said: impl Future<Output = T>) -> Result<T, RabbitMqError> {
    timeout(limit, said).await.map_err(|_| RabbitMqError::Timeout)
}

/// Takes leave of the broker.
pub(super) async fn close(connection: &Connection) -> Result<(), RabbitMqError> {
    let closing = timeout(LEAVE_TIMEOUT, connection.close(REPLY_SUCCESS, ShortString::default()));
    closing.await.map_err(|_| RabbitMqError::Timeout)?.map_err(RabbitMqError::Connect)
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
