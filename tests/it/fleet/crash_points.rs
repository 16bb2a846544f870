//! `kill -9` at every commit, acknowledgement and send: the points are found in the code, and the store's operations as they
//! are done, so that none is forgotten.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use driftline::backends::archive::Archive;
use driftline::backends::clock::{Clock as _, SystemClock};
use driftline::backends::store::{BodyPlace, Store};
use driftline::domain::ids::TraceId;
use driftline::domain::time::Timestamp;
use driftline::otlp::{Encoding, decode_traces, split_by_trace};
use driftline::simulate::SimulatedTrace;
use futures_util::stream::{StreamExt as _, iter};
use prost::Message as _;
use sqlx::{Connection as _, Executor as _, PgConnection};
use tokio::time::{Instant, sleep};

use super::effects::{Effects, Neighbours, baseline, effects, insert_baseline, is_done};
use super::queue::{HOUR, START, scored};
use crate::service::fixtures::{PROTOBUF, eventually, post, requests, simulated};
use crate::support::broker::Other;
use crate::support::serve::Serve;
use crate::support::services::{durable_postgres, fresh_name, rabbitmq};

/// Some of it is flagged.
const TRAFFIC: &str = "structural_faults";
const TRACES: usize = 9;
const PATIENCE: Duration = Duration::from_secs(180);
/// How the points begin at which bodies go into the archive, long after everything else.
const ARCHIVE: &str = "archive.";
/// Processes at a time.
const AT_ONCE: usize = 6;

/// How the names of operations of the store begin that change nothing.
const READING: [&str; 6] = ["read ", "look ", "list ", "find ", "search ", "add up "];

/// Every name that `crash_point` is called with as it stands; those of the store's operations are not among them.
fn points() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders = vec![root.join("src/pipeline"), root.join("src/backends")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = fs::read_to_string(path).unwrap();
            let calls = text.split("crash_point").skip(1).filter_map(|call| call.split_once("(\""));
            let named = calls.filter(|(between, _)| matches!(*between, "" | "_in"));
            names.extend(named.map(|(_, name)| name.split('"').next().unwrap().to_owned()));
        }
    }
    assert!(names.len() >= 25, "{names:?}");
    names
}

/// A service that dies, and its neighbours.
struct Round {
    point: String,
    serve: Serve,
    url: String,
    /// The broker's queue, where there is one.
    queue: Option<String>,
    neighbours: Neighbours,
}

impl Round {
    async fn start(point: &str, is_fleet: bool, baseline: &str) -> Self {
        let mut round = Self::prepare(point, is_fleet, baseline).await;
        tokio::task::block_in_place(|| round.serve.restart_to_crash_at(point));
        round
    }

    /// The same with a service that is killed once its store is there.
    async fn prepare(point: &str, is_fleet: bool, baseline: &str) -> Self {
        let neighbours = Neighbours::start().await;
        let queue = is_fleet.then(|| fresh_name("point"));
        let store =
            if is_fleet { durable_postgres().database().await } else { "sqlite://{folder}/driftline.db".to_owned() };
        let broker = queue.as_ref().map(|queue| {
            format!(
                "[queue]\nurl = \"{}\"\nname = \"{queue}\"\nattempts = 3\nretry_delay = \"1s\"\n",
                rabbitmq().amqp_url
            )
        });
        let settings = format!("[store]\nurl = \"{store}\"\n{}{}", broker.unwrap_or_default(), neighbours.settings());
        let mut serve = tokio::task::block_in_place(|| Serve::start(&settings));
        let url = if is_fleet { store } else { serve.sqlite_url() };
        serve.kill();
        insert_baseline(&url, baseline).await;
        if is_fleet {
            refuse_once(&url).await;
        }
        Self { point: point.to_owned(), serve, url, queue, neighbours }
    }

    /// Sends each request until it is accepted, restarting the service whenever it has died. The service dies at its
    /// point once: from then on it is started without.
    async fn send(&mut self, traces: &[SimulatedTrace]) {
        let http = reqwest::Client::new();
        let url = format!("http://{}/v1/traces", self.serve.receives_on);
        for request in requests(traces, 3) {
            let deadline = Instant::now() + PATIENCE;
            let body = request.encode_to_vec();
            loop {
                let sending = http.post(&url).header("content-type", PROTOBUF).body(body.clone()).send().await;
                if sending.is_ok_and(|answer| answer.status() == 200) {
                    break;
                }
                self.revive();
                assert!(Instant::now() < deadline, "{}: not accepted\n{}", self.point, self.serve.log());
                sleep(Duration::from_millis(50)).await;
            }
        }
        if let Some(queue) = &self.queue {
            Other::connect().await.publish(queue, &[b"\xff\xfe not a trace"]).await;
        }
    }

