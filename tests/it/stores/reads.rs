//! Searching, and the records that statistics read.

use std::collections::BTreeMap;

use driftline::backends::store::{Selection, StoredEvaluation, StoredTrace};
use driftline::domain::evaluation::{AnnotatorKind, FailureClass};
use driftline::domain::measurement::{SeriesKind, Value};

use super::contract;
use super::fixtures::{TestStore, claim_jobs, plain, record_judgement, seconds, stored_evaluation, trace_id};

contract!(
    every_part_of_a_selection_narrows_it,
    a_search_gives_the_newest_first_and_no_more_than_asked_for,
    records_carry_what_the_judges_scored_and_rules_as_recorded,
    of_several_revisions_the_last_to_score_counts,
    records_of_many_pages_are_seen_once_each_in_order,
    a_baseline_never_changes,
);

async fn every_part_of_a_selection_narrows_it(it: TestStore) {
    let mut wanted = plain(1);
    wanted.trace.service = "shop".to_owned();
    wanted.trace.release = Some("2.1".to_owned());
    wanted.trace.model = Some("m-1".to_owned());
    wanted.trace.environment = Some("production".to_owned());
    wanted.trace.conversation_id = Some("c-1".to_owned());
    wanted.trace.user_id = Some("u-1".to_owned());
    wanted.trace.attributes =
        BTreeMap::from([("tier".to_owned(), "gold".to_owned()), ("order".to_owned(), "17".to_owned())]);
    (wanted.trace.failing, wanted.trace.failure_class) = (true, Some(FailureClass::Looping));
    wanted.trace.ended_at = seconds(50);
    let mut other = plain(2);
    other.trace.service = "desk".to_owned();
    other.trace.attributes = BTreeMap::from([("tier".to_owned(), "tin".to_owned())]);
    other.trace.ended_at = seconds(40);
    it.store.record_traces(&[wanted, other], seconds(60)).await.unwrap();

    let text = |value: &str| Some(value.to_owned());
    let attribute = |name: &str, value: &str| BTreeMap::from([(name.to_owned(), value.to_owned())]);
    let all = Selection::default;
    let selections = [
        Selection { service: text("shop"), ..all() },
        Selection { release: text("2.1"), ..all() },
        Selection { model: text("m-1"), ..all() },
        Selection { environment: text("production"), ..all() },
        Selection { conversation: text("c-1"), ..all() },
        Selection { user: text("u-1"), ..all() },
        Selection { attributes: attribute("tier", "gold"), ..all() },
        Selection { attributes: attribute("order", "17"), ..all() },
        Selection { failing: Some(true), ..all() },
        Selection { failure_class: Some(FailureClass::Looping), ..all() },
        Selection { since: Some(seconds(50)), ..all() },
        Selection { service: text("shop"), failing: Some(true), until: Some(seconds(51)), ..all() },
        Selection::of_hour("shop", seconds(0)),
    ];
    for selection in selections {
        let found = it.store.search(&selection, 10).await.unwrap();
        assert_eq!(found.iter().map(|trace| trace.trace_id).collect::<Vec<_>>(), [trace_id(1)], "{selection:?}");
        assert_eq!(it.store.records(&selection).await.unwrap().len(), 1, "{selection:?}");
    }
    for (selection, found) in [
        (all(), 2),
        (Selection { failing: Some(false), ..all() }, 1),
        (Selection { failure_class: Some(FailureClass::Hard), ..all() }, 0),
        (Selection { until: Some(seconds(50)), ..all() }, 1),
        (Selection { attributes: attribute("tier", "17"), ..all() }, 0),
        (Selection::of_hour("shop", seconds(3_600)), 0),
    ] {
        assert_eq!(it.store.search(&selection, 10).await.unwrap().len(), found, "{selection:?}");
    }
}

async fn a_search_gives_the_newest_first_and_no_more_than_asked_for(it: TestStore) {
    let traces: Vec<_> = [30, 10, 50, 20]
        .into_iter()
        .map(|second| {
            let mut trace = plain(second);
            trace.trace.ended_at = seconds(second as i64);
            trace.trace.attributes = BTreeMap::from([("second".to_owned(), second.to_string())]);
            trace
        })
        .collect();
    it.store.record_traces(&traces, seconds(60)).await.unwrap();
    let found: Vec<StoredTrace> = it.store.search(&Selection::default(), 3).await.unwrap();
    assert_eq!(
        found.iter().map(|trace| trace.trace_id).collect::<Vec<_>>(),
        [trace_id(50), trace_id(30), trace_id(20)]
    );
    assert_eq!(found[0].attributes["second"], "50");
}

