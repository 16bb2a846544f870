//! Sizes and shapes that no agent makes: the service answers, stays up, and scores everyone else's traces meanwhile.

use driftline::backends::store::StoredTrace;
use driftline::domain::evaluation::Outcome;
use driftline::domain::time::Timestamp;
use driftline::otlp::{AnyValue, ArrayValue, KeyValue, Resource, Span, any_value, span};
use prost::Message as _;

use super::fixtures::{
    JSON, PROTOBUF, Running, evaluators, eventually, json, post, request, shipped_evaluators, span, trace_id,
};
use crate::support::services::postgres;

const SPANS: u32 = 100_000;

impl Running {
    /// Sends a trace to be scored, and gives it.
    async fn scores(&self, trace: u32, spans: Vec<Span>) -> StoredTrace {
        self.accept(&request("agent", spans)).await;
        self.is_scored(trace).await
    }

    /// Waits for a trace that is not only recorded, but was read.
    async fn is_scored(&self, trace: u32) -> StoredTrace {
        let scored = self.scored(trace_id(trace), 1).await;
        let rows = self.store.evaluations(trace_id(trace)).await.unwrap();
        assert_eq!(evaluators(&rows).len(), shipped_evaluators());
        assert!(rows.iter().any(|row| row.evaluation.outcome == Outcome::Scored), "{rows:?}");
        scored
    }
}

