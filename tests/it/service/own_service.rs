//! A user's own service that scores runs: answered, hanging, and writing nonsense.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::response::{IntoResponse, Response};
use driftline::app::settings::Settings;
use driftline::backends::clock::ManualClock;
use driftline::backends::store::{NewOutboxItem, RecordedTrace, Selection, StoredEvaluation};
use driftline::domain::evaluation::{AnnotatorKind, FailureClass, Outcome};
use driftline::domain::measurement::{SeriesKind, Value as Measured};
use driftline::pipeline::Shared;
use driftline::pipeline::retention::{Retention, purge};
use driftline::telemetry::metrics::{CallLabels, Metrics};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::fake::{Fake, status};
use super::fixtures::{Running, eventually, judgeable};
use crate::stores::fixtures::{TestStore, plain, seconds};

/// A folder with an evaluator `orders` that asks the service at `url`.
fn orders(url: &str, table: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("orders")).unwrap();
    let toml = format!("kind = \"http\"\ndescription = \"d\"\n[http]\nurl = \"{url}/check\"\n{table}");
    std::fs::write(folder.path().join("orders/evaluator.toml"), toml).unwrap();
    folder
}

fn asking<'a>(folder: &'a TempDir) -> impl FnOnce(&mut Settings) + 'a {
    |settings| {
        settings.evaluators.directory = folder.path().display().to_string();
        settings.sampling.healthy_rate = 1.0;
    }
}

fn answer(value: Value) -> Option<Response> {
    Some(Json(value).into_response())
}

async fn row(running: &Running, trace_id: driftline::domain::ids::TraceId) -> StoredEvaluation {
    let row = async || {
        let rows = running.store.evaluations(trace_id).await.unwrap();
        rows.into_iter().find(|row| row.evaluation.evaluator == "orders")
    };
    eventually("the service's row", row).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_is_sent_the_run_and_its_score_is_recorded_measured_and_flags_the_trace() {
    let service = Fake::start(|asked| match asked.len() {
        1 => status(503),
        _ => answer(json!({ "value": 0.2, "explanation": "there is no such order" })),
    });
    let service = service.await;
    let folder = orders(&service.url, "");
    let running = Running::start(asking(&folder)).await;
    let trace = judgeable();
    running.accept(&trace.request).await;
    let row = row(&running, trace.truth.trace_id).await;
    assert_eq!((row.evaluation.value, row.evaluation.label.as_deref()), (Some(0.2), Some("fail")));
    assert_eq!(row.evaluation.annotator_kind, AnnotatorKind::Code);

    let asked = service.asked();
    assert_eq!((asked.len(), asked[1].path.as_str()), (2, "/check"));
    let sent: Value = serde_json::from_slice(&asked[1].body).unwrap();
    assert!(sent["service"].is_string() && sent["tools"].is_array() && sent["output"].is_string(), "{sent}");

    let stored = running.store.trace(trace.truth.trace_id).await.unwrap().unwrap();
    assert_eq!((stored.failing, stored.failure_class), (true, Some(FailureClass::Soft)));
    let records = running.store.records(&Selection::default()).await.unwrap();
    let measured = records[0].measurement("orders").map(|orders| (orders.kind, orders.value.clone()));
    assert_eq!(measured, Some((SeriesKind::Ordinal, Measured::Number(0.2))), "its score enters statistics as it is");
    let measured = records[0].measurements.iter().filter(|measurement| measurement.series == "loop").count();
    assert_eq!(measured, 1, "a rule's score is not counted twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_hangs_keeps_no_rule_waiting_and_fails_with_its_cause() {
    let service = Fake::start(|_| None).await;
    let folder = orders(&service.url, "timeout_seconds = 1.0\nattempts = 1\n");
    let running = Running::start(asking(&folder)).await;
    let trace = judgeable();
    running.accept(&trace.request).await;
    running.scored(trace.truth.trace_id, 1).await;
    let rows = running.store.evaluations(trace.truth.trace_id).await.unwrap();
    assert!(rows.iter().any(|row| row.evaluation.evaluator == "loop"), "{rows:?}");
    let row = row(&running, trace.truth.trace_id).await.evaluation;
    assert_eq!((row.outcome, row.value), (Outcome::Failed, None));
    let why = row.explanation.unwrap();
    assert!(why.contains("did not answer") && why.ends_with("(attempt 1 of 1)"), "{why}");
}

#[tokio::test]
async fn what_waits_longer_than_traces_are_kept_is_given_up_and_counted_and_a_question_ends_with_a_row() {
    let it = TestStore::sqlite().await;
    let trace = plain(1);
    let id = trace.trace.trace_id;
    let question = json!({"trace_id": id, "trace_version": trace.trace.version, "revision": "r1", "probability": 1.0});
    let waiting = |destination: &str, payload: &Value| NewOutboxItem {
        destination: destination.to_owned(),
        key: "a".to_owned(),
        payload: payload.to_string().into_bytes(),
    };
    let outbox = vec![waiting("evaluator orders", &question), waiting("removed", &json!({}))];
    it.store.record_traces(&[RecordedTrace { outbox, ..trace }], seconds(0)).await.unwrap();
    let shared = Shared {
        store: it.store.clone(),
        clock: Arc::new(ManualClock::new(seconds(86_401))),
        metrics: Arc::new(Metrics::default()),
        stop: CancellationToken::new(),
        worker: "test".into(),
    };
    let [day, year] = [Duration::from_hours(24), Duration::from_hours(365 * 24)];
    let retention =
        Retention { verdicts: year, ledger: year, alert_steps: year, archive: year, bodies: day, records: year };
    let purging = tokio::spawn(purge(shared.clone(), retention));
    let is_empty = async || (it.store.queue_depths(seconds(0)).await.unwrap().outbox == 0).then_some(());
    eventually("everything to be given up", is_empty).await;
    shared.stop.cancel();
    purging.await.unwrap();
    let rows = it.store.evaluations(id).await.unwrap();
    let row = rows.into_iter().find(|row| row.evaluation.evaluator == "orders").unwrap().evaluation;
    assert_eq!((row.outcome, row.revision.as_str()), (Outcome::Failed, "r1"));
    for to in ["evaluator orders", "removed"] {
        let labels = CallLabels { to: to.to_owned(), result: "failed".to_owned() };
        assert_eq!(shared.metrics.deliveries.get_or_create(&labels).get(), 1, "{to}");
    }
}