async fn records_carry_what_the_judges_scored_and_rules_as_recorded(it: TestStore) {
    let rule = StoredEvaluation {
        evaluation: driftline::domain::evaluation::Evaluation {
            annotator_kind: AnnotatorKind::Code,
            ..stored_evaluation(trace_id(1), "loop", Some(0.0)).evaluation
        },
        ..stored_evaluation(trace_id(1), "loop", Some(0.0))
    };
    let judged = StoredEvaluation { probability: 0.25, ..stored_evaluation(trace_id(1), "grounded", Some(0.9)) };
    let failed = stored_evaluation(trace_id(1), "polite", None);
    let mut trace = plain(1);
    trace.evaluations = vec![rule, judged, failed];
    it.store.record_traces(&[trace, plain(2)], seconds(9)).await.unwrap();

    let records = it.store.records(&Selection::default()).await.unwrap();
    let series =
        |index: usize| -> Vec<&str> { records[index].measurements.iter().map(|m| m.series.as_str()).collect() };
    assert_eq!(series(0), ["output_tokens", "grounded"]);
    assert_eq!(series(1), ["output_tokens"]);
    let grounded = records[0].measurement("grounded").unwrap();
    assert_eq!(
        (grounded.kind, &grounded.value, grounded.probability),
        (SeriesKind::Boolean, &Value::Boolean(true), 0.25)
    );
}

async fn of_several_revisions_the_last_to_score_counts(it: TestStore) {
    let mut trace = plain(1);
    trace.judge_jobs = vec![
        driftline::backends::store::NewJudgeJob { revision: "z".to_owned(), ..super::fixtures::judge_job("grounded") },
        driftline::backends::store::NewJudgeJob { revision: "a".to_owned(), ..super::fixtures::judge_job("grounded") },
    ];
    it.store.record_traces(&[trace], seconds(9)).await.unwrap();
    let mut jobs = claim_jobs(&it.store, seconds(9), super::fixtures::LEASE, 2).await;
    jobs.sort_by(|a, b| b.revision.cmp(&a.revision));
    for (job, (second, value)) in jobs.iter().zip([(10, 1.0), (11, 0.0)]) {
        let mut verdict = super::fixtures::evaluation(trace_id(1), "grounded", Some(value));
        verdict.revision = job.revision.clone();
        assert!(record_judgement(&it.store, job, verdict, &[], seconds(second)).await);
    }
    assert_eq!(it.store.evaluations(trace_id(1)).await.unwrap().len(), 2);
    let records = it.store.records(&Selection::default()).await.unwrap();
    assert_eq!(records[0].measurement("grounded").unwrap().value, Value::Boolean(false));
    assert_eq!(records[0].measurements.len(), 2);
}

async fn records_of_many_pages_are_seen_once_each_in_order(it: TestStore) {
    // Several traces end at the same instant, also across the ends of pages.
    let traces: Vec<_> = (0..1_300)
        .map(|number| {
            let mut trace = plain(number);
            trace.trace.ended_at = seconds(number as i64 / 100);
            trace
        })
        .collect();
    it.store.record_traces(&traces, seconds(60)).await.unwrap();
    let records = it.store.records(&Selection::default()).await.unwrap();
    let expected: Vec<_> = (0..1_300).map(trace_id).collect();
    assert_eq!(records.iter().map(|record| record.trace_id).collect::<Vec<_>>(), expected);
}

async fn a_baseline_never_changes(it: TestStore) {
    it.store.insert_baseline("before", seconds(1), "service=shop", r#"{"n":1}"#).await.unwrap();
    let error = it.store.insert_baseline("before", seconds(2), "", "{}").await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "baseline \"before\" exists already, and baselines never change: choose another name"
    );
    it.store.insert_baseline("after", seconds(3), "service=desk", r#"{"n":2}"#).await.unwrap();
    assert_eq!(it.store.baseline("before").await.unwrap().as_deref(), Some(r#"{"n":1}"#));
    assert_eq!(it.store.baseline("never").await.unwrap(), None);
    let listed = it.store.baselines().await.unwrap();
    assert_eq!(
        listed.iter().map(|it| (&*it.name, &*it.selection, it.created_at)).collect::<Vec<_>>(),
        [("after", "service=desk", seconds(3)), ("before", "service=shop", seconds(1)),]
    );
}
