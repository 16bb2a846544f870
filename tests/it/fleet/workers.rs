//! Several workers: replaced one after the other under load, and one at a time at what is done for all.

use std::time::Duration;

use driftline::backends::store::Store;
use futures_util::future::join_all;
use sqlx::{Connection as _, PgConnection, Row as _};
use tokio::time::{Instant, sleep};

use super::queue::{HOUR, START, ready, scored};
use super::rounds::send;
use crate::service::fixtures::{eventually, requests, simulated};
use crate::support::serve::Serve;
use crate::support::services::{fresh_name, postgres, rabbitmq};

fn settings(store: &str, queue: &str) -> String {
    let broker = &rabbitmq().amqp_url;
    format!("[service]\ndrain = \"5s\"\n[store]\nurl = \"{store}\"\n[queue]\nurl = \"{broker}\"\nname = \"{queue}\"\n")
}

/// Stops a process as an operator does, and starts it again.
fn replace(serve: &mut Serve) {
    let stopping = Instant::now();
    let status = serve.terminate();
    assert_eq!(status.code(), Some(0), "{}", serve.log());
    assert!(stopping.elapsed() < Duration::from_secs(25), "{:?}", stopping.elapsed());
    serve.restart();
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_that_are_replaced_one_by_one_under_load_lose_nothing() {
    let (url, queue) = (postgres().database().await, fresh_name("rolling"));
    let settings = settings(&url, &queue);
    let mut receiver = Serve::start_roles("receive,web", &settings);
    let mut workers = [(); 2].map(|()| Serve::start_roles("evaluate,judge,deliver,watch,web", &settings));
    ready(&receiver).await;
    let traces = simulated("healthy", 240, START, HOUR);
    let to = format!("http://{}", receiver.receives_on);
    let bodies: Vec<Vec<u8>> = requests(&traces, 2).iter().map(prost::Message::encode_to_vec).collect();
    let sending = tokio::spawn(send(format!("{to}/v1/traces"), bodies, Duration::from_millis(20)));
    for worker in &mut workers {
        tokio::task::block_in_place(|| replace(worker));
        ready(worker).await;
    }
    tokio::task::block_in_place(|| replace(&mut receiver));
    sending.await.unwrap();
    let store = Store::open(&url, true).await.unwrap();
    scored(&store, &traces).await;
    for trace in &traces {
        assert_eq!(store.trace(trace.truth.trace_id).await.unwrap().unwrap().version, 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_opens_no_more_connections_than_its_settings_say_and_two_are_enough_for_all_it_does() {
    let url = postgres().database().await;
    let serve = Serve::start(&format!("[store]\nurl = \"{url}\"\nconnections = 2\n"));
    ready(&serve).await;
    let traces = simulated("healthy", 60, START, HOUR);
    let bodies: Vec<Vec<u8>> = requests(&traces, 1).iter().map(prost::Message::encode_to_vec).collect();
    let to = format!("http://{}/v1/traces", serve.receives_on);
    let senders = bodies.chunks(10).map(|part| tokio::spawn(send(to.clone(), part.to_vec(), Duration::ZERO)));
    let sending = tokio::spawn(join_all(senders.collect::<Vec<_>>()));
    let mut database = PgConnection::connect(&url).await.unwrap();
    let mut most = 0_i64;
    while !sending.is_finished() {
        let others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
                      AND pid <> pg_backend_pid() AND backend_type = 'client backend'";
        most = most.max(sqlx::query_scalar(others).fetch_one(&mut database).await.unwrap());
        sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(most, 2);
    sending.await.unwrap().into_iter().for_each(Result::unwrap);
    scored(&Store::open(&url, true).await.unwrap(), &traces).await;
    ready(&serve).await;
}

const LEASES: &str = "SELECT name, holder FROM lease WHERE name IN ('watch', 'notify', 'review') ORDER BY name";

/// Who holds the leases of what is done most often, by what it is for.
async fn holders(url: &str) -> Vec<(String, String)> {
    let mut connection = PgConnection::connect(url).await.unwrap();
    let rows = sqlx::query(LEASES).fetch_all(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    rows.iter().map(|row| (row.get("name"), row.get("holder"))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_done_for_all_is_done_by_one_process_and_by_another_when_it_is_gone() {
    let (url, queue) = (postgres().database().await, fresh_name("leader"));
    let settings = settings(&url, &queue);
    let mut first = Serve::start_roles("watch,web", &settings);
    ready(&first).await;
    let all = async || Some(holders(&url).await).filter(|holders| holders.len() == 3);
    let held_first = eventually("every lease", all).await;
    let mut second = Serve::start_roles("watch,web", &settings);
    ready(&second).await;
    sleep(Duration::from_secs(6)).await;
    assert_eq!(holders(&url).await, held_first, "one that is held is not taken");

    let others = async |before: &[(String, String)]| {
        let now = holders(&url).await;
        (now.len() == 3 && now.iter().zip(before).all(|(now, before)| now.1 != before.1)).then_some(now)
    };
    tokio::task::block_in_place(|| assert_eq!(first.terminate().code(), Some(0)));
    let leaving = Instant::now();
    let held_second = eventually("a successor", async || others(&held_first).await).await;
    assert!(leaving.elapsed() < Duration::from_secs(15), "who leaves gives up its leases: {:?}", leaving.elapsed());
    tokio::task::block_in_place(|| first.restart());
    second.kill();
    eventually("a successor of one that was killed", async || others(&held_second).await).await;
}
