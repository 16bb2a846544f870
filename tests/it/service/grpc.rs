//! OTLP/gRPC over a real socket, spoken to in HTTP/2 frames, so that nothing between hides what is answered.

use std::net::SocketAddr;
use std::time::Duration;

use axum::body::Bytes;
use axum::http::{HeaderMap, Request};
use driftline::backends::store::Store;
use driftline::otlp::{
    AnyValue, ExportLogsServiceRequest, ExportTraceServiceRequest, ExportTraceServiceResponse, KeyValue, LogRecord,
    ResourceLogs, ScopeLogs, any_value, encode_base64, status_details,
};
use driftline::telemetry::metrics::Transport;
use h2::client::SendRequest;
use prost::Message as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::fixtures::{JSON, PROTOBUF, Running, eventually, post, request, span, trace_id};
use super::receive::{A_WHILE, Receiving, gzip, zstd};
use crate::stores::fixtures::TestStore;
use crate::support::serve::Serve;

const MIB: usize = 1024 * 1024;
const GRPC: &str = "application/grpc";
const TRACES: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
const LOGS: &str = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";
const METRICS: &str = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";

/// What a call came to; without a body, the trailers are the headers.
#[derive(Debug)]
struct Answer {
    http_status: u16,
    headers: HeaderMap,
    body: Vec<u8>,
    trailers: HeaderMap,
}

