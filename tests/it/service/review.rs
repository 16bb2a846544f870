//! The audit sample and the anchors of a running service.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use axum::Json;
use axum::response::{IntoResponse, Response};
use driftline::backends::judge::{JudgeModelSettings, Provider};
use driftline::backends::store::{CostDimension, CostSelection, ReviewFilter, Stream};
use driftline::domain::label::{Answer, FlagReason};
use driftline::domain::time::Timestamp;
use driftline::evaluate::run::Evaluators;
use driftline::normalize::{AttributeMapping, PriceTable};
use driftline::queries::calibration::{calibration, standings};
use driftline::queries::explain::explain;
use driftline::queries::review::{AnchorRequest, GivenLabel, GivenLabels, NextRequest, add_anchors, add_labels, next};
use driftline::simulate::SimulatedTrace;
use serde_json::json;

use super::fake::Fake;
use super::fixtures::{Running, eventually, requests, simulated};

const START: Timestamp = Timestamp(1_760_000_000_000_000_000);
const JUDGE: &str = "groundedness";

fn yes() -> Response {
    let content = r#"{"reason": "all of it is there", "verdict": "YES"}"#;
    let choices = json!([{ "index": 0, "message": { "role": "assistant", "content": content } }]);
    Json(json!({ "model": "m", "choices": choices, "usage": { "prompt_tokens": 9, "completion_tokens": 3 } }))
        .into_response()
}

/// A service that judges everything with this model, draws all of it for the audit, and asks about anchors each second.
async fn running(model: &Fake) -> (Running, Vec<SimulatedTrace>) {
    let url = format!("{}/v1", model.url);
    let running = Running::start(|settings| {
        let model = JudgeModelSettings {
            input_usd_per_mtok: Some(2.0),
            output_usd_per_mtok: Some(10.0),
            ..JudgeModelSettings::new(Provider::Openai, url, "m")
        };
        settings.judge.models = [("default".to_owned(), model)].into();
        settings.judge.budget.daily_usd = 5.0;
        settings.sampling.healthy_rate = 1.0;
        (settings.review.audit_rate, settings.review.audit_failing_rate) = (1.0, 1.0);
        settings.review.anchor_interval = Duration::from_secs(1);
    });
    let running = running.await;
    let traces = simulated("healthy", 12, START, Duration::from_hours(1));
    for request in requests(&traces, 6) {
        running.accept(&request).await;
    }
    for trace in &traces {
        running.judged(trace.truth.trace_id).await;
    }
    (running, traces)
}

