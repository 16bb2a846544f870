//! Scores on their way to tracing backends that are down, picky, or hard of hearing.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use driftline::domain::time::Timestamp;
use driftline::otlp::{ExportTraceServiceRequest, KeyValue, Span, any_value};
use prost::Message as _;

use super::fake::{Asked, Fake, status};
use super::fixtures::{Running, eventually, request, span, trace_id, write_back};

/// Evaluation spans that a backend was asked to take, in order.
fn spans(asked: &[Asked]) -> Vec<Span> {
    let requests = asked.iter().filter(|asked| asked.path == "/v1/traces");
    let requests = requests.map(|asked| ExportTraceServiceRequest::decode(asked.body.clone()).unwrap());
    let scopes = requests.flat_map(|request| request.resource_spans).flat_map(|group| group.scope_spans);
    scopes.flat_map(|group| group.spans).collect()
}

/// How often each evaluation span came.
fn counts(asked: &[Asked]) -> BTreeMap<(Vec<u8>, Vec<u8>), usize> {
    let mut counts = BTreeMap::new();
    for span in spans(asked) {
        *counts.entry((span.trace_id, span.span_id)).or_default() += 1;
    }
    counts
}

fn mentions(asked: &Asked, trace: u32) -> bool {
    asked.body.windows(16).any(|window| window == trace_id(trace).as_bytes())
}

