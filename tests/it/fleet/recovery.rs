//! A broker that stops, is cut off, or comes back: work goes on by itself, and `readyz` tells the truth meanwhile.

use std::time::Duration;

use prost::Message as _;
use tokio::time::{Instant, sleep, timeout};

use super::queue::{HOUR, START, ready, scored};
use crate::service::fixtures::{PROTOBUF, eventually, post, requests, simulated};
use crate::support::broker::Other;
use crate::support::proxy::Proxy;
use crate::support::serve::Serve;
use crate::support::services::{RabbitMq, postgres, rabbitmq};
use driftline::backends::store::Store;
use driftline::simulate::SimulatedTrace;

const PUBLISH: &str = "queue (publish)";
const CONSUME: &str = "queue (consume)";

fn settings(store: &str, broker: &str, queue: &str) -> String {
    format!("[store]\nurl = \"{store}\"\n[queue]\nurl = \"{broker}\"\nname = \"{queue}\"\n")
}

async fn send(receiver: &Serve, body: Vec<u8>) -> (u16, Option<String>) {
    let answer = post(&format!("http://{}", receiver.receives_on), &[("content-type", PROTOBUF)], body).await;
    let retry_after = answer.headers().get("retry-after").map(|value| value.to_str().unwrap().to_owned());
    (answer.status().as_u16(), retry_after)
}

