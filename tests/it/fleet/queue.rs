//! What receivers publish, and messages that give trouble.

use std::time::Duration;

use driftline::backends::rabbitmq::{DeadLetter, DeadLetters};
use driftline::backends::store::Store;
use driftline::domain::ids::TraceId;
use driftline::domain::time::Timestamp;
use driftline::simulate::SimulatedTrace;
use prost::Message as _;
use serde_json::json;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use tokio::time::Instant;

use crate::service::fixtures::{JSON, PROTOBUF, eventually, post, post_to, requests, simulated, span, trace_id};
use crate::support::broker::Other;
use crate::support::serve::Serve;
use crate::support::services::{fresh_name, postgres, rabbitmq};

/// Longer than anything that is expected to happen takes.
const PATIENCE: Duration = Duration::from_secs(120);

pub(super) const HOUR: Duration = Duration::from_hours(1);
pub(super) const START: Timestamp = Timestamp(1_760_000_000_000_000_000);

/// Settings of a fleet on the broker and a database of its own.
struct Fleet {
    store: String,
    queue: String,
}

impl Fleet {
    async fn new() -> Self {
        Self { store: postgres().database().await, queue: fresh_name("fleet") }
    }

    fn start(&self, roles: &'static str, more: &str) -> Serve {
        let Self { store, queue } = self;
        let broker = &rabbitmq().amqp_url;
        Serve::start_roles(
            roles,
            &format!(
                "[store]\nurl = \"{store}\"\n[queue]\nurl = \"{broker}\"\nname = \"{queue}\"\nretry_delay = \"50ms\"\n\
                 attempts = 3\n{more}"
            ),
        )
    }

    async fn store(&self) -> Store {
        Store::open(&self.store, true).await.unwrap()
    }

    /// Reasons of the dead letters.
    async fn dead(&self) -> Vec<String> {
        let letters = DeadLetters::open(&rabbitmq().amqp_url, &self.queue).await.unwrap();
        let (found, _) = letters.list(100).await.unwrap();
        letters.close().await.unwrap();
        found.into_iter().map(|letter| letter.reason.unwrap()).collect()
    }
}

pub(super) async fn ready(serve: &Serve) {
    eventually("readiness", async || serve.readiness().await.filter(|(is_ready, _)| *is_ready)).await;
}

pub(super) async fn scored(store: &Store, traces: &[SimulatedTrace]) {
    for trace in traces {
        let id = trace.truth.trace_id;
        eventually("every trace", async || store.trace(id).await.unwrap().map(drop)).await;
    }
}