/// An address that no one listens on, for the moment.
fn free_address() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_was_down_gets_everything_once_and_delays_no_other() {
    let up = Fake::start(|_| status(200)).await;
    let address = free_address();
    let endpoints = [up.url.clone(), format!("http://{address}")];
    let running = Running::start(|settings| settings.write_back = endpoints.iter().map(|it| write_back(it)).collect());
    let running = running.await;
    for trace in 0..20 {
        running.accept(&request("agent", vec![span(trace, 0)])).await;
    }
    let all_at = async |fake: &Fake| {
        let traces = async || {
            let counts = counts(&fake.asked());
            let traces = (0..20).all(|trace| counts.keys().any(|(id, _)| id == trace_id(trace).as_bytes()));
            traces.then_some(counts)
        };
        eventually("every trace at a destination", traces).await
    };
    let expected = all_at(&up).await;
    assert!(running.store.queue_depths(Timestamp(0)).await.unwrap().outbox >= 1, "the other has got nothing");

    let late = Fake::start_at(address, |_| status(200)).await;
    running.delivered().await;
    assert_eq!(all_at(&late).await.into_keys().collect::<Vec<_>>(), expected.into_keys().collect::<Vec<_>>());
    for fake in [&up, &late] {
        assert!(counts(&fake.asked()).values().all(|count| *count == 1), "{:?}", counts(&fake.asked()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_item_that_a_destination_refuses_waits_alone_until_it_is_taken() {
    let is_picky = Arc::new(AtomicBool::new(true));
    let picky = Arc::clone(&is_picky);
    let backend = Fake::start(move |asked| {
        let is_refused = picky.load(Ordering::Relaxed) && mentions(&asked[asked.len() - 1], 3);
        status(if is_refused { 400 } else { 200 })
    });
    let backend = backend.await;
    let running = Running::start(|settings| settings.write_back = vec![write_back(&backend.url)]).await;
    running.accept(&request("agent", (0..10).map(|trace| span(trace, 0)).collect())).await;
    for trace in 0..10 {
        running.scored(trace_id(trace), 1).await;
    }
    let others = async || (running.store.queue_depths(Timestamp(0)).await.unwrap().outbox == 1).then_some(());
    eventually("everything but the poisoned item to be delivered", others).await;
    assert!(!spans(&backend.asked()).is_empty());

    is_picky.store(false, Ordering::Relaxed);
    running.delivered().await;
    let asked = backend.asked();
    let taken: Vec<Asked> = asked.into_iter().filter(|it| !mentions(it, 3)).collect();
    assert!(counts(&taken).values().all(|count| *count == 1), "{:?}", counts(&taken));
    assert_eq!(
        taken
            .iter()
            .filter(|it| it.path == "/v1/traces")
            .flat_map(|it| spans(std::slice::from_ref(it)))
            .map(|span| span.trace_id)
            .collect::<std::collections::BTreeSet<_>>()
            .len(),
        9
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_refuses_us_is_not_asked_again_for_each_item() {
    let is_known = Arc::new(AtomicBool::new(false));
    let known = Arc::clone(&is_known);
    let backend = Fake::start(move |_| status(if known.load(Ordering::Relaxed) { 200 } else { 401 })).await;
    let running = Running::start(|settings| settings.write_back = vec![write_back(&backend.url)]).await;
    running.accept(&request("agent", (0..50).map(|trace| span(trace, 0)).collect())).await;
    for trace in 0..50 {
        running.scored(trace_id(trace), 1).await;
    }
    eventually("a refusal", async || backend.asked().first().map(drop)).await;
    let refused = backend.asked().len();
    assert!(refused < 10, "{refused} requests for 50 items");
    is_known.store(true, Ordering::Relaxed);
    running.delivered().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_takes_no_logs_still_gets_the_scores_and_is_not_asked_again() {
    for refusal in [404, 405, 501] {
        let is_logs = |asked: &[Asked]| asked[asked.len() - 1].path == "/v1/logs";
        let backend = Fake::start(move |asked| status(if is_logs(asked) { refusal } else { 200 })).await;
        let running = Running::start(|settings| settings.write_back = vec![write_back(&backend.url)]).await;
        running.accept(&request("agent", vec![span(0, 0)])).await;
        running.scored(trace_id(0), 1).await;
        running.delivered().await;
        let asked = backend.asked();
        assert_eq!(asked.iter().map(|asked| asked.path.as_str()).collect::<Vec<_>>(), ["/v1/traces", "/v1/logs"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forwarded_trace_is_whole_and_carries_the_scores_of_rules_on_its_root() {
    let backend = Fake::start(|asked| status(if asked.len() < 2 { 503 } else { 200 })).await;
    let running = Running::start(|settings| settings.forward.endpoint.clone_from(&backend.url)).await;
    let mut root = span(0, 0);
    // A sender may claim anything.
    root.attributes = vec![KeyValue { key: "driftline.eval.loop.score".to_owned(), ..KeyValue::default() }];
    running.accept(&request("agent", vec![root, span(0, 1), span(1, 0)])).await;
    for trace in 0..2 {
        running.scored(trace_id(trace), 1).await;
    }
    running.delivered().await;
    let asked = backend.asked();
    assert!(asked.iter().all(|asked| asked.path == "/v1/traces"));
    let taken = spans(&asked[1..]);
    let ids: BTreeSet<(&[u8], &[u8])> = taken.iter().map(|it| (&*it.trace_id, &*it.span_id)).collect();
    assert_eq!((ids.len(), taken.len()), (3, 3), "each span once");
    let rows = running.store.evaluations(trace_id(0)).await.unwrap();
    let root = taken.iter().find(|it| it.trace_id == trace_id(0).as_bytes() && it.parent_span_id.is_empty()).unwrap();
    for row in rows.iter().map(|row| &row.evaluation).filter(|row| row.value.is_some()) {
        let key = format!("driftline.eval.{}.score", row.evaluator);
        let found: Vec<_> = root.attributes.iter().filter(|attribute| attribute.key == key).collect();
        let value = found[0].value.as_ref().and_then(|value| value.value.clone());
        assert_eq!((found.len(), value), (1, row.value.map(any_value::Value::DoubleValue)), "{key}");
    }
    let child = taken.iter().find(|it| it.span_id == span(0, 1).span_id).unwrap();
    assert!(child.attributes.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn scores_hang_on_the_span_they_judge_and_a_repeat_is_the_same_span() {
    let backend = Fake::start(|asked| status(if asked.len() < 3 { 503 } else { 200 })).await;
    let running = Running::start(|settings| settings.write_back = vec![write_back(&backend.url)]).await;
    running.accept(&request("agent", vec![span(0, 0), span(0, 1)])).await;
    running.scored(trace_id(0), 1).await;
    running.delivered().await;
    let asked = backend.asked();
    let attempts: Vec<Vec<Span>> = asked.chunks(1).map(spans).filter(|spans| !spans.is_empty()).collect();
    assert_eq!(attempts.len(), 3, "two failures and an answer");
    assert!(attempts.iter().all(|spans| *spans == attempts[0]), "a repeat differs: {attempts:?}");
    for span in &attempts[0] {
        assert_eq!(span.trace_id, trace_id(0).as_bytes());
        assert_eq!(span.parent_span_id, super::fixtures::span(0, 0).span_id, "{}", span.name);
        assert_eq!((&span.links[0].trace_id, &span.links[0].span_id), (&span.trace_id, &span.parent_span_id));
        assert_ne!(span.span_id, span.parent_span_id);
    }
}
