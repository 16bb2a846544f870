//! A service in this process, spans to send to it, and patience.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use clap::ValueEnum;
use driftline::app::service::{Role, Service};
use driftline::app::settings::{Settings, WriteBackKind, WriteBackSettings, defaults};
use driftline::backends::store::{Store, StoredEvaluation, StoredTrace};
use driftline::domain::ids::TraceId;
use driftline::domain::time::Timestamp;
use driftline::otlp::{ExportTraceServiceRequest, InstrumentationScope, ResourceSpans, ScopeSpans, Span};
use driftline::simulate::{Plan, Scenario, SimulatedTrace, simulate};
use driftline::telemetry::metrics::Metrics;
use prost::Message as _;
use reqwest::Response;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

pub(crate) const PROTOBUF: &str = "application/x-protobuf";
pub(crate) const JSON: &str = "application/json";

const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);
const START: u64 = 1_760_000_000_000_000_000;

/// A service of this process with every role, on a folder and ports of its own. Dropped, it is gone at once.
pub(crate) struct Running {
    pub(crate) store: Store,
    pub(crate) url: String,
    pub(crate) grpc: SocketAddr,
    pub(crate) web: SocketAddr,
    pub(crate) metrics: Arc<Metrics>,
    _service: Service,
    _folder: TempDir,
}

impl Running {
    /// Starts with default settings, but for how soon a trace is complete, without control questions, and with what
    /// `change` changes.
    pub(crate) async fn start(change: impl FnOnce(&mut Settings)) -> Self {
        let _installed_before = rustls::crypto::ring::default_provider().install_default();
        let folder = tempfile::tempdir().unwrap();
        let mut settings = defaults().unwrap();
        settings.store.url = format!("sqlite://{}/driftline.db", folder.path().display());
        settings.receive.http = "127.0.0.1:0".to_owned();
        settings.receive.grpc = "127.0.0.1:0".to_owned();
        settings.web.listen = "127.0.0.1:0".to_owned();
        // Requests to judges are counted.
        settings.judge.control_share = 0.0;
        settings.complete.root_grace = Duration::from_millis(50);
        settings.complete.quiet_period = Duration::from_millis(300);
        change(&mut settings);
        let service = Service::start(&settings, &Role::value_variants().iter().copied().collect()).await.unwrap();
        let url = format!("http://{}", service.receives_on.unwrap());
        let (grpc, shared) = (service.receives_grpc_on.unwrap(), service.shared().clone());
        let web = service.web_on.unwrap();
        Self { store: shared.store, url, grpc, web, metrics: shared.metrics, _service: service, _folder: folder }
    }

    /// Sends a request and expects it to be accepted as a whole.
    pub(crate) async fn accept(&self, request: &ExportTraceServiceRequest) {
        let response = post(&self.url, &[("content-type", PROTOBUF)], request.encode_to_vec()).await;
        assert_eq!(response.status(), 200);
        assert!(response.bytes().await.unwrap().is_empty(), "a full success says nothing");
    }

    /// Waits until a version of the trace is recorded, and gives it.
    pub(crate) async fn scored(&self, trace_id: TraceId, version: i64) -> StoredTrace {
        let found = async || self.store.trace(trace_id).await.unwrap().filter(|trace| trace.version >= version);
        eventually(&format!("version {version} of trace {trace_id}"), found).await
    }

    /// Waits until no judgement waits to be made, and gives the rows of a trace.
    pub(crate) async fn judged(&self, trace_id: TraceId) -> Vec<StoredEvaluation> {
        self.scored(trace_id, 1).await;
        let left = async || self.store.waiting_judgements(trace_id).await.unwrap().is_empty().then_some(());
        eventually("every judgement", left).await;
        self.store.evaluations(trace_id).await.unwrap()
    }

    /// Waits until nothing waits to be sent.
    pub(crate) async fn delivered(&self) {
        let empty = async || (self.store.queue_depths(Timestamp(0)).await.unwrap().outbox == 0).then_some(());
        eventually("an empty outbox", empty).await;
    }
}

/// Asks until there is an answer.
pub(crate) async fn eventually<T>(what: &str, ask: impl AsyncFn() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        sleep(POLL).await;
    }
}

