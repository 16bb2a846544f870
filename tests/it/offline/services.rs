//! Offline evaluation with a user's own service behind a real socket.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde_json::Value;
use tokio::net::TcpListener;

use super::program::{Folder, trace};

/// The row of an evaluator `orders` whose service answers every call like this.
async fn row(answer: fn() -> Response) -> Value {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = axum::Router::new().route("/", post(move || async move { answer() }));
    tokio::spawn(async move { axum::serve(listener, router).await });
    let folder = Folder::new();
    std::fs::create_dir_all(folder.path("own/orders")).unwrap();
    let table = format!("[http]\nurl = \"http://{address}/\"\nattempts = 1\n");
    folder.write("own/orders/evaluator.toml", format!("kind = \"http\"\ndescription = \"d\"\n{table}"));
    folder.write("traces.jsonl", trace(1, "hello"));
    let arguments = ["evaluate", "traces.jsonl", "--evaluators", "own", "--only", "orders"];
    let run = tokio::task::spawn_blocking(move || folder.ends(0, &arguments));
    run.await.unwrap().lines().remove(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_scores_a_run_from_a_file() {
    let row = row(|| r#"{"label": "pass", "explanation": "fine"}"#.into_response()).await;
    assert_eq!((row["outcome"].as_str(), row["value"].as_f64()), (Some("scored"), Some(1.0)), "{row}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nonsense_a_redirect_and_an_endless_answer_fail_with_their_cause_and_are_no_low_score() {
    let cause = async |answer: fn() -> Response| {
        let row = row(answer).await;
        assert_eq!((row["outcome"].as_str(), &row["value"]), (Some("failed"), &Value::Null), "{row}");
        row["explanation"].as_str().unwrap().to_owned()
    };
    let why = cause(|| r#"{"score": 1}"#.into_response()).await;
    assert!(why.contains("unknown field `score`"), "{why}");
    let why = cause(|| (StatusCode::TEMPORARY_REDIRECT, [("location", "http://127.0.0.1:9/")]).into_response()).await;
    assert!(why.contains("refused with status 307"), "{why}");
    let why = cause(|| "x".repeat(1 << 20).into_response()).await;
    assert!(why.contains("more than 65536 bytes"), "{why}");
}

#[test]
fn a_secret_that_is_not_set_is_named_before_anything_is_asked() {
    let folder = Folder::new();
    std::fs::create_dir_all(folder.path("own/orders")).unwrap();
    let table = "[http]\nurl = \"http://127.0.0.1:9/\"\nheader_env = \"DRIFTLINE_TEST_UNSET\"\n";
    folder.write("own/orders/evaluator.toml", format!("kind = \"http\"\ndescription = \"d\"\n{table}"));
    folder.write("traces.jsonl", trace(1, "hello"));
    folder.ends(2, &["evaluate", "traces.jsonl", "--evaluators", "own"]).says("DRIFTLINE_TEST_UNSET");
}
