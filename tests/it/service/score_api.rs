//! Scores by the own APIs of tracing backends: what goes over the wire, and what becomes of a repeat.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use driftline::app::settings::{SecretSource, WriteBackKind, WriteBackSettings};
use driftline::domain::time::Timestamp;
use serde_json::{Value, json};

use super::fake::{Asked, Fake, status};
use super::fixtures::{Running, eventually, request, span, trace_id};

fn settings(kind: WriteBackKind, endpoint: &str) -> WriteBackSettings {
    WriteBackSettings { kind, endpoint: endpoint.to_owned(), token: None }
}

fn body(asked: &Asked) -> Value {
    serde_json::from_slice(&asked.body).unwrap()
}

fn answer(code: u16, body: Value) -> Option<Response> {
    Some((StatusCode::from_u16(code).unwrap(), Json(body)).into_response())
}

/// Names, spans and values of what is scored of a trace, in order.
async fn expected(running: &Running, trace: u32) -> BTreeSet<(String, String, String)> {
    let rows = running.store.evaluations(trace_id(trace)).await.unwrap();
    let scored = rows.iter().map(|row| &row.evaluation).filter_map(|row| Some((row, row.value?)));
    scored.map(|(row, value)| (row.evaluator.clone(), row.span_id.to_string(), value.to_string())).collect()
}

