//! OTLP over a real socket: what is taken, what is refused, and how either is said.

use std::io::Write as _;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use driftline::backends::clock::SystemClock;
use driftline::backends::store::CompletionPolicy;
use driftline::domain::evaluation::Outcome;
use driftline::domain::feedback::parse;
use driftline::otlp::{ExportTraceServiceResponse, OWN_SCOPE, split_by_trace};
use driftline::pipeline::Shared;
use driftline::pipeline::intake::{Intake, NotStored, Received};
use driftline::pipeline::receive::{Receiver, grpc_router, http_router};
use driftline::telemetry::metrics::Metrics;
use futures_util::future::{Either, join3, select};
use prost::Message as _;
use serde_json::Value;
use sqlx::{AnyConnection, AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use tokio::io::AsyncWriteExt as _;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::fake::{Fake, status};
use super::fixtures::{
    JSON, PROTOBUF, Running, evaluators, eventually, json, post, post_to, request, shipped_evaluators, span, trace_id,
    write_back,
};
use crate::stores::fixtures::TestStore;
use crate::support::serve::Serve;
use crate::support::services::postgres;

const MIB: usize = 1024 * 1024;
/// How long it is looked whether something that must not end ends.
pub(super) const A_WHILE: Duration = Duration::from_millis(200);

pub(super) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub(super) fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}

type Compress = fn(&[u8]) -> Vec<u8>;

