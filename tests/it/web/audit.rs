//! Decisions rebuilt, over the API, as pages and by the command.

use std::collections::BTreeSet;
use std::process::Command;

use driftline::backends::store::StoredEvaluation;
use driftline::domain::ids::TraceId;
use serde_json::{Value, json};

use super::fixtures::{START, Service, fill, hostile};
use crate::stores::fixtures::stored_evaluation;

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_found_by_trace_conversation_and_user_and_told_whole() {
    let service = Service::with_traffic().await;
    service.raise_alert("loops doubled").await;
    let id = service.trace_ids[0].to_string();
    let trace = service.answer(&format!("/api/v1/traces/{id}")).await;
    let by_id = service.answer(&format!("/api/v1/audit?id={id}")).await;
    let run = &by_id["runs"][0];
    assert_eq!((&run["state"], &run["trace"]["trace_id"]), (&json!("whole"), &json!(id)));
    assert!(run["account"]["input"].is_string() && run["account"]["output"].is_string(), "{run}");
    assert!(!run["account"]["steps"].as_array().unwrap().is_empty());
    assert!(!run["account"]["operations"].as_array().unwrap().is_empty());
    assert_eq!(run["scores"].as_array().unwrap().len(), trace["scores"].as_array().unwrap().len());

    let conversation = trace["conversation_id"].as_str().unwrap();
    for asked in [format!("id={conversation}"), format!("conversation={conversation}")] {
        let found = service.answer(&format!("/api/v1/audit?{asked}")).await;
        assert_eq!(found["found_by"], format!("conversation={conversation}"));
        assert!(found["runs"].as_array().unwrap().iter().any(|run| run["trace"]["trace_id"] == id));
    }
    let page = service.page(&format!("/audit?id={id}")).await;
    assert!(page.contains("Where its time went") && page.contains("The run is kept whole."), "{page}");
}

#[tokio::test]
async fn an_empty_answer_and_a_run_of_which_only_the_record_remains_say_so() {
    let service = Service::with_traffic().await;
    let page = service.page("/audit?id=nobody").await;
    assert!(page.contains("Nothing is known of <strong>nobody</strong>"), "{page}");
    assert!(service.page("/audit").await.contains("Trace, conversation, user or business id"));
    let (status, refused) = service.json("/api/v1/audit").await;
    assert_eq!((status, refused["error"].as_str().unwrap()), (400, "nothing says what is to be audited"));

    let store = &service.store.store;
    while store.purge(START.plus(std::time::Duration::from_hours(9_999))).await.unwrap().traces > 0 {}
    let id = service.trace_ids[0];
    let run = &service.answer(&format!("/api/v1/audit?id={id}")).await["runs"][0];
    assert_eq!((&run["state"], run["account"].is_null()), (&json!("record_only"), true));
    assert!(!run["scores"].as_array().unwrap().is_empty());
    assert!(service.page(&format!("/audit?id={id}")).await.contains("only the record remains"));
}

#[tokio::test]
async fn every_time_that_text_is_shown_is_noted() {
    let service = Service::with_judged_traffic(passed).await;
    let id = service.trace_ids[0].to_string();
    label_failing(&service, &id).await;
    let paths = [
        format!("/api/v1/traces/{id}"),
        format!("/api/v1/traces/{id}/explain"),
        format!("/api/v1/traces/{id}/scores"),
        format!("/api/v1/traces/{id}/inspect"),
        format!("/api/v1/audit?id={id}"),
        format!("/traces/{id}"),
        format!("/audit?id={id}"),
        "/api/v1/calibration".to_owned(),
        "/judges".to_owned(),
    ];
    for (number, path) in paths.iter().enumerate() {
        assert_eq!(service.get(path).await.status(), 200, "{path}");
        let reads = reads(&service).await;
        assert_eq!(reads.len(), number + 1, "{path}");
        assert_eq!((&reads[0]["actor"], &reads[0]["subject"]), (&json!("local"), &json!(id)));
    }
    assert!(service.page("/audit/log?since=2020-01-01").await.contains(&id));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_time_that_a_command_on_the_store_shows_text_is_noted() {
    let service = Service::with_judged_traffic(passed).await;
    let id = service.trace_ids[0].to_string();
    label_failing(&service, &id).await;
    let folder = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_driftline"));
        command.args(arguments).arg("--json").current_dir(folder.path());
        let output = command.env("DRIFTLINE__STORE__URL", &service.store.url).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        serde_json::from_slice::<Value>(&output.stdout).unwrap_or_else(|_| panic!("{said}"))
    };
    let found = run(&["calibrate", "--since", "2020-01-01"]);
    assert_eq!(found["judges"][0]["disagreements"][0]["trace_id"], json!(id));
    assert_eq!(subjects(&reads(&service).await), BTreeSet::from([json!(id).to_string()]));

    let preview = ["evaluators", "preview", "--only", "loop", "--from"];
    let found = run(&[&preview[..], &["where:service=support-agent"]].concat());
    let samples = found["evaluators"][0]["samples"].as_array().unwrap();
    let shown: BTreeSet<String> = samples.iter().map(|sample| sample["trace_id"].to_string()).collect();
    assert!(!shown.is_empty(), "{found}");
    let noted = reads(&service).await;
    assert_eq!((subjects(&noted[..noted.len() - 1]), noted.len()), (shown.clone(), shown.len() + 1));
}

