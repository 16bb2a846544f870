//! How the service itself is: what waits in the broker, and what is said when that cannot be asked.

use driftline::backends::rabbitmq::RabbitMqConsumer;
use driftline::backends::store::HourCommit;
use serde_json::{Value, json};
use std::time::Duration;

use super::fixtures::{START, Service};
use crate::service::fixtures::eventually;
use crate::support::broker::Other;
use crate::support::services::{fresh_name, rabbitmq};

const PATIENCE: Duration = Duration::from_secs(30);

#[tokio::test]
async fn dead_letters_and_messages_are_counted_on_the_page_and_in_json() {
    let (url, queue) = (&rabbitmq().amqp_url, fresh_name("system"));
    let mut consumer = RabbitMqConsumer::connect(url, &queue, 1).await.unwrap();
    Other::connect().await.publish(&queue, &[b"dead", b"alive", b"well"]).await;
    let delivery = consumer.next_batch(1, PATIENCE).await.unwrap().remove(0);
    consumer.mover().dead_letter(&delivery, "cannot be read").await.unwrap();
    consumer.close().await.unwrap();

    let service = Service::with_broker(url, &queue).await;
    let counts = json!({ "waiting": 2, "retrying": 0, "dead_letters": 1 });
    let broker = json!({ "queue": queue, "counts": counts, "error": null });
    // A broker under load may take longer to answer than a page waits.
    let told = async || (service.answer("/api/v1/system").await["broker"] == broker).then_some(());
    eventually("the counts", told).await;
    let page = service.page("/system").await;
    assert!(page.contains(&queue) && page.contains("driftline dead-letters list"), "{page}");
}

#[tokio::test]
async fn a_broker_that_cannot_be_asked_is_said_to_be_so_and_no_number_is_made_up() {
    let service = Service::with_broker("amqp://guest:secret@127.0.0.1:1/%2f", "traces").await;
    let refused = async || {
        let broker = service.answer("/api/v1/system").await["broker"].clone();
        assert_eq!(broker["counts"], Value::Null);
        broker["error"].as_str().unwrap().starts_with("cannot connect to RabbitMQ").then_some(broker)
    };
    let broker = eventually("what is wrong", refused).await;
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

#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_of_an_error_budget_is_told_by_page_api_and_metrics() {
    let service = Service::with_traffic().await;
    assert_eq!(service.answer("/api/v1/objectives").await, json!({ "objectives": [] }));
    assert!(!service.page("/").await.contains("Error budgets"));
    let days = json!({ "run_error:None:0.99": { START.0.to_string(): [3, 200] } });
    let memory = json!({ "observed": null, "burns": {}, "days": days, "hours": [] });
    let commit = HourCommit {
        service: service.agent.to_owned(),
        hour: START,
        traces: 200,
        previous_state: None,
        detector_state: "{}".to_owned(),
        rules: json!({ "memory": memory, "firing": [] }).to_string(),
        summary: "{}".to_owned(),
        alerts: Vec::new(),
    };
    assert!(service.store.store.commit_hour(&commit, START).await.unwrap());
    let left = &service.answer("/api/v1/objectives").await["objectives"][0];
    assert_eq!((&left["service"], &left["bad"], &left["traces"]), (&json!(service.agent), &json!(3), &json!(200)));
    assert!((left["remaining"].as_f64().unwrap() + 0.5).abs() < 1e-9, "two of three were allowed: {left}");
    let page = service.page("/").await;
    assert!(page.contains("Error budgets") && page.contains("-50.0 %"), "{page}");
    let metrics = service.get("/metrics").await.text().await.unwrap();
    let labels = "{service=\"support-agent\",objective=\"run_error 0.99\"}";
    assert!(metrics.contains(&format!("\ndriftline_error_budget_remaining{labels} -0.")), "{metrics}");
}
