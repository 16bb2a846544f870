//! Offline evaluation with a judge model behind a real socket.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Json;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::post;
use driftline::simulate::judge::ScriptedJudge;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::program::{Folder, trace};

fn configure(folder: &Folder, base_url: &str) {
    let model = format!(
        "[judge.models.default]\nbase_url = \"{base_url}\"\nmodel = \"judge-1\"\nallow_unpriced = true\nconcurrency = 4\n"
    );
    folder.write("driftline.toml", format!("[judge]\nattempts = 2\n{model}"));
}

/// Runs `evaluate` beside the server, and gives the rows of one evaluator.
async fn rows(folder: Folder, evaluator: &'static str) -> Vec<Value> {
    let run = tokio::task::spawn_blocking(move || folder.ends(0, &["evaluate", "traces.jsonl", "--only", evaluator]));
    run.await.unwrap().lines()
}

/// A judge that answers the `call`-th call with `answer(call)`; counts from 0.
async fn serve(answer: fn(usize) -> (StatusCode, &'static str)) -> (String, Arc<AtomicUsize>) {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let handler = move || async move {
        let (status, content) = answer(counted.fetch_add(1, Ordering::SeqCst));
        (status, Json(json!({ "choices": [{ "message": { "content": content } }] }))).into_response()
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    let router = axum::Router::new().route("/v1/chat/completions", post(handler));
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, calls)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configured_judge_scores_every_trace_it_can() {
    let (folder, judge) = (Folder::new(), ScriptedJudge::start().await.unwrap());
    configure(&folder, &judge.base_url());
    folder.ends(0, &["simulate", "--scenario", "ungrounded_claim", "--traces", "60", "-o", "traces.jsonl"]);
    let rows = rows(folder, "groundedness").await;
    assert_eq!(rows.len(), 60);
    assert!(rows.iter().all(|row| row["outcome"] == "scored" && row["annotator_kind"] == "llm"), "{rows:?}");
    assert!(rows.iter().any(|row| row["label"] == "no") && rows.iter().any(|row| row["label"] == "yes"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_judge_in_trouble_is_asked_again_until_its_attempts_are_spent() {
    let folder = Folder::new();
    let (url, calls) = serve(|_| (StatusCode::SERVICE_UNAVAILABLE, "")).await;
    configure(&folder, &url);
    folder.ends(0, &["simulate", "--scenario", "healthy", "--traces", "1", "-o", "traces.jsonl"]);
    let rows = rows(folder, "groundedness").await;
    assert_eq!(rows[0]["outcome"], "failed");
    assert!(rows[0]["explanation"].as_str().unwrap().contains("status 503 (attempt 2 of 2)"), "{rows:?}");
    assert_eq!(calls.load(Ordering::SeqCst), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_without_a_verdict_is_asked_for_again() {
    let folder = Folder::new();
    let (url, calls) = serve(|call| {
        let second = r#"{"reason": "fine", "verdict": "YES"}"#;
        (StatusCode::OK, if call == 0 { "I would rather not say" } else { second })
    })
    .await;
    configure(&folder, &url);
    folder.ends(0, &["simulate", "--scenario", "healthy", "--traces", "1", "-o", "traces.jsonl"]);
    let rows = rows(folder, "groundedness").await;
    assert_eq!((rows[0]["label"].as_str(), rows[0]["explanation"].as_str()), (Some("yes"), Some("fine")));
    assert_eq!(calls.load(Ordering::SeqCst), 2);
}

#[test]
fn without_a_judge_the_rows_say_so_and_so_does_the_program_once() {
    let folder = Folder::new();
    folder.ends(0, &["simulate", "--scenario", "healthy", "--traces", "2", "-o", "traces.jsonl"]);
    let run = folder.ends(0, &["evaluate", "traces.jsonl"]);
    assert_eq!(run.stderr.matches("no judge is configured").count(), 1);
    let judged: Vec<Value> = run.lines().into_iter().filter(|row| row["annotator_kind"] == "llm").collect();
    let (unasked, rest): (Vec<Value>, Vec<Value>) =
        judged.into_iter().partition(|row| row["outcome"] == "not_evaluable");
    assert!(!unasked.is_empty() && rest.iter().all(|row| row["outcome"] == "not_applicable"), "{rest:?}");
}

#[test]
fn a_judge_that_cannot_be_used_is_refused_before_anything_is_read() {
    let folder = Folder::new();
    configure(&folder, "ftp://judge");
    folder.write("traces.jsonl", trace(1, "hello"));
    folder.ends(2, &["evaluate", "traces.jsonl"]).says("ftp://judge");
}
