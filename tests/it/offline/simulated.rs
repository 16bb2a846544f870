//! Simulated traffic from the command line.

use std::sync::{Arc, Mutex};

use axum::body::Bytes;
use axum::http::StatusCode;
use axum::routing::post;
use driftline::otlp::{Encoding, decode_traces, split_by_trace};
use tokio::net::TcpListener;

use super::program::{Folder, json_lines, rows_by_trace};

#[test]
fn the_same_seed_gives_the_same_bytes_and_another_seed_does_not() {
    let folder = Folder::new();
    let simulate = |seed: &str, file: &str| {
        folder.ends(0, &["simulate", "--traces", "60", "--seed", seed, "-o", file]);
        (folder.read(file), folder.read(&format!("{file}.truth.jsonl")))
    };
    let first = simulate("7", "a.jsonl");
    assert_eq!(first, simulate("7", "b.jsonl"));
    assert_ne!(first, simulate("8", "c.jsonl"));
    let printed = folder.ends(0, &["simulate", "--traces", "60", "--seed", "7"]);
    printed.says("ground truth is left out");
    assert_eq!(printed.stdout, first.0);
}

#[test]
fn simulated_traces_are_read_by_evaluate_and_match_their_ground_truth() {
    let folder = Folder::new();
    for file in ["traces.jsonl", "traces.jsonl.gz", "traces.jsonl.zst"] {
        folder.ends(0, &["simulate", "--scenario", "refund_loop", "--traces", "120", "--seed", "2", "-o", file]);
        let rows = folder.ends(0, &["evaluate", file]).lines();
        let truth = json_lines(&folder.read(&format!("{file}.truth.jsonl")));
        assert_eq!(rows_by_trace(&rows).len(), 120);
        let looping = |id: &serde_json::Value| {
            rows.iter().any(|row| row["trace_id"] == *id && row["evaluator"] == "loop" && row["label"] == "fail")
        };
        let planted = truth.iter().filter(|truth| truth["faults"] != serde_json::json!([]));
        let ids: Vec<_> = planted.map(|truth| &truth["trace_id"]).collect();
        assert!(ids.len() >= 2 && ids.iter().all(|id| looping(id)), "{ids:?}");
    }
}

#[test]
fn every_scenario_is_listed() {
    let folder = Folder::new();
    let listed = folder.ends(0, &["simulate", "--list", "--json"]).json();
    for scenario in listed.as_array().unwrap() {
        let name = scenario["name"].as_str().unwrap();
        folder.ends(0, &["simulate", "--scenario", name, "--traces", "3", "-o", "traces.jsonl"]);
    }
    assert!(listed.as_array().unwrap().len() > 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn simulated_traces_are_sent_and_a_receiver_that_is_busy_is_asked_again() {
    let bodies = Arc::new(Mutex::new(Vec::new()));
    let received = Arc::clone(&bodies);
    let handler = move |body: Bytes| async move {
        let mut bodies = received.lock().unwrap();
        bodies.push(body);
        if bodies.len() == 3 { StatusCode::TOO_MANY_REQUESTS } else { StatusCode::OK }
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = axum::Router::new().route("/v1/traces", post(handler));
    tokio::spawn(async move { axum::serve(listener, router).await });
    let send = move || Folder::new().ends(0, &["simulate", "--traces", "10", "--seed", "1", "--to", &url]);
    tokio::task::spawn_blocking(send).await.unwrap().says("10 traces sent");

    let bodies = bodies.lock().unwrap();
    assert_eq!((bodies.len(), &bodies[2]), (11, &bodies[3]), "the refused one comes again");
    for body in bodies.iter() {
        let traces = split_by_trace(decode_traces(body, Encoding::Protobuf).unwrap()).traces;
        assert!(traces.len() == 1 && traces[0].root_ended);
    }
}
