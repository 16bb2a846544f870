//! Judging as a whole: money, limits and lanes, against models behind a real socket that misbehave on cue.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use driftline::app::settings::Settings;
use driftline::backends::judge::{JudgeModelSettings, Provider};
use driftline::backends::store::{AlertFilter, CostDimension, CostRow, CostSelection, Store, StoredEvaluation};
use driftline::domain::evaluation::{AnnotatorKind, Outcome};
use driftline::domain::money::NanoUsd;
use driftline::domain::time::Timestamp;
use driftline::simulate::SimulatedTrace;
use driftline::telemetry::metrics::CallLabels;
use serde_json::{Value, json};

use super::fake::{Asked, Fake, status};
use super::fixtures::{Running, eventually, judgeable, requests, simulated, write_back};
use crate::support::services::postgres;

pub(crate) const START: Timestamp = Timestamp(1_760_000_000_000_000_000);
pub(crate) const HOUR: Duration = Duration::from_hours(1);
pub(crate) const YES: &str = r#"{"reason": "all of it is there", "verdict": "YES"}"#;
/// Dollars a million tokens, of prompts and of answers.
pub(crate) const PRICES: (f64, f64) = (2.0, 10.0);

pub(super) fn model(provider: Provider, url: &str) -> JudgeModelSettings {
    JudgeModelSettings {
        input_usd_per_mtok: Some(PRICES.0),
        output_usd_per_mtok: Some(PRICES.1),
        timeout: Duration::from_secs(30),
        ..JudgeModelSettings::new(provider, format!("{url}/v1"), "m")
    }
}

pub(super) fn judging(settings: &mut Settings, model: JudgeModelSettings) {
    settings.judge.models = [("default".to_owned(), model)].into();
    settings.sampling.healthy_rate = 1.0;
}

/// What a provider would write on its bill for a request: a token for four bytes of the prompt, and 20 for the answer.
pub(crate) fn tokens(asked: &Asked) -> (u64, u64) {
    (asked.body.len() as u64 / 4, 20)
}

pub(crate) fn bill(asked: &[Asked]) -> NanoUsd {
    let cost =
        |(input, output): (u64, u64)| NanoUsd::from_usd((input as f64 * PRICES.0 + output as f64 * PRICES.1) / 1e6);
    asked.iter().map(|asked| cost(tokens(asked))).sum()
}

pub(crate) fn chat(asked: &Asked, text: &str) -> Value {
    let (input, output) = tokens(asked);
    json!({
        "model": "m-2026",
        "choices": [{ "message": { "role": "assistant", "content": text } }],
        "usage": { "prompt_tokens": input, "completion_tokens": output }
    })
}

pub(super) fn yes(asked: &[Asked]) -> Option<Response> {
    Some(Json(chat(&asked[asked.len() - 1], YES)).into_response())
}

pub(super) async fn accept(running: &Running, traces: &[SimulatedTrace]) {
    for request in requests(traces, 20) {
        running.accept(&request).await;
    }
}

/// Waits until nothing waits to be judged, and gives the judges' rows.
pub(super) async fn judgements(store: &Store, traces: &[SimulatedTrace]) -> Vec<StoredEvaluation> {
    let done = async || {
        let depths = store.queue_depths(Timestamp(0)).await.unwrap();
        (depths.pending == 0 && depths.judge_jobs == 0).then_some(())
    };
    for trace in traces {
        let recorded = async || store.trace(trace.truth.trace_id).await.unwrap().map(drop);
        eventually("every trace", recorded).await;
    }
    eventually("every judgement", done).await;
    let mut rows = Vec::new();
    for trace in traces {
        let of_trace = store.evaluations(trace.truth.trace_id).await.unwrap();
        rows.extend(of_trace.into_iter().filter(|row| row.evaluation.annotator_kind == AnnotatorKind::Llm));
    }
    rows
}

pub(super) fn count(rows: &[StoredEvaluation], outcome: Outcome) -> usize {
    rows.iter().filter(|row| row.evaluation.outcome == outcome).count()
}

