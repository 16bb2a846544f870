//! What stands in a trace's list is read, found, counted and removed like what has a row of its own.

use driftline::backends::store::{RecordedTrace, Selection, StoredEvaluation, Verdict};
use driftline::domain::evaluation::{AnnotatorKind, Outcome};

use super::contract;
use super::fixtures::{TestStore, plain, seconds, span_id, stored_evaluation, trace_id};

contract!(
    what_passes_stands_in_a_list_and_what_is_looked_for_by_itself_has_a_row,
    listed_evaluations_read_back_exactly_whatever_is_in_them,
    traces_are_found_by_what_stands_in_their_lists,
    listed_evaluations_are_counted_with_the_others,
    a_list_goes_with_its_version_whoever_writes_the_next,
    a_list_goes_with_its_trace_whoever_removes_it,
    of_an_erased_trace_the_list_keeps_its_scores_and_none_of_its_texts,
);

/// A rule's row.
fn rule(number: u64, evaluator: &str, value: Option<f64>) -> StoredEvaluation {
    let mut stored = stored_evaluation(trace_id(number), evaluator, value);
    stored.evaluation.annotator_kind = AnnotatorKind::Code;
    stored.evaluation.span_id = span_id(7);
    stored
}

fn with(number: u64, evaluations: Vec<StoredEvaluation>) -> RecordedTrace {
    RecordedTrace { evaluations, ..plain(number) }
}

/// Evaluators with a row of their own, in order.
async fn own(it: &TestStore) -> Vec<String> {
    it.texts("SELECT evaluator FROM evaluation ORDER BY evaluator").await
}

async fn listed(it: &TestStore) -> Vec<String> {
    it.texts("SELECT evaluator FROM listed_evaluation ORDER BY evaluator").await
}

async fn what_passes_stands_in_a_list_and_what_is_looked_for_by_itself_has_a_row(it: TestStore) {
    let with_outcome = |name: &str, outcome, kind| {
        let mut stored = rule(1, name, None);
        (stored.evaluation.outcome, stored.evaluation.annotator_kind) = (outcome, kind);
        stored
    };
    let changed = |name: &str, change: fn(&mut StoredEvaluation)| {
        let mut stored = rule(1, name, Some(1.0));
        change(&mut stored);
        stored
    };
    let (code, llm) = (AnnotatorKind::Code, AnnotatorKind::Llm);
    let given = vec![
        rule(1, "list 1", Some(1.0)),
        rule(1, "list 2", Some(0.5)),
        with_outcome("list 3", Outcome::NotApplicable, code),
        with_outcome("list 4", Outcome::SampledOut, llm),
        with_outcome("list 5", Outcome::NotEvaluable, llm),
        rule(1, "row 1", Some(0.49)),
        with_outcome("row 2", Outcome::SkippedBudget, llm),
        with_outcome("row 3", Outcome::Failed, code),
        changed("row 4", |it| it.evaluation.annotator_kind = AnnotatorKind::Llm),
        changed("row 5", |it| it.evaluation.span_id = span_id(8)),
        changed("row 6", |it| it.evaluation.truncated = true),
        changed("row 7", |it| it.evaluation.split = true),
        changed("row 8", |it| it.probability = 0.5),
    ];
    it.store.record_traces(&[with(1, given.clone())], seconds(9)).await.unwrap();
    assert_eq!(listed(&it).await, ["list 1", "list 2", "list 3", "list 4", "list 5"]);
    let rows: Vec<String> = (1..=8).map(|number| format!("row {number}")).collect();
    assert_eq!(own(&it).await, rows);
    assert_eq!(it.store.evaluations(trace_id(1)).await.unwrap(), given);
}

async fn listed_evaluations_read_back_exactly_whatever_is_in_them(it: TestStore) {
    let hostile = "\"],[\u{1f9e8}\\u0000 \\\" '; DROP TABLE trace; -- \u{7}\n";
    let mut given: Vec<StoredEvaluation> = [0.1 + 0.2 + 0.3, 1.0 / 1.5, 0.948_717_948_717_949, 1.0]
        .into_iter()
        .enumerate()
        .map(|(place, value)| rule(1, &format!("{place} {hostile}"), Some(value)))
        .collect();
    for stored in &mut given {
        (stored.evaluation.label, stored.evaluation.explanation) = (Some(hostile.to_owned()), Some(hostile.to_owned()));
    }
    given[1].evaluation.label = None;
    given[2].evaluation.explanation = None;
    it.store.record_traces(&[with(1, given.clone())], seconds(9)).await.unwrap();
    assert_eq!(it.store.evaluations(trace_id(1)).await.unwrap(), given);
    assert_eq!(listed(&it).await.len(), 4, "and in SQL they are rows");

    let mut zero = rule(2, "zero\0", Some(1.0));
    zero.evaluation.explanation = Some("\0".to_owned());
    it.store.record_traces(&[with(2, vec![zero])], seconds(9)).await.unwrap();
    let stored = it.store.evaluations(trace_id(2)).await.unwrap().remove(0).evaluation;
    assert_eq!((&*stored.evaluator, stored.explanation.as_deref()), ("zero\u{fffd}", Some("\u{fffd}")));
    assert_eq!(listed(&it).await.len(), 5);
}

