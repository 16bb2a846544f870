//! Disks that are full, and a second server where one is at work.

use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use driftline::backends::rabbitmq::DeadLetters;
use driftline::backends::store::Store;
use driftline::simulate::SimulatedTrace;
use prost::Message as _;
use sqlx::{Connection as _, Executor as _, PgConnection};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use super::queue::{HOUR, START, ready, scored};
use crate::service::fixtures::{PROTOBUF, eventually, post, requests, simulated};
use crate::support::broker::Other;
use crate::support::proxy::Proxy;
use crate::support::serve::Serve;
use crate::support::services::{RabbitMq, fresh_name, postgres, rabbitmq};

const EMBEDDED: &str = "[store]\nurl = \"sqlite://{folder}/driftline.db\"\n";
/// More bytes than any disk has.
const ENDLESS: &str = "1000000000000000";

/// Sends some traces; gives the answer's status and whether it says when to come back.
async fn send(to: &Serve, traces: &[SimulatedTrace]) -> (u16, bool) {
    let body = requests(traces, traces.len()).remove(0).encode_to_vec();
    let answer = post(&format!("http://{}", to.receives_on), &[("content-type", PROTOBUF)], body).await;
    (answer.status().as_u16(), answer.headers().contains_key("retry-after"))
}

async fn accepted(to: &Serve, traces: &[SimulatedTrace]) {
    eventually("room", async || (send(to, traces).await.0 == 200).then_some(())).await;
}

/// Waits until it says that nothing can be written; whether it `is_ready` all the same.
async fn refused_writes(serve: &Serve, is_ready: bool) {
    let told = async || serve.readiness().await.filter(|(_, away)| *away == ["store (write)"]);
    assert_eq!(eventually("the truth of readyz", told).await.0, is_ready);
}

/// Lets the database say that its disk is full, whatever is put into a table.
const FILL_DISK: &str = "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
                         RAISE EXCEPTION USING ERRCODE = '53100', MESSAGE = 'no space left on device'; END $$; \
                         CREATE TRIGGER full_disk BEFORE INSERT ON chunk FOR EACH STATEMENT EXECUTE FUNCTION full_disk(); \
                         CREATE TRIGGER full_disk BEFORE INSERT ON trace FOR EACH STATEMENT EXECUTE FUNCTION full_disk()";

