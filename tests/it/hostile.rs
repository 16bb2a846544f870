//! Volumes that no agent makes, sent to a service that is a process of its own: each has a clear answer, what was
//! accepted is scored, and the process never has more memory than is said here.
#![expect(clippy::print_stdout, reason = "a measurement must be seen")]

use std::io::Write as _;
use std::time::Duration;

use driftline::backends::store::{Selection, Store};
use driftline::domain::evaluation::Outcome;
use driftline::domain::ids::TraceId;
use driftline::otlp::{AnyValue, ExportTraceServiceRequest, KeyValue, Resource, Span, any_value::Value, span::Event};
use prost::Message as _;
use tokio::time::{Instant, sleep};

use crate::service::fixtures::{JSON, PROTOBUF, eventually, post, request, span, trace_id};
use crate::support::serve::Serve;

/// Largest body that is accepted.
const LARGEST: usize = 64 * 1024 * 1024;
const PATIENCE: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(100);

/// A service, and a look into its store.
struct Target {
    serve: Serve,
    store: Store,
    url: String,
}

impl Target {
    async fn start() -> Self {
        let _installed_before = rustls::crypto::ring::default_provider().install_default();
        let serve = Serve::start("[store]\nurl = \"sqlite://{folder}/driftline.db\"\n");
        eventually("readiness", async || serve.readiness().await.filter(|(is_ready, _)| *is_ready)).await;
        let store = Store::open(&serve.sqlite_url(), true).await.unwrap();
        let url = format!("http://{}", serve.receives_on);
        Self { serve, store, url }
    }

    /// The status and the body of the answer.
    async fn answer(&self, headers: &[(&str, &str)], body: Vec<u8>) -> (u16, String) {
        let response = post(&self.url, headers, body).await;
        let status = response.status().as_u16();
        (status, String::from_utf8_lossy(&response.bytes().await.unwrap()).into_owned())
    }

    /// Expects a body to be refused with this status and a message that says this.
    async fn refuses(&self, headers: &[(&str, &str)], body: Vec<u8>, status: u16, saying: &str) {
        let (found, message) = self.answer(headers, body).await;
        assert_eq!(found, status, "{message}");
        assert!(message.contains(saying), "{message}");
    }

    async fn accepts(&self, request: &ExportTraceServiceRequest) {
        let answer = self.answer(&[("content-type", PROTOBUF)], request.encode_to_vec()).await;
        assert_eq!(answer, (200, String::new()));
    }

    /// Waits until a trace is evaluated; its outcomes.
    async fn outcomes(&self, trace_id: TraceId) -> Vec<Outcome> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let rows = self.store.evaluations(trace_id).await.unwrap();
            if !rows.is_empty() {
                return rows.iter().map(|row| row.evaluation.outcome).collect();
            }
            assert!(Instant::now() < deadline, "trace {trace_id} is not evaluated:\n{}", self.serve.log());
            sleep(POLL).await;
        }
    }

    /// Expects a trace to be read and scored.
    async fn scores(&self, trace: u32) {
        let outcomes = self.outcomes(trace_id(trace)).await;
        assert!(outcomes.contains(&Outcome::Scored), "{outcomes:?}");
    }

    /// Expects the service to be as well as ever, and never to have had more memory than this.
    async fn is_well(&self, most_mib: u64) {
        let trace = 1_000_000;
        self.accepts(&request("agent", vec![tool(trace, 0, "get")])).await;
        self.scores(trace).await;
        let web = format!("http://{}", self.serve.web_on);
        for path in ["/", "/metrics", "/api/v1/series"] {
            let page = reqwest::get(format!("{web}{path}")).await.unwrap();
            assert_eq!(page.status(), 200, "{path}");
            let size = page.bytes().await.unwrap().len();
            assert!(size < 16 << 20, "{path} is {size} bytes long");
        }
        let peak = self.serve.peak_mib();
        println!("peak {peak} MiB of {most_mib}");
        assert!(peak < most_mib, "the service had {peak} MiB:\n{}", self.serve.log());
    }
}

fn text(key: &str, value: impl Into<String>) -> KeyValue {
    let value = AnyValue { value: Some(Value::StringValue(value.into())) };
    KeyValue { key: key.to_owned(), value: Some(value), ..KeyValue::default() }
}