#[tokio::test(flavor = "multi_thread")]
async fn every_encoding_and_compression_is_read_and_answered_in_kind() {
    let running = Running::start(|_| {}).await;
    let plain = |bytes: &[u8]| bytes.to_vec();
    let compressions: [(&str, Compress); 4] = [("identity", plain), ("gzip", gzip), ("zstd", zstd), ("GZIP", gzip)];
    let mut number = 0;
    for (compression, compress) in compressions {
        for content_type in [PROTOBUF, JSON, "application/json; charset=utf-8"] {
            let spans = vec![span(number, 0), span(number, 1)];
            let body = if content_type == PROTOBUF { request("", spans).encode_to_vec() } else { json(&spans) };
            let headers = [("content-type", content_type), ("content-encoding", compression)];
            let response = post(&running.url, &headers, compress(&body)).await;
            assert_eq!(response.status(), 200, "{headers:?}");
            let answered = if content_type == PROTOBUF { (PROTOBUF, "") } else { (JSON, "{}") };
            assert_eq!(response.headers()["content-type"], answered.0);
            assert_eq!(response.text().await.unwrap(), answered.1);
            running.scored(trace_id(number), 1).await;
            number += 1;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_span_with_a_wrong_id_is_refused_alone_and_the_others_are_stored() {
    let running = Running::start(|_| {}).await;
    let spans = |trace| {
        let mut short = span(trace, 1);
        short.span_id.truncate(4);
        vec![span(trace, 0), short, span(trace, 2)]
    };
    let response = post(&running.url, &[("content-type", PROTOBUF)], request("", spans(0)).encode_to_vec()).await;
    assert_eq!(response.status(), 200);
    let partial = ExportTraceServiceResponse::decode(response.bytes().await.unwrap()).unwrap().partial_success.unwrap();
    assert_eq!((partial.rejected_spans, partial.error_message.as_str()), (1, "span id has 4 bytes, expected 8"));

    let response = post(&running.url, &[("content-type", JSON)], json(&spans(1))).await;
    assert_eq!(response.status(), 200);
    let partial: Value = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
    assert_eq!(partial["partialSuccess"]["rejectedSpans"], "1");

    for trace in [0, 1] {
        running.scored(trace_id(trace), 1).await;
        let body = running.store.chunks_of(trace_id(trace)).await.unwrap();
        let raw = body.unpack(trace_id(trace)).unwrap();
        assert_eq!(raw.spans().count(), 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_a_bad_request_said_in_the_requests_encoding_and_nothing_of_it_is_stored() {
    let running = Running::start(|_| {}).await;
    let protobuf = request("", vec![span(0, 0)]).encode_to_vec();
    let text = json(&[span(0, 0)]);
    let cases: [(&str, &str, Vec<u8>); 7] = [
        (PROTOBUF, "", b"no protobuf at all".to_vec()),
        (PROTOBUF, "", protobuf[..protobuf.len() / 2].to_vec()),
        (JSON, "", text[..text.len() / 2].to_vec()),
        (JSON, "", b"\xff\xfe\x00".to_vec()),
        (JSON, "gzip", gzip(&text)[..40].to_vec()),
        (PROTOBUF, "zstd", zstd(&protobuf)[..20].to_vec()),
        (PROTOBUF, "gzip", protobuf.clone()),
    ];
    for (content_type, compression, body) in cases {
        let case = format!("{content_type} {compression} {} bytes", body.len());
        let headers = [("content-type", content_type), ("content-encoding", compression)];
        let response = post(&running.url, &headers, body).await;
        assert_eq!(response.status(), 400, "{case}");
        assert_eq!(response.headers()["content-type"], content_type, "{case}");
        let body = response.bytes().await.unwrap();
        if content_type == JSON {
            assert_eq!(serde_json::from_slice::<Value>(&body).unwrap()["code"], 3, "{case}");
        } else {
            assert_eq!(body[..2], [8, 3], "{case}: a google.rpc.Status with code 3");
        }
    }
    assert_eq!(running.store.queue_depths(driftline::domain::time::Timestamp(0)).await.unwrap().pending, 0);
    assert_eq!(running.store.counts().await.unwrap().chunks, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_is_too_large_before_or_after_decompression() {
    let running = Running::start(|settings| settings.receive.max_body_mib = 1).await;
    let large = vec![b' '; 3 * MIB];
    let bombs = [("identity", large.clone()), ("gzip", gzip(&large)), ("zstd", zstd(&large))];
    for (compression, body) in bombs {
        for _ in 0..5 {
            let headers = [("content-type", JSON), ("content-encoding", compression)];
            let response = post(&running.url, &headers, body.clone()).await;
            assert_eq!(response.status(), 413, "{compression}");
            let answer: Value = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
            assert!(answer["message"].as_str().unwrap().contains("max_body_mib"), "{answer}");
        }
    }
    running.accept(&request("", vec![span(0, 0)])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_type_or_compression_that_is_not_ours_is_named() {
    let running = Running::start(|_| {}).await;
    let body = json(&[span(0, 0)]);
    let cases: [(&[(&str, &str)], &str); 4] = [
        (&[("content-type", "text/plain")], "text/plain"),
        (&[], "content type \"\""),
        (&[("content-type", JSON), ("content-encoding", "br")], "br"),
        (&[("content-type", JSON), ("content-encoding", "gzip, zstd")], "gzip, zstd"),
    ];
    for (headers, named) in cases {
        let response = post(&running.url, headers, body.clone()).await;
        assert_eq!(response.status(), 415, "{headers:?}");
        let answer: Value = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
        assert!(answer["message"].as_str().unwrap().contains(named), "{answer}");
    }
}

/// A way into a store with room for one mebibyte, its metrics, and the future that writes.
fn intake(store: &TestStore) -> (Intake, Arc<Metrics>, impl Future<Output = ()> + Send + use<>) {
    let shared = Shared {
        store: store.store.clone(),
        clock: Arc::new(SystemClock),
        metrics: Arc::new(Metrics::default()),
        stop: CancellationToken::new(),
        worker: "test".into(),
    };
    let policy = CompletionPolicy {
        root_grace: Duration::from_secs(1),
        quiet_period: Duration::from_secs(1),
        max_age: Duration::from_secs(1),
        max_trace_bytes: usize::MAX,
    };
    let (intake, writing) = Intake::new(shared.clone(), policy, MIB);
    (intake, shared.metrics, writing)
}

/// A receiver and its way in, with room for one mebibyte.
pub(super) struct Receiving {
    /// Where it listens for HTTP.
    pub url: String,
    /// Where it listens for gRPC.
    pub grpc: SocketAddr,
    intake: Intake,
}

impl Receiving {
    /// The receiver, and the future that writes.
    pub(super) async fn start(store: &TestStore) -> (Self, impl Future<Output = ()> + Send + use<>) {
        let (intake, metrics, writing) = intake(store);
        let receiver = Receiver::new(intake.clone(), metrics, 8 * MIB);
        let http = listen(http_router(Arc::clone(&receiver))).await;
        (Self { url: format!("http://{http}"), grpc: listen(grpc_router(receiver)).await, intake }, writing)
    }

    /// A trace that waits to be stored and has taken room for so many bytes.
    pub(super) fn waits(&self, trace: u32, bytes: usize) -> JoinHandle<Result<(), NotStored>> {
        let (intake, mut room) = (self.intake.clone(), self.intake.room());
        room.grow_to(bytes).unwrap();
        let split = split_by_trace(request("", vec![span(trace, 0)]).resource_spans);
        tokio::spawn(async move { intake.store(Received::new(split.traces, split.scores), room).await })
    }
}

async fn listen(router: axum::Router) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

#[tokio::test]
async fn feedback_counts_once_when_what_is_stored_with_it_is_refused() {
    let store = TestStore::sqlite().await;
    let mut connection = AnyConnection::connect(&store.url).await.unwrap();
    let refuse = "CREATE TRIGGER refuse BEFORE INSERT ON chunk WHEN lower(hex(NEW.trace_id)) = '";
    let refuse = format!("{refuse}{}' BEGIN SELECT RAISE(ABORT, 'refused'); END", trace_id(1));
    connection.execute(AssertSqlSafe(refuse)).await.unwrap();
    let (intake, _, writing) = intake(&store);
    let thumbs = serde_json::json!({ "trace_id": trace_id(0), "name": "thumbs", "value": 1, "source": "app" });
    let thumbs = Received { scores: vec![parse(thumbs.as_object().unwrap()).unwrap()], ..Received::default() };
    let spans = |number| {
        let split = split_by_trace(request("s", vec![span(number, 0)]).resource_spans);
        intake.store(Received::new(split.traces, split.scores), intake.room())
    };
    // All of it waits when the writing begins.
    let stored = join3(intake.store(thumbs, intake.room()), spans(1), spans(2));
    let Either::Left((answers, _)) = select(pin!(stored), pin!(writing)).await else { panic!("writing goes on") };
    assert_eq!(answers, (Ok(()), Err(NotStored::Refused), Ok(())));
    assert_eq!(store.store.external_scores(trace_id(0)).await.unwrap().len(), 1);
}

/// The rows of the OTLP specification on paths, methods and media types.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_none_of_ours_is_told_what_would_be() {
    let running = Running::start(|_| {}).await;
    let client = reqwest::Client::new();
    let cases = [
        ("GET", "/v1/traces", PROTOBUF, 405, "POST"),
        ("PUT", "/v1/logs", JSON, 405, "POST"),
        ("DELETE", "/v1/metrics", JSON, 405, "POST"),
        ("POST", "/v1/metrics", PROTOBUF, 404, "OTEL_METRICS_EXPORTER=none"),
        ("POST", "/v1/metrics", JSON, 404, "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT"),
        ("POST", "/v1development/profiles", JSON, 404, "POST /v1/traces and /v1/logs"),
        ("POST", "/", PROTOBUF, 404, "POST /v1/traces and /v1/logs"),
        ("GET", "/", "", 404, "POST /v1/traces and /v1/logs"),
        ("POST", "/v1/traces/", JSON, 404, "POST /v1/traces and /v1/logs"),
        ("POST", "/v1/logs", "text/plain", 415, "text/plain"),
        ("POST", "/v1/traces", "application/grpc-web", 415, "application/json"),
    ];
    for (method, path, content_type, status, said) in cases {
        let request = client.request(method.parse().unwrap(), format!("{}{path}", running.url));
        let response = request.header("content-type", content_type).body("{}").send().await.unwrap();
        let case = format!("{method} {path} {content_type}");
        assert_eq!(response.status(), status, "{case}");
        assert_eq!(response.headers().get("allow").is_some(), status == 405, "{case}");
        let answered_in = if content_type == PROTOBUF { PROTOBUF } else { JSON };
        assert_eq!(response.headers()["content-type"], answered_in, "{case}");
        let body = String::from_utf8_lossy(&response.bytes().await.unwrap()).into_owned();
        assert!(body.contains(said), "{case}: {body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_of_the_wrong_type_costs_neither_its_span_nor_the_request() {
    let running = Running::start(|_| {}).await;
    let id = hex::encode(span(1, 0).trace_id);
    let body = format!(
        r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{"traceId":5,"spanId":"b7ad6b7169203331"}},
        {{"traceId":"{id}","spanId":"b7ad6b7169203331","status":"OK","name":7,"name":8,
        "attributes":[{{"key":"a","value":{{"stringValue":5}}}},{{"key":"b","value":"bare"}}],"events":{{"a":1}},
        "startTimeUnixNano":"1770000000000000000","endTimeUnixNano":"1770000001000000000"}}]}}]}}]}}"#
    );
    let response = post_to(&format!("{}/v1/traces", running.url), &[("content-type", JSON)], body.into()).await;
    assert_eq!(response.status(), 200);
    let answer: Value = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
    assert_eq!(answer["partialSuccess"]["rejectedSpans"], "1", "{answer}");
    running.scored(trace_id(1), 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_of_which_nothing_is_known_is_accepted_with_a_warning() {
    let running = Running::start(|_| {}).await;
    let cases = [
        ("/v1/traces", r#"{"resource_spans":[{"scope_spans":[]}]}"#, Some("resourceSpans")),
        ("/v1/traces", r#"{"resourceLogs":[]}"#, Some("resourceSpans")),
        ("/v1/logs", r#"{"resource_logs":[]}"#, Some("resourceLogs")),
        ("/v1/traces", r#"{"resourceSpans":[]}"#, None),
        ("/v1/logs", r#"{"resourceLogs":null}"#, None),
        ("/v1/logs", "{}", None),
    ];
    for (path, body, warned_of) in cases {
        let response = post_to(&format!("{}{path}", running.url), &[("content-type", JSON)], body.into()).await;
        assert_eq!(response.status(), 200);
        let answer: Value = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
        let partial = &answer["partialSuccess"];
        assert_eq!(partial.is_null(), warned_of.is_none(), "{body}: {answer}");
        if let Some(member) = warned_of {
            assert_eq!(partial["rejectedSpans"].as_str().or(partial["rejectedLogRecords"].as_str()), Some("0"));
            assert!(partial["errorMessage"].as_str().unwrap().contains(member), "{body}: {answer}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_still_arriving_takes_its_room_and_gives_it_back() {
    let store = TestStore::sqlite().await;
    let (Receiving { url, .. }, writing) = Receiving::start(&store).await;
    tokio::spawn(writing);
    let mut large = span(0, 0);
    large.name = "x".repeat(600 * 1024);
    let body = request("", vec![large]).encode_to_vec();
    let address = url.trim_start_matches("http://");
    let mut half = tokio::net::TcpStream::connect(address).await.unwrap();
    let head =
        format!("POST /v1/traces HTTP/1.1\r\nhost: x\r\ncontent-type: {PROTOBUF}\r\ncontent-length: 900000\r\n\r\n");
    half.write_all(head.as_bytes()).await.unwrap();
    half.write_all(&body).await.unwrap();
    let send =
        async |status| (post(&url, &[("content-type", PROTOBUF)], body.clone()).await.status() == status).then_some(());
    eventually("no room", async || send(429).await).await;
    drop(half);
    eventually("room", async || send(200).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn when_too_much_waits_for_the_store_senders_are_told_to_come_back_and_then_succeed() {
    let store = TestStore::sqlite().await;
    let (receiving, writing) = Receiving::start(&store).await;
    let send = |trace: u32, kib: usize| {
        let mut large = span(trace, 0);
        large.name = "x".repeat(kib * 1024);
        let body = request("", vec![large]).encode_to_vec();
        let url = receiving.url.clone();
        async move { post(&url, &[("content-type", PROTOBUF)], body).await }
    };
    let first = receiving.waits(0, 600 * 1024);
    let turned_away = send(1, 600).await;
    assert_eq!(turned_away.status(), 429);
    assert_eq!(turned_away.headers()["retry-after"], "1");
    assert_eq!(turned_away.bytes().await.unwrap()[..2], [8, 14], "a google.rpc.Status with UNAVAILABLE");

    let mut smaller = tokio::spawn(send(2, 300));
    assert!(timeout(A_WHILE, &mut smaller).await.is_err(), "what is not stored is not accepted");
    tokio::spawn(writing);
    assert_eq!(smaller.await.unwrap().status(), 200);
    assert_eq!(first.await.unwrap(), Ok(()));
    assert_eq!(send(1, 600).await.status(), 200);
    assert_eq!(store.store.counts().await.unwrap().chunks, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_too_many_traces_wait_for_their_evaluation_senders_are_told_to_come_back() {
    let store = "[store]\nurl = \"sqlite://{folder}/driftline.db\"\n";
    let serve = Serve::start_roles("receive,web", &format!("{store}[queue]\nmax_waiting = 2\n"));
    let url = format!("http://{}", serve.receives_on);
    let send = async |trace: u32| {
        post(&url, &[("content-type", PROTOBUF)], request("app", vec![span(trace, 0)]).encode_to_vec()).await
    };
    for trace in 0..3 {
        assert_eq!(send(trace).await.status(), 200, "it is looked now and then");
    }
    eventually("a full store", async || (send(2).await.status() == 429).then_some(())).await;
    assert_eq!(send(2).await.headers()["retry-after"], "1");
    assert!(serve.metric("driftline_turned_away_total").await >= 2.0);
    let mut connection = AnyConnection::connect(&serve.sqlite_url()).await.unwrap();
    connection.execute("DELETE FROM pending").await.unwrap();
    eventually("room", async || (send(3).await.status() == 200).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_fails_is_said_so_and_the_sender_keeps_its_spans() {
    let store = TestStore::sqlite().await;
    let (Receiving { url, .. }, writing) = Receiving::start(&store).await;
    tokio::spawn(writing);
    store.store.close().await;
    let response = post(&url, &[("content-type", JSON)], json(&[span(0, 0)])).await;
    assert_eq!(response.status(), 503);
    assert_eq!(response.headers()["retry-after"], "1");
    let answer: Value = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
    assert_eq!(answer["code"], 14, "UNAVAILABLE");
}

#[tokio::test(flavor = "multi_thread")]
async fn our_own_evaluation_spans_are_accepted_and_never_evaluated() {
    let running = Running::start(|_| {}).await;
    running.accept(&request(OWN_SCOPE, vec![span(0, 0)])).await;
    running.accept(&request("agent", vec![span(1, 0)])).await;
    running.scored(trace_id(1), 1).await;
    assert_eq!(running.store.trace(trace_id(0)).await.unwrap(), None);
    assert_eq!(running.store.pending_trace(trace_id(0)).await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn scores_that_are_written_back_to_us_are_not_scored_again() {
    let running = Running::start(|_| {}).await;
    let url = running.url.clone();
    let looped = Running::start(|settings| settings.write_back = vec![write_back(&url)]).await;
    looped.accept(&request("agent", vec![span(0, 0)])).await;
    looped.scored(trace_id(0), 1).await;
    looped.delivered().await;
    assert_eq!(running.store.counts().await.unwrap().chunks, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn late_spans_make_a_second_version_that_supersedes_the_first_everywhere() {
    let backend = Fake::start(|_| status(200)).await;
    let running = Running::start(|settings| settings.write_back = vec![write_back(&backend.url)]).await;
    running.accept(&request("agent", vec![span(0, 0)])).await;
    let first = running.scored(trace_id(0), 1).await;
    // Else both versions could leave in one request.
    running.delivered().await;
    let mut late = span(0, 1);
    late.end_time_unix_nano += 60_000_000_000;
    running.accept(&request("agent", vec![late.clone()])).await;
    let second = running.scored(trace_id(0), 2).await;
    assert!(second.ended_at > first.ended_at);
    let rows = running.store.evaluations(trace_id(0)).await.unwrap();
    assert_eq!(evaluators(&rows).len(), shipped_evaluators());
    assert!(rows.iter().all(|row| row.trace_version == 2), "{rows:?}");
    assert!(rows.iter().any(|row| row.evaluation.outcome == Outcome::Scored));

    // What is sent again is known, and makes no third.
    running.accept(&request("agent", vec![late])).await;
    running.delivered().await;
    assert_eq!(running.store.pending_trace(trace_id(0)).await.unwrap(), None);
    assert_eq!(running.store.trace(trace_id(0)).await.unwrap().unwrap().version, 2);
    let told = async || (backend.asked().iter().filter(|asked| asked.path == "/v1/traces").count() == 2).then_some(());
    eventually("both versions at the backend", told).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_cuts_connections_again_and_again_costs_no_trace() {
    let url = postgres().database().await;
    let running = Running::start(|settings| settings.store.url.clone_from(&url)).await;
    let mut operator = PgConnection::connect(&url).await.unwrap();
    let cut = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
               WHERE datname = current_database() AND pid <> pg_backend_pid()";
    let traces = 200;
    for trace in 0..traces {
        if trace % 20 == 0 {
            operator.execute(cut).await.unwrap();
        }
        let headers = [("content-type", PROTOBUF)];
        let send = async || post(&running.url, &headers, request("agent", vec![span(trace, 0)]).encode_to_vec()).await;
        eventually("acceptance", async || (send().await.status() == 200).then_some(())).await;
    }
    for trace in 0..traces {
        assert_eq!(running.scored(trace_id(trace), 1).await.version, 1);
    }
}