#[tokio::test(flavor = "multi_thread")]
async fn messages_for_a_database_whose_disk_is_full_wait_in_the_broker_and_none_is_given_up() {
    let (url, queue) = (postgres().database().await, fresh_name("full"));
    let broker = &rabbitmq().amqp_url;
    let settings = format!(
        "[store]\nurl = \"{url}\"\n[queue]\nurl = \"{broker}\"\nname = \"{queue}\"\nattempts = 2\nretry_delay = \"50ms\"\n"
    );
    let serve = tokio::task::block_in_place(|| Serve::start(&settings));
    ready(&serve).await;
    let mut database = PgConnection::connect(&url).await.unwrap();
    database.execute(FILL_DISK).await.unwrap();
    let traces = simulated("healthy", 9, START, HOUR);
    for part in traces.chunks(3) {
        accepted(&serve, part).await;
    }
    // What it is sent waits in the broker, so that it is ready all the same.
    refused_writes(&serve, true).await;
    let store = Store::open(&url, true).await.unwrap();
    assert_eq!(store.counts().await.unwrap().chunks, 0);
    database.execute("DROP TRIGGER full_disk ON chunk").await.unwrap();
    let pieces = async || (store.counts().await.unwrap().chunks == 9).then_some(());
    eventually("every piece", pieces).await;
    assert_eq!(serve.readiness().await, Some((true, Vec::new())));
    sleep(Duration::from_secs(2)).await;
    assert_eq!(store.counts().await.unwrap().traces, 0, "there is no room for a score yet");
    database.execute("DROP TRIGGER full_disk ON trace").await.unwrap();
    scored(&store, &traces).await;
    let letters = DeadLetters::open(broker, &queue).await.unwrap();
    assert_eq!(letters.list(10).await.unwrap().0, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_insists_on_a_commit_is_not_ready_until_that_succeeds() {
    let (url, queue) = (postgres().database().await, fresh_name("insists"));
    let settings =
        format!("[store]\nurl = \"{url}\"\n[queue]\nurl = \"{}\"\nname = \"{queue}\"\n", rabbitmq().amqp_url);
    let worker = tokio::task::block_in_place(|| Serve::start_roles("evaluate,web", &settings));
    ready(&worker).await;
    let mut database = PgConnection::connect(&url).await.unwrap();
    database.execute(FILL_DISK).await.unwrap();
    let body = requests(&simulated("healthy", 1, START, HOUR), 1).remove(0).encode_to_vec();
    Other::connect().await.publish(&queue, &[&body]).await;
    refused_writes(&worker, false).await;
    database.execute("DROP TRIGGER full_disk ON chunk").await.unwrap();
    ready(&worker).await;
}

/// What a database is that another has taken over from: each connection from now on may only read.
async fn stand_by(database: &mut PgConnection, only_reads: &str) {
    let name: String = sqlx::query_scalar("SELECT current_database()").fetch_one(&mut *database).await.unwrap();
    let change = format!("ALTER DATABASE \"{name}\" SET default_transaction_read_only = {only_reads}");
    database.execute(sqlx::AssertSqlSafe(change)).await.unwrap();
    let others = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                  WHERE datname = current_database() AND pid <> pg_backend_pid()";
    database.execute(others).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_whose_database_may_only_be_read_is_not_ready_and_is_again_though_nobody_sends() {
    let url = postgres().database().await;
    let serve = tokio::task::block_in_place(|| Serve::start(&format!("[store]\nurl = \"{url}\"\n")));
    ready(&serve).await;
    let mut database = PgConnection::connect(&url).await.unwrap();
    stand_by(&mut database, "on").await;
    let traces = simulated("healthy", 3, START, HOUR);
    eventually("a refusal", async || (send(&serve, &traces).await == (503, true)).then_some(())).await;
    // No one has sent since, and it finds out by itself.
    refused_writes(&serve, false).await;
    stand_by(&mut database, "off").await;
    ready(&serve).await;
    accepted(&serve, &traces).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_whose_disk_is_full_turns_senders_away_until_it_has_room() {
    let broker = tokio::task::block_in_place(RabbitMq::start);
    let url = postgres().database().await;
    let settings = format!("[store]\nurl = \"{url}\"\n[queue]\nurl = \"{}\"\n", broker.amqp_url);
    let serve = tokio::task::block_in_place(|| Serve::start(&settings));
    ready(&serve).await;
    let traces = simulated("healthy", 6, START, HOUR);
    accepted(&serve, &traces[..3]).await;
    tokio::task::block_in_place(|| broker.ctl(&["set_disk_free_limit", ENDLESS]));
    let connections = || tokio::task::block_in_place(|| broker.ctl(&["list_connections", "pid"])).lines().count();
    let before = connections();
    let turned_away = async || (send(&serve, &traces[3..]).await == (429, true)).then_some(());
    eventually("a refusal", turned_away).await;
    for _ in 0..20 {
        assert_eq!(send(&serve, &traces[3..]).await, (429, true), "and so it stays");
        sleep(Duration::from_millis(500)).await;
    }
    assert_eq!(serve.readiness().await, Some((false, vec!["queue (publish)".to_owned()])));
    assert_eq!(connections(), before);
    tokio::task::block_in_place(|| broker.ctl(&["set_disk_free_limit", "1000000"]));
    accepted(&serve, &traces[3..]).await;
    scored(&Store::open(&url, true).await.unwrap(), &traces).await;
}

const BAD: &[u8] = b"\xff\xfe not a trace";

/// A message that cannot be read, and each of the traces in one of its own behind it.
async fn publish_behind_bad_ones(to: &str, queue: &str, bad: usize, traces: &[SimulatedTrace]) {
    let bodies: Vec<Vec<u8>> = requests(traces, 1).iter().map(prost::Message::encode_to_vec).collect();
    let bodies: Vec<&[u8]> = std::iter::repeat_n(BAD, bad).chain(bodies.iter().map(Vec::as_slice)).collect();
    Other::connect_to(to).await.publish(queue, &bodies).await;
}

/// Waits until so many dead letters are there.
async fn dead(broker: &str, queue: &str, count: usize) {
    let all = async || {
        let letters = DeadLetters::open(broker, queue).await.unwrap();
        let found = letters.list(100).await.unwrap().0.len();
        letters.close().await.unwrap();
        assert!(found <= count, "{found} dead letters");
        (found == count).then_some(())
    };
    eventually("the dead letters", all).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_cannot_be_read_holds_up_no_other_while_the_brokers_disk_is_full() {
    let broker = tokio::task::block_in_place(RabbitMq::start);
    let url = postgres().database().await;
    let settings =
        format!("[store]\nurl = \"{url}\"\n[queue]\nurl = \"{}\"\nname = \"q\"\nprefetch = 10\n", broker.amqp_url);
    let mut worker = tokio::task::block_in_place(|| Serve::start_roles("evaluate,web", &settings));
    ready(&worker).await;
    tokio::task::block_in_place(|| worker.terminate());
    let traces = simulated("healthy", 40, START, HOUR);
    publish_behind_bad_ones(&broker.amqp_url, "q", 1, &traces).await;
    tokio::task::block_in_place(|| broker.ctl(&["set_disk_free_limit", ENDLESS]));
    tokio::task::block_in_place(|| worker.restart());
    scored(&Store::open(&url, true).await.unwrap(), &traces).await;
    let left = || tokio::task::block_in_place(|| broker.ctl(&["list_queues", "name", "messages"]));
    let acknowledged = async || left().lines().any(|line| line == "q\t1").then_some(());
    eventually("every acknowledgement but one", acknowledged).await;
    tokio::task::block_in_place(|| broker.ctl(&["set_disk_free_limit", "1000000"]));
    dead(&broker.amqp_url, "q", 1).await;
    let empty = async || left().lines().any(|line| line == "q\t0").then_some(());
    eventually("an empty queue", empty).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_for_which_there_is_no_room_hold_up_no_other_message() {
    let (url, queue) = (postgres().database().await, fresh_name("no_room"));
    let broker = rabbitmq();
    let settings = format!("[store]\nurl = \"{url}\"\n[queue]\nurl = \"{}\"\nname = \"{queue}\"\n", broker.amqp_url);
    let worker = tokio::task::block_in_place(|| Serve::start_roles("evaluate,web", &settings));
    ready(&worker).await;
    let (policy, pattern) = (r#"{"max-length": 1, "overflow": "reject-publish"}"#, format!("^{queue}\\.dead$"));
    tokio::task::block_in_place(|| broker.ctl(&["set_policy", &queue, &pattern, policy, "--apply-to", "queues"]));
    let traces = simulated("healthy", 20, START, HOUR);
    publish_behind_bad_ones(&broker.amqp_url, &queue, 9, &traces).await;
    scored(&Store::open(&url, true).await.unwrap(), &traces).await;
    tokio::task::block_in_place(|| broker.ctl(&["clear_policy", &queue]));
    dead(&broker.amqp_url, &queue, 9).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_goes_silent_is_told_of_and_left_for_new_connections() {
    let url = postgres().database().await;
    let way = Proxy::start(postgres().address()).await;
    let settings = format!("[store]\nurl = \"{}\"\n", way.instead_of(&url));
    let serve = tokio::task::block_in_place(|| Serve::start(&settings));
    ready(&serve).await;
    let traces = simulated("healthy", 6, START, HOUR);
    accepted(&serve, &traces[..3]).await;
    let mut database = PgConnection::connect(&url).await.unwrap();
    let mut held = database.begin().await.unwrap();
    held.execute("LOCK TABLE chunk IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let answer = send(&serve, &traces[3..]);
    let hang = async {
        sleep(Duration::from_secs(1)).await;
        way.silence();
        held.rollback().await.unwrap();
        let told = async || {
            let (is_ready, away) = serve.readiness().await?;
            (!is_ready && away.contains(&"store (write)".to_owned())).then_some(())
        };
        eventually("the truth of readyz", told).await;
    };
    let silent = Instant::now();
    let (answer, ()) = tokio::join!(answer, hang);
    assert_eq!(answer, (503, true));
    // What was locked by the one that nobody hears any longer is free after a minute.
    while send(&serve, &traces[3..]).await.0 != 200 {
        assert!(silent.elapsed() < Duration::from_secs(150), "{}", serve.log());
        sleep(Duration::from_millis(500)).await;
    }
    ready(&serve).await;
    scored(&Store::open(&url, true).await.unwrap(), &traces).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scrape_is_answered_in_time_while_the_database_answers_nothing() {
    let url = postgres().database().await;
    let serve = tokio::task::block_in_place(|| Serve::start(&format!("[store]\nurl = \"{url}\"\n")));
    ready(&serve).await;
    let mut database = PgConnection::connect(&url).await.unwrap();
    let mut held = database.begin().await.unwrap();
    // In the order in which a purge locks them: the other way around each could hold what the other waits for.
    held.execute("LOCK TABLE trace, pending, alert IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let scrape = async || reqwest::get(format!("http://{}/metrics", serve.web_on)).await?.text().await;
    let text = tokio::time::timeout(Duration::from_secs(10), scrape()).await.expect("Prometheus waits ten seconds");
    assert!(text.unwrap().contains("driftline_evaluated_traces_total"));
    held.rollback().await.unwrap();
    ready(&serve).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_server_on_one_folder_is_refused_and_the_first_goes_on() {
    let serve = tokio::task::block_in_place(|| Serve::start(EMBEDDED));
    let second = tokio::task::block_in_place(|| serve.second());
    let said = String::from_utf8(second.stderr).unwrap();
    assert_eq!(second.status.code(), Some(4), "{said}");
    assert!(said.contains("in use by another process"), "{said}");
    let traces = simulated("healthy", 3, START, HOUR);
    accepted(&serve, &traces).await;
    scored(&Store::open(&serve.sqlite_url(), true).await.unwrap(), &traces).await;
}

/// A disk of its own, and of so many mebibytes.
struct SmallDisk {
    folder: TempDir,
}

impl SmallDisk {
    /// None where the system mounts nothing for us.
    #[expect(clippy::print_stderr, reason = "a skipped test must be visible")]
    fn mounted(mebibytes: u32) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={mebibytes}m"), "tmpfs"]).arg(folder.path());
        if mount.output().is_ok_and(|output| output.status.success()) {
            return Some(Self { folder });
        }
        eprintln!("skipped: nothing can be mounted here");
        None
    }

    fn ballast(&self) -> PathBuf {
        self.folder.path().join("ballast")
    }

    /// Fills it to the last byte.
    fn fill(&self) {
        let mut ballast = File::create(self.ballast()).unwrap();
        while ballast.write_all(&[1; 4_096]).is_ok() {}
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("-l").arg(self.folder.path()).status();
        assert!(unmounted.is_ok_and(|status| status.success()), "{} is still mounted", self.folder.path().display());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_embedded_store_on_a_full_disk_turns_senders_away_and_goes_on_when_there_is_room() {
    let Some(disk) = SmallDisk::mounted(64) else { return };
    let path = disk.folder.path().display();
    let serve =
        tokio::task::block_in_place(|| Serve::start(&format!("[store]\nurl = \"sqlite://{path}/driftline.db\"\n")));
    let traces = simulated("healthy", 600, START, HOUR);
    let mut taken = Vec::new();
    let (before, rest) = traces.split_at(6);
    let (during, after) = rest.split_at(rest.len() - 24);
    accepted(&serve, before).await;
    taken.extend_from_slice(before);
    disk.fill();
    let mut turned_away = 0;
    // What the store's log has grown to before is room that it still has.
    for part in during.chunks(6) {
        match send(&serve, part).await {
            (200, _) => taken.extend_from_slice(part),
            (429 | 503, true) => turned_away += 1,
            answer => panic!("{answer:?}"),
        }
        if turned_away > 3 {
            break;
        }
    }
    assert!(turned_away > 3, "{} traces were taken by a full disk", taken.len());
    let told = async || {
        assert_ne!(send(&serve, after).await.0, 200, "the disk is full");
        serve.readiness().await.filter(|(is_ready, away)| !is_ready && *away == ["store (write)"])
    };
    eventually("the truth of readyz", told).await;
    std::fs::remove_file(disk.ballast()).unwrap();
    accepted(&serve, after).await;
    assert_eq!(serve.readiness().await, Some((true, Vec::new())), "as soon as one commit succeeds");
    taken.extend_from_slice(after);
    let store = Store::open(&format!("sqlite://{path}/driftline.db"), true).await.unwrap();
    scored(&store, &taken).await;
    assert_eq!(store.counts().await.unwrap().traces, taken.len() as u64, "and nothing of what was turned away");
    store.close().await;
}