async fn traces_are_found_by_what_stands_in_their_lists(it: TestStore) {
    for (number, loops) in [(1, "Pass"), (2, "fail"), (3, "pass")] {
        let value = if loops == "fail" { 0.0 } else { 1.0 };
        let mut of_loops = rule(number, "loop", Some(value));
        of_loops.evaluation.label = Some(loops.to_owned());
        let mut of_tone = rule(number, "tone", Some(1.0));
        of_tone.evaluation.label = Some("warm".to_owned());
        let evaluations = if number == 3 { vec![of_tone] } else { vec![of_loops, of_tone] };
        it.store.record_traces(&[with(number, evaluations)], seconds(9)).await.unwrap();
    }
    let found = async |evaluator: Option<&str>, label: &str| {
        let verdict = Some(Verdict { evaluator: evaluator.map(str::to_owned), label: label.to_owned() });
        let traces = it.store.search(&Selection { verdict, ..Selection::default() }, 10).await.unwrap();
        traces.iter().map(|trace| trace.trace_id).rev().collect::<Vec<_>>()
    };
    assert_eq!(found(Some("loop"), "pass").await, [trace_id(1)]);
    assert_eq!(found(Some("loop"), "fail").await, [trace_id(2)]);
    assert_eq!(found(None, "warm").await, [trace_id(1), trace_id(2), trace_id(3)]);
    assert!(found(Some("tone"), "pass").await.is_empty());
    for part in ["pas", "%", "pas_", "ss", "!"] {
        assert!(found(None, part).await.is_empty(), "{part}");
    }
    for (number, odd) in ["50%_!\n\"\\ 'it", &"long ".repeat(20_000)].into_iter().enumerate() {
        let mut of_tone = rule(10 + number as u64, "tone", Some(1.0));
        of_tone.evaluation.label = Some(odd.to_owned());
        it.store.record_traces(&[with(10 + number as u64, vec![of_tone])], seconds(9)).await.unwrap();
        assert_eq!(found(Some("tone"), odd).await, [trace_id(10 + number as u64)]);
    }
    let judged = it.store.judged_by(trace_id(1), Some("loop")).await.unwrap();
    assert_eq!(judged, [("loop".to_owned(), "r1".to_owned())].into(), "so it can be labelled");
}

async fn listed_evaluations_are_counted_with_the_others(it: TestStore) {
    let values = [(1, 1.0), (2, 0.0), (3, 1.0)];
    for (number, value) in values {
        let mut nothing_to_say = rule(number, "provenance", None);
        nothing_to_say.evaluation.outcome = Outcome::NotApplicable;
        let evaluations = vec![rule(number, "loop", Some(value)), nothing_to_say];
        it.store.record_traces(&[with(number, evaluations)], seconds(9)).await.unwrap();
    }
    assert_eq!(it.store.counts().await.unwrap().evaluations, 6);
    let counts = it.store.outcome_counts(10).await.unwrap();
    let counts: Vec<_> = counts.iter().map(|it| (&*it.evaluator, it.outcome, it.count, it.failing)).collect();
    assert_eq!(counts, [("loop", Outcome::Scored, 3, 1), ("provenance", Outcome::NotApplicable, 3, 0)]);
    let revisions = it.store.revisions(&Selection::default()).await.unwrap();
    assert_eq!(revisions, [("loop".to_owned(), ["r1".to_owned()].into())].into());
}

async fn a_list_goes_with_its_version_whoever_writes_the_next(it: TestStore) {
    it.store.record_traces(&[with(1, vec![rule(1, "loop", Some(1.0))])], seconds(9)).await.unwrap();
    let mut second = with(1, vec![rule(1, "empty", Some(1.0))]);
    (second.trace.version, second.evaluations[0].trace_version) = (2, 2);
    it.store.record_traces(&[second.clone()], seconds(10)).await.unwrap();
    assert_eq!(it.store.evaluations(trace_id(1)).await.unwrap(), second.evaluations);
    // A process that knows of no lists.
    it.forge("UPDATE trace SET version = 3").await;
    assert!(it.store.evaluations(trace_id(1)).await.unwrap().is_empty());
}

async fn a_list_goes_with_its_trace_whoever_removes_it(it: TestStore) {
    it.store.record_traces(&[with(1, vec![rule(1, "loop", Some(1.0))])], seconds(9)).await.unwrap();
    it.store.record_traces(&[with(2, vec![rule(2, "loop", Some(1.0))])], seconds(9)).await.unwrap();
    it.forge("DELETE FROM trace WHERE trace_id IN (SELECT trace_id FROM trace ORDER BY trace_id LIMIT 1)").await;
    assert_eq!(it.store.counts().await.unwrap().evaluations, 1);
    it.store.purge(seconds(2_000)).await.unwrap();
    it.store.purge_records(seconds(11)).await.unwrap();
    assert_eq!(it.store.counts().await.unwrap().evaluations, 0);
}

async fn of_an_erased_trace_the_list_keeps_its_scores_and_none_of_its_texts(it: TestStore) {
    let of = |number| with(number, vec![rule(number, "loop", Some(1.0)), rule(number, "tone", Some(0.75))]);
    it.store.record_traces(&[of(1), of(2)], seconds(9)).await.unwrap();
    it.forge("UPDATE trace SET erased_at = 1 WHERE trace_id IN (SELECT trace_id FROM trace ORDER BY trace_id LIMIT 1)")
        .await;
    let erased = it.store.erase(&Selection::default(), "whose", seconds(20)).await.unwrap();
    assert_eq!((erased.traces, erased.explanations), (1, 2));
    for number in [1, 2] {
        let rows = it.store.evaluations(trace_id(number)).await.unwrap();
        let left: Vec<_> = rows.iter().map(|it| (it.evaluation.value, it.evaluation.explanation.is_some())).collect();
        assert_eq!(left, [(Some(1.0), false), (Some(0.75), false)]);
    }
}