fn label(of: &driftline::queries::review::ReviewTask, label: Answer) -> GivenLabel {
    GivenLabel {
        trace_id: of.trace_id,
        evaluator: Some(of.evaluator.clone()),
        revision: None,
        label,
        reviewer: Some("anna".to_owned()),
        note: None,
        labelled_at: None,
        origin: None,
        probability: None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn judged_traces_are_drawn_shown_without_the_verdict_labelled_and_calibrate_the_judge() {
    let model = Fake::start(|_| Some(yes())).await;
    let (running, traces) = running(&model).await;
    let store = &running.store;
    let drawn = async || store.undrawn(Timestamp(0), 1).await.unwrap().is_empty().then_some(());
    eventually("a draw for every judgement", drawn).await;

    let asked = NextRequest { judge: Some(JUDGE.to_owned()), ..NextRequest::default() };
    let (names, prices) = (AttributeMapping::default(), PriceTable::default());
    let mut labelled = BTreeSet::new();
    while let Some(task) = next(store, &asked, &names, &prices).await.unwrap().task {
        assert_eq!((task.stream.as_str(), task.verdict, &task.reason), ("audit", None, &None));
        assert!(task.input.is_some() && task.output.is_some(), "{task:?}");
        let given = GivenLabels { labels: vec![label(&task, Answer::Fail)], import: false };
        assert_eq!(add_labels(store, given, START).await.unwrap().new, 1);
        assert!(labelled.insert(task.trace_id), "no trace is asked about twice");
    }
    assert!(labelled.len() >= 3, "{} of {} traces have something to judge", labelled.len(), traces.len());

    let found = calibration(store, Some(JUDGE), Timestamp(0)).await.unwrap().judges.remove(0).calibration;
    assert_eq!((found.labels.drawn, found.labels.audit), (labelled.len() as u64, labelled.len() as u64));
    assert_eq!((found.response_rate, found.calibrated), (Some(1.0), false));
    assert_eq!(found.disagreements.len(), labelled.len());
    assert_eq!(found.disagreements[0].reason.as_deref(), Some("all of it is there"));
    let revision = found.revision;
    assert!(!standings(store).await.unwrap().is_calibrated(JUDGE, &revision));
    let trace_id = *labelled.first().unwrap();
    let explained = explain(store, trace_id, &Evaluators::load(None, BTreeMap::new()).unwrap(), START).await.unwrap();
    assert!(
        explained.notes.iter().any(|note| note.starts_with("groundedness is an uncalibrated judge")),
        "{explained:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_rules_fail_waits_for_people_at_most_so_much_of_it_a_day_and_says_why() {
    let running = Running::start(|settings| settings.review.flagged_per_day = 3).await;
    let traces = simulated("model_upgrade", 120, START, Duration::from_hours(48));
    for request in requests(&traces, 40) {
        running.accept(&request).await;
    }
    for trace in &traces {
        running.scored(trace.truth.trace_id, 1).await;
    }
    let mut failed: BTreeMap<(String, String), u64> = BTreeMap::new();
    for trace in &traces {
        for row in running.store.evaluations(trace.truth.trace_id).await.unwrap() {
            if row.evaluation.is_failing() {
                let service = running.store.trace(trace.truth.trace_id).await.unwrap().unwrap().service;
                *failed.entry((service, row.evaluation.evaluator)).or_default() += 1;
            }
        }
    }
    failed.retain(|(_, evaluator), _| evaluator != "lexical_support");
    assert!(failed.values().any(|count| *count > 3), "nothing is too much: {failed:?}");
    let expected: u64 = failed.values().map(|count| (*count).min(3)).sum();
    let flagged = ReviewFilter { stream: Stream::Flagged, evaluator: None, reviewer: None };
    // Evaluated around midnight, they are of two days.
    let waits = async || {
        (expected..=2 * expected).contains(&running.store.count_review_items(flagged).await.unwrap()).then_some(())
    };
    eventually("what fails, up to the limit", waits).await;
    for item in running.store.review_items(flagged, 500).await.unwrap() {
        assert_eq!((item.flagged, item.passed), (Some(FlagReason::FailedRule), false), "{item:?}");
        assert_ne!(item.evaluator, "lexical_support", "it does not flag");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn anchors_are_asked_about_again_from_the_same_money_and_never_count_as_traffic() {
    let model = Fake::start(|_| Some(yes())).await;
    let (running, traces) = running(&model).await;
    let store = &running.store;
    let drawn = async || store.undrawn(Timestamp(0), 1).await.unwrap().is_empty().then_some(());
    eventually("a draw for every judgement", drawn).await;
    let (names, prices) = (AttributeMapping::default(), PriceTable::default());
    let asked = NextRequest { judge: Some(JUDGE.to_owned()), ..NextRequest::default() };
    let task = next(store, &asked, &names, &prices).await.unwrap().task.unwrap();
    let given = GivenLabels { labels: vec![label(&task, Answer::Pass)], import: false };
    add_labels(store, given, START).await.unwrap();
    let before = model.asked().len();
    let rows = async || {
        let mut rows = Vec::new();
        for trace in &traces {
            rows.extend(store.evaluations(trace.truth.trace_id).await.unwrap());
        }
        rows
    };
    let scores_before = rows().await;

    let request = AnchorRequest { judge: JUDGE.to_owned(), traces: Vec::new(), remove: false };
    assert_eq!(add_anchors(store, &request, START).await.unwrap().anchors, 1);
    let rounds = async || Some(store.anchor_scores(Some(JUDGE)).await.unwrap()).filter(|scores| scores.len() >= 2);
    let scores = eventually("two rounds", rounds).await;
    assert!(scores[0].round_at < scores[1].round_at && scores.iter().all(|score| score.passed));
    assert_eq!(scores[0].trace_id, task.trace_id);
    assert!(model.asked().len() >= before + 2, "the model is asked, whatever is known already");
    assert_eq!(rows().await, scores_before, "no score of traffic has changed or come");

    // Every request of the server is in the ledger, the anchors' among them.
    let selection = CostSelection::default();
    let paid = async || {
        let costs = store.costs(CostDimension::Outcome, &selection).await.unwrap();
        let requests: u64 = costs.iter().map(|row| row.requests).sum();
        (requests >= model.asked().len() as u64).then_some(requests)
    };
    assert!(eventually("every request in the ledger", paid).await >= before as u64 + 2);
}