/// Posts to the receiver's path for traces.
pub(crate) async fn post(url: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Response {
    post_to(&format!("{url}/v1/traces"), headers, body).await
}

/// Posts to a path.
pub(crate) async fn post_to(url: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Response {
    let _installed_before = rustls::crypto::ring::default_provider().install_default();
    let request = reqwest::Client::new().post(url).body(body);
    headers.iter().fold(request, |request, (name, value)| request.header(*name, *value)).send().await.unwrap()
}

pub(crate) fn write_back(endpoint: &str) -> WriteBackSettings {
    WriteBackSettings { kind: WriteBackKind::Otlp, endpoint: endpoint.to_owned(), token: None }
}

pub(crate) fn trace_id(number: u32) -> TraceId {
    format!("{:032x}", u128::from(number) + 1).parse().unwrap()
}

/// An ended span; span 0 is the root of its trace, and the parent of every other.
pub(crate) fn span(trace: u32, span: u32) -> Span {
    let id = |number: u32| (u64::from(number) + 1).to_be_bytes().to_vec();
    Span {
        trace_id: trace_id(trace).as_bytes().to_vec(),
        span_id: id(span),
        parent_span_id: if span == 0 { Vec::new() } else { id(0) },
        name: "step".to_owned(),
        start_time_unix_nano: START,
        end_time_unix_nano: START + 1_000_000_000,
        ..Span::default()
    }
}

/// A request that holds these spans under one scope.
pub(crate) fn request(scope: &str, spans: Vec<Span>) -> ExportTraceServiceRequest {
    let scope = InstrumentationScope { name: scope.to_owned(), ..InstrumentationScope::default() };
    let scope_spans = vec![ScopeSpans { scope: Some(scope), spans, ..ScopeSpans::default() }];
    ExportTraceServiceRequest { resource_spans: vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }] }
}

/// The same spans as OTLP/JSON, as far as [`span`] fills them.
pub(crate) fn json(spans: &[Span]) -> Vec<u8> {
    let span = |span: &Span| {
        serde_json::json!({
            "traceId": hex::encode(&span.trace_id), "spanId": hex::encode(&span.span_id),
            "parentSpanId": hex::encode(&span.parent_span_id), "name": span.name,
            "startTimeUnixNano": span.start_time_unix_nano.to_string(),
            "endTimeUnixNano": span.end_time_unix_nano.to_string(),
        })
    };
    let spans: Vec<_> = spans.iter().map(span).collect();
    serde_json::json!({ "resourceSpans": [{ "scopeSpans": [{ "spans": spans }] }] }).to_string().into_bytes()
}

/// Simulated traffic of an hour, or of as long as is asked for.
pub(crate) fn simulated(scenario: &str, traces: usize, start: Timestamp, duration: Duration) -> Vec<SimulatedTrace> {
    simulate(&Plan { scenario: Scenario::find(scenario).unwrap(), traces, seed: 5, start, duration }).collect()
}

/// One simulated trace that every judge has something to say about.
pub(crate) fn judgeable() -> SimulatedTrace {
    let hour = Duration::from_hours(1);
    simulated("healthy", 1, Timestamp(i64::try_from(START).unwrap()), hour).remove(0)
}

/// Traces in requests of `together`.
pub(crate) fn requests(traces: &[SimulatedTrace], together: usize) -> Vec<ExportTraceServiceRequest> {
    let groups = traces.chunks(together);
    let merged = |group: &[SimulatedTrace]| ExportTraceServiceRequest {
        resource_spans: group.iter().flat_map(|trace| trace.request.resource_spans.clone()).collect(),
    };
    groups.map(merged).collect()
}

/// How many evaluators a service without a folder of its own has.
pub(crate) fn shipped_evaluators() -> usize {
    let settings = driftline::app::settings::load(None).unwrap();
    driftline::app::evaluators(&settings, None).unwrap().definitions().len()
}

/// The evaluators of rows, of which none may stand twice.
pub(crate) fn evaluators(rows: &[StoredEvaluation]) -> BTreeSet<&str> {
    let names: BTreeSet<&str> = rows.iter().map(|row| row.evaluation.evaluator.as_str()).collect();
    assert_eq!(names.len(), rows.len(), "an evaluator has two rows in {rows:?}");
    names
}