    fn revive(&mut self) {
        if self.serve.has_ended() {
            tokio::task::block_in_place(|| self.serve.restart());
        }
    }

    /// Waits until all is done, and until the service has died on the way.
    async fn finish(&mut self, traces: &[SimulatedTrace]) {
        let deadline = Instant::now() + PATIENCE;
        let store = Store::open(&self.url, true).await.unwrap();
        let mut has_died = false;
        loop {
            has_died |= self.serve.has_ended() || self.serve.starts() > 2;
            self.revive();
            if has_died && is_done(&store, traces).await {
                return store.close().await;
            }
            assert!(Instant::now() < deadline, "{}: died: {has_died}, and not done\n{}", self.point, self.serve.log());
            sleep(Duration::from_millis(100)).await;
        }
    }
}

/// The operations of the store that change something while the same is done without a death.
async fn operations(is_fleet: bool, baseline: &str) -> BTreeSet<String> {
    let (traces, folder) = (simulated(TRAFFIC, TRACES, START, HOUR), tempfile::tempdir().unwrap());
    let list = folder.path().join("list");
    let mut round = Round::prepare("none", is_fleet, baseline).await;
    tokio::task::block_in_place(|| round.serve.restart_listing_crash_points(&list));
    round.send(&traces).await;
    let store = Store::open(&round.url, true).await.unwrap();
    eventually("the work", async || is_done(&store, &traces).await.then_some(())).await;
    store.close().await;
    let text = fs::read_to_string(list).unwrap();
    let is_operation = |name: &&str| name.contains(' ') && !READING.iter().any(|reading| name.starts_with(reading));
    let found: BTreeSet<String> = text.lines().filter(is_operation).map(str::to_owned).collect();
    assert!(found.len() >= 20, "{found:?}");
    found
}

/// Lets the database refuse the first piece that it is given on each of its first two attempts: one message is put off. Days
/// that are made ready move pieces too, but none yet.
async fn refuse_once(url: &str) {
    let mut connection = PgConnection::connect(url).await.unwrap();
    let refuse = "CREATE SEQUENCE attempts; \
                  CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
                  IF EXISTS (SELECT FROM pieces) AND nextval('attempts') <= 2 \
                  THEN RAISE EXCEPTION USING ERRCODE = '23514'; END IF; RETURN NULL; END $$; \
                  CREATE TRIGGER refuse AFTER INSERT ON chunk REFERENCING NEW TABLE AS pieces \
                  FOR EACH STATEMENT EXECUTE FUNCTION refuse()";
    connection.execute(refuse).await.unwrap();
    connection.close().await.unwrap();
}

async fn dies_and_recovers(point: String, is_fleet: bool, baseline: Arc<str>) -> Option<String> {
    let traces = simulated(TRAFFIC, TRACES, START, HOUR);
    let mut round = Round::start(&point, is_fleet, &baseline).await;
    round.send(&traces).await;
    round.finish(&traces).await;
    let found = effects(&round.url, &traces, &round.neighbours, std::slice::from_ref(&round.serve)).await;
    (found != Effects::default()).then(|| format!("{point}: {found:?}"))
}

