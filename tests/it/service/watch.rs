//! From traffic to a webhook: each transition of an alert is told once, whatever happens to the process.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use driftline::backends::clock::{Clock, SystemClock};
use driftline::backends::store::{AlertFilter, Selection, Store};
use driftline::domain::alert::AlertState;
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

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_is_told_when_it_fires_and_when_it_is_over_once_each_through_kills_and_an_outage() {
    let is_up = Arc::new(AtomicBool::new(false));
    let answers = Arc::clone(&is_up);
    let webhook = Fake::start(move |_| status(if answers.load(Ordering::Relaxed) { 200 } else { 503 })).await;
    let mut serve = Serve::start(&format!(
        "[store]\nurl = \"sqlite://{{folder}}/driftline.db\"\n[watch]\nlateness = \"0s\"\ninterval = \"200ms\"\n\
         [alerts]\nwebhook = \"{}\"\n",
        webhook.url
    ));
    let days = Days::new();
    days.send(&serve).await;
    let url = serve.sqlite_url();
    let store = Store::open(&url, true).await.unwrap();
    let all = days.traces.len() as u64;
    let scored = async || (store.counts().await.unwrap().traces == all).then_some(());
    eventually("every trace", scored).await;

    // Without a baseline nothing is watched, and nothing fails.
    assert_eq!((watched(&store).await, webhook.asked().len()), (0, 0));
    assert!(!serve.log().contains("step failed"), "{}", serve.log());

    serve.kill();
    take_baseline(&url, days.first_ends).await;
    for hours in [10, 100] {
        serve.restart();
        eventually("some hours", async || (watched(&store).await >= hours).then_some(())).await;
        serve.kill();
    }
    serve.restart();
    let now = SystemClock.now();
    eventually("every hour", async || store.unwatched_hours(now).await.unwrap().is_empty().then_some(())).await;
    is_up.store(true, Ordering::Relaxed);
    let empty = async || (store.queue_depths(Timestamp(0)).await.unwrap().outbox == 0).then_some(());
    eventually("an empty outbox", empty).await;

    let before_up: BTreeSet<_> = webhook.asked().into_iter().map(|asked| asked.body).collect();
    let mut told: BTreeMap<(String, i64), Vec<Value>> = BTreeMap::new();
    for body in before_up {
        let message: Value = serde_json::from_slice(&body).unwrap();
        if message["series"] == "loop" && message["service"] == Agent::Support.service() {
            let key = (message["fingerprint"].as_str().unwrap().to_owned(), message["raised_at"].as_i64().unwrap());
            told.entry(key).or_default().push(message);
        }
    }
    eprintln!("{told:#?}");
    let alerts = store.alerts(&AlertFilter::default()).await.unwrap();
    for alert in &alerts { eprintln!("{:?} {} {} {:?}", alert.state, alert.service, alert.series, alert.severity); }
    let _ = (AlertState::Firing, days.with_loops());
    panic!("look");
}