/// A call of a tool.
fn tool(trace: u32, number: u32, name: &str) -> Span {
    let attributes = vec![
        text("gen_ai.operation.name", "execute_tool"),
        text("gen_ai.tool.name", name),
        text("gen_ai.tool.call.arguments", format!("{{\"n\":{number}}}")),
        text("gen_ai.tool.call.result", "done"),
    ];
    Span { attributes, ..span(trace, number) }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// One message inside of another, as field `number`.
fn within(number: u8, inner: &[u8]) -> Vec<u8> {
    let mut bytes = vec![number << 3 | 2];
    prost::encoding::encode_varint(inner.len() as u64, &mut bytes);
    bytes.extend_from_slice(inner);
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn what_unfolds_to_more_than_it_seems_is_refused_and_takes_no_memory() {
    let target = Target::start().await;
    let zeros = vec![0; 256 << 20];
    let bombs = [("gzip", gzip(&zeros)), ("zstd", zstd::encode_all(zeros.as_slice(), 1).unwrap())];
    for (encoding, bomb) in bombs {
        assert!(bomb.len() < 2 << 20);
        let headers = [("content-type", PROTOBUF), ("content-encoding", encoding)];
        target.refuses(&headers, bomb, 413, "larger than 67108864 bytes").await;
    }
    let headers = [("content-type", PROTOBUF), ("content-encoding", "gzip")];
    let spans = within(1, &within(2, &[0x12, 0].repeat(LARGEST / 2 - 100)));
    target.refuses(&headers, gzip(&spans), 400, "too many spans").await;
    let values =
        within(1, &within(2, &within(2, &within(9, &within(2, &within(5, &[0x0a, 0].repeat(LARGEST / 2 - 100)))))));
    target.refuses(&headers, gzip(&values), 400, "too many spans").await;

    let headers = [("content-type", JSON), ("content-encoding", "gzip")];
    let spans = format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{}}{}]}}]}}]}}"#, ",{}".repeat(20 << 20));
    target.refuses(&headers, gzip(spans.as_bytes()), 400, "too many spans").await;
    let deep = format!(r#"{{"resourceSpans":{}{}}}"#, "[".repeat(10_000), "]".repeat(10_000));
    let (status, _) = target.answer(&[("content-type", JSON)], deep.into_bytes()).await;
    assert_eq!(status, 200, "what is no object is passed over, however deep");
    target.is_well(500).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_of_exactly_the_limit_is_scored_and_one_byte_more_is_refused() {
    let target = Target::start().await;
    let of = |filling: usize| {
        request("agent", vec![Span { attributes: vec![text("f", "x".repeat(filling))], ..tool(0, 0, "t") }])
    };
    let overhead = of(LARGEST / 2).encoded_len() - LARGEST / 2;
    let exact = of(LARGEST - overhead);
    assert_eq!(exact.encoded_len(), LARGEST);
    target.accepts(&exact).await;
    target.outcomes(trace_id(0)).await;
    let headers = [("content-type", PROTOBUF)];
    target.refuses(&headers, of(LARGEST - overhead + 1).encode_to_vec(), 413, "larger than 67108864 bytes").await;
    target.is_well(600).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn traces_of_any_length_and_depth_are_scored() {
    let target = Target::start().await;
    let whole = (0..100_000).map(|number| tool(0, number, "get")).collect();
    target.accepts(&request("agent", whole)).await;
    let pieces: Vec<Span> = (0..100_000).rev().map(|number| tool(1, number, "get")).collect();
    for piece in pieces.chunks(5_000) {
        target.accepts(&request("agent", piece.to_vec())).await;
    }
    let mut deep: Vec<Span> = (0..10_000).map(|number| tool(2, number, "get")).collect();
    for (number, span) in (0_u64..).zip(&mut deep).skip(1) {
        span.parent_span_id = number.to_be_bytes().to_vec();
    }
    target.accepts(&request("agent", deep)).await;
    for trace in 0..3 {
        target.scores(trace).await;
    }
    target.is_well(800).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_million_keys_or_events_or_a_text_of_megabytes_on_one_span_are_scored() {
    let target = Target::start().await;
    let keys = (0..1_000_000).map(|number| text(&format!("app.key.{number}"), "v"));
    let events = (0..1_000_000).map(|_| Event { name: "e".to_owned(), ..Event::default() });
    let nested = "[".repeat(10_000) + &"]".repeat(10_000);
    let long = "Order 4711 of 12.50 EUR is not here. ".repeat(400_000);
    let dense = format!("[{{}}{}]", ",{}".repeat(3_000_000));
    let texts = [
        ("gen_ai.tool.name", "t".repeat(4 << 20)),
        ("gen_ai.tool.call.result", long.clone()),
        ("gen_ai.output.messages", long),
        ("gen_ai.input.messages", dense),
        ("gen_ai.system_instructions", nested),
        ("service.name", "s".repeat(1 << 20)),
        ("gen_ai.conversation.id", "c".repeat(1 << 20)),
        ("user_tier", "gold".repeat(1 << 18)),
    ];
    let spans = [
        Span { attributes: tool(0, 0, "get").attributes.into_iter().chain(keys).collect(), ..span(0, 0) },
        Span { events: events.collect(), ..tool(1, 0, "get") },
        Span { attributes: texts.iter().map(|(key, value)| text(key, value.as_str())).collect(), ..span(2, 0) },
    ];
    for span in spans {
        target.accepts(&request("agent", vec![span])).await;
    }
    for trace in 0..2 {
        target.scores(trace).await;
    }
    target.outcomes(trace_id(2)).await;
    target.is_well(800).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_never_repeat_make_nothing_grow_but_the_store() {
    const TRACES: u32 = 6_000;
    let target = Target::start().await;
    let traces: Vec<u32> = (0..TRACES).collect();
    for some in traces.chunks(1_000) {
        let mut body = ExportTraceServiceRequest::default();
        for trace in some {
            let mut one = request("agent", vec![named(*trace)]);
            let service =
                vec![text("service.name", format!("service-{trace}")), text("service.version", format!("v{trace}"))];
            one.resource_spans[0].resource = Some(Resource { attributes: service, ..Resource::default() });
            body.resource_spans.append(&mut one.resource_spans);
        }
        target.accepts(&body).await;
    }
    let deadline = Instant::now() + PATIENCE;
    while target.store.counts().await.unwrap().traces < u64::from(TRACES) {
        assert!(Instant::now() < deadline, "not all are evaluated:\n{}", target.serve.log());
        sleep(POLL).await;
    }
    let services = target.store.services(&Selection::default()).await.unwrap();
    assert_eq!(services.len(), TRACES as usize, "each is there");
    target.is_well(400).await;
}

/// A trace that shares no name with any other.
fn named(trace: u32) -> Span {
    let keys = ["gen_ai.tool.name", "gen_ai.conversation.id", "user.id", "gen_ai.agent.name", "user_tier", "feature"];
    let attributes = keys.iter().map(|key| text(key, format!("{key}-{trace}")));
    let own = [text("gen_ai.operation.name", "execute_tool"), text(&format!("app.{trace}"), "v")];
    Span { attributes: own.into_iter().chain(attributes).collect(), ..span(trace, 0) }
}

#[tokio::test(flavor = "multi_thread")]
async fn any_number_of_large_requests_at_once_take_the_memory_of_a_few() {
    let target = Target::start().await;
    let attributes = vec![text("filling", "y".repeat(4_000))];
    let spans = (0..15_000).map(|number| Span { attributes: attributes.clone(), ..span(0, number) });
    let body = gzip(&request("agent", spans.collect()).encode_to_vec());
    let headers = [("content-type", PROTOBUF), ("content-encoding", "gzip")];
    let answers = (0..24).map(|_| target.answer(&headers, body.clone()));
    let answers = futures_util::future::join_all(answers).await;
    let statuses: Vec<u16> = answers.iter().map(|(status, _)| *status).collect();
    assert!(statuses.iter().all(|status| matches!(status, 200 | 429)), "{statuses:?}");
    assert!(statuses.contains(&200), "{statuses:?}");
    target.is_well(1_500).await;
}
