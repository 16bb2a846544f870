//! A broker's client as someone else would write it.

use driftline::backends::rabbitmq::REASON_HEADER;
use lapin::options::{BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::AMQPValue;
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties};

use tokio::time::{Duration, Instant, sleep, timeout};

use super::services::rabbitmq;

const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);

/// A broker's client as someone else would write it.
pub(crate) struct Other {
    pub(crate) channel: Channel,
    _connection: Connection,
}

impl Other {
    pub(crate) async fn connect() -> Self {
        Self::connect_to(&rabbitmq().amqp_url).await
    }

    pub(crate) async fn connect_to(url: &str) -> Self {
        let connection = Connection::connect(url, ConnectionProperties::default()).await.unwrap();
        let channel = connection.create_channel().await.unwrap();
        channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
        Self { channel, _connection: connection }
    }

    /// Publishes as the Collector's `rabbitmqexporter` does: default exchange, mandatory, persistent, nothing else.
    /// What comes back is sent again: a service that has just started may not have declared its queue yet.
    pub(crate) async fn publish(&self, queue: &str, bodies: &[&[u8]]) {
        let deadline = Instant::now() + PATIENCE;
        for body in bodies {
            while !timeout(PATIENCE, self.is_taken(queue, body)).await.unwrap() {
                assert!(Instant::now() < deadline, "nobody declares the queue {queue}");
                sleep(POLL).await;
            }
        }
    }

    async fn is_taken(&self, queue: &str, body: &[u8]) -> bool {
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let properties = BasicProperties::default().with_delivery_mode(2);
        let published = self.channel.basic_publish("".into(), queue.into(), options, body, properties).await;
        matches!(published.unwrap().await.unwrap(), Confirmation::Ack(None))
    }

    /// Takes one message off a queue: its body and the reason in its headers.
    pub(crate) async fn take(&self, queue: &str) -> Option<(Vec<u8>, Option<String>)> {
        let message = self.channel.basic_get(queue.into(), BasicGetOptions { no_ack: true }).await.unwrap()?;
        let headers = message.delivery.properties.headers().clone().unwrap_or_default();
        let reason = headers.inner().get(REASON_HEADER).map(|reason| match reason {
            AMQPValue::LongString(reason) => reason.to_string(),
            other => panic!("{other:?} is not text"),
        });
        Some((message.delivery.data, reason))
    }
}
