//! Judge models that limit, fail, hang, ramble or vanish: every judgement is made once, or says why not.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use driftline::app::settings::Settings;
use driftline::backends::judge::{JudgeModelSettings, Provider};
use driftline::backends::store::{CostDimension, CostSelection, Selection, Store, StoredEvaluation};
use driftline::domain::evaluation::{AnnotatorKind, Outcome};
use driftline::domain::ids::TraceId;
use driftline::domain::time::Timestamp;
use prost::Message as _;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::fake::{Asked, Fake, status};
use super::fixtures::{
    PROTOBUF, Running, evaluators, eventually, judgeable, post, requests, shipped_evaluators, simulated,
};
use crate::support::serve::Serve;

const HOUR: Duration = Duration::from_hours(1);

fn completion(text: &str) -> Option<Response> {
    let choices = json!([{ "index": 0, "message": { "role": "assistant", "content": text } }]);
    Some(Json(json!({ "choices": choices, "usage": { "prompt_tokens": 9, "completion_tokens": 3 } })).into_response())
}

fn yes() -> Option<Response> {
    completion(r#"{"reason": "all of it is there", "verdict": "YES"}"#)
}

/// What tells one judge's questions from another's: the first line of its instructions.
fn question(asked: &Asked) -> String {
    let body: Value = serde_json::from_slice(&asked.body).unwrap();
    body["messages"][0]["content"].as_str().unwrap().lines().next().unwrap().to_owned()
}

/// How often the last question has been asked.
fn attempt(asked: &[Asked]) -> usize {
    let last = question(&asked[asked.len() - 1]);
    asked.iter().filter(|it| question(it) == last).count()
}

/// Judges every trace with the model at `url`.
fn judging(settings: &mut Settings, url: &str, timeout: Duration, attempts: u32) {
    let model = JudgeModelSettings::new(Provider::Openai, format!("{url}/v1"), "m");
    settings.judge.models = [("default".to_owned(), JudgeModelSettings { timeout, ..model })].into();
    settings.judge.attempts = attempts;
    settings.sampling.healthy_rate = 1.0;
}

/// The judges' rows.
fn judgements(rows: &[StoredEvaluation]) -> Vec<&StoredEvaluation> {
    evaluators(rows);
    rows.iter().filter(|row| row.evaluation.annotator_kind == AnnotatorKind::Llm).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_judgement_survives_a_rate_limit_and_an_outage_and_is_recorded_once() {
    let model = Fake::start(|asked| match attempt(asked) {
        1 => Some((StatusCode::TOO_MANY_REQUESTS, [("retry-after", "2")]).into_response()),
        2 => status(500),
        _ => yes(),
    });
    let model = model.await;
    let running = Running::start(|settings| judging(settings, &model.url, Duration::from_secs(5), 4)).await;
    let trace = judgeable();
    running.accept(&trace.request).await;
    let rows = running.judged(trace.truth.trace_id).await;
    let scored = |row: &&&StoredEvaluation| row.evaluation.outcome == Outcome::Scored;
    let judged = judgements(&rows).iter().filter(scored).count();
    assert!(judged >= 2, "{rows:?}");

    let asked = model.asked();
    let questions: BTreeSet<String> = asked.iter().map(question).collect();
    assert_eq!(questions.len(), judged);
    for one in questions {
        let times: Vec<_> = asked.iter().filter(|asked| question(asked) == one).map(|asked| asked.at).collect();
        assert_eq!(times.len(), 3, "{one}");
        assert!(times[1] - times[0] >= Duration::from_secs(2), "the model had asked for two seconds");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_judgement_that_cannot_be_made_is_failed_and_never_a_zero() {
    let silent = Fake::start(|_| None).await;
    let rambling = Fake::start(|_| completion("I would rather not say, but it is 0 out of 10")).await;
    let html = Fake::start(|_| Some("<html>gateway</html>".into_response())).await;
    let refusing = Fake::start(|_| status(401)).await;
    let (soon, late) = (Duration::from_millis(300), Duration::from_secs(30));
    tokio::join!(
        is_failed(&silent, soon, "did not answer", 2),
        is_failed(&rambling, late, "verdict", 2),
        is_failed(&html, late, "no chat completion", 2),
        is_failed(&refusing, late, "401", 1),
    );
}

/// Every judgement of a trace fails for this reason after so many attempts, and leaves nothing that counts.
async fn is_failed(model: &Fake, timeout: Duration, reason: &str, attempts: usize) {
    let running = Running::start(|settings| judging(settings, &model.url, timeout, 2)).await;
    let trace = judgeable();
    running.accept(&trace.request).await;
    let rows = running.judged(trace.truth.trace_id).await;
    let is_failed = |row: &&StoredEvaluation| row.evaluation.outcome == Outcome::Failed;
    let failed: Vec<_> = judgements(&rows).into_iter().filter(is_failed).collect();
    assert!(failed.len() >= 2, "{rows:?}");
    assert_eq!(failed.len() * attempts, model.asked().len(), "{reason}");
    let record = running.store.records(&Selection::default()).await.unwrap().remove(0);
    for row in failed {
        assert_eq!(row.evaluation.value, None);
        assert!(row.evaluation.explanation.as_ref().unwrap().contains(reason), "{row:?}");
        let series = &row.evaluation.evaluator;
        assert!(!record.measurements.iter().any(|it| it.series == *series), "{series} counts as measured");
    }
    assert!(!running.store.trace(trace.truth.trace_id).await.unwrap().unwrap().failing, "no rule failed");
}

/// The shipped judges, of which each flags or none does.
fn judges_that_flag(flag: bool) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for judge in fs::read_dir("evaluators").unwrap().map(|entry| entry.unwrap().path()) {
        let definition = fs::read_to_string(judge.join("evaluator.toml")).unwrap_or_default();
        if !definition.starts_with("kind = \"llm_judge\"") {
            continue;
        }
        let own = folder.path().join(judge.file_name().unwrap());
        fs::create_dir(&own).unwrap();
        for file in ["prompt.md", "cases.jsonl"] {
            fs::copy(judge.join(file), own.join(file)).unwrap();
        }
        let definition = definition.replace("flag = true", &format!("flag = {flag}"));
        assert!(definition.contains(&format!("flag = {flag}")), "{definition}");
        fs::write(own.join("evaluator.toml"), definition).unwrap();
    }
    folder
}

#[tokio::test(flavor = "multi_thread")]
async fn a_judge_flags_a_trace_only_where_its_definition_says_so() {
    let model = Fake::start(|_| completion(r#"{"reason": "it is not there", "verdict": "NO"}"#)).await;
    for flag in [true, false] {
        let folder = judges_that_flag(flag);
        let running = Running::start(|settings| {
            judging(settings, &model.url, Duration::from_secs(5), 4);
            settings.evaluators.directory = folder.path().display().to_string();
        });
        let running = running.await;
        let trace = judgeable();
        running.accept(&trace.request).await;
        let rows = running.judged(trace.truth.trace_id).await;
        assert!(judgements(&rows).iter().any(|row| row.evaluation.value == Some(0.0)), "{rows:?}");
        let stored = running.store.trace(trace.truth.trace_id).await.unwrap().unwrap();
        assert_eq!((stored.failing, stored.failure_class.is_some()), (flag, flag));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_go_on_while_the_judge_is_down() {
    let model = Fake::start(|_| None).await;
    let running = Running::start(|settings| judging(settings, &model.url, Duration::from_secs(50), 4)).await;
    let traces = simulated("healthy", 40, Timestamp(1_760_000_000_000_000_000), HOUR);
    for request in requests(&traces, 10) {
        running.accept(&request).await;
        eventually("a question to the judge", async || model.asked().first().map(drop)).await;
    }
    for trace in &traces {
        running.scored(trace.truth.trace_id, 1).await;
    }
    assert!(running.store.queue_depths(Timestamp(0)).await.unwrap().judge_jobs >= 40);
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_while_judging_the_service_makes_every_judgement_once_after_its_return() {
    let is_back = Arc::new(AtomicBool::new(false));
    let answers = Arc::clone(&is_back);
    // Every second question is answered before the kill, so that some judgements are recorded and some are lost.
    let model = Fake::start(move |asked| {
        let is_lucky = asked.len().is_multiple_of(2) || answers.load(Ordering::Relaxed);
        if is_lucky { yes() } else { None }
    });
    let model = model.await;
    let mut serve = Serve::start(&format!(
        "[store]\nurl = \"sqlite://{{folder}}/driftline.db\"\n[sampling]\nhealthy_rate = 1.0\n\
         [judge.models.default]\nbase_url = \"{}/v1\"\nmodel = \"m\"\ntimeout = \"1s\"\nallow_unpriced = true\n",
        model.url
    ));
    let traces = simulated("healthy", 12, Timestamp(1_760_000_000_000_000_000), HOUR);
    for request in requests(&traces, 12) {
        let url = format!("http://{}", serve.receives_on);
        let response = post(&url, &[("content-type", PROTOBUF)], request.encode_to_vec()).await;
        assert_eq!(response.status(), 200);
    }
    eventually("some questions to the judge", async || (model.asked().len() >= 8).then_some(())).await;
    serve.kill();
    is_back.store(true, Ordering::Relaxed);
    serve.restart();

    let store = Store::open(&serve.sqlite_url(), true).await.unwrap();
    let done = async || {
        let depths = store.queue_depths(Timestamp(0)).await.unwrap();
        (depths.judge_jobs == 0 && depths.pending == 0).then_some(())
    };
    eventually("every judgement", done).await;
    let costs = store.costs(CostDimension::JudgeModel, &CostSelection::default()).await.unwrap().remove(0);
    let asked = model.asked().len() as u64;
    assert!(costs.requests >= asked, "{asked} requests were received, {} are in the ledger", costs.requests);
    assert!(costs.answered >= costs.requests / 2, "the dead process's requests are the rest: {costs:?}");
    let ids: BTreeSet<TraceId> = traces.iter().map(|trace| trace.truth.trace_id).collect();
    let found = store.search(&Selection::default(), 100).await.unwrap();
    assert_eq!(found.iter().map(|trace| trace.trace_id).collect::<BTreeSet<_>>(), ids);
    for trace_id in ids {
        let rows = store.evaluations(trace_id).await.unwrap();
        assert_eq!(evaluators(&rows).len(), shipped_evaluators());
        assert!(rows.iter().all(|row| row.evaluation.outcome != Outcome::Failed), "{rows:?}");
        assert!(judgements(&rows).iter().any(|row| row.evaluation.value == Some(1.0)), "{rows:?}");
    }
}
