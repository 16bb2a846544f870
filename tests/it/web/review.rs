//! Labels and calibration, as the API and the command line tell them.

use std::path::Path;
use std::process::Command;

use driftline::backends::store::{RecordedTrace, Undrawn};
use driftline::domain::label::Draw;
use serde_json::{Value, json};

use super::fixtures::Service;
use crate::stores::fixtures::{plain, seconds, stored_evaluation, trace_id};

/// A service with two judged traces, of which one was drawn for the audit sample.
async fn judged() -> Service {
    let service = Service::empty().await;
    let store = &service.store.store;
    for (number, value) in [(1, 1.0), (2, 0.0)] {
        let evaluations = vec![stored_evaluation(trace_id(number), "grounded", Some(value))];
        store.record_traces(&[RecordedTrace { evaluations, ..plain(number) }], seconds(10)).await.unwrap();
    }
    let of = |passed| Undrawn {
        trace_id: trace_id(if passed { 1 } else { 2 }),
        evaluator: "grounded".to_owned(),
        revision: "r1".to_owned(),
        passed,
    };
    let draw = |is_drawn| Draw { probability: 0.5, is_drawn };
    store.insert_draws(&[(of(true), draw(true)), (of(false), draw(false))], seconds(20), seconds(20)).await.unwrap();
    service
}

async fn give(service: &Service, label: Value) -> (u16, Value) {
    let body = json!({ "labels": [label] }).to_string();
    service.post("/api/v1/labels", "application/json", &body).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_is_offered_labelled_and_calibrates_over_the_api() {
    let service = judged().await;
    let offered = service.answer("/api/v1/review/next?judge=grounded").await;
    assert_eq!((&offered["task"]["stream"], &offered["task"]["verdict"]), (&json!("audit"), &Value::Null));
    let id = offered["task"]["trace_id"].as_str().unwrap().to_owned();
    assert_eq!(id, trace_id(1).to_string());
    let shown = service.answer("/api/v1/review/next?judge=grounded&show_verdict=true").await;
    assert_eq!((&shown["task"]["verdict"], &shown["task"]["reason"]), (&json!("pass"), &json!("because")));

    assert_eq!(give(&service, json!({ "trace_id": id, "label": "fail", "reviewer": "anna" })).await.1["new"], 1);
    let flagged = service.answer("/api/v1/review/next").await;
    assert_eq!(flagged["task"]["stream"], "flagged");
    give(&service, json!({ "trace_id": trace_id(2), "label": "fail", "reviewer": "anna" })).await;
    assert_eq!(service.answer("/api/v1/review/next").await["task"], Value::Null);

    let log = service.answer("/api/v1/labels?judge=grounded").await;
    assert_eq!(log["labels"].as_array().unwrap().len(), 2);
    let calibration = service.answer("/api/v1/calibration?judge=grounded").await;
    let judge = &calibration["judges"][0];
    assert_eq!((&judge["labels"]["drawn"], &judge["labels"]["audit"]), (&json!(1), &json!(1)));
    assert_eq!((&judge["labels"]["flagged"], &judge["n"]), (&json!(1), &json!(1)));
    assert_eq!((&judge["calibrated"], &judge["anchors"]), (&json!(false), &Value::Null));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drift_report_over_an_uncalibrated_judge_says_so() {
    let service = judged().await;
    let report = service.answer("/api/v1/drift?baseline=where:service=shop&current=where:service=shop").await;
    let notes = report["notes"].as_array().unwrap();
    let is_about = |note: &&Value| note.as_str().unwrap().starts_with("grounded is an uncalibrated judge");
    assert_eq!(notes.iter().filter(is_about).count(), 1, "{notes:?}");
    let other = service.answer("/api/v1/drift?baseline=where:service=none&current=where:service=none").await;
    assert!(!other["notes"].to_string().contains("uncalibrated"), "{other}");
}

#[tokio::test(flavor = "multi_thread")]
async fn labels_about_nothing_and_judges_that_are_none_are_refused() {
    let service = judged().await;
    let (status, body) = give(&service, json!({ "trace_id": trace_id(9), "label": "fail" })).await;
    assert_eq!(status, 400);
    assert!(body["error"].as_str().unwrap().contains("no such judge has judged it"), "{body}");
    assert_eq!(give(&service, json!({ "trace_id": trace_id(1), "label": "good" })).await.0, 422);
    assert_eq!(service.json("/api/v1/calibration?judge=nobody").await.0, 400);
    let anchor = json!({ "judge": "grounded", "traces": [trace_id(1)] }).to_string();
    let (status, body) = service.post("/api/v1/review/anchors", "application/json", &anchor).await;
    assert_eq!(status, 400);
    assert!(body["error"].as_str().unwrap().contains("has no label of grounded"), "{body}");
    give(&service, json!({ "trace_id": trace_id(1), "label": "pass" })).await;
    let (_, body) = service.post("/api/v1/review/anchors", "application/json", &anchor).await;
    assert!(body["error"].as_str().unwrap().contains("its spans are gone"), "{body}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_labels_and_calibrates_through_a_service() {
    let service = judged().await;
    let driftline = async |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_driftline"));
        let folder = Path::new(service.store.url.strip_prefix("sqlite://").unwrap()).parent().unwrap();
        command.args(arguments).args(["--url", &service.url]).current_dir(folder);
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let next = driftline(&["review", "next"]).await;
    assert!(next.contains("audit stream") && next.contains("its spans are gone"), "{next}");
    let id = trace_id(1).to_string();
    let said = driftline(&["review", "label", &id, "fail", "--note", "made up", "--reviewer", "anna"]).await;
    assert!(said.contains("1 label, 1 of them new"), "{said}");
    let log = driftline(&["review", "export"]).await;
    let line: Value = serde_json::from_str(&log).unwrap();
    assert_eq!((&line["note"], &line["probability"]), (&json!("made up"), &json!(0.5)));
    let report = driftline(&["calibrate", "grounded"]).await;
    for part in ["uncalibrated", "audit 1 of 1 drawn", "1 disagreements", "because", "made up"] {
        assert!(report.contains(part), "{part:?} is not in\n{report}");
    }
}
