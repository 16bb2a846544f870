//! Alerts on their way to a webhook.

use std::sync::Arc;
use std::time::Duration;

use driftline::backends::clock::SystemClock;
use driftline::backends::http::HttpSender;
use driftline::backends::store::{HourCommit, NewOutboxItem};
use driftline::domain::time::Timestamp;
use driftline::pipeline::Shared;
use driftline::pipeline::deliver::{Destination, Protocol, deliver};
use driftline::pipeline::notify::WEBHOOK;
use driftline::telemetry::metrics::Metrics;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::fake::{Fake, status};
use super::fixtures::eventually;
use crate::stores::fixtures::{TestStore, item, seconds};

/// Delivers to a webhook for as long as the set lives.
fn delivering(store: &TestStore, url: &str) -> JoinSet<()> {
    let _installed_before = rustls::crypto::ring::default_provider().install_default();
    let shared = Shared {
        store: store.store.clone(),
        clock: Arc::new(SystemClock),
        metrics: Arc::new(Metrics::default()),
        stop: CancellationToken::new(),
    };
    let sender = HttpSender::new(url).unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(deliver(shared, Destination { name: WEBHOOK.to_owned(), protocol: Protocol::Json, sender }));
    tasks
}

async fn enqueue(store: &TestStore, outbox: Vec<NewOutboxItem>) {
    let commit = HourCommit {
        service: "shop".to_owned(),
        hour: seconds(0),
        traces: 1,
        previous_state: None,
        detector_state: "{}".to_owned(),
        summary: "{}".to_owned(),
        alerts: Vec::new(),
        outbox,
    };
    assert!(store.store.commit_hour(&commit, seconds(0)).await.unwrap());
}

async fn emptied(store: &TestStore) {
    let empty = async || (store.store.queue_depths(Timestamp(0)).await.unwrap().outbox == 0).then_some(());
    eventually("an empty outbox", empty).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_was_taken_is_not_sent_again_because_the_next_one_was_not() {
    let store = TestStore::sqlite().await;
    enqueue(&store, ["a", "b", "c"].map(|key| item(WEBHOOK, key)).into()).await;
    // The second message meets a receiver in trouble, the third one that dislikes it.
    let webhook = Fake::start(|asked| {
        let last = &asked[asked.len() - 1].body;
        let times = asked.iter().filter(|asked| asked.body == *last).count();
        match (&last[..], times) {
            (b"b", 1) => status(503),
            (b"c", 1) => status(400),
            _ => status(200),
        }
    });
    let webhook = webhook.await;
    let _delivering = delivering(&store, &webhook.url);
    emptied(&store).await;
    let mut bodies: Vec<String> =
        webhook.asked().iter().map(|asked| String::from_utf8(asked.body.to_vec()).unwrap()).collect();
    bodies.sort();
    assert_eq!(bodies, ["a", "b", "b", "c", "c"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_asks_for_a_year_of_patience_is_tried_again_within_the_hour() {
    let store = TestStore::sqlite().await;
    enqueue(&store, vec![item(WEBHOOK, "a")]).await;
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
    enqueue(&store, vec![item(WEBHOOK, "a")]).await;
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