pub(super) async fn ledger(store: &Store) -> CostRow {
    let mut rows = store.costs(CostDimension::JudgeModel, &CostSelection::default()).await.unwrap();
    assert_eq!(rows.len(), 1, "{rows:?}");
    rows.remove(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn anthropic_judges_like_any_other() {
    let fake = Fake::start(|asked| {
        let last = &asked[asked.len() - 1];
        let ((input, output), body) = (tokens(last), serde_json::from_slice::<Value>(&last.body).unwrap());
        assert_eq!((last.path.as_str(), &body["tool_choice"]["name"]), ("/v1/messages", &json!("verdict")));
        let verdict =
            json!({ "type": "tool_use", "name": "verdict", "input": serde_json::from_str::<Value>(YES).unwrap() });
        let usage = json!({ "input_tokens": input, "output_tokens": output });
        Some(Json(json!({ "model": "m-2026", "content": [verdict], "usage": usage })).into_response())
    });
    let fake = fake.await;
    let running = Running::start(|settings| judging(settings, model(Provider::Anthropic, &fake.url))).await;
    let traces = [judgeable()];
    accept(&running, &traces).await;
    let rows = judgements(&running.store, &traces).await;
    assert!(count(&rows, Outcome::Scored) >= 2, "{rows:?}");
    assert_eq!(ledger(&running.store).await.charged, bill(&fake.asked()), "known tokens are charged exactly");
}

/// An evaluator of one's own that another model judges.
pub(super) fn own_judge(folder: &std::path::Path, settings: &mut Settings) {
    let of = folder.join("tone");
    std::fs::create_dir_all(&of).unwrap();
    let definition = "kind = \"llm_judge\"\ndescription = \"YES when polite\"\n[llm_judge]\ninputs = [\"answer\"]\n\
                      model = \"other\"\nsamples = 3\n";
    std::fs::write(of.join("evaluator.toml"), definition).unwrap();
    std::fs::write(of.join("prompt.md"), "# System\nIs it polite?\n\n# User\n{{answer}}\n").unwrap();
    settings.evaluators.directory = folder.display().to_string();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_hangs_takes_no_slot_from_another_and_samples_are_taken_until_most_agree() {
    let hanging = Fake::start(|_| None).await;
    let torn = Fake::start(|asked| {
        // Whoever is asked for a readable verdict gives one, whatever else was asked in between.
        let is_repair = String::from_utf8_lossy(&asked[asked.len() - 1].body).contains("which is \\\"YES\\\" or");
        let verdict = if asked.len() % 3 == 1 && !is_repair { YES.replace("YES", "no way") } else { YES.to_owned() };
        let verdict = if asked.len() % 3 == 2 { YES.replace("YES", "NO") } else { verdict };
        Some(Json(chat(&asked[asked.len() - 1], &verdict)).into_response())
    });
    let torn = torn.await;
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(|settings| {
        let slow = JudgeModelSettings { timeout: Duration::from_secs(50), ..model(Provider::Openai, &hanging.url) };
        judging(settings, slow);
        let one = JudgeModelSettings { concurrency: 1, ..model(Provider::Openai, &torn.url) };
        settings.judge.models.insert("other".to_owned(), one);
        own_judge(folder.path(), settings);
    })
    .await;
    let traces = simulated("healthy", 20, START, HOUR);
    accept(&running, &traces).await;
    eventually("the hanging model", async || (hanging.asked().len() >= 8).then_some(())).await;
    for trace in &traces {
        let judged = async || {
            let rows = running.store.evaluations(trace.truth.trace_id).await.unwrap();
            rows.into_iter().find(|row| row.evaluation.evaluator == "tone")
        };
        let row = eventually("the other model's verdict", judged).await;
        assert_eq!(row.evaluation.outcome, Outcome::Scored, "{row:?}");
    }
    assert_eq!(hanging.asked().len(), 8, "no more are under way than may be");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_judge_whose_time_runs_out_between_its_samples_does_not_pay_for_the_first_for_ever() {
    let (quick, slow) = (Fake::start(yes).await, Fake::start(yes).await);
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(|settings| {
        judging(settings, model(Provider::Openai, &quick.url));
        let timeout = Duration::from_secs(5);
        let one = JudgeModelSettings { requests_per_minute: Some(1), timeout, ..model(Provider::Openai, &slow.url) };
        settings.judge.models.insert("other".to_owned(), one);
        settings.judge.attempts = 1;
        own_judge(folder.path(), settings);
    })
    .await;
    let trace = judgeable();
    running.accept(&trace.request).await;
    let rows = running.judged(trace.truth.trace_id).await;
    let row = &rows.iter().find(|row| row.evaluation.evaluator == "tone").unwrap().evaluation;
    assert_eq!(row.outcome, Outcome::Failed, "{row:?}");
    assert!(row.explanation.as_ref().unwrap().contains("had no turn (attempt 1 of 1)"), "{row:?}");
    assert_eq!(slow.asked().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_question_is_paid_for_once() {
    let fake = Fake::start(yes).await;
    let running = Running::start(|settings| judging(settings, model(Provider::Openai, &fake.url))).await;
    let trace = judgeable();
    running.accept(&trace.request).await;
    running.judged(trace.truth.trace_id).await;
    let asked = fake.asked().len();
    let mut late = trace.request.clone();
    let span = &mut late.resource_spans[0].scope_spans[0].spans[0];
    span.span_id = vec![9; 8];
    span.parent_span_id = vec![8; 8];
    span.name = "a late span that no judge is shown".to_owned();
    span.attributes.clear();
    span.events.clear();
    late.resource_spans[0].scope_spans[0].spans.truncate(1);
    running.accept(&late).await;
    running.scored(trace.truth.trace_id, 2).await;
    let rows = judgements(&running.store, &[trace]).await;
    assert!(count(&rows, Outcome::Scored) >= 2, "{rows:?}");
    assert_eq!(fake.asked().len(), asked, "the verdicts were known");
}

/// A model that notes how many calls are under way at once.
async fn counting(pause: Duration) -> (Fake, Arc<AtomicUsize>) {
    let (under_way, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let seen = Arc::clone(&most);
    let fake = Fake::start(move |asked| {
        seen.fetch_max(under_way.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        let (under_way, answer) = (Arc::clone(&under_way), chat(&asked[asked.len() - 1], YES).to_string());
        let body = futures_util::stream::once(async move {
            tokio::time::sleep(pause).await;
            under_way.fetch_sub(1, Ordering::SeqCst);
            Ok::<_, std::io::Error>(answer)
        });
        Some(Response::new(Body::from_stream(body)))
    });
    (fake.await, most)
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_that_are_both_busy_get_their_share_of_three_slots_and_no_more_are_ever_used() {
    let (fake, most) = counting(Duration::from_millis(150)).await;
    let url = postgres().database().await;
    let settings = |settings: &mut Settings| {
        settings.store.url = url.clone();
        judging(settings, JudgeModelSettings { concurrency: 3, ..model(Provider::Openai, &fake.url) });
    };
    let (one, two) = (Running::start(settings).await, Running::start(settings).await);
    let traces = simulated("healthy", 40, START, HOUR);
    accept(&one, &traces).await;
    let rows = judgements(&one.store, &traces).await;
    assert_eq!(count(&rows, Outcome::Failed), 0, "{rows:?}");
    assert_eq!(most.load(Ordering::SeqCst), 3);
    let answered = CallLabels { to: "default".to_owned(), result: "ok".to_owned() };
    let by_each = [one, two].map(|it| it.metrics.judge_calls.get_or_create(&answered).get() as usize);
    assert_eq!(by_each.iter().sum::<usize>(), fake.asked().len());
    assert!(by_each.iter().all(|calls| *calls >= fake.asked().len() / 5), "{by_each:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_share_slots_and_a_budget_that_256_calls_at_once_never_exceed() {
    let (fake, most) = counting(Duration::from_millis(30)).await;
    let url = postgres().database().await;
    let budget = 0.40;
    let settings = |settings: &mut Settings| {
        settings.store.url = url.clone();
        judging(settings, JudgeModelSettings { concurrency: 256, ..model(Provider::Openai, &fake.url) });
        settings.judge.budget.daily_usd = budget;
        settings.judge.budget.full_rate_until = 1.0;
        settings.judge.budget.reserve = 0.0;
    };
    let (one, two) = (Running::start(settings).await, Running::start(settings).await);
    let traces = simulated("healthy", 200, START, HOUR);
    accept(&one, &traces[..100]).await;
    accept(&two, &traces[100..]).await;
    let rows = judgements(&one.store, &traces).await;
    let (scored, skipped) = (count(&rows, Outcome::Scored), count(&rows, Outcome::SkippedBudget));
    let (asked, ledger) = (fake.asked(), ledger(&one.store).await);
    assert!(bill(&asked).usd() <= budget && ledger.charged.usd() <= budget, "{} of ${budget}", ledger.charged);
    assert!(bill(&asked).usd() > 0.9 * budget, "most of it is used: {}", bill(&asked));
    assert_eq!((scored, ledger.requests as usize), (asked.len(), asked.len()));
    assert!(skipped > 50 && scored > 50, "{scored} scored, {skipped} skipped");
    assert!(most.load(Ordering::SeqCst) <= 256);
    let alerts = one.store.alerts(&AlertFilter { open_only: true, service: None }).await.unwrap();
    assert_eq!(alerts.iter().filter(|alert| alert.detector == "judge_budget").count(), 1, "{alerts:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_budget_burns_the_rate_falls_and_each_score_tells_its_probability() {
    let fake = Fake::start(yes).await;
    let running = Running::start(|settings| {
        let one = JudgeModelSettings { concurrency: 2, ..model(Provider::Openai, &fake.url) };
        judging(settings, one);
        settings.judge.budget.daily_usd = 0.5;
        settings.judge.budget.full_rate_until = 0.0;
    })
    .await;
    let traces = simulated("healthy", 150, START, HOUR);
    for request in requests(&traces, 10) {
        running.accept(&request).await;
    }
    let rows = judgements(&running.store, &traces).await;
    let mut by_rate: BTreeMap<String, usize> = BTreeMap::new();
    for row in rows.iter().filter(|row| row.evaluation.outcome == Outcome::Scored) {
        *by_rate.entry(format!("{:.4}", row.probability)).or_default() += 1;
    }
    assert!(by_rate.len() >= 2, "the rate has fallen in steps: {by_rate:?}");
    let left_out = rows.iter().filter(|row| row.evaluation.outcome == Outcome::SampledOut);
    let explained = |row: &StoredEvaluation| row.evaluation.explanation.as_ref().unwrap().contains("judging rate");
    assert!(left_out.clone().count() > 20 && left_out.clone().all(explained));
    assert!(bill(&fake.asked()).usd() <= 0.5);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_told_as_spans_of_our_own_that_link_to_what_was_judged() {
    use driftline::otlp::{ExportTraceServiceRequest, is_own_span};
    use prost::Message as _;
    let (fake, backend) = (Fake::start(yes).await, Fake::start(|_| status(200)).await);
    let running = Running::start(|settings| {
        judging(settings, model(Provider::Openai, &fake.url));
        settings.write_back = vec![write_back(&backend.url)];
    })
    .await;
    let trace = judgeable();
    running.accept(&trace.request).await;
    running.judged(trace.truth.trace_id).await;
    running.delivered().await;
    let sent = backend.asked().into_iter().filter(|asked| asked.path == "/v1/traces");
    let groups = sent.flat_map(|asked| ExportTraceServiceRequest::decode(asked.body).unwrap().resource_spans);
    let scopes: Vec<_> = groups.flat_map(|group| group.scope_spans).collect();
    assert!(scopes.iter().all(|scope| is_own_span(scope.scope.as_ref())));
    let calls: Vec<_> = scopes.into_iter().flat_map(|scope| scope.spans).filter(|span| span.name == "chat m").collect();
    assert_eq!(calls.len(), fake.asked().len());
    for call in calls {
        assert_eq!(call.links[0].trace_id, trace.truth.trace_id.as_bytes());
        assert_ne!(call.trace_id, trace.truth.trace_id.as_bytes(), "the agent's own trace does not grow");
        let keys: Vec<&str> = call.attributes.iter().map(|attribute| attribute.key.as_str()).collect();
        assert!(keys.contains(&"gen_ai.usage.input_tokens") && keys.contains(&"driftline.judge.cost_usd"), "{keys:?}");
    }
}
