//! How the service itself is: what waits in the broker, and what is said when that cannot be asked.

use driftline::backends::rabbitmq::RabbitMqConsumer;
use serde_json::{Value, json};
use std::time::Duration;

use super::fixtures::Service;
use crate::support::broker::Other;
use crate::support::services::{fresh_name, rabbitmq};

const PATIENCE: Duration = Duration::from_secs(30);

#[tokio::test]
async fn dead_letters_and_messages_are_counted_on_the_page_and_in_json() {
    let (url, queue) = (&rabbitmq().amqp_url, fresh_name("system"));
    let mut consumer = RabbitMqConsumer::connect(url, &queue, 1).await.unwrap();
    Other::connect().await.publish(&queue, &[b"dead", b"alive", b"well"]).await;
    let delivery = consumer.next_batch(1, PATIENCE).await.unwrap().remove(0);
    consumer.dead_letter(&delivery, "cannot be read").await.unwrap();
    consumer.close().await.unwrap();

    let service = Service::with_broker(url, &queue).await;
    let counts = json!({ "waiting": 2, "retrying": 0, "dead_letters": 1 });
    let broker = json!({ "queue": queue, "counts": counts, "error": null });
    assert_eq!(service.answer("/api/v1/system").await["broker"], broker);
    let page = service.page("/system").await;
    assert!(page.contains(&queue) && page.contains("driftline dead-letters list"), "{page}");
}

#[tokio::test]
async fn a_broker_that_cannot_be_asked_is_said_to_be_so_and_no_number_is_made_up() {
    let service = Service::with_broker("amqp://guest:secret@127.0.0.1:1/%2f", "traces").await;
    let broker = service.answer("/api/v1/system").await["broker"].clone();
    assert_eq!(broker["counts"], Value::Null);
    assert!(broker["error"].as_str().unwrap().starts_with("cannot connect to RabbitMQ"), "{broker}");
    let page = service.page("/system").await;
    assert!(page.contains("The broker could not be asked"), "{page}");
    assert!(!page.contains("secret") && !broker.to_string().contains("secret"), "the password shows");
}

#[tokio::test]
async fn without_a_broker_there_are_no_dead_letters_to_count() {
    let service = Service::with_traffic().await;
    let answer = service.answer("/api/v1/system").await;
    assert_eq!((&answer["broker"], &answer["queues"][0]["queue"]), (&Value::Null, &json!("pending")));
    assert!(service.page("/system").await.contains("No broker is configured"));
}
