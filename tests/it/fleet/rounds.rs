//! Random rounds: whatever is killed, restarted or cut under load, each accepted trace has each effect once.
//!
//! `ROUNDS=300 cargo test --test it -- --ignored many_random_rounds --nocapture` runs many of them; a few run with the other
//! tests. `SEED` repeats a run's choices.
#![expect(clippy::print_stderr, reason = "what went wrong, and what was lost or doubled, must be seen")]

use std::time::Duration;

use driftline::backends::store::Store;
use driftline::domain::ids::TraceId;
use driftline::simulate::{Plan, Scenario, SimulatedTrace, simulate};
use fastrand::Rng;
use tokio::time::{Instant, sleep};

use super::effects::{Effects, Neighbours, baseline, effects, insert_baseline, is_done};
use super::queue::{HOUR, START};
use crate::service::fixtures::{PROTOBUF, requests};
use crate::support::proxy::Proxy;
use crate::support::serve::Serve;
use crate::support::services::{Postgres, RabbitMq};

const TRACES_A_ROUND: usize = 12;
const PATIENCE: Duration = Duration::from_secs(240);

/// A receiver and two workers between a broker and a database of their own, through proxies.
struct Fleet {
    broker: RabbitMq,
    database: Postgres,
    to_broker: Proxy,
    to_database: Proxy,
    /// The receiver first.
    processes: Vec<Serve>,
    neighbours: Neighbours,
    url: String,
}

impl Fleet {
    async fn start() -> Self {
        let (broker, database) = tokio::task::block_in_place(|| (RabbitMq::start(), Postgres::start_durable()));
        let (to_broker, to_database) = (Proxy::start(&broker.address).await, Proxy::start(database.address()).await);
        let neighbours = Neighbours::start().await;
        let url = database.database().await;
        insert_baseline(&url, &baseline().await).await;
        let settings = format!(
            "[service]\ndrain = \"5s\"\n[store]\nurl = \"{}\"\n[queue]\nurl = \"{}\"\nname = \"traces\"\n\
             prefetch = 16\nattempts = 20\nretry_delay = \"500ms\"\n{}",
            to_database.instead_of(&url),
            to_broker.instead_of(&broker.amqp_url),
            neighbours.settings()
        );
        let roles = ["receive,web", "evaluate,judge,deliver,watch,web", "evaluate,judge,deliver,watch,web"];
        let processes = roles.map(|roles| tokio::task::block_in_place(|| Serve::start_roles(roles, &settings)));
        Self { broker, database, to_broker, to_database, processes: processes.into(), neighbours, url }
    }

    /// One thing that goes wrong.
    async fn harm(&mut self, rng: &mut Rng) -> &'static str {
        match rng.u8(..10) {
            0..=4 => {
                let process = rng.usize(..self.processes.len());
                self.processes[process].kill();
                tokio::task::block_in_place(|| self.processes[process].restart());
                "kill -9"
            }
            5 | 6 => {
                self.to_broker.cut();
                "cut from the broker"
            }
            7 => {
                self.to_database.cut();
                "cut from the database"
            }
            8 => {
                self.database.crash().await;
                "database crash"
            }
            _ => {
                tokio::task::block_in_place(|| {
                    self.broker.ctl(&["stop_app"]);
                    self.broker.ctl(&["start_app"]);
                });
                "broker restart"
            }
        }
    }

    /// Starts again what could not start because the database was away.
    fn revive(&mut self) {
        for process in &mut self.processes {
            if process.has_ended() {
                tokio::task::block_in_place(|| process.restart());
            }
        }
    }

    async fn finish(&mut self, traces: &[SimulatedTrace]) {
        let deadline = Instant::now() + PATIENCE;
        let store = Store::open(&self.url, true).await.unwrap();
        while !is_done(&store, traces).await {
            self.revive();
            if Instant::now() > deadline {
                let logs: Vec<String> = self.processes.iter().map(Serve::log).collect();
                panic!("not done, {:?}\n{}", store.queue_depths(START).await, logs.join("\n=====\n"));
            }
            sleep(Duration::from_millis(200)).await;
        }
        store.close().await;
    }
}

/// Sends each request until it is accepted, and rests after each.
pub(super) async fn send(url: String, bodies: Vec<Vec<u8>>, rest: Duration) {
    let http = reqwest::Client::builder().timeout(Duration::from_secs(10)).build().unwrap();
    let deadline = Instant::now() + PATIENCE;
    for body in bodies {
        loop {
            let request = http.post(&url).header("content-type", PROTOBUF).body(body.clone());
            if request.send().await.is_ok_and(|answer| answer.status() == 200) {
                break;
            }
            assert!(Instant::now() < deadline, "nothing is accepted");
            sleep(Duration::from_millis(50)).await;
        }
        sleep(rest).await;
    }
}

/// Traffic of a round: the same agents at work, some of it flagged, under trace ids of the round's own.
fn traffic(round: usize) -> Vec<SimulatedTrace> {
    let plan = Plan {
        scenario: Scenario::find("structural_faults").unwrap(),
        traces: TRACES_A_ROUND,
        seed: round as u64 + 1_000,
        start: START,
        duration: HOUR,
    };
    simulate(&plan).collect()
}

async fn run(rounds: usize, seed: u64) {
    let _installed_before = rustls::crypto::ring::default_provider().install_default();
    let mut rng = Rng::with_seed(seed);
    let mut fleet = Fleet::start().await;
    let url = format!("http://{}/v1/traces", fleet.processes[0].receives_on);
    let mut traces = Vec::new();
    for round in 0..rounds {
        let new = traffic(round);
        let bodies = requests(&new, 2).iter().map(prost::Message::encode_to_vec).collect();
        traces.extend(new);
        let sending = tokio::spawn(send(url.clone(), bodies, Duration::from_millis(10)));
        sleep(Duration::from_millis(rng.u64(..1_000))).await;
        let harm = fleet.harm(&mut rng).await;
        fleet.revive();
        sending.await.unwrap();
        eprintln!("round {}: {harm}", round + 1);
    }
    let ids: std::collections::BTreeSet<TraceId> = traces.iter().map(|trace| trace.truth.trace_id).collect();
    assert_eq!(ids.len(), traces.len(), "each round has traces of its own");
    fleet.finish(&traces).await;
    let found = effects(&fleet.url, &traces, &fleet.neighbours, &fleet.processes).await;
    eprintln!(
        "seed {seed}, {rounds} rounds, {} traces: {} lost, {} doubled, {} violations of invariants",
        traces.len(),
        found.lost.len(),
        found.doubled.len(),
        found.violations.len()
    );
    assert_eq!(found, Effects::default());
}

#[tokio::test(flavor = "multi_thread")]
async fn after_three_random_rounds_nothing_is_lost_and_nothing_done_twice() {
    run(3, 7).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes a quarter of an hour: ROUNDS=300 cargo test --test it -- --ignored many_random_rounds --nocapture"]
async fn after_many_random_rounds_nothing_is_lost_and_nothing_done_twice() {
    let number = |name: &str, default| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default);
    run(usize::try_from(number("ROUNDS", 300)).unwrap(), number("SEED", fastrand::u64(..))).await;
}
