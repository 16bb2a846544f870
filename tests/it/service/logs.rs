//! Log records: what was said to a model and by it, on their way to the spans they belong to.

use std::time::Duration;

use driftline::backends::store::Selection;
use driftline::domain::evaluation::AnnotatorKind;
use driftline::domain::ids::TraceId;
use driftline::domain::measurement::Value as Measured;
use driftline::domain::time::Timestamp;
use driftline::normalize::{AttributeMapping, Inspection, PriceTable};
use driftline::otlp::{
    AnyValue, ExportLogsServiceRequest, ExportTraceServiceResponse, InstrumentationScope, KeyValue, KeyValueList,
    LogRecord, OWN_SCOPE, ResourceLogs, ScopeLogs, Span, any_value, span::Event,
};
use driftline::queries::inspection::inspection;
use prost::Message as _;
use reqwest::Response;
use serde_json::{Value, json};

use super::fixtures::{JSON, PROTOBUF, Running, eventually, post_to, request, span, trace_id, write_back};

fn text(key: &str, value: &str) -> KeyValue {
    keyed(key, any_value::Value::StringValue(value.to_owned()))
}

fn keyed(key: &str, value: any_value::Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

fn map(values: Vec<KeyValue>) -> any_value::Value {
    any_value::Value::KvlistValue(KeyValueList { values })
}

/// An event of a span, with its content in the body as the older instrumentations have it.
fn event(of: &Span, name: &str, body: Vec<KeyValue>) -> LogRecord {
    LogRecord {
        time_unix_nano: of.start_time_unix_nano,
        event_name: name.to_owned(),
        trace_id: of.trace_id.clone(),
        span_id: of.span_id.clone(),
        body: Some(AnyValue { value: Some(map(body)) }),
        ..LogRecord::default()
    }
}

/// The question and the answer of a model call.
fn conversation(call: &Span) -> Vec<LogRecord> {
    let answer = map(vec![text("role", "assistant"), text("content", "42 EUR")]);
    let choice = vec![keyed("message", answer), text("finish_reason", "stop")];
    vec![
        event(call, "gen_ai.user.message", vec![text("content", "what is due?")]),
        event(call, "gen_ai.choice", choice),
    ]
}

fn logs(scope: &str, log_records: Vec<LogRecord>) -> ExportLogsServiceRequest {
    let scope = InstrumentationScope { name: scope.to_owned(), ..InstrumentationScope::default() };
    let scope_logs = vec![ScopeLogs { scope: Some(scope), log_records, ..ScopeLogs::default() }];
    ExportLogsServiceRequest { resource_logs: vec![ResourceLogs { scope_logs, ..ResourceLogs::default() }] }
}

/// An ended root span of one model call, which says nothing of its content.
fn call(trace: u32) -> Span {
    let attributes = vec![text("gen_ai.operation.name", "chat"), text("gen_ai.request.model", "m-1")];
    Span { attributes, ..span(trace, 0) }
}

impl Running {
    async fn post_logs(&self, content_type: &str, body: Vec<u8>) -> Response {
        post_to(&format!("{}/v1/logs", self.url), &[("content-type", content_type)], body).await
    }

    /// Sends log records and expects all of them to be accepted.
    async fn accept_logs(&self, request: &ExportLogsServiceRequest) {
        let response = self.post_logs(PROTOBUF, request.encode_to_vec()).await;
        assert_eq!(response.status(), 200);
        assert!(response.bytes().await.unwrap().is_empty(), "a full success says nothing");
    }

    async fn understood(&self, trace_id: TraceId) -> Inspection {
        inspection(&self.store, trace_id, &AttributeMapping::default(), &PriceTable::default()).await.unwrap()
    }
}

fn said(found: &Inspection) -> (Option<&str>, Option<&str>) {
    (found.input.as_deref(), found.output.as_deref())
}

const SAID: (Option<&str>, Option<&str>) = (Some("what is due?"), Some("42 EUR"));

#[tokio::test(flavor = "multi_thread")]
async fn content_events_reach_their_span_whichever_comes_first() {
    let running = Running::start(|_| {}).await;
    running.accept_logs(&logs("openai", conversation(&call(0)))).await;
    running.accept(&request("openai", vec![call(0)])).await;
    running.scored(trace_id(0), 1).await;
    assert_eq!(said(&running.understood(trace_id(0)).await), SAID);

    running.accept(&request("openai", vec![call(1)])).await;
    running.scored(trace_id(1), 1).await;
    assert_eq!(said(&running.understood(trace_id(1)).await), (None, None));
    running.accept_logs(&logs("openai", conversation(&call(1)))).await;
    running.scored(trace_id(1), 2).await;
    assert_eq!(said(&running.understood(trace_id(1)).await), SAID, "a late record makes a version like a late span");
    let rows = running.store.evaluations(trace_id(1)).await.unwrap();
    assert!(rows.iter().all(|row| row.trace_version == 2), "{rows:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_one_event_of_newer_instrumentations_is_read_from_json() {
    let running = Running::start(|_| {}).await;
    let span = call(0);
    let record = json!({
        "traceId": hex::encode(&span.trace_id), "spanId": hex::encode(&span.span_id),
        "timeUnixNano": span.start_time_unix_nano.to_string(), "severityNumber": 9,
        "eventName": "gen_ai.client.inference.operation.details",
        "attributes": [
            {"key": "gen_ai.input.messages", "value": {"stringValue":
                r#"[{"role":"user","parts":[{"type":"text","content":"what is due?"}]}]"#}},
            {"key": "gen_ai.output.messages", "value": {"stringValue":
                r#"[{"role":"assistant","parts":[{"type":"text","content":"42 EUR"}],"finish_reason":"stop"}]"#}},
        ],
    });
    let body = json!({"resourceLogs": [{"resource": {}, "scopeLogs": [{"scope": null, "logRecords": [record]}]}]});
    let response = running.post_logs("application/json; charset=utf-8", body.to_string().into_bytes()).await;
    assert_eq!((response.status().as_u16(), response.text().await.unwrap().as_str()), (200, "{}"));
    running.accept(&request("openai", vec![span])).await;
    running.scored(trace_id(0), 1).await;
    assert_eq!(said(&running.understood(trace_id(0)).await), SAID);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_with_half_an_id_is_rejected_alone_and_one_without_any_is_not_ours() {
    let running = Running::start(|_| {}).await;
    let records = |trace| {
        let [question, answer]: [LogRecord; 2] = conversation(&call(trace)).try_into().unwrap();
        let half = LogRecord { trace_id: vec![1, 2], ..question.clone() };
        let none = LogRecord { trace_id: Vec::new(), span_id: Vec::new(), ..question.clone() };
        let zero = LogRecord { trace_id: vec![0; 16], span_id: vec![0; 8], ..question.clone() };
        logs("s", vec![question, half, none, zero, answer])
    };
    let response = running.post_logs(PROTOBUF, records(0).encode_to_vec()).await;
    assert_eq!(response.status(), 200);
    let partial = ExportTraceServiceResponse::decode(response.bytes().await.unwrap()).unwrap().partial_success.unwrap();
    let expected = (1, "trace id has 2 bytes, expected 16");
    assert_eq!((partial.rejected_spans, partial.error_message.as_str()), expected, "the two answers have one shape");
    assert_eq!(running.metrics.ignored_log_records.get(), 2);

    let record = |ids: &str| format!(r#"{{{ids}"eventName":"gen_ai.choice"}}"#);
    let records = [record(r#""traceId":"0102","#), record("")].join(",");
    let body = format!(r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{records}]}}]}}]}}"#);
    let response = running.post_logs(JSON, body.into_bytes()).await;
    let partial: Value = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
    assert_eq!(partial["partialSuccess"]["rejectedLogRecords"], "1", "{partial}");
    assert_eq!(running.metrics.ignored_log_records.get(), 3);

    running.accept(&request("s", vec![call(0)])).await;
    running.scored(trace_id(0), 1).await;
    assert_eq!(said(&running.understood(trace_id(0)).await), SAID, "the others of the request are kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn log_records_alone_wait_for_their_spans_and_then_go_without_a_trace() {
    let running = Running::start(|settings| settings.complete.max_age = Duration::from_secs(8)).await;
    running.accept_logs(&logs("s", conversation(&call(0)))).await;
    running.accept_logs(&logs("s", conversation(&call(1)))).await;
    assert_eq!(running.store.counts().await.unwrap().chunks, 2);
    // Quiet for long enough to be complete, if there were a span.
    let asked = async || {
        let pending = running.store.pending_trace(trace_id(1)).await.unwrap()?;
        (pending.due_at == pending.first_seen_at.plus(Duration::from_secs(8))).then_some(())
    };
    eventually("the trace to be looked at", asked).await;
    running.accept(&request("s", vec![call(1)])).await;
    running.scored(trace_id(1), 1).await;
    assert_eq!(said(&running.understood(trace_id(1)).await), SAID, "what waited is found");

    let gone = async || running.store.pending_trace(trace_id(0)).await.unwrap().is_none().then_some(());
    eventually("the other to be dropped", gone).await;
    assert_eq!(running.store.trace(trace_id(0)).await.unwrap(), None, "it was never a trace");
    eventually("the metric", async || (running.metrics.spanless.get() == 1).then_some(())).await;
    assert_eq!(running.store.counts().await.unwrap().chunks, 2, "of the evaluated one");
    assert_eq!(running.store.queue_depths(Timestamp(0)).await.unwrap().pending, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn our_own_evaluation_events_are_accepted_and_never_kept() {
    let running = Running::start(|_| {}).await;
    running.accept_logs(&logs(OWN_SCOPE, vec![event(&call(0), "gen_ai.evaluation.result", Vec::new())])).await;
    assert_eq!(running.metrics.ignored_log_records.get(), 1);
    assert_eq!(running.store.counts().await.unwrap().chunks, 0);
}

/// What another tool scored of a span.
fn result(of: &Span, name: &str, value: f64) -> LogRecord {
    let attributes = vec![
        text("gen_ai.evaluation.name", name),
        keyed("gen_ai.evaluation.score.value", any_value::Value::DoubleValue(value)),
        text("gen_ai.evaluation.evaluator.type", "llm_judge"),
    ];
    LogRecord { attributes, body: None, ..event(of, "gen_ai.evaluation.result", Vec::new()) }
}

#[tokio::test(flavor = "multi_thread")]
async fn evaluations_of_others_are_scores_of_their_span_however_often_they_come_and_evaluate_nothing_anew() {
    let running = Running::start(|_| {}).await;
    let request_of = |value| logs("eval-tool", vec![result(&call(0), "relevance", value)]);
    running.accept_logs(&request_of(0.25)).await;
    running.accept(&request("agent", vec![call(0)])).await;
    running.scored(trace_id(0), 1).await;
    running.accept_logs(&request_of(0.25)).await;
    let stood = running.store.external_scores(trace_id(0)).await.unwrap();
    assert_eq!((stood.len(), stood[0].value, stood[0].annotator_kind), (1, Some(0.25), AnnotatorKind::Llm));
    assert_eq!((stood[0].source.as_str(), stood[0].span_id.is_some()), ("eval-tool", true));
    assert_eq!(running.metrics.external_scores.get(), 2);

    let late = LogRecord { time_unix_nano: call(0).end_time_unix_nano, ..result(&call(0), "relevance", 0.75) };
    running.accept_logs(&logs("eval-tool", vec![late])).await;
    let stands = running.store.external_scores(trace_id(0)).await.unwrap();
    assert_eq!(stands.iter().map(|score| score.value).collect::<Vec<_>>(), [Some(0.75)], "the later one replaces it");
    assert_eq!(running.store.pending_trace(trace_id(0)).await.unwrap(), None, "a score makes no new version");
    assert_eq!(running.store.counts().await.unwrap().chunks, 1);
    let records = running.store.records(&Selection::default()).await.unwrap();
    assert_eq!(records[0].measurement("llm.relevance").map(|found| found.value.clone()), Some(Measured::Number(0.75)));
    assert!(
        running.store.evaluations(trace_id(0)).await.unwrap().iter().all(|row| row.evaluation.evaluator != "relevance")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_without_a_name_is_rejected_alone() {
    let running = Running::start(|_| {}).await;
    let unnamed = event(&call(0), "gen_ai.evaluation.result", Vec::new());
    let records = vec![unnamed, result(&call(0), "tone", 1.0)];
    let response = running.post_logs(PROTOBUF, logs("other", records).encode_to_vec()).await;
    let answer = ExportTraceServiceResponse::decode(response.bytes().await.unwrap()).unwrap();
    let partial = answer.partial_success.unwrap();
    let expected = (1, "evaluation result has no gen_ai.evaluation.name");
    assert_eq!((partial.rejected_spans, partial.error_message.as_str()), expected);
    assert_eq!(running.store.external_scores(trace_id(0)).await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_on_a_span_and_the_same_as_a_log_record_are_one_score() {
    let running = Running::start(|_| {}).await;
    let record = result(&call(0), "relevance", 0.5);
    let on_span = Event {
        name: record.event_name.clone(),
        time_unix_nano: record.time_unix_nano,
        attributes: record.attributes.clone(),
        ..Event::default()
    };
    let spans = vec![Span { events: vec![on_span], ..call(0) }, span(0, 1)];
    running.accept(&request("agent", spans.clone())).await;
    running.scored(trace_id(0), 1).await;
    running.accept_logs(&logs("agent", vec![record])).await;
    running.accept(&request("agent", spans)).await;
    assert_eq!(running.store.external_scores(trace_id(0)).await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn feedback_is_taken_beside_the_traces_and_says_what_is_wrong_with_it() {
    let running = Running::start(|_| {}).await;
    let post = async |body: Value| {
        let url = format!("{}/api/v1/feedback", running.url);
        let response = post_to(&url, &[("content-type", JSON)], body.to_string().into_bytes()).await;
        (response.status().as_u16(), response.json::<Value>().await.unwrap())
    };
    let thumbs = json!({"trace_id": trace_id(0), "name": "thumbs", "value": 1, "source": "app", "id": "1"});
    for _ in 0..2 {
        assert_eq!(post(thumbs.clone()).await, (200, json!({"trace_id": trace_id(0)})));
    }
    let kept = running.store.external_scores(trace_id(0)).await.unwrap();
    assert_eq!((kept.len(), kept[0].annotator_kind), (1, AnnotatorKind::Human));
    let (status, answer) = post(json!({"trace_id": trace_id(0), "name": "thumbs", "value": 1})).await;
    assert_eq!((status, answer["message"].as_str()), (400, Some("source: is missing")));
    assert_eq!(post(json!([1])).await.0, 400);
    assert_eq!(post(json!({"explanation": "x".repeat(70_000)})).await.0, 413);
}

/// A collector that sends to us what we sent to it: spans and events go round once, and nothing comes of them.
#[tokio::test(flavor = "multi_thread")]
async fn scores_that_come_back_round_change_nothing() {
    let round = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let running = Running::start(|settings| {
        settings.receive.http = round.to_string();
        settings.write_back = vec![write_back(&format!("http://{round}"))];
    });
    let running = running.await;
    running.accept(&request("agent", vec![call(0)])).await;
    running.scored(trace_id(0), 1).await;
    running.delivered().await;
    eventually("the events", async || (running.metrics.ignored_log_records.get() > 0).then_some(())).await;
    assert_eq!(running.store.pending_trace(trace_id(0)).await.unwrap(), None);
    assert_eq!(running.store.trace(trace_id(0)).await.unwrap().unwrap().version, 1);
    assert_eq!(running.store.counts().await.unwrap().chunks, 1);
    assert!(running.store.external_scores(trace_id(0)).await.unwrap().is_empty(), "our own are no one else's");
}
