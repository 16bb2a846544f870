//! What telemetry can answer: the API, the page, the command on the store, on a service and on files.

use std::path::Path;
use std::process::Command;

use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, SqliteConnection};

use super::fixtures::{Service, fill, hostile};

#[tokio::test(flavor = "multi_thread")]
async fn questions_and_what_is_missing_are_told_alike_by_api_page_and_command() {
    let service = Service::with_traffic().await;
    let found = service.answer("/api/v1/readiness?service=support-agent").await;
    assert_eq!(found["services"].as_array().unwrap().len(), 1);
    assert_eq!(found["services"][0]["questions"].as_array().unwrap().len(), 5);
    assert_eq!(found["services"][0]["capabilities"].as_array().unwrap().len(), 5);
    let page = service.page("/readiness").await;
    assert!(page.contains("which tools failed") && page.contains("support-agent"), "{page}");
    let folder = Path::new(service.store.url.strip_prefix("sqlite://").unwrap()).parent().unwrap().to_owned();
    let run = async |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_driftline"));
        command.args(arguments).current_dir(&folder).env("DRIFTLINE__STORE__URL", &service.store.url);
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let of_store = run(&["readiness", "--json"]).await;
    assert_eq!(run(&["readiness", "--json", "--url", &service.url]).await, of_store);
    assert!(of_store.0 == Some(0) || of_store.0 == Some(1));
    let response = service.get("/readiness?service=nobody").await;
    assert_eq!(response.status(), 404);
    let page = response.text().await.unwrap();
    assert!(page.contains("no trace of a service &quot;nobody&quot; is known; known: invoice-agent, "), "{page}");
    assert_eq!(service.json("/api/v1/readiness?service=nobody").await.0, 404);
    assert_eq!(run(&["readiness", "--service", "nobody"]).await.0, Some(4));
}

#[tokio::test]
async fn a_hostile_service_has_a_page_that_shows_its_name_as_text() {
    let service = Service::empty().await;
    fill(&service.store.store, hostile("0a0b0c0d0a0b0c0d0a0b0c0d0a0b0c0d", "<script>alert(1)</script>\u{202e}")).await;
    let page = service.page("/readiness").await;
    assert!(page.contains("&lt;script&gt;") && !page.contains("<script") && !page.contains('\u{202e}'));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_spans_are_damaged_is_counted_and_the_others_are_read() {
    let service = Service::with_traffic().await;
    let before = service.answer("/api/v1/readiness?service=support-agent").await;
    let newest = service.answer("/api/v1/traces?service=support-agent&limit=1").await;
    let damaged = newest["traces"][0]["trace_id"].as_str().unwrap();
    let mut connection = SqliteConnection::connect(&service.store.url).await.unwrap();
    let damage = format!("UPDATE chunk SET body = x'00ff' WHERE trace_id = x'{damaged}'");
    assert!(connection.execute(AssertSqlSafe(damage)).await.unwrap().rows_affected() > 0);
    let found = service.answer("/api/v1/readiness?service=support-agent").await;
    let count = |found: &Value, of: &str| found["services"][0][of].as_u64().unwrap();
    assert_eq!((count(&before, "damaged"), count(&found, "damaged")), (0, 1));
    assert_eq!(count(&found, "traces") + 1, count(&before, "traces"));
    let page = service.page("/readiness").await;
    assert!(page.contains("the spans of 1 more are kept and cannot be read"), "{page}");
}

#[test]
fn a_file_that_cannot_answer_a_question_fails_and_says_what_to_add() {
    let folder = tempfile::tempdir().unwrap();
    let line = r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"0af7651916cd43dd8448eb211c80319c",
        "spanId":"b7ad6b7169203331","name":"chat","startTimeUnixNano":"1","endTimeUnixNano":"2",
        "attributes":[{"key":"gen_ai.operation.name","value":{"stringValue":"chat"}}]}]}]}]}"#;
    std::fs::write(folder.path().join("bare.jsonl"), line.replace('\n', "")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_driftline"));
    let output = command.args(["readiness", "file:bare.jsonl"]).current_dir(folder.path()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("OTEL_SERVICE_NAME=") && text.contains("gen_ai.usage.input_tokens"), "{text}");
    let mut command = Command::new(env!("CARGO_BIN_EXE_driftline"));
    let of_nobody = ["readiness", "file:bare.jsonl", "--service", "nobody"];
    let output = command.args(of_nobody).current_dir(folder.path()).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(4) && text.contains("a service \"nobody\" is known"), "{text}");
}
