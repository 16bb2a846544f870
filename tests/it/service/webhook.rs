//! Alerts on their way to a webhook.

use std::sync::Arc;
use std::time::Duration;

use driftline::backends::clock::SystemClock;
use driftline::backends::http::HttpSender;
use driftline::backends::store::{NewOutboxItem, Notice, NoticeCommit};
use driftline::domain::alert::AlertState;
use driftline::domain::time::Timestamp;
use driftline::pipeline::Shared;
use driftline::pipeline::deliver::{Destination, Protocol, deliver};
use driftline::pipeline::notify::WEBHOOK;
use driftline::pipeline::notify::format::Format;
use driftline::telemetry::metrics::Metrics;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::fake::{Asked, Fake, status};
use super::fixtures::eventually;
use crate::stores::fixtures::{TestStore, alert, item, seconds};

/// Delivers to a webhook for as long as the set lives.
fn delivering(store: &TestStore, url: &str) -> JoinSet<()> {
    let _installed_before = rustls::crypto::ring::default_provider().install_default();
    let shared = Shared {
        store: store.store.clone(),
        clock: Arc::new(SystemClock),
        metrics: Arc::new(Metrics::default()),
        stop: CancellationToken::new(),
        worker: "test".into(),
    };
    let sender = HttpSender::new(url).unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(deliver(
        shared,
        Destination { name: WEBHOOK.to_owned(), protocol: Protocol::Alerts(Format::Webhook), sender },
    ));
    tasks
}

/// A message about an alert of this name.
fn message(fingerprint: &str) -> NewOutboxItem {
    let alert = alert(fingerprint, "shop", AlertState::Firing, seconds(0));
    let mut message = serde_json::to_value(&alert).unwrap();
    let more = serde_json::json!({"version": 1, "reason": "firing", "links": [], "link": "l", "runbook_url": "r"});
    message.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    NewOutboxItem { payload: message.to_string().into_bytes(), ..item(WEBHOOK, fingerprint) }
}

fn about(asked: &Asked) -> String {
    let message: serde_json::Value = serde_json::from_slice(&asked.body).unwrap();
    message["fingerprint"].as_str().unwrap().to_owned()
}

/// Puts messages into the outbox, each in a lane of its own.
async fn enqueue(store: &TestStore, messages: Vec<NewOutboxItem>) {
    for message in messages {
        let after = Notice { last_event: 0, is_open: false, told: "{}".to_owned() };
        let fingerprint = message.key.clone();
        let commit = NoticeCommit { fingerprint, before: None, after, messages: vec![message] };
        assert!(store.store.commit_notice(&commit, seconds(0)).await.unwrap());
    }
}

async fn emptied(store: &TestStore) {
    let empty = async || (store.store.queue_depths(Timestamp(0)).await.unwrap().outbox == 0).then_some(());
    eventually("an empty outbox", empty).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_was_taken_is_not_sent_again_because_the_next_one_was_not() {
    let store = TestStore::sqlite().await;
    enqueue(&store, ["a", "b", "c"].map(message).into()).await;
    // The second message meets a receiver in trouble, the third one that dislikes it.
    let webhook = Fake::start(|asked| {
        let last = about(&asked[asked.len() - 1]);
        let times = asked.iter().filter(|asked| about(asked) == last).count();
        match (last.as_str(), times) {
            ("b", 1) => status(503),
            ("c", 1) => status(400),
            _ => status(200),
        }
    });
    let webhook = webhook.await;
    let _delivering = delivering(&store, &webhook.url);
    emptied(&store).await;
    let mut bodies: Vec<String> = webhook.asked().iter().map(about).collect();
    bodies.sort();
    assert_eq!(bodies, ["a", "b", "b", "c", "c"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_asks_for_a_year_of_patience_is_tried_again_within_the_hour() {
    let store = TestStore::sqlite().await;
    enqueue(&store, vec![message("a")]).await;
    let webhook = Fake::start(|_| {
        let headers = [("retry-after", "31536000")];
        Some(axum::response::IntoResponse::into_response((axum::http::StatusCode::TOO_MANY_REQUESTS, headers)))
    });
    let webhook = webhook.await;
    let delivering = delivering(&store, &webhook.url);
    eventually("the first attempt", async || webhook.asked().first().map(drop)).await;
    let soon = async || {
        // A claim made an hour from now finds the item again, once the first attempt has let go of it.
        let now = driftline::backends::clock::Clock::now(&SystemClock).plus(Duration::from_hours(1));
        let items = store.store.claim_outbox(WEBHOOK, now, Duration::ZERO, 1).await.unwrap();
        items.first().map(|item| item.attempts)
    };
    assert!(eventually("the item to be due", soon).await >= 2);
    drop(delivering);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endless_refusal_is_not_read_to_its_end() {
    let store = TestStore::sqlite().await;
    enqueue(&store, vec![message("a")]).await;
    let webhook = Fake::start(|asked| {
        if asked.len() > 1 {
            return status(200);
        }
        let endless = futures_util::stream::repeat_with(|| Ok::<_, std::io::Error>(vec![b'x'; 64 * 1024]));
        let body = axum::body::Body::from_stream(endless);
        Some(axum::response::Response::builder().status(400).body(body).unwrap())
    });
    let webhook = webhook.await;
    let started = tokio::time::Instant::now();
    let _delivering = delivering(&store, &webhook.url);
    emptied(&store).await;
    assert_eq!(webhook.asked().len(), 2);
    assert!(started.elapsed() < Duration::from_secs(8), "the refusal was read for {:?}", started.elapsed());
}