impl Answer {
    fn trailer(&self, name: &str) -> &str {
        self.trailers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    fn status(&self) -> &str {
        self.trailer("grpc-status")
    }
}

/// One message in its frame.
fn frame(is_compressed: bool, message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    [&[u8::from(is_compressed)], length.as_slice(), message].concat()
}

fn spans(trace: u32) -> Vec<u8> {
    request("agent", vec![span(trace, 0), span(trace, 1)]).encode_to_vec()
}

async fn connect(address: SocketAddr) -> SendRequest<Bytes> {
    let (client, connection) = h2::client::handshake(TcpStream::connect(address).await.unwrap()).await.unwrap();
    tokio::spawn(connection);
    client
}

/// One call on a connection of its own.
async fn call(address: SocketAddr, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Answer {
    let client = connect(address).await;
    let request = Request::post(format!("http://{address}{path}")).header("te", "trailers");
    let stated = headers.iter().filter(|(_, value)| !value.is_empty());
    let request = stated.fold(request, |request, (name, value)| request.header(*name, *value));
    let mut client = client.ready().await.unwrap();
    let (response, mut stream) = client.send_request(request.body(()).unwrap(), false).unwrap();
    // Fails when the call was refused before its body was sent; the answer says why.
    let _sent = stream.send_data(Bytes::from(body), true);
    let (head, mut stream) = response.await.unwrap().into_parts();
    let mut body = Vec::new();
    while let Some(data) = stream.data().await {
        let data = data.unwrap();
        stream.flow_control().release_capacity(data.len()).unwrap();
        body.extend_from_slice(&data);
    }
    let trailers = stream.trailers().await.unwrap().unwrap_or_else(|| head.headers.clone());
    Answer { http_status: head.status.as_u16(), headers: head.headers, body, trailers }
}

async fn export(address: SocketAddr, body: Vec<u8>) -> Answer {
    call(address, TRACES, &[("content-type", GRPC)], body).await
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_in_every_compression_are_stored_and_scored() {
    let running = Running::start(|_| {}).await;
    let calls = [
        (GRPC, "", frame(false, &spans(0))),
        ("application/grpc+proto", "identity", frame(false, &spans(1))),
        (GRPC, "gzip", frame(true, &gzip(&spans(2)))),
        (GRPC, "zstd", frame(true, &zstd(&spans(3)))),
        (GRPC, "gzip", frame(false, &spans(4))),
    ];
    for (trace, (content_type, encoding, body)) in (0..).zip(calls) {
        let headers = [("content-type", content_type), ("grpc-encoding", encoding)];
        let answer = call(running.grpc, TRACES, &headers, body).await;
        assert_eq!((answer.http_status, answer.status()), (200, "0"), "{headers:?}: {answer:?}");
        assert_eq!(answer.headers["content-type"], GRPC);
        assert_eq!(answer.body, frame(false, &[]), "a full success says nothing");
        running.scored(trace_id(trace), 1).await;
    }
    let transport = Transport { transport: "otlp_grpc".to_owned() };
    assert_eq!(running.metrics.received.get_or_create(&transport).get(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_request_is_a_success_and_a_wrong_id_a_partial_one() {
    let running = Running::start(|_| {}).await;
    for path in [TRACES, LOGS] {
        let answer = call(running.grpc, path, &[("content-type", GRPC)], frame(false, &[])).await;
        assert_eq!((answer.status(), answer.body.clone()), ("0", frame(false, &[])), "{path}");
    }
    let mut short = span(0, 1);
    short.span_id.truncate(4);
    let body = request("agent", vec![span(0, 0), short]).encode_to_vec();
    let answer = export(running.grpc, frame(false, &body)).await;
    assert_eq!(answer.status(), "0");
    let partial = ExportTraceServiceResponse::decode(&answer.body[5..]).unwrap().partial_success.unwrap();
    assert_eq!((partial.rejected_spans, partial.error_message.as_str()), (1, "span id has 4 bytes, expected 8"));
    running.scored(trace_id(0), 1).await;
}

/// What each of these is called is in the OTLP specification (failures) and in gRPC over HTTP/2.
#[tokio::test(flavor = "multi_thread")]
async fn evaluation_results_of_others_are_kept_as_scores() {
    let running = Running::start(|_| {}).await;
    let text = |key: &str, text: &str| KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(any_value::Value::StringValue(text.to_owned())) }),
        ..KeyValue::default()
    };
    let record = LogRecord {
        trace_id: span(0, 0).trace_id,
        event_name: "gen_ai.evaluation.result".to_owned(),
        attributes: vec![text("gen_ai.evaluation.name", "tone"), text("gen_ai.evaluation.score.label", "kind")],
        ..LogRecord::default()
    };
    let scope_logs = vec![ScopeLogs { log_records: vec![record], ..ScopeLogs::default() }];
    let resource_logs = vec![ResourceLogs { scope_logs, ..ResourceLogs::default() }];
    let message = ExportLogsServiceRequest { resource_logs }.encode_to_vec();
    for _ in 0..2 {
        assert_eq!(call(running.grpc, LOGS, &[("content-type", GRPC)], frame(false, &message)).await.status(), "0");
    }
    let kept = running.store.external_scores(trace_id(0)).await.unwrap();
    assert_eq!((kept.len(), kept[0].label.as_deref(), kept[0].span_id), (1, Some("kind"), None));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_taken_has_its_status_and_is_not_to_be_repeated() {
    let running = Running::start(|settings| settings.receive.max_body_mib = 1).await;
    let (large, text) = (vec![0; 2 * MIB], spans(0));
    let cut = text[..text.len() / 2].to_vec();
    let mut two = frame(false, &text);
    two.extend(frame(false, &text));
    let calls: Vec<(&str, &str, &str, Vec<u8>)> = vec![
        ("3", TRACES, "", b"garbage".to_vec()),
        ("3", TRACES, "", Vec::new()),
        ("3", TRACES, "", frame(false, &cut)),
        ("3", TRACES, "", frame(false, b"no protobuf at all")),
        ("3", TRACES, "", two),
        ("3", TRACES, "", [vec![9], frame(false, &text)[1..].to_vec()].concat()),
        ("3", TRACES, "", vec![0, 0xff, 0xff, 0xff, 0xff]),
        ("3", TRACES, "", frame(true, &gzip(&text))),
        ("3", TRACES, "gzip", frame(true, &text)),
        ("3", TRACES, "gzip", frame(true, &gzip(&text)[..20])),
        ("12", TRACES, "snappy", frame(true, &text)),
        ("8", TRACES, "", frame(false, &large)),
        ("8", TRACES, "gzip", frame(true, &gzip(&large))),
        ("8", TRACES, "zstd", frame(true, &zstd(&large))),
        ("12", METRICS, "", frame(false, &[])),
        ("12", "/opentelemetry.proto.collector.trace.v1.TraceService/Import", "", frame(false, &[])),
        ("12", "/v1/traces", "", frame(false, &text)),
    ];
    for (status, path, encoding, body) in calls {
        let case = format!("{path} {encoding} {} bytes", body.len());
        let headers = [("content-type", GRPC), ("grpc-encoding", encoding)];
        let answer = call(running.grpc, path, &headers, body).await;
        assert_eq!((answer.http_status, answer.status()), (200, status), "{case}: {answer:?}");
        assert_eq!(answer.trailer("grpc-accept-encoding"), "identity,gzip,zstd");
        let code = status.parse().unwrap();
        let message = answer.trailer("grpc-message").replace("%25", "%");
        assert!(message.len() > 10, "{case}: {message}");
        let without_retry = encode_base64(&status_details(code, &message, None));
        assert_eq!(answer.trailer("grpc-status-details-bin"), without_retry, "{case}");
    }
    assert_eq!(running.store.counts().await.unwrap().chunks, 0);
    assert_eq!(export(running.grpc, frame(false, &spans(1))).await.status(), "0");
    running.scored(trace_id(1), 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_names_what_to_set() {
    let running = Running::start(|settings| settings.receive.max_body_mib = 1).await;
    let large = export(running.grpc, frame(false, &vec![0; 2 * MIB])).await;
    assert!(large.trailer("grpc-message").contains("max_body_mib"), "{large:?}");
    let metrics = call(running.grpc, METRICS, &[("content-type", GRPC)], frame(false, &[])).await;
    assert!(metrics.trailer("grpc-message").contains("OTEL_METRICS_EXPORTER=none"), "{metrics:?}");
    let http: SocketAddr = running.url.trim_start_matches("http://").parse().unwrap();
    let wrong_port = export(http, frame(false, &spans(0))).await;
    assert_eq!(wrong_port.status(), "12");
    assert!(wrong_port.trailer("grpc-message").contains("[receive] grpc"), "{wrong_port:?}");
    let wrong_port = post(&format!("http://{}", running.grpc), &[("content-type", PROTOBUF)], spans(0)).await;
    assert_eq!((wrong_port.status().as_u16(), &wrong_port.headers()["content-type"]), (404, &JSON.parse().unwrap()));
    assert!(wrong_port.text().await.unwrap().contains("[receive] http"));
    let not_grpc = call(running.grpc, TRACES, &[("content-type", JSON)], b"{}".to_vec()).await;
    assert_eq!(not_grpc.http_status, 415);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_answered_before_it_is_stored_and_a_full_queue_says_when_to_come_back() {
    let store = TestStore::sqlite().await;
    let (receiving, writing) = Receiving::start(&store).await;
    let send = |trace, kib: usize| {
        let mut large = span(trace, 0);
        large.name = "x".repeat(kib * 1024);
        export(receiving.grpc, frame(false, &request("", vec![large]).encode_to_vec()))
    };
    let first = receiving.waits(0, 600 * 1024);
    let turned_away = send(1, 600).await;
    assert_eq!(turned_away.status(), "14", "{turned_away:?}");
    let details = encode_base64(&status_details(14, turned_away.trailer("grpc-message"), Some(1)));
    assert_eq!(turned_away.trailer("grpc-status-details-bin"), details, "a RetryInfo of one second");

    let mut smaller = tokio::spawn(send(2, 300));
    assert!(timeout(A_WHILE, &mut smaller).await.is_err(), "what is not stored is not accepted");
    tokio::spawn(writing);
    assert_eq!(smaller.await.unwrap().status(), "0");
    assert_eq!(first.await.unwrap(), Ok(()));
    store.store.close().await;
    assert_eq!(send(1, 600).await.status(), "14", "a store that failed");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_calls_share_a_connection_and_one_that_fails_fails_alone() {
    let running = Running::start(|_| {}).await;
    let client = connect(running.grpc).await;
    let mut answers = tokio::task::JoinSet::new();
    for trace in 0..30_u32 {
        let request = Request::post(format!("http://{}{TRACES}", running.grpc)).header("content-type", GRPC);
        let mut client = client.clone().ready().await.unwrap();
        let (response, mut stream) = client.send_request(request.body(()).unwrap(), false).unwrap();
        match trace % 3 {
            0 => stream.send_data(frame(false, &spans(trace)).into(), true).unwrap(),
            1 => stream.send_data(b"garbage".as_slice().into(), true).unwrap(),
            _ => stream.send_reset(h2::Reason::CANCEL),
        }
        answers.spawn(async move { (trace, response.await.map(|response| response.status().as_u16())) });
    }
    while let Some(answer) = answers.join_next().await {
        let (trace, answer) = answer.unwrap();
        assert_eq!(answer.is_ok(), trace % 3 != 2, "{trace}: {answer:?}");
    }
    for trace in (0..30).step_by(3) {
        running.scored(trace_id(trace), 1).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_no_http_harm_no_other_connection() {
    let running = Running::start(|_| {}).await;
    let mut random = fastrand::Rng::with_seed(11);
    for round in 0..50 {
        let mut socket = TcpStream::connect(running.grpc).await.unwrap();
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
        let mut bytes = if round % 2 == 0 { preface.to_vec() } else { Vec::new() };
        bytes.extend(std::iter::repeat_with(|| random.u8(..)).take(200));
        // It may be cut off while it writes, or be left to wait for more.
        let _cut_off = socket.write_all(&bytes).await;
        let _answer = timeout(Duration::from_millis(20), socket.read_to_end(&mut Vec::new())).await;
    }
    assert_eq!(export(running.grpc, frame(false, &spans(0))).await.status(), "0");
    running.scored(trace_id(0), 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_of_sixty_four_mebibytes_is_taken() {
    let running = Running::start(|_| {}).await;
    let large: Vec<_> = (0..60)
        .map(|number| {
            let mut large = span(0, number);
            large.name = "x".repeat(MIB);
            large
        })
        .collect();
    let body: ExportTraceServiceRequest = request("agent", large);
    assert_eq!(export(running.grpc, frame(false, &body.encode_to_vec())).await.status(), "0");
    running.scored(trace_id(0), 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn asked_to_stop_it_waits_for_no_idle_or_unfinished_call_and_keeps_what_it_answered() {
    let mut serve = Serve::start("[store]\nurl = \"sqlite://{folder}/driftline.db\"\n");
    let address = serve.receives_grpc_on;
    let idle = connect(address).await;
    let mut unfinished = connect(address).await.ready().await.unwrap();
    let request = Request::post(format!("http://{address}{TRACES}")).header("content-type", GRPC);
    let (answer, mut stream) = unfinished.send_request(request.body(()).unwrap(), false).unwrap();
    stream.send_data(Bytes::from_static(&[0, 0]), false).unwrap();
    assert_eq!(export(address, frame(false, &spans(0))).await.status(), "0");
    let stopping = Instant::now();
    let status = tokio::task::block_in_place(|| serve.terminate());
    assert_eq!(status.code(), Some(0), "{}", serve.log());
    assert!(stopping.elapsed() < Duration::from_secs(40), "{:?}", stopping.elapsed());
    assert!(answer.await.is_err(), "what never arrived is not accepted");
    drop(idle);

    serve.restart();
    let store = Store::open(&serve.sqlite_url(), true).await.unwrap();
    eventually("what was accepted", async || store.trace(trace_id(0)).await.unwrap()).await;
}
