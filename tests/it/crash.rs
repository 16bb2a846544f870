//! `kill -9` of the service under load: what was accepted is scored, once, and told under one identity.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::routing::post;
use driftline::backends::store::{Selection, Store};
use driftline::domain::ids::TraceId;
use driftline::domain::time::Timestamp;
use driftline::otlp::{ExportTraceServiceRequest, ResourceSpans};
use driftline::simulate::{Plan, SCENARIOS, simulate};
use prost::Message as _;
use tokio::net::TcpListener;
use tokio::time::{Instant, sleep};

use crate::support::broker::Other;
use crate::support::serve::Serve;
use crate::support::services::{durable_postgres, fresh_name, rabbitmq};

const TRACES: usize = 500;
/// Traces in one request or message.
const TOGETHER: usize = 10;
/// Kills come when this many traces have been accepted or scored.
const KILLS: [usize; 3] = [60, 190, 370];
const PATIENCE: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(25);

/// Requests of whole traces, as an exporter would send them.
struct Traffic {
    trace_ids: BTreeSet<TraceId>,
    bodies: Vec<Vec<u8>>,
}

impl Traffic {
    fn new(seed: u64) -> Self {
        let plan = Plan {
            scenario: &SCENARIOS[1],
            traces: TRACES,
            seed,
            start: Timestamp(1_760_000_000_000_000_000),
            duration: Duration::from_hours(4),
        };
        let traces: Vec<_> = simulate(&plan).collect();
        let body = |resource_spans: Vec<ResourceSpans>| ExportTraceServiceRequest { resource_spans }.encode_to_vec();
        Self {
            trace_ids: traces.iter().map(|trace| trace.truth.trace_id).collect(),
            bodies: traces
                .chunks(TOGETHER)
                .map(|chunk| body(chunk.iter().flat_map(|trace| trace.request.resource_spans.clone()).collect()))
                .collect(),
        }
    }
}

/// Trace id and span id, as OTLP carries them.
type Identity = (Vec<u8>, Vec<u8>);

/// A tracing backend that remembers which evaluation spans came.
#[derive(Clone, Default)]
pub(crate) struct Backend {
    spans: Arc<Mutex<BTreeSet<Identity>>>,
}

impl Backend {
    pub(crate) async fn start(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().route("/v1/traces", post(take)).route("/v1/logs", post(|| async {}));
        let router = router.with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        format!("http://{address}")
    }

    pub(crate) fn identities(&self) -> usize {
        self.spans.lock().unwrap().len()
    }
}