fn text(key: &str, value: String) -> KeyValue {
    let value = AnyValue { value: Some(any_value::Value::StringValue(value)) };
    KeyValue { key: key.to_owned(), value: Some(value), ..KeyValue::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_of_a_hundred_thousand_spans_is_scored_and_does_not_hold_up_the_others() {
    let running = Running::start(|_| {}).await;
    let wide: Vec<Span> = (0..SPANS).map(|number| span(0, number)).collect();
    let mut deep: Vec<Span> = (0..SPANS).map(|number| span(1, number)).collect();
    for (number, span) in deep.iter_mut().enumerate().skip(1) {
        span.parent_span_id = (number as u64).to_be_bytes().to_vec();
    }
    running.accept(&request("agent", wide)).await;
    running.accept(&request("agent", deep)).await;
    for trace in 2..12 {
        running.scores(trace, vec![span(trace, 0), span(trace, 1)]).await;
    }
    running.is_scored(0).await;
    running.is_scored(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_that_are_their_own_ancestors_are_scored() {
    let running = Running::start(|_| {}).await;
    let id = |number: u64| (number + 1).to_be_bytes().to_vec();
    let own_parent = Span { parent_span_id: id(0), ..span(0, 0) };
    running.scores(0, vec![own_parent]).await;
    let ring = (0..5).map(|number| Span { parent_span_id: id((u64::from(number) + 1) % 5), ..span(1, number) });
    running.scores(1, ring.collect()).await;
    let tail = Span { parent_span_id: id(2), ..span(2, 3) };
    let [one, other] = [(1, 2), (2, 1)].map(|(number, parent)| Span { parent_span_id: id(parent), ..span(2, number) });
    running.scores(2, vec![span(2, 0), one, other, tail]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_traces_in_one_request_are_all_stored() {
    let running = Running::start(|settings| settings.complete.root_grace = std::time::Duration::from_secs(0)).await;
    let traces = 10_000;
    running.accept(&request("agent", (0..traces).map(|trace| span(trace, 0)).collect())).await;
    running.scores(traces, vec![span(traces, 0)]).await;
    let depths = async || running.store.queue_depths(Timestamp(0)).await.unwrap();
    eventually("all of them", async || (depths().await.pending == 0).then_some(())).await;
    assert_eq!(running.store.counts().await.unwrap().traces, u64::from(traces) + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn deep_nesting_is_refused_or_read_but_never_fatal() {
    let running = Running::start(|_| {}).await;
    let depth = 100_000;
    let deep = format!(r#"{{"resourceSpans":{}1{}}}"#, "[".repeat(depth), "]".repeat(depth));
    let unknown = format!(r#"{{"resourceSpans":[],"other":{}{}}}"#, "[".repeat(depth), "]".repeat(depth));
    for body in [deep, unknown] {
        assert_eq!(post(&running.url, &[("content-type", JSON)], body.into_bytes()).await.status(), 200);
    }

    let mut value = AnyValue::default();
    for _ in 0..1_000 {
        value = AnyValue { value: Some(any_value::Value::ArrayValue(ArrayValue { values: vec![value] })) };
    }
    let attribute = KeyValue { key: "deep".to_owned(), value: Some(value), ..KeyValue::default() };
    let body = request("agent", vec![Span { attributes: vec![attribute], ..span(0, 0) }]).encode_to_vec();
    assert_eq!(post(&running.url, &[("content-type", PROTOBUF)], body).await.status(), 400);

    let nested = "[".repeat(depth) + &"]".repeat(depth);
    let open = r#"{"role":"#.repeat(depth);
    let attributes = ["gen_ai.input.messages", "gen_ai.output.messages", "gen_ai.tool.call.arguments", "input.value"];
    let attributes = attributes.into_iter().map(|key| text(key, nested.clone()));
    let attributes = attributes.chain([text("output.value", open), text("gen_ai.operation.name", "chat".to_owned())]);
    running.scores(1, vec![Span { attributes: attributes.collect(), ..span(1, 0) }]).await;
}

/// JSON may nest as deep as its reader allows; what is accepted so must come back from the store.
#[tokio::test(flavor = "multi_thread")]
async fn what_json_may_nest_the_store_gives_back() {
    let running = Running::start(|_| {}).await;
    let plain = String::from_utf8(json(&[span(0, 0)])).unwrap();
    for (open, close) in
        [(r#"{"arrayValue":{"values":["#, "]}}"), (r#"{"kvlistValue":{"values":[{"key":"k","value":"#, "}]}}")]
    {
        let mut accepted = 0;
        for depth in 1..60 {
            let value = format!(r#"{}{{"intValue":1}}{}"#, open.repeat(depth), close.repeat(depth));
            let attributes = format!(r#""attributes":[{{"key":"deep","value":{value}}}],"name":"#);
            let trace = accepted + 1;
            let body = plain.replace(r#""name":"#, &attributes);
            let body = body.replace(&trace_id(0).to_string(), &trace_id(trace + open.len() as u32 * 100).to_string());
            if post(&running.url, &[("content-type", JSON)], body.into_bytes()).await.status() != 200 {
                break;
            }
            accepted += 1;
        }
        assert!((20..59).contains(&accepted), "{accepted}");
        for trace in 1..=accepted {
            running.is_scored(trace + open.len() as u32 * 100).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn times_that_cannot_be_are_scored() {
    let running = Running::start(|settings| settings.watch.lateness = std::time::Duration::ZERO).await;
    let times = [(0, 0), (u64::MAX, 1), (1, u64::MAX), (u64::MAX, u64::MAX), (i64::MAX as u64, i64::MAX as u64 + 1)];
    for (trace, (start_time_unix_nano, end_time_unix_nano)) in (0..).zip(times) {
        let mut child = Span { start_time_unix_nano, end_time_unix_nano, ..span(trace, 1) };
        child.events = vec![span::Event { time_unix_nano: u64::MAX, ..span::Event::default() }];
        running.scores(trace, vec![Span { start_time_unix_nano, end_time_unix_nano, ..span(trace, 0) }, child]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn texts_that_no_database_likes_are_scored_on_either_store() {
    let url = postgres().database().await;
    let stores = [Running::start(|_| {}).await, Running::start(|settings| settings.store.url = url).await];
    let texts = ["\0", "a\0b", "\u{202e}\u{feff}", "'; DROP TABLE trace; --", "%s%n{}", &"y\u{301}".repeat(500_000)];
    let keys = ["user.id", "gen_ai.conversation.id", "gen_ai.tool.name", "gen_ai.request.model", "feature", "\0"];
    for running in stores {
        for (trace, hostile) in (0..).zip(texts) {
            let attributes: Vec<KeyValue> = keys.iter().map(|key| text(key, hostile.to_owned())).collect();
            let span = Span { attributes: attributes.clone(), name: hostile.to_owned(), ..span(trace, 0) };
            let mut body = request(hostile, vec![span]);
            let service = vec![text("service.name", hostile.to_owned()), text("service.version", hostile.to_owned())];
            body.resource_spans[0].resource = Some(Resource { attributes: service, ..Resource::default() });
            running.accept(&body).await;
            running.is_scored(trace).await;
        }
    }
}
