//! Labels and calibration, as the API and the command line tell them.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use driftline::backends::store::{Offered, RecordedTrace, Undrawn};
use driftline::domain::label::Draw;
use driftline::domain::time::Timestamp;
use serde_json::{Value, json};

use super::fixtures::{Service, offer_flags};
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
    offer_flags(store, &["grounded"]).await;
    let offered = Offered {
        draws: &[(of(true), draw(true)), (of(false), draw(false))],
        keep_until: seconds(20),
        flags: &[],
        flags_a_day: 20,
        flags_since: Timestamp(0),
    };
    store.offer(offered, seconds(20)).await.unwrap();
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
    assert_eq!((&flagged["task"]["stream"], &flagged["task"]["flagged"]), (&json!("flagged"), &json!("judge_no")));
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

async fn post(service: &Service, path: &str, body: Value) -> (u16, Value) {
    service.post(&format!("/api/v1/review/{path}"), "application/json", &body.to_string()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn cases_are_assigned_and_removed_over_the_api_as_from_the_page() {
    let service = judged().await;
    let asked = json!({ "reviewer": "anna", "assignee": "bert", "stream": "flagged", "count": 5 });
    assert_eq!(post(&service, "assign", asked).await, (200, json!({ "assigned": 1 })));
    let of = async |reviewer: &str| {
        let next = service.answer(&format!("/api/v1/review/next?flagged=true&reviewer={reviewer}")).await;
        next["task"]["trace_id"].clone()
    };
    assert_eq!((of("anna").await, of("bert").await), (Value::Null, json!(trace_id(2))));

    let removal = json!({ "reviewer": "bert", "trace_id": trace_id(2), "evaluator": "grounded" });
    assert_eq!(post(&service, "remove", removal).await.0, 200);
    assert_eq!(of("bert").await, Value::Null);
    let unknown = json!({ "reviewer": "bert", "trace_id": trace_id(2), "evaluator": "nobody" });
    let (status, body) = post(&service, "remove", unknown).await;
    assert_eq!(status, 400);
    assert!(body["error"].as_str().unwrap().contains("no such judge has judged it"), "{body}");
    let nameless = json!({ "reviewer": " ", "assignee": "bert", "stream": "audit", "count": 1 });
    assert_eq!(post(&service, "assign", nameless).await.0, 400);
    let misspelt = json!({ "reviewer": "a", "assignee": "b", "stream": "all", "count": 1 });
    assert_eq!(post(&service, "assign", misspelt).await.0, 422);
}

#[tokio::test(flavor = "multi_thread")]
async fn how_far_people_agree_is_told_over_the_api() {
    let service = judged().await;
    for (reviewer, first, second) in [("anna", "pass", "fail"), ("bert", "pass", "pass")] {
        for (number, label) in [(1, first), (2, second)] {
            give(&service, json!({ "trace_id": trace_id(number), "label": label, "reviewer": reviewer })).await;
        }
    }
    let found = service.answer("/api/v1/review/agreement").await;
    let pair = &found["pairs"][0];
    assert_eq!((&pair["first"], &pair["second"], &pair["n"]), (&json!("anna"), &json!("bert"), &json!(2)));
    assert_eq!(found["disagreements"].as_array().unwrap().len(), 1);
    assert_eq!(found["disagreements"][0]["trace_id"], json!(trace_id(2)));
}

/// A service with fifty traces that a judge passes, fifty that it fails, and one of the last hour.
async fn much_judged() -> Service {
    let service = Service::empty().await;
    for number in 1..=101 {
        let value = f64::from(number % 2 == 0);
        let evaluations = vec![stored_evaluation(trace_id(number), "grounded", Some(value))];
        let at = seconds(if number <= 100 { 10 } else { 13 * 3_600 - 60 });
        let traces = [RecordedTrace { evaluations, ..plain(number) }];
        service.store.store.record_traces(&traces, at).await.unwrap();
    }
    service
}

/// The mark of the judge's series in one list of an answer.
fn mark<'a>(answer: &'a Value, list: &str) -> &'a Value {
    let is_meant = |row: &&Value| ["series", "evaluator"].iter().any(|key| row[key] == "grounded");
    &answer[list].as_array().unwrap().iter().find(is_meant).unwrap()["calibrated"]
}