/// What a judge says that passes everything.
fn passed(trace_id: TraceId, _: usize) -> StoredEvaluation {
    stored_evaluation(trace_id, "grounded", Some(1.0))
}

async fn label_failing(service: &Service, id: &str) {
    let label = json!({ "trace_id": id, "evaluator": "grounded", "label": "fail", "reviewer": "anna" });
    let (status, kept) =
        service.post("/api/v1/labels", "application/json", &json!({ "labels": [label] }).to_string()).await;
    assert_eq!(status, 200, "{kept}");
}

/// The lines of the log about what was shown, newest first.
async fn reads(service: &Service) -> Vec<Value> {
    let log = service.answer("/api/v1/audit/log?since=2020-01-01").await;
    log["entries"].as_array().unwrap().iter().filter(|entry| entry["action"] == "read").cloned().collect()
}

fn subjects(entries: &[Value]) -> BTreeSet<String> {
    entries.iter().map(|entry| entry["subject"].to_string()).collect()
}

#[tokio::test]
async fn hostile_text_is_shown_as_text() {
    let service = Service::empty().await;
    let text = "<script>alert(1)</script>\u{202e}\u{1b}[2J";
    let ids = fill(&service.store.store, hostile("0000000000000000000000000000beef", text)).await;
    let page = service.page(&format!("/audit?id={}", ids[0])).await;
    assert!(!page.contains("<script") && !page.contains('\u{202e}') && !page.contains('\u{1b}'));
}

#[tokio::test]
async fn erasing_asks_for_someone_and_leaves_an_erased_run() {
    let service = Service::with_traffic().await;
    let id = service.trace_ids[0].to_string();
    let trace = service.answer(&format!("/api/v1/traces/{id}")).await;
    for everyone in [json!({}), json!({ "where": "service=support-agent" }), json!({ "user": "" })] {
        let (status, _) = service.post("/api/v1/erase", "application/json", &everyone.to_string()).await;
        assert_eq!(status, 400, "{everyone}");
    }
    let whose = json!({ "conversation": trace["conversation_id"] }).to_string();
    let (status, erased) = service.post("/api/v1/erase", "application/json", &whose).await;
    assert_eq!(status, 200, "{erased}");
    assert!(erased["removed"]["traces"].as_u64().unwrap() >= 1);
    let run = &service.answer(&format!("/api/v1/audit?id={id}")).await["runs"][0];
    assert_eq!((&run["state"], &run["trace"]["conversation_id"]), (&json!("erased"), &serde_json::Value::Null));
    let log = service.answer("/api/v1/audit/log?since=2020-01-01").await.to_string();
    assert!(!log.contains(trace["conversation_id"].as_str().unwrap()));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_asks_a_service_or_reads_the_store_and_writes_one_file() {
    let service = Service::with_traffic().await;
    let folder = tempfile::tempdir().unwrap();
    let id = service.trace_ids[0].to_string();
    let run = |arguments: Vec<String>| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_driftline"));
        command.args(arguments).current_dir(folder.path()).env("DRIFTLINE__STORE__URL", &service.store.url);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let by_service = run(words(&format!("audit {id} --url {}", service.url)));
    assert!(by_service.contains(&id) && by_service.contains("The run is kept whole."), "{by_service}");
    let by_store = run(words(&format!("audit {id} --html audit.html")));
    assert!(by_store.contains("audit.html"));
    let html = std::fs::read_to_string(folder.path().join("audit.html")).unwrap();
    assert!(html.contains(&id) && !html.contains("<script") && !html.contains("href=\"http"), "{html}");
    assert!(run(words("audit nobody")).contains("nothing is known of nobody"));
    let log = run(words("audit --log --since 2020-01-01"));
    assert_eq!(log.matches(&id).count(), 2, "{log}");
}