async fn at_every_point(is_fleet: bool, is_reached: impl Fn(&str) -> bool) {
    let baseline: Arc<str> = baseline().await.into();
    let is_reached = |point: &String| is_reached(point) && !point.starts_with(ARCHIVE);
    let named = points().into_iter().filter(is_reached);
    let points: Vec<String> = named.chain(operations(is_fleet, &baseline).await).collect();
    // Each a task of its own: one that waits for its process to start holds up no other.
    let rounds =
        points.into_iter().map(|point| tokio::spawn(dies_and_recovers(point, is_fleet, Arc::clone(&baseline))));
    let wrong: Vec<Option<String>> = iter(rounds).buffer_unordered(AT_ONCE).map(Result::unwrap).collect().await;
    let wrong: Vec<String> = wrong.into_iter().flatten().collect();
    assert!(wrong.is_empty(), "lost or doubled:\n{}", wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_point_the_embedded_service_loses_nothing_and_does_nothing_twice() {
    at_every_point(false, |point| !point.starts_with("publish.") && !point.starts_with("consume.")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_point_a_service_on_rabbitmq_and_postgresql_loses_nothing_and_does_nothing_twice() {
    at_every_point(true, |_| true).await;
}

/// Lets a service die while it archives traces whose time is over; gives what the archive holds in the end, and should.
async fn archived(point: &str, is_fleet: bool) -> (Vec<TraceId>, Vec<TraceId>) {
    let folder = tempfile::tempdir().unwrap();
    let store =
        if is_fleet { durable_postgres().database().await } else { "sqlite://{folder}/driftline.db".to_owned() };
    let settings = format!(
        "late_window = \"1s\"\n[retention]\ntraces = \"1s\"\n[store]\nurl = \"{store}\"\n[archive]\n\
         directory = \"{}\"\n",
        folder.path().display()
    );
    let mut serve = tokio::task::block_in_place(|| Serve::start(&settings));
    let url = if is_fleet { store } else { serve.sqlite_url() };
    let traces = simulated("structural_faults", 40, START, HOUR);
    for request in requests(&traces, 10) {
        let body = request.encode_to_vec();
        let answer = post(&format!("http://{}", serve.receives_on), &[("content-type", PROTOBUF)], body).await;
        assert_eq!(answer.status(), 200);
    }
    let archive = Archive::new(folder.path());
    let open = async |read_only| Store::open(&url, read_only).await.unwrap().with_archive(Some(archive.clone()));
    let store = open(true).await;
    scored(&store, &traces).await;
    // The first look for what has expired, at the start, found nothing, and the next one is the next start's.
    sleep(Duration::from_secs(2)).await;
    serve.kill();
    tokio::task::block_in_place(|| serve.restart_to_crash_at(point));
    serve.wait_for_end(point).await;
    tokio::task::block_in_place(|| serve.restart());
    let wanted = wanted(&store, &traces).await;
    for id in &wanted {
        let is_there = async || (store.body_place(*id).await.unwrap() == BodyPlace::Archive).then_some(());
        eventually("every run that the archive is for", is_there).await;
        let body = store.chunks_of(*id).await.unwrap();
        assert!(!body.chunks.is_empty(), "{point}, fleet: {is_fleet}: {id} cannot be read\n{}", serve.log());
    }
    store.close().await;
    serve.kill();
    // What the dead process has left behind is removed when it is old.
    let store = open(false).await;
    store.purge_archive(Timestamp(0), SystemClock.now().plus(HOUR * 2)).await.unwrap();
    store.close().await;
    (lines_of(folder.path()), wanted)
}

/// Those of the traces that are flagged, failed or tell of a decision, in the order of their ids.
async fn wanted(store: &Store, traces: &[SimulatedTrace]) -> Vec<TraceId> {
    let mut wanted = BTreeSet::new();
    for trace in traces {
        let stored = store.trace(trace.truth.trace_id).await.unwrap().unwrap();
        if stored.failing || stored.error || stored.reports_decision {
            wanted.insert(stored.trace_id);
        }
    }
    wanted.into_iter().collect()
}

/// The traces of every line of every file of an archive, in the order of their ids.
fn lines_of(archive: &Path) -> Vec<TraceId> {
    let days = fs::read_dir(archive).unwrap().map(|day| day.unwrap().path()).filter(|day| day.is_dir());
    let files = days.flat_map(|day| fs::read_dir(day).unwrap()).map(|file| fs::read(file.unwrap().path()).unwrap());
    let texts = files.map(|file| String::from_utf8(zstd::decode_all(file.as_slice()).unwrap()).unwrap());
    let lines: Vec<String> = texts.flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>()).collect();
    let of_line = |line: &String| {
        let groups = decode_traces(line.as_bytes(), Encoding::Json).unwrap();
        split_by_trace(groups).traces.into_iter().map(|piece| piece.trace_id).collect::<Vec<_>>()
    };
    let mut ids: Vec<TraceId> = lines.iter().flat_map(of_line).collect();
    ids.sort();
    ids
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_while_it_archives_a_service_loses_no_run_and_archives_none_twice() {
    let archiving = points().into_iter().filter(|point| point.starts_with(ARCHIVE) || point.starts_with("purge."));
    let rounds: Vec<(String, bool)> = archiving.flat_map(|point| [(point.clone(), false), (point, true)]).collect();
    let rounds = rounds.into_iter().map(async |(point, is_fleet)| {
        let (found, wanted) = archived(&point, is_fleet).await;
        assert!(wanted.len() > 3, "{point}: {wanted:?}");
        assert_eq!(found, wanted, "{point}, fleet: {is_fleet}");
    });
    let ended: Vec<()> = iter(rounds).buffer_unordered(AT_ONCE).collect().await;
    assert_eq!(ended.len(), 8, "four points in two databases");
}