/// Waits until exactly these dependencies are said to be away.
async fn away(serve: &Serve, names: &[&str]) {
    let told = async || serve.readiness().await.filter(|(is_ready, away)| !is_ready && away == names);
    eventually("the truth of readyz", told).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_stops_is_told_of_and_taken_up_again_by_receiver_and_worker() {
    let broker = RabbitMq::start();
    let url = postgres().database().await;
    let receiver = Serve::start_roles("receive,web", &settings(&url, &broker.amqp_url, "traces"));
    let worker = Serve::start_roles("evaluate,web", &settings(&url, &broker.amqp_url, "traces"));
    ready(&receiver).await;
    ready(&worker).await;
    let (store, traces) = (Store::open(&url, true).await.unwrap(), simulated("healthy", 9, START, HOUR));
    for (round, part) in traces.chunks(3).enumerate() {
        let body = requests(part, 3).remove(0).encode_to_vec();
        if round > 0 {
            tokio::task::block_in_place(|| broker.ctl(&["stop_app"]));
            away(&receiver, &[PUBLISH]).await;
            away(&worker, &[CONSUME]).await;
            let (status, retry_after) = send(&receiver, body.clone()).await;
            assert_eq!((status, retry_after.as_deref()), (503, Some("1")), "no sender is told what is not so");
            tokio::task::block_in_place(|| broker.ctl(&["start_app"]));
        }
        ready(&receiver).await;
        ready(&worker).await;
        assert_eq!(send(&receiver, body).await.0, 200);
        scored(&store, part).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_goes_on_taking_traces_into_the_queue_while_the_database_is_away() {
    let url = postgres().database().await;
    let queue = crate::support::services::fresh_name("no_database");
    let way = Proxy::start(postgres().address()).await;
    let broker = &rabbitmq().amqp_url;
    let receiver = Serve::start_roles("receive,web", &settings(&way.instead_of(&url), broker, &queue));
    ready(&receiver).await;
    let traces = simulated("healthy", 8, START, HOUR);
    let mut requests = requests(&traces, 1).into_iter();
    let mut send_next = async || {
        let sent = send(&receiver, requests.next().unwrap().encode_to_vec());
        timeout(Duration::from_secs(20), sent).await.expect("an answer").0
    };
    assert_eq!(send_next().await, 200);
    drop(way);
    for _ in 1..traces.len() {
        assert_eq!(send_next().await, 200);
        // What is known of tokens is fresh for two seconds: some requests come after that, and the store is asked in vain.
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    assert_eq!(receiver.readiness().await, Some((true, vec!["store".to_owned()])));
    let worker = Serve::start_roles("evaluate,web", &settings(&url, broker, &queue));
    ready(&worker).await;
    scored(&Store::open(&url, true).await.unwrap(), &traces).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_are_cut_again_and_again_lose_nothing_and_score_nothing_twice() {
    let url = postgres().database().await;
    let queue = crate::support::services::fresh_name("cut");
    let proxy = Proxy::start(&rabbitmq().address).await;
    let broker = proxy.instead_of(&rabbitmq().amqp_url);
    let receiver = Serve::start_roles("receive,web", &settings(&url, &broker, &queue));
    let worker = Serve::start_roles("evaluate,web", &settings(&url, &broker, &queue));
    ready(&worker).await;
    let (store, traces) = (Store::open(&url, true).await.unwrap(), simulated("healthy", 60, START, HOUR));
    for (round, request) in requests(&traces, 2).into_iter().enumerate() {
        if round % 6 == 3 {
            proxy.cut();
        }
        let accepted = async || (send(&receiver, request.encode_to_vec()).await.0 == 200).then_some(());
        eventually("an answer that it is taken", accepted).await;
    }
    proxy.cut();
    let all_scored = timeout(Duration::from_secs(50), scored(&store, &traces)).await;
    assert!(all_scored.is_ok(), "of the worker:\n{}\nof the receiver:\n{}", worker.log(), receiver.log());
    ready(&receiver).await;
    ready(&worker).await;
    scored_once(&store, &traces).await;
}

/// How soon a receiver knows that the broker answers nothing any longer: it asks each second and waits for eight.
const RECEIVER_KNOWS: Duration = Duration::from_secs(15);
/// How soon a worker knows, who only listens: two heartbeats of ten seconds have to be missed, which is looked for
/// every five. The rest is for a slow machine.
const WORKER_KNOWS: Duration = Duration::from_secs(45);
/// How soon both are at work again: a connection that was begun meanwhile goes on, or a second's pause and another one.
const RESUMED: Duration = Duration::from_secs(15);

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_behind_a_partition_is_told_of_in_time_and_what_is_sent_meanwhile_is_scored_once_after_it() {
    let url = postgres().database().await;
    let queue = crate::support::services::fresh_name("partition");
    let way = Proxy::start(&rabbitmq().address).await;
    let broker = way.instead_of(&rabbitmq().amqp_url);
    let receiver = Serve::start_roles("receive,web", &settings(&url, &broker, &queue));
    let worker = Serve::start_roles("evaluate,web", &settings(&url, &broker, &queue));
    ready(&receiver).await;
    ready(&worker).await;
    let (store, traces) = (Store::open(&url, true).await.unwrap(), simulated("healthy", 12, START, HOUR));
    let body = |part: &[SimulatedTrace]| requests(part, part.len()).remove(0).encode_to_vec();
    let parts: Vec<Vec<u8>> = traces.chunks(3).map(body).collect();
    assert_eq!(send(&receiver, parts[0].clone()).await.0, 200);
    way.partition();
    let began = Instant::now();
    // From a Collector on the broker's side.
    Other::connect().await.publish(&queue, &[&parts[1]]).await;
    // A sender repeats what it is not told is taken; what it sent first may be in the queue all the same.
    let sending = async {
        let mut statuses = vec![send(&receiver, parts[2].clone()).await];
        while statuses.last().unwrap().0 != 200 {
            assert!(began.elapsed() < WORKER_KNOWS + RESUMED, "{}", receiver.log());
            sleep(Duration::from_millis(500)).await;
            statuses.push(send(&receiver, parts[2].clone()).await);
        }
        statuses
    };
    let healing = async {
        away(&receiver, &[PUBLISH]).await;
        assert!(began.elapsed() < RECEIVER_KNOWS, "{:?}", began.elapsed());
        away(&worker, &[CONSUME]).await;
        assert!(began.elapsed() < WORKER_KNOWS, "{:?}", began.elapsed());
        assert_eq!(receiver.readiness().await, Some((false, vec![PUBLISH.to_owned()])), "and so it stays");
        way.heal();
        let healed = Instant::now();
        ready(&receiver).await;
        ready(&worker).await;
        assert!(healed.elapsed() < RESUMED, "{:?}", healed.elapsed());
    };
    let (statuses, ()) = tokio::join!(sending, healing);
    let (taken, turned_away) = statuses.split_last().unwrap();
    assert_eq!(taken.0, 200);
    assert!(!turned_away.is_empty());
    for (status, retry_after) in turned_away {
        assert_eq!((*status, retry_after.as_deref()), (503, Some("1")), "no sender is told what is not so");
    }
    assert_eq!(send(&receiver, parts[3].clone()).await.0, 200);
    scored(&store, &traces).await;
    empty(&queue).await;
    scored_once(&store, &traces).await;
}

/// Waits until nothing is left in a queue of the shared broker, at a worker or not.
async fn empty(queue: &str) {
    let left = || tokio::task::block_in_place(|| rabbitmq().ctl(&["list_queues", "name", "messages"]));
    let is_empty = async || left().lines().any(|line| line == format!("{queue}\t0")).then_some(());
    eventually("an empty queue", is_empty).await;
}

async fn scored_once(store: &Store, traces: &[SimulatedTrace]) {
    assert_eq!(store.counts().await.unwrap().traces, traces.len() as u64);
    for trace in traces {
        let stored = store.trace(trace.truth.trace_id).await.unwrap().unwrap();
        assert_eq!(stored.version, 1, "a repeat is no news");
    }
}