fn url(serve: &Serve) -> String {
    format!("http://{}", serve.receives_on)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_receiver_publishes_a_worker_scores_whatever_it_is() {
    let fleet = Fleet::new().await;
    let receiver = fleet.start("receive,web", "");
    ready(&receiver).await;
    let traces = simulated("healthy", 12, START, HOUR);
    for request in requests(&traces[..6], 3) {
        let answer = post(&url(&receiver), &[("content-type", PROTOBUF)], request.encode_to_vec()).await;
        assert_eq!(answer.status(), 200);
    }
    for request in requests(&traces[6..], 3) {
        let packed = zstd::encode_all(request.encode_to_vec().as_slice(), 3).unwrap();
        let headers = [("content-type", PROTOBUF), ("content-encoding", "zstd")];
        assert_eq!(post(&url(&receiver), &headers, packed).await.status(), 200);
    }
    let first = traces[0].truth.trace_id;
    let feedback = json!({ "trace_id": first, "name": "thumb", "value": 1.0, "source": "app" }).to_string();
    let feedback_url = format!("{}/api/v1/feedback", url(&receiver));
    assert_eq!(post_to(&feedback_url, &[("content-type", JSON)], feedback.into_bytes()).await.status(), 200);

    let store = fleet.store().await;
    assert_eq!(store.counts().await.unwrap().traces, 0, "nobody evaluates yet");
    assert_eq!(store.queue_depths(Timestamp(0)).await.unwrap().pending, 0, "and the receiver stores nothing itself");
    let _worker = fleet.start("evaluate,web", "");
    scored(&store, &traces).await;
    let thumb = async || (!store.external_scores(first).await.unwrap().is_empty()).then_some(());
    eventually("the feedback", thumb).await;
    assert_eq!(fleet.dead().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_of_which_nothing_can_be_used_is_not_published() {
    let fleet = Fleet::new().await;
    let receiver = fleet.start("receive,web", "");
    ready(&receiver).await;
    let mut broken = crate::service::fixtures::request("app", vec![span(1, 0)]);
    broken.resource_spans[0].scope_spans[0].spans[0].trace_id = vec![1; 3];
    let answer = post(&url(&receiver), &[("content-type", PROTOBUF)], broken.encode_to_vec()).await;
    assert_eq!(answer.status(), 200);
    assert!(!answer.bytes().await.unwrap().is_empty(), "a partial success says so");
    assert_eq!(Other::connect().await.take(&fleet.queue).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_turns_senders_away_until_there_is_room() {
    let fleet = Fleet::new().await;
    let receiver = fleet.start("receive,web", "max_waiting = 2\n");
    ready(&receiver).await;
    let body = |number| crate::service::fixtures::request("app", vec![span(number, 0)]).encode_to_vec();
    let send = async |number| post(&url(&receiver), &[("content-type", PROTOBUF)], body(number)).await;
    for number in 0..2 {
        assert_eq!(send(number).await.status(), 200);
    }
    eventually("a full queue", async || (send(2).await.status() == 429).then_some(())).await;
    let answer = send(3).await;
    assert_eq!((answer.status().as_u16(), answer.headers()["retry-after"].to_str().unwrap()), (429, "1"));
    assert_eq!(receiver.readiness().await.unwrap(), (false, vec!["queue (publish)".to_owned()]));
    assert!(receiver.metric("driftline_turned_away_total").await >= 2.0);
    let _worker = fleet.start("evaluate,web", "");
    eventually("room", async || (send(4).await.status() == 200).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_length_limit_of_the_brokers_own_turns_senders_away_too() {
    let fleet = Fleet::new().await;
    let receiver = fleet.start("receive,web", "");
    ready(&receiver).await;
    let policy = r#"{"max-length": 1, "overflow": "reject-publish"}"#;
    let pattern = format!("^{}$", fleet.queue);
    tokio::task::block_in_place(|| {
        rabbitmq().ctl(&["set_policy", &fleet.queue, &pattern, policy, "--apply-to", "queues"]);
    });
    let turned_away = async || {
        let body = crate::service::fixtures::request("app", vec![span(1, 0)]).encode_to_vec();
        (post(&url(&receiver), &[("content-type", PROTOBUF)], body).await.status() == 429).then_some(())
    };
    eventually("a refusal by the broker", turned_away).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_larger_than_the_queue_takes_is_refused_for_good() {
    let fleet = Fleet::new().await;
    let receiver = fleet.start("receive,web", "max_message_mib = 1\n");
    ready(&receiver).await;
    let mut large = span(1, 0);
    large.name = (0..2_000_000).map(|_| fastrand::alphanumeric()).collect();
    let body = crate::service::fixtures::request("app", vec![large]).encode_to_vec();
    let answer = post(&url(&receiver), &[("content-type", PROTOBUF)], body).await;
    assert_eq!((answer.status().as_u16(), answer.headers().get("retry-after")), (413, None));
    assert_eq!(Other::connect().await.take(&fleet.queue).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_the_store_refuses_is_tried_again_alone_and_then_dead_while_others_pass() {
    let fleet = Fleet::new().await;
    let traces = simulated("healthy", 8, START, HOUR);
    let refused = traces[3].truth.trace_id;
    let worker = fleet.start("evaluate,web", "");
    ready(&worker).await;
    refuse(&fleet.store, refused).await;
    let bodies: Vec<Vec<u8>> = requests(&traces, 1).iter().map(prost::Message::encode_to_vec).collect();
    let bodies: Vec<&[u8]> = bodies.iter().map(Vec::as_slice).collect();
    Other::connect().await.publish(&fleet.queue, &bodies).await;
    let store = fleet.store().await;
    let others: Vec<SimulatedTrace> = traces.into_iter().filter(|trace| trace.truth.trace_id != refused).collect();
    scored(&store, &others).await;
    let dead = async || Some(fleet.dead().await).filter(|dead| !dead.is_empty());
    let dead = eventually("a dead letter", dead).await;
    assert_eq!(dead.len(), 1, "{dead:?}");
    assert!(dead[0].starts_with("attempted 3 times: the store refuses"), "{dead:?}");
    assert!(store.trace(refused).await.unwrap().is_none());
}

/// Lets the database refuse the pieces of one trace.
async fn refuse(url: &str, trace_id: TraceId) {
    let mut connection = PgConnection::connect(url).await.unwrap();
    let hex: String = trace_id.to_string();
    let constraint = format!("ALTER TABLE chunk ADD CONSTRAINT refused CHECK (trace_id <> decode('{hex}', 'hex'))");
    connection.execute(AssertSqlSafe(constraint)).await.unwrap();
    connection.close().await.unwrap();
}

/// Restarts a worker whenever it has died, as a supervisor does, until it has done what is asked for.
async fn supervised(worker: &mut Serve, restart: impl Fn(&mut Serve), is_done: impl AsyncFn() -> bool) -> usize {
    let (mut deaths, deadline) = (0, Instant::now() + PATIENCE);
    while !is_done().await {
        assert!(Instant::now() < deadline, "not done after {deaths} deaths:\n{}", worker.log());
        if worker.has_ended() {
            deaths += 1;
            restart(worker);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    deaths
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_cannot_be_read_or_take_the_worker_down_harm_no_other_and_can_be_replayed() {
    let fleet = Fleet::new().await;
    let mut worker = fleet.start("evaluate,web", "");
    ready(&worker).await;
    worker.kill();
    let traces = simulated("healthy", 9, START, HOUR);
    let bodies: Vec<Vec<u8>> = requests(&traces, 1).iter().map(prost::Message::encode_to_vec).collect();
    let mut bodies: Vec<&[u8]> = bodies.iter().map(Vec::as_slice).collect();
    let mut poisonous = span(77, 0);
    poisonous.name = "poisonous".to_owned();
    let poisonous = crate::service::fixtures::request("app", vec![poisonous]).encode_to_vec();
    let bomb = zstd::encode_all(vec![0; 129 << 20].as_slice(), 1).unwrap();
    bodies.insert(2, b"\xff\xfe not a trace");
    bodies.insert(4, &poisonous);
    bodies.insert(6, &bomb);
    Other::connect().await.publish(&fleet.queue, &bodies).await;

    let poisoned = |worker: &mut Serve| worker.restart_to_crash_on("consume.read", "poisonous");
    tokio::task::block_in_place(|| poisoned(&mut worker));
    let store = fleet.store().await;
    let reasons = ["protobuf", "larger than", "takes its worker down"];
    // A letter whose message was not acknowledged before the worker died is there twice.
    let is_done = async || {
        let dead = fleet.dead().await;
        let is_told = |reason: &&str| dead.iter().any(|dead| dead.contains(reason));
        reasons.iter().all(is_told) && store.counts().await.unwrap().traces == 9
    };
    let restart = |worker: &mut Serve| tokio::task::block_in_place(|| poisoned(worker));
    let deaths = supervised(&mut worker, restart, is_done).await;
    assert_eq!(deaths, 4, "once among others, and each of its three attempts alone");

    worker.kill();
    worker.restart();
    let letters = DeadLetters::open(&rabbitmq().amqp_url, &fleet.queue).await.unwrap();
    let is_poison = |letter: &DeadLetter| letter.reason.as_ref().is_some_and(|it| it.contains("takes its worker down"));
    // Twice where it was buried by a worker that died, of another message, before the acknowledgement.
    assert!(letters.replay(10, is_poison).await.unwrap() >= 1);
    letters.close().await.unwrap();
    eventually("the mended message", async || store.trace(trace_id(77)).await.unwrap()).await;
}

const REDACTION: &str = "[redaction]\ndetect = [\"email\"]\ndrop = [\"session.secret\"]\n";

/// Sends a span, a log record and feedback of the same trace, each with what must not be kept.
async fn send_secrets(receiver: &Serve, trace: u32) {
    let id = trace_id(trace);
    let mut spans = vec![span(trace, 0)];
    spans[0].name = "mail eve@mail.org".to_owned();
    let traces = crate::service::fixtures::request("app", spans).encode_to_vec();
    assert_eq!(post(&url(receiver), &[("content-type", PROTOBUF)], traces).await.status(), 200);
    let secret = json!({ "key": "session.secret", "value": { "stringValue": "xyzzy" } });
    let body = json!({ "stringValue": "write to eve@mail.org" });
    let record =
        json!({ "traceId": id, "spanId": "0000000000000001", "eventName": "e", "body": body, "attributes": [secret] });
    let logs = json!({ "resourceLogs": [{ "scopeLogs": [{ "logRecords": [record] }] }] }).to_string();
    let feedback = json!({ "trace_id": id, "name": "thumb", "source": "app", "explanation": "told eve@mail.org" });
    for (path, body) in [("v1/logs", logs), ("api/v1/feedback", feedback.to_string())] {
        let to = format!("{}/{path}", url(receiver));
        assert_eq!(post_to(&to, &[("content-type", JSON)], body.into_bytes()).await.status(), 200, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_broker_has_nothing_of_what_is_taken_out_and_a_worker_reads_the_rest() {
    let fleet = Fleet::new().await;
    let receiver = fleet.start("receive,web", REDACTION);
    ready(&receiver).await;
    send_secrets(&receiver, 1).await;
    let other = Other::connect().await;
    for _ in 0..3 {
        let (message, _) = other.take(&fleet.queue).await.unwrap();
        let body = zstd::decode_all(message.as_slice()).unwrap();
        let text = String::from_utf8_lossy(&body);
        assert!(text.contains("[redacted:email]"), "{text}");
        assert!(!text.contains("mail.org") && !text.contains("xyzzy"), "{text}");
    }
    assert!(receiver.metric("driftline_redacted_total").await >= 4.0);

    send_secrets(&receiver, 2).await;
    let worker = fleet.start("evaluate,web", REDACTION);
    let (store, id) = (fleet.store().await, trace_id(2));
    eventually("the trace", async || store.trace(id).await.unwrap().map(drop)).await;
    let feedback = eventually("feedback", async || store.external_scores(id).await.unwrap().pop()).await;
    assert_eq!(feedback.explanation.as_deref(), Some("told [redacted:email]"));
    let raw = store.chunks_of(id).await.unwrap().unpack(id).unwrap();
    assert_eq!(raw.spans().next().unwrap().name, "mail [redacted:email]");
    assert_eq!(worker.metric("driftline_redacted_total").await, 0.0, "nothing was left to take out");
    assert_eq!(fleet.dead().await, Vec::<String>::new());
}
