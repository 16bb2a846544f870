//! From traffic to a webhook: each transition of an alert is told once, whatever happens to the process.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use driftline::backends::clock::{Clock, SystemClock};
use driftline::backends::store::{AlertFilter, Selection, Store};
use driftline::domain::ids::TraceId;
use driftline::domain::time::Timestamp;
use driftline::simulate::{Agent, Fault, SimulatedTrace};
use driftline::watch::baseline::Baseline;
use prost::Message as _;
use serde_json::Value;

use super::fake::{Fake, status};
use super::fixtures::{PROTOBUF, eventually, post, requests, simulated};
use crate::support::serve::Serve;

const DAY: Duration = Duration::from_hours(24);
const TRACES_A_DAY: usize = 400;

/// A healthy day, a day of refund loops, and a healthy day again, all in the past.
struct Days {
    first_ends: Timestamp,
    traces: Vec<SimulatedTrace>,
}

impl Days {
    fn new() -> Self {
        let start = SystemClock.now().minus(DAY * 4).hour();
        let mut traces = simulated("refund_loop", 2 * TRACES_A_DAY, start, DAY * 2);
        let healthy = simulated("healthy", TRACES_A_DAY, start.plus(DAY * 2), DAY);
        // Both were told from one seed, which gives ids; the second telling needs others.
        traces.extend(healthy.into_iter().map(renamed));
        Self { first_ends: start.plus(DAY), traces }
    }

    fn with_loops(&self) -> BTreeSet<TraceId> {
        let is_planted = |trace: &&SimulatedTrace| trace.truth.faults.contains(&Fault::RefundLoop);
        self.traces.iter().filter(is_planted).map(|trace| trace.truth.trace_id).collect()
    }

    async fn send(&self, serve: &Serve) {
        let url = format!("http://{}", serve.receives_on);
        for request in requests(&self.traces, 100) {
            let response = post(&url, &[("content-type", PROTOBUF)], request.encode_to_vec()).await;
            assert_eq!(response.status(), 200);
        }
    }
}

/// The same trace under another id.
fn renamed(mut trace: SimulatedTrace) -> SimulatedTrace {
    let mut id = *trace.truth.trace_id.as_bytes();
    id[0] ^= 0xff;
    trace.truth.trace_id = TraceId::from_bytes(&id).unwrap();
    let scopes = trace.request.resource_spans.iter_mut().flat_map(|group| &mut group.scope_spans);
    for span in scopes.flat_map(|group| &mut group.spans) {
        span.trace_id = id.to_vec();
    }
    trace
}

async fn watched(store: &Store) -> usize {
    let mut hours = 0;
    for agent in Agent::ALL {
        hours += store.watched_hours(agent.service(), Timestamp(0)).await.unwrap().len();
    }
    hours
}

async fn take_baseline(url: &str, until: Timestamp) {
    let store = Store::open(url, false).await.unwrap();
    let selection = Selection { until: Some(until), ..Selection::default() };
    let records = store.records(&selection).await.unwrap();
    let baseline = Baseline::from_records("default", SystemClock.now(), "", &records);
    let json = serde_json::to_string(&baseline).unwrap();
    store.insert_baseline("default", SystemClock.now(), "", &json).await.unwrap();
    store.close().await;
}

/// A webhook that is down until it is told to be up, and the messages that it took.
struct Webhook {
    fake: Fake,
    is_up: Arc<AtomicBool>,
    taken: Arc<Mutex<Vec<Value>>>,
}

impl Webhook {
    async fn start() -> Self {
        let (is_up, taken) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let (up, messages) = (Arc::clone(&is_up), Arc::clone(&taken));
        let fake = Fake::start(move |asked| {
            if !up.load(Ordering::Relaxed) {
                return status(503);
            }
            messages.lock().unwrap().push(serde_json::from_slice(&asked[asked.len() - 1].body).unwrap());
            status(200)
        });
        Self { fake: fake.await, is_up, taken }
    }

    /// The messages about refund loops, by state; every message may be there once.
    fn about_loops(&self) -> BTreeMap<String, Vec<Value>> {
        let mut messages = BTreeMap::new();
        let mut known = BTreeSet::new();
        for message in self.taken.lock().unwrap().iter() {
            let identity = ["fingerprint", "raised_at", "state", "severity"].map(|key| message[key].to_string());
            assert!(known.insert(identity), "told twice: {message}");
            if message["series"] == "loop" && message["service"] == Agent::Support.service() {
                let state = message["state"].as_str().unwrap().to_owned();
                messages.entry(state).or_insert_with(Vec::new).push(message.clone());
            }
        }
        messages
    }
}

/// Starts and kills the service twice while it watches, and leaves it running.
async fn watch_through_kills(serve: &mut Serve, store: &Store) {
    for hours in [10, 100] {
        serve.restart();
        eventually("some hours", async || (watched(store).await >= hours).then_some(())).await;
        serve.kill();
    }
    serve.restart();
    let now = SystemClock.now();
    eventually("every hour", async || store.unwatched_hours(now).await.unwrap().is_empty().then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_is_told_when_it_fires_and_when_it_is_over_once_each_through_kills_and_an_outage() {
    let webhook = Webhook::start().await;
    let mut serve = Serve::start(&format!(
        "[store]\nurl = \"sqlite://{{folder}}/driftline.db\"\n[watch]\nlateness = \"0s\"\ninterval = \"200ms\"\n\
         [alerts]\nwebhook = \"{}\"\n",
        webhook.fake.url
    ));
    let days = Days::new();
    days.send(&serve).await;
    let url = serve.sqlite_url();
    let store = Store::open(&url, true).await.unwrap();
    let all = days.traces.len() as u64;
    eventually("every trace", async || (store.counts().await.unwrap().traces == all).then_some(())).await;

    // Without a baseline nothing is watched, and nothing fails.
    assert_eq!((watched(&store).await, webhook.fake.asked().len()), (0, 0));
    assert!(!serve.log().contains("step failed"), "{}", serve.log());

    serve.kill();
    take_baseline(&url, days.first_ends).await;
    watch_through_kills(&mut serve, &store).await;
    webhook.is_up.store(true, Ordering::Relaxed);
    let empty = async || (store.queue_depths(Timestamp(0)).await.unwrap().outbox == 0).then_some(());
    eventually("an empty outbox", empty).await;

    let told = webhook.about_loops();
    let [resolved] = &told["resolved"][..] else { panic!("{told:#?}") };
    let planted = days.with_loops();
    for firing in &told["firing"] {
        assert_eq!(
            ["fingerprint", "raised_at"].map(|key| &firing[key]),
            ["fingerprint", "raised_at"].map(|key| &resolved[key])
        );
        assert!(
            firing["resolved_at"].is_null() && firing["raised_at"].as_i64().unwrap() > days.first_ends.0,
            "{firing}"
        );
        let trace_ids: Vec<TraceId> = serde_json::from_value(firing["trace_ids"].clone()).unwrap();
        assert!(trace_ids.iter().any(|trace_id| planted.contains(trace_id)), "{firing}");
    }
    for alert in store.alerts(&AlertFilter::default()).await.unwrap() {
        let told = webhook.taken.lock().unwrap();
        let is_told = |message: &Value| {
            let is_itself =
                message["fingerprint"] == alert.fingerprint && message["state"] == serde_json::json!(alert.state);
            let group = message["group"].as_array().cloned().unwrap_or_default();
            is_itself || (alert.parent.is_some() && group.iter().any(|one| one["fingerprint"] == alert.fingerprint))
        };
        assert!(told.iter().any(is_told), "{alert:?}");
    }
}