/// What each answer and page that shows the judge's scores says of it.
async fn marks(service: &Service) -> (Vec<Value>, Vec<bool>) {
    let drift = service.answer("/api/v1/drift?baseline=where:service=shop&current=where:service=shop").await;
    let policy = json!({ "series": [{ "series": "grounded", "floor": 0.2 }] });
    let asked = json!({ "baseline": "service=shop", "candidate": "service=shop", "policy": policy }).to_string();
    let (status, gate) = service.post("/api/v1/gate", "application/json", &asked).await;
    assert_eq!(status, 200, "{gate}");
    let listed = service.answer("/api/v1/series").await;
    let is_meant = |one: &&Value| one["series"] == "grounded";
    let one = listed["series"].as_array().unwrap().iter().find(is_meant).unwrap()["key"].as_str().unwrap();
    let one = service.answer(&format!("/api/v1/series/{one}")).await;
    let scores = service.answer(&format!("/api/v1/traces/{}/scores", trace_id(1))).await;
    let recent = service.answer("/api/v1/calibration?since=1h").await;
    let marks = [
        mark(&drift, "series"),
        mark(&gate, "series"),
        mark(&listed, "series"),
        &one["calibrated"],
        mark(&scores, "scores"),
        mark(&recent, "judges"),
    ];
    let notes = [&drift, &gate].map(|report| report["notes"].to_string().contains("grounded is an uncalibrated judge"));
    let mut said = notes.to_vec();
    for page in ["/", &format!("/traces/{}", trace_id(1))] {
        said.push(service.page(page).await.contains("uncalibrated"));
    }
    (marks.into_iter().cloned().collect(), said)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_judge_is_marked_alike_wherever_it_shows_until_labels_of_any_age_calibrate_it() {
    let service = much_judged().await;
    let (marks_before, said_before) = marks(&service).await;
    assert!(marks_before.iter().all(|mark| *mark == json!(false)), "{marks_before:?}");
    assert_eq!(said_before, [true; 4]);

    let label = |number| json!({ "trace_id": trace_id(number), "evaluator": "grounded", "label": "pass" });
    let labels: Vec<Value> = (1..=100).map(label).collect();
    let body = json!({ "labels": labels, "import": true }).to_string();
    assert_eq!(service.post("/api/v1/labels", "application/json", &body).await.1["new"], 100);
    let (marks_after, said_after) = marks(&service).await;
    assert!(marks_after.iter().all(|mark| *mark == json!(true)), "{marks_after:?}");
    assert_eq!(said_after, [false; 4]);
    // The hour's estimates rest on none of them.
    let recent = service.answer("/api/v1/calibration?since=1h").await;
    assert_eq!((&recent["judges"][0]["judged"], &recent["judges"][0]["n"]), (&json!(1), &json!(0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_of_an_uncalibrated_judge_is_marked_on_its_page_and_in_the_list_and_others_are_not() {
    for (calibrated, is_marked) in [(Some(false), true), (Some(true), false), (None, false)] {
        let service = Service::empty().await;
        // However long its summary is, at whose end the words stand.
        service.raise_alert_of_judge(&"grounded fell ".repeat(100), calibrated).await;
        for page in ["/alerts", "/alerts/f1"] {
            assert_eq!(service.page(page).await.contains("uncalibrated"), is_marked, "{page}: {calibrated:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_in_which_no_judge_scored_marks_none() {
    let service = judged().await;
    let other = service.answer("/api/v1/drift?baseline=where:service=none&current=where:service=none").await;
    assert!(!other["notes"].to_string().contains("uncalibrated"), "{other}");
    let listed = service.answer("/api/v1/series").await;
    let of_rules = listed["series"].as_array().unwrap().iter().filter(|one| one["series"] != "grounded");
    assert!(of_rules.clone().count() > 0 && of_rules.clone().all(|one| one["calibrated"].is_null()), "{listed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn labels_about_nothing_and_judges_that_are_none_are_refused() {
    let service = judged().await;
    let (status, body) = give(&service, json!({ "trace_id": trace_id(9), "label": "fail" })).await;
    assert_eq!(status, 404);
    assert!(body["error"].as_str().unwrap().contains("is not known"), "{body}");
    let of_nobody = json!({ "trace_id": trace_id(1), "evaluator": "nobody", "label": "fail" });
    let (status, body) = give(&service, of_nobody).await;
    assert_eq!(status, 400);
    assert!(body["error"].as_str().unwrap().contains("no such judge has judged it"), "{body}");
    assert_eq!(give(&service, json!({ "trace_id": trace_id(1), "label": "good" })).await.0, 422);
    for path in ["calibration?judge=nobody", "review/next?judge=nobody"] {
        let (status, body) = service.json(&format!("/api/v1/{path}")).await;
        assert_eq!(status, 404, "{body}");
        assert!(body["error"].as_str().unwrap().contains("no judge \"nobody\"; known: grounded"), "{body}");
    }
    let response = service.get("/review?judge=nobody").await;
    assert_eq!(response.status(), 404);
    let page = response.text().await.unwrap();
    assert!(page.contains("no judge &quot;nobody&quot;; known: grounded"), "{page}");
    // A rule asks no model and flags all the same.
    assert!(service.answer("/api/v1/review/next?judge=loop").await["task"].is_null());
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
    let flagged = trace_id(2).to_string();
    assert!(driftline(&["review", "next", "--flagged"]).await.contains("flagged stream: the judge fails it"));
    assert_eq!(driftline(&["review", "assign", "bert", "--reviewer", "anna"]).await.trim(), "1 case for bert");
    assert!(driftline(&["review", "next", "--flagged", "--reviewer", "anna"]).await.contains("nothing waits"));
    let removed = driftline(&["review", "remove", &flagged, "--judge", "grounded", "--reviewer", "bert"]).await;
    assert_eq!(removed.trim(), format!("grounded of {flagged} is not asked about any more"));
    assert!(driftline(&["review", "next", "--flagged", "--reviewer", "bert"]).await.contains("nothing waits"));
    assert!(driftline(&["review", "agreement"]).await.contains("no case has been answered by two people"));
    service.clock.advance(Duration::from_secs(1));
    driftline(&["review", "label", &id, "pass", "--reviewer", "bert"]).await;
    let agreement = driftline(&["review", "agreement"]).await;
    assert!(agreement.contains("anna and bert") && agreement.contains("they differ on 1 case"), "{agreement}");
    service.clock.advance(Duration::from_secs(1));
    driftline(&["review", "label", &id, "fail", "--note", "made up", "--reviewer", "anna"]).await;
    let report = driftline(&["calibrate", "grounded"]).await;
    for part in ["uncalibrated", "audit 1 of 1 drawn", "1 disagreements", "because", "made up"] {
        assert!(report.contains(part), "{part:?} is not in\n{report}");
    }
}