fn triple(name: &Value, span: &Value, value: &Value) -> (String, String, String) {
    (name.as_str().unwrap().to_owned(), span.as_str().unwrap().to_owned(), value.as_f64().unwrap().to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn phoenix_gets_each_score_on_its_span_and_one_span_that_it_does_not_know_delays_no_other() {
    let is_there = Arc::new(AtomicBool::new(false));
    let there = Arc::clone(&is_there);
    let span_of_3 = hex::encode(span(3, 7).span_id);
    let missing = span_of_3.clone();
    let phoenix = Fake::start(move |asked| {
        let data = body(&asked[asked.len() - 1])["data"].clone();
        let asks_for = data.as_array().unwrap().iter().any(|row| row["span_id"] == missing.as_str());
        if asks_for && !there.load(Ordering::Relaxed) { status(404) } else { answer(200, json!({"data": []})) }
    });
    let phoenix = phoenix.await;
    let token = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(token.path(), "secret\n").unwrap();
    let running = Running::start(|change| {
        let token = Some(SecretSource::File(token.path().to_owned()));
        change.write_back = vec![WriteBackSettings { token, ..settings(WriteBackKind::Phoenix, &phoenix.url) }];
    });
    let running = running.await;
    let mut lone = span(3, 7);
    lone.parent_span_id = Vec::new();
    running.accept(&request("agent", vec![span(0, 0), span(1, 0), lone])).await;
    for trace in [0, 1, 3] {
        running.scored(trace_id(trace), 1).await;
    }
    let others = async || (running.store.queue_depths(Timestamp(0)).await.unwrap().outbox == 1).then_some(());
    eventually("everything but the scores of the missing span to be delivered", others).await;
    is_there.store(true, Ordering::Relaxed);
    running.delivered().await;

    let asked = phoenix.asked();
    assert!(asked.iter().all(|it| it.line == "POST /v1/span_annotations?sync=true"), "{}", asked[0].line);
    assert!(asked.iter().all(|it| it.authorization.as_deref() == Some("Bearer secret")));
    let last = body(&asked[asked.len() - 1]);
    let rows = last["data"].as_array().unwrap();
    let told = rows.iter().map(|row| triple(&row["name"], &row["span_id"], &row["result"]["score"])).collect();
    assert_eq!(expected(&running, 3).await, told);
    assert_eq!(rows[0]["span_id"], span_of_3.as_str());
    assert_eq!(rows[0]["annotator_kind"], "CODE");
    let revision = rows[0]["metadata"]["revision"].as_str().unwrap();
    assert_eq!(rows[0]["identifier"], format!("driftline:{revision}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn langfuse_is_told_the_same_events_again_until_it_has_taken_all_of_them() {
    let langfuse = Fake::start(|asked| {
        let id = body(&asked[0])["batch"][0]["id"].clone();
        let errors = if asked.len() == 1 { json!([{"id": id, "status": 500, "message": "later"}]) } else { json!([]) };
        answer(207, json!({"successes": [], "errors": errors}))
    });
    let langfuse = langfuse.await;
    let keys = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(keys.path(), "pk-1:sk-2").unwrap();
    let running = Running::start(|change| {
        let token = Some(SecretSource::File(keys.path().to_owned()));
        change.write_back = vec![WriteBackSettings { token, ..settings(WriteBackKind::Langfuse, &langfuse.url) }];
    });
    let running = running.await;
    running.accept(&request("agent", vec![span(0, 0), span(0, 1)])).await;
    running.scored(trace_id(0), 1).await;
    running.delivered().await;

    let asked = langfuse.asked();
    assert_eq!(asked.len(), 2);
    assert_eq!(asked[0].line, "POST /api/public/ingestion");
    assert_eq!(asked[0].authorization.as_deref(), Some("Basic cGstMTpzay0y"));
    let (first, second) = (body(&asked[0]), body(&asked[1]));
    assert_eq!(first, second, "a repeat is the same events");
    let events = second["batch"].as_array().unwrap();
    let told = events.iter().map(|event| &event["body"]);
    let told: BTreeSet<_> = told.map(|it| triple(&it["name"], &it["observationId"], &it["value"])).collect();
    assert_eq!(expected(&running, 0).await, told);
    let ids: BTreeSet<&str> = events.iter().map(|event| event["body"]["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), events.len());
    for event in events {
        assert_eq!(event["type"], "score-create");
        assert_eq!(event["id"], format!("{}-1", event["body"]["id"].as_str().unwrap()));
        assert_eq!(event["body"]["traceId"], trace_id(0).to_string());
        assert_eq!(event["body"]["dataType"], "NUMERIC");
        assert!(event["timestamp"].as_str().unwrap().ends_with('Z'));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn langfuse_that_refuses_an_event_for_good_is_asked_about_its_trace_alone() {
    let is_picky = Arc::new(AtomicBool::new(true));
    let picky = Arc::clone(&is_picky);
    let refused = trace_id(1).to_string();
    let langfuse = Fake::start(move |asked| {
        let batch = body(&asked[asked.len() - 1])["batch"].clone();
        let of_refused = batch.as_array().unwrap().iter().find(|event| event["body"]["traceId"] == refused.as_str());
        let rejection = of_refused.map(|event| json!({"id": event["id"], "status": 400, "message": "no"}));
        let errors: Vec<Value> = rejection.into_iter().filter(|_| picky.load(Ordering::Relaxed)).collect();
        answer(207, json!({"successes": [], "errors": errors}))
    });
    let langfuse = langfuse.await;
    let running = Running::start(|change| change.write_back = vec![settings(WriteBackKind::Langfuse, &langfuse.url)]);
    let running = running.await;
    running.accept(&request("agent", (0..3).map(|trace| span(trace, 0)).collect())).await;
    for trace in 0..3 {
        running.scored(trace_id(trace), 1).await;
    }
    let others = async || (running.store.queue_depths(Timestamp(0)).await.unwrap().outbox == 1).then_some(());
    eventually("all but the refused trace to be delivered", others).await;
    is_picky.store(false, Ordering::Relaxed);
    running.delivered().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mlflow_is_asked_to_bring_an_assessment_up_to_date_that_is_there() {
    // As MLflow 3.17 answers: a second assessment of an id breaks a constraint of its database. The answer to each first
    // request is lost on its way.
    let mlflow = Fake::start(|asked| {
        let last = &asked[asked.len() - 1];
        let posts = asked.iter().filter(|it| it.line == last.line && it.body == last.body).count();
        match (last.line.starts_with("POST"), posts) {
            (true, 1) => status(504),
            (true, _) => status(500),
            (false, _) => answer(200, json!({"assessment": {}})),
        }
    });
    let mlflow = mlflow.await;
    let running = Running::start(|change| {
        change.write_back = vec![settings(WriteBackKind::Mlflow, &mlflow.url)];
        // One score, and one lost answer to wait for.
        let mut names: Vec<String> = shipped();
        names.retain(|name| name != "limits" && name != "loop");
        change.evaluators.disabled = names;
    });
    let running = running.await;
    running.accept(&request("agent", vec![span(0, 0)])).await;
    running.scored(trace_id(0), 1).await;
    running.delivered().await;

    let told = expected(&running, 0).await;
    assert!(!told.is_empty());
    let asked = mlflow.asked();
    let path = format!("/api/3.0/mlflow/traces/tr-{}/assessments", trace_id(0));
    let (posts, patches): (Vec<&Asked>, Vec<&Asked>) = asked.iter().partition(|it| it.line.starts_with("POST"));
    assert!(posts.iter().all(|it| it.line == format!("POST {path}")));
    let updated: BTreeSet<_> = patches
        .iter()
        .map(|it| {
            let body = body(it);
            let assessment = &body["assessment"];
            assert_eq!(it.line, format!("PATCH {path}/{}", assessment["assessment_id"].as_str().unwrap()));
            assert_eq!(body["update_mask"], "feedback,rationale,metadata");
            assert_eq!(assessment["source"]["source_type"], "CODE");
            triple(&assessment["assessment_name"], &assessment["span_id"], &assessment["feedback"]["value"])
        })
        .collect();
    assert_eq!(updated, told);
}

/// Names of the shipped evaluators.
fn shipped() -> Vec<String> {
    let settings = driftline::app::settings::defaults().unwrap();
    let all = driftline::app::every_evaluator(&settings, None).unwrap();
    all.definitions().iter().map(|definition| definition.name.clone()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_of_an_earlier_version_never_overwrites_what_is_said_of_a_later_one() {
    let is_away = Arc::new(AtomicBool::new(true));
    let away = Arc::clone(&is_away);
    let phoenix =
        Fake::start(move |_| if away.load(Ordering::Relaxed) { status(503) } else { answer(200, json!({"data": []})) });
    let phoenix = phoenix.await;
    let running = Running::start(|change| change.write_back = vec![settings(WriteBackKind::Phoenix, &phoenix.url)]);
    let running = running.await;
    running.accept(&request("agent", vec![span(0, 0)])).await;
    running.scored(trace_id(0), 1).await;
    running.accept(&request("agent", vec![span(0, 1)])).await;
    running.scored(trace_id(0), 2).await;
    // One that was on its way when the second version was recorded may speak of the first.
    let asked = phoenix.asked().len();
    eventually("another attempt", async || (phoenix.asked().len() > asked + 1).then_some(())).await;
    let before = phoenix.asked().len();
    is_away.store(false, Ordering::Relaxed);
    running.delivered().await;
    let versions: BTreeSet<String> = phoenix.asked()[before..]
        .iter()
        .flat_map(|asked| body(asked)["data"].as_array().unwrap().clone())
        .map(|row| row["metadata"]["trace_version"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(versions, BTreeSet::from(["2".to_owned()]));
}