async fn take(State(backend): State<Backend>, body: Bytes) {
    let request = ExportTraceServiceRequest::decode(body).unwrap();
    let spans = request.resource_spans.into_iter().flat_map(|group| group.scope_spans).flat_map(|group| group.spans);
    // Judge calls are spans of their own, and not evaluations.
    for span in spans.filter(|span| span.attributes.iter().any(|it| it.key.starts_with("driftline.eval."))) {
        backend.spans.lock().unwrap().insert((span.trace_id, span.span_id));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn http_and_sqlite() {
    let backend = Backend::default();
    let mut serve = Serve::start(&settings("sqlite://{folder}/driftline.db", "embedded", "", &backend.start().await));
    let traffic = Traffic::new(11);
    send_over_http(&mut serve, &traffic).await;
    let url = serve.sqlite_url();
    every_trace_is_scored_once(&serve, &url, &traffic, &backend).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn http_and_postgresql() {
    let backend = Backend::default();
    let url = durable_postgres().database().await;
    let mut serve = Serve::start(&settings(&url, "embedded", "", &backend.start().await));
    let traffic = Traffic::new(12);
    send_over_http(&mut serve, &traffic).await;
    every_trace_is_scored_once(&serve, &url, &traffic, &backend).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rabbitmq_and_sqlite() {
    let backend = Backend::default();
    let queue = fresh_name("crash");
    let store = "sqlite://{folder}/driftline.db";
    let mut serve = Serve::start(&settings(store, &rabbitmq().amqp_url, &queue, &backend.start().await));
    let traffic = Traffic::new(13);
    let url = serve.sqlite_url();
    send_over_rabbitmq(&mut serve, &url, &queue, &traffic).await;
    every_trace_is_scored_once(&serve, &url, &traffic, &backend).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rabbitmq_and_postgresql() {
    let backend = Backend::default();
    let queue = fresh_name("crash");
    let url = durable_postgres().database().await;
    let mut serve = Serve::start(&settings(&url, &rabbitmq().amqp_url, &queue, &backend.start().await));
    let traffic = Traffic::new(14);
    send_over_rabbitmq(&mut serve, &url, &queue, &traffic).await;
    every_trace_is_scored_once(&serve, &url, &traffic, &backend).await;
}

fn settings(store: &str, queue: &str, queue_name: &str, backend: &str) -> String {
    let name = if queue_name.is_empty() { "driftline.traces" } else { queue_name };
    format!(
        "[store]\nurl = \"{store}\"\n[queue]\nurl = \"{queue}\"\nname = \"{name}\"\nprefetch = 8\n\
         [[write_back]]\nkind = \"otlp\"\nendpoint = \"{backend}\"\n"
    )
}

/// Sends each request until it is accepted, as an exporter does, and kills the service between and amid requests.
async fn send_over_http(serve: &mut Serve, traffic: &Traffic) {
    let _installed_before = rustls::crypto::ring::default_provider().install_default();
    let http = reqwest::Client::new();
    let url = format!("http://{}/v1/traces", serve.receives_on);
    let mut accepted = 0;
    let mut kills = KILLS.into_iter().peekable();
    for body in &traffic.bodies {
        if kills.next_if(|kill| accepted >= *kill).is_some() {
            // The request is under way when the process dies; whether it was accepted, the sender never learns.
            let request = http.post(&url).header("content-type", "application/x-protobuf").body(body.clone()).send();
            let sending = tokio::spawn(request);
            sleep(Duration::from_millis(accepted as u64 % 7)).await;
            serve.kill();
            let _outcome = sending.await.unwrap();
            serve.restart();
        }
        let request = http.post(&url).header("content-type", "application/x-protobuf").body(body.clone());
        assert_eq!(request.send().await.unwrap().status(), 200);
        accepted += TOGETHER;
    }
    assert!(kills.next().is_none(), "every planned kill happened");
}

/// Publishes everything, and kills the service whenever it has scored some more.
async fn send_over_rabbitmq(serve: &mut Serve, store: &str, queue: &str, traffic: &Traffic) {
    let broker = Other::connect().await;
    for body in &traffic.bodies {
        broker.publish(queue, &[body]).await;
    }
    for kill in KILLS {
        wait_for(store, |scored| scored >= kill, &serve.log()).await;
        serve.kill();
        serve.restart();
    }
}

/// Waits until so many traces are scored.
async fn wait_for(url: &str, is_enough: impl Fn(usize) -> bool, log: &str) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let store = Store::open(url, true).await.unwrap();
        let scored = usize::try_from(store.counts().await.unwrap().traces).unwrap();
        store.close().await;
        if is_enough(scored) {
            return;
        }
        assert!(Instant::now() < deadline, "{scored} traces were scored:\n{log}");
        sleep(POLL).await;
    }
}

async fn every_trace_is_scored_once(serve: &Serve, url: &str, traffic: &Traffic, backend: &Backend) {
    wait_for(url, |scored| scored >= TRACES, &serve.log()).await;
    let store = Store::open(url, true).await.unwrap();
    let traces = store.search(&Selection::default(), TRACES * 2).await.unwrap();
    let found: BTreeSet<TraceId> = traces.iter().map(|trace| trace.trace_id).collect();
    assert_eq!(found, traffic.trace_ids, "what was accepted, and nothing else, is there");
    let mut told = 0;
    for trace in &traces {
        assert_eq!(trace.version, 1, "trace {} was evaluated more than once", trace.trace_id);
        let rows = store.evaluations(trace.trace_id).await.unwrap();
        let evaluators: BTreeSet<&str> = rows.iter().map(|row| row.evaluation.evaluator.as_str()).collect();
        assert_eq!(rows.len(), evaluators.len(), "an evaluator has two rows in {rows:?}");
        assert!(evaluators.len() >= 8, "an evaluator has no row in {rows:?}");
        told += rows.iter().filter(|row| row.evaluation.value.is_some()).count();
    }
    delivered(&store, told, backend).await;
}

/// Waits until the outbox is empty: each score has arrived under one identity, however often.
async fn delivered(store: &Store, told: usize, backend: &Backend) {
    let deadline = Instant::now() + PATIENCE;
    while store.queue_depths(Timestamp(0)).await.unwrap().outbox > 0 {
        assert!(Instant::now() < deadline, "scores are not delivered: {} of {told}", backend.identities());
        sleep(POLL).await;
    }
    assert_eq!(backend.identities(), told);
}
