//! Labels, and the draws that say which traces people are asked about.

use std::collections::BTreeSet;

use driftline::backends::store::{Flag, NewLabel, Offered, RecordedTrace, ReviewFilter, Stream, Undrawn, Unflagged};
use driftline::domain::evaluation::AnnotatorKind;
use driftline::domain::ids::TraceId;
use driftline::domain::label::{Answer, Draw, HeldLabel, Label, LabelledCount, Origin};
use driftline::domain::time::Timestamp;

use super::contract;
use super::fixtures::{TestStore, plain, recorded, seconds, stored_evaluation, trace_id};

contract!(
    labels_are_only_added_and_what_was_said_before_is_known,
    a_judgement_is_drawn_once_and_its_first_draw_stands,
    what_was_drawn_and_what_is_flagged_wait_apart_until_they_are_labelled,
    what_is_drawn_keeps_its_spans_for_the_review_window_and_is_asked_about_first,
    judgements_come_with_their_weight_their_draw_and_for_labelled_traces_their_reason,
    judgements_that_are_alike_are_summed_and_unknown_upstream_sampling_is_counted,
    labels_are_counted_by_what_decides_whether_a_judge_is_calibrated,
    what_is_assigned_is_asked_of_one_person_first_and_of_nobody_else,
    what_was_removed_stays_removed_whatever_judges_it_later,
    a_second_person_is_asked_about_what_another_has_decided,
    a_second_person_is_asked_about_a_rule_that_passed,
);

fn label(number: u64, answer: Answer, at: i64) -> NewLabel {
    let label = Label {
        trace_id: trace_id(number),
        evaluator: "grounded".to_owned(),
        revision: Some("r1".to_owned()),
        label: answer,
        reviewer: "anna".to_owned(),
        note: None,
        labelled_at: seconds(at),
        origin: Origin::Review,
        probability: None,
    };
    NewLabel { label, said_at: Some(seconds(at)) }
}

/// Everything that waits in a stream, for nobody in particular.
const fn of(stream: Stream) -> ReviewFilter<'static> {
    ReviewFilter { stream, evaluator: None, reviewer: None }
}

/// The traces that a person is asked about in a stream, in order.
async fn asked(it: &TestStore, stream: Stream, reviewer: &str) -> Vec<TraceId> {
    let filter = ReviewFilter { reviewer: Some(reviewer), ..of(stream) };
    let items = it.store.review_items(filter, 10).await.unwrap();
    assert_eq!(it.store.count_review_items(filter).await.unwrap(), items.len() as u64);
    items.into_iter().map(|item| item.trace_id).collect()
}

/// A trace that the judge passes or fails, recorded at that second.
async fn judged(it: &TestStore, number: u64, value: f64, at: i64) {
    let evaluations = vec![stored_evaluation(trace_id(number), "grounded", Some(value))];
    it.store.record_traces(&[RecordedTrace { evaluations, ..plain(number) }], seconds(at)).await.unwrap();
}

async fn draw(it: &TestStore, number: u64, draw: Draw) {
    draw_keeping(it, number, draw, 50).await;
}

/// The same, with the spans of what is drawn kept until that second.
async fn draw_keeping(it: &TestStore, number: u64, draw: Draw, keep_until: i64) {
    let of = Undrawn {
        trace_id: trace_id(number),
        evaluator: "grounded".to_owned(),
        revision: "r1".to_owned(),
        passed: true,
    };
    let offered = Offered { draws: &[(of, draw)], keep_until: seconds(keep_until), ..NOTHING };
    it.store.offer(offered, seconds(50)).await.unwrap();
}

const NOTHING: Offered<'static> =
    Offered { draws: &[], keep_until: Timestamp(0), flags: &[], flags_a_day: 20, flags_since: Timestamp(0) };

/// Flags everything that these evaluators fail or doubt, by how many fail it; of each day so many wait.
async fn flag(it: &TestStore, evaluators: &[&str], flags_a_day: u32) -> Vec<Unflagged> {
    let unflagged = it.store.unflagged(Timestamp(0), evaluators, 100).await.unwrap();
    let flags: Vec<Flag> =
        unflagged.iter().map(|of| Flag { of: of.clone(), day: seconds(0), severity: i64::from(of.failures) }).collect();
    it.store.offer(Offered { flags: &flags, flags_a_day, ..NOTHING }, seconds(50)).await.unwrap();
    unflagged
}

async fn labels_are_only_added_and_what_was_said_before_is_known(it: TestStore) {
    let (first, changed) = (label(1, Answer::Pass, 1), label(1, Answer::Fail, 2));
    assert_eq!(it.store.insert_labels(&[first.clone(), label(2, Answer::Skip, 1)], seconds(0)).await.unwrap(), 2);
    assert_eq!(it.store.insert_labels(&[first.clone(), changed.clone()], seconds(0)).await.unwrap(), 1);
    let of_one: Vec<Label> = it.store.labels(Some("grounded")).await.unwrap();
    assert_eq!(of_one, [first.label.clone(), label(2, Answer::Skip, 1).label, changed.label]);
    assert!(it.store.labels(Some("other")).await.unwrap().is_empty());

    // Who does not say when, cannot mean another time.
    let undated = NewLabel { said_at: None, ..label(3, Answer::Pass, 7) };
    let again = NewLabel { said_at: None, ..label(3, Answer::Pass, 9) };
    assert_eq!(it.store.insert_labels(&[undated], seconds(0)).await.unwrap(), 1);
    assert_eq!(it.store.insert_labels(&[again], seconds(0)).await.unwrap(), 0);
    let hostile = Label { note: Some("a\0b".to_owned()), probability: Some(0.25), ..first.label };
    it.store.insert_labels(&[NewLabel { label: hostile, said_at: None }], seconds(0)).await.unwrap();
    let kept = it.store.labels(None).await.unwrap();
    let kept = kept.iter().find(|label| label.note.is_some()).unwrap();
    assert_eq!((kept.note.as_deref(), kept.probability), (Some("a\u{fffd}b"), Some(0.25)));
}

async fn a_judgement_is_drawn_once_and_its_first_draw_stands(it: TestStore) {
    judged(&it, 1, 1.0, 10).await;
    judged(&it, 2, 0.0, 20).await;
    let undrawn = it.store.undrawn(seconds(0), 10).await.unwrap();
    let expected = [(trace_id(1), true), (trace_id(2), false)];
    assert_eq!(undrawn.iter().map(|of| (of.trace_id, of.passed)).collect::<Vec<_>>(), expected);
    assert_eq!(it.store.undrawn(seconds(15), 10).await.unwrap().len(), 1);
    assert_eq!(it.store.undrawn(seconds(0), 1).await.unwrap().len(), 1);

    draw(&it, 1, Draw { probability: 0.5, is_drawn: true }).await;
    draw(&it, 1, Draw { probability: 0.1, is_drawn: false }).await;
    let left = it.store.undrawn(seconds(0), 10).await.unwrap();
    assert_eq!(left.iter().map(|of| of.trace_id).collect::<Vec<_>>(), [trace_id(2)]);
    let judgements = it.store.unlabelled_sums(Some("grounded"), seconds(0)).await.unwrap();
    let draws: BTreeSet<bool> = judgements.iter().map(|of| of.judged.draw.is_some_and(|draw| draw.is_drawn)).collect();
    assert_eq!(draws.len(), 2, "{judgements:?}");
    let drawn = judgements.iter().find(|of| of.judged.passed).unwrap();
    assert_eq!(drawn.judged.draw, Some(Draw { probability: 0.5, is_drawn: true }));
}

async fn what_was_drawn_and_what_is_flagged_wait_apart_until_they_are_labelled(it: TestStore) {
    for (number, value) in [(1, 1.0), (2, 0.0), (3, 0.0), (4, 1.0)] {
        judged(&it, number, value, 10 + number as i64).await;
    }
    draw(&it, 1, Draw { probability: 0.5, is_drawn: true }).await;
    draw(&it, 2, Draw { probability: 0.5, is_drawn: true }).await;
    draw(&it, 4, Draw { probability: 0.5, is_drawn: false }).await;
    flag(&it, &["grounded"], 20).await;
    let waiting = async |stream| {
        let items = it.store.review_items(of(stream), 10).await.unwrap();
        items.into_iter().map(|item| item.trace_id).collect::<Vec<_>>()
    };
    assert_eq!(waiting(Stream::Audit).await, [trace_id(1), trace_id(2)]);
    assert_eq!(waiting(Stream::Flagged).await, [trace_id(3)]);
    it.store.insert_labels(&[label(1, Answer::Skip, 60), label(3, Answer::Fail, 60)], seconds(0)).await.unwrap();
    assert_eq!(waiting(Stream::Audit).await, [trace_id(2)]);
    assert!(waiting(Stream::Flagged).await.is_empty());
    assert!(
        it.store
            .review_items(ReviewFilter { evaluator: Some("other"), ..of(Stream::Audit) }, 10)
            .await
            .unwrap()
            .is_empty()
    );
    // The label of a drawn trace has the probability of its draw; the other's is not known.
    let probabilities: Vec<Option<f64>> =
        it.store.labels(None).await.unwrap().iter().map(|label| label.probability).collect();
    assert_eq!(probabilities, [Some(0.5), None]);
    assert_eq!(it.store.judges().await.unwrap().into_iter().collect::<Vec<_>>(), ["grounded"]);
}

async fn judgements_come_with_their_weight_their_draw_and_for_labelled_traces_their_reason(it: TestStore) {
    let mut evaluation = stored_evaluation(trace_id(1), "grounded", Some(1.0));
    evaluation.probability = 0.25;
    let skipped = stored_evaluation(trace_id(1), "tone", None);
    let trace = RecordedTrace { evaluations: vec![evaluation, skipped], ..plain(1) };
    it.store.record_traces(&[trace], seconds(10)).await.unwrap();
    let sums = it.store.unlabelled_sums(None, Timestamp(0)).await.unwrap();
    assert_eq!(sums.len(), 1);
    let of = sums[0].judged;
    // One in four was judged, and upstream sampling kept one in two.
    assert!((of.weight - 8.0).abs() < 1e-9 && (of.weight_squared - 64.0).abs() < 1e-9, "{of:?}");
    assert_eq!((of.since, of.draw, of.count, of.upstream_unknown), (seconds(0), None, 1, 0));
    assert!(it.store.unlabelled_sums(None, seconds(11)).await.unwrap().is_empty());
    assert!(it.store.labelled_judgements(None, Timestamp(0)).await.unwrap().is_empty());

    it.store.insert_labels(&[label(1, Answer::Fail, 20)], seconds(0)).await.unwrap();
    let labelled = it.store.labelled_judgements(None, Timestamp(0)).await.unwrap();
    assert!((labelled[0].weight - 8.0).abs() < 1e-9 && labelled[0].is_upstream_known, "{labelled:?}");
    assert_eq!((labelled[0].judged_at, labelled[0].reason.as_deref()), (seconds(10), Some("because")));
    assert!(it.store.unlabelled_sums(None, Timestamp(0)).await.unwrap().is_empty());
    let judges = it.store.judged_by(trace_id(1), None).await.unwrap();
    assert_eq!(judges.into_iter().collect::<Vec<_>>(), [("grounded".to_owned(), "r1".to_owned())]);
}

async fn judgements_that_are_alike_are_summed_and_unknown_upstream_sampling_is_counted(it: TestStore) {
    for number in 1..=4 {
        let mut trace = plain(number);
        if number == 4 {
            trace.trace.record.upstream_probability = None;
        }
        let evaluations = vec![stored_evaluation(trace_id(number), "grounded", Some(1.0))];
        it.store.record_traces(&[RecordedTrace { evaluations, ..trace }], seconds(10)).await.unwrap();
    }
    judged(&it, 5, 0.0, 20).await;
    let sums = it.store.unlabelled_sums(Some("grounded"), Timestamp(0)).await.unwrap();
    let mut found: Vec<_> =
        sums.iter().map(|sum| (sum.judged.passed, sum.judged.count, sum.judged.upstream_unknown)).collect();
    found.sort_unstable();
    assert_eq!(found, [(false, 1, 0), (true, 4, 1)]);
}

async fn labels_are_counted_by_what_decides_whether_a_judge_is_calibrated(it: TestStore) {
    for number in 1..=5 {
        judged(&it, number, if number == 5 { 0.0 } else { 1.0 }, 10).await;
    }
    draw(&it, 1, Draw { probability: 0.5, is_drawn: true }).await;
    draw(&it, 2, Draw { probability: 0.5, is_drawn: true }).await;
    draw(&it, 3, Draw { probability: 0.5, is_drawn: false }).await;
    let of_import = |number, answer| {
        let label = Label { origin: Origin::Import, probability: Some(0.5), ..label(number, answer, 30).label };
        NewLabel { label, said_at: None }
    };
    let labels = [label(1, Answer::Fail, 20), label(1, Answer::Pass, 21), of_import(5, Answer::Fail)];
    it.store.insert_labels(&labels, seconds(0)).await.unwrap();
    let count = |passed, is_drawn, label, count| LabelledCount {
        evaluator: "grounded".to_owned(),
        revision: "r1".to_owned(),
        passed,
        is_drawn,
        label,
        count,
    };
    let held = |answer, origin, has_probability| Some(HeldLabel { answer, origin, has_probability });
    let counts = it.store.labelled_counts().await.unwrap();
    for expected in [
        count(true, true, held(Answer::Pass, Origin::Review, false), 1),
        count(true, true, None, 1),
        count(false, false, held(Answer::Fail, Origin::Import, true), 1),
    ] {
        assert!(counts.contains(&expected), "{expected:?} is not in {counts:?}");
    }
    assert_eq!(counts.len(), 3, "what was neither drawn nor labelled is not read: {counts:?}");
}

async fn what_is_drawn_keeps_its_spans_for_the_review_window_and_is_asked_about_first(it: TestStore) {
    for due in it.claimed(&[1, 2]).await {
        let evaluations = vec![stored_evaluation(due.trace_id, "grounded", Some(1.0))];
        it.store.record_traces(&[RecordedTrace { evaluations, ..recorded(&due) }], seconds(6)).await.unwrap();
    }
    let drawn = Draw { probability: 0.5, is_drawn: true };
    draw_keeping(&it, 1, drawn, 10).await;
    draw_keeping(&it, 2, drawn, 5_000).await;
    // Both were to be kept for a thousand seconds.
    it.store.purge(seconds(2_000)).await.unwrap();
    let kept = [it.store.has_body(trace_id(1)).await.unwrap(), it.store.has_body(trace_id(2)).await.unwrap()];
    assert_eq!(kept, [false, true]);
    let waiting = it.store.review_items(of(Stream::Audit), 10).await.unwrap();
    let waiting: Vec<_> = waiting.iter().map(|item| (item.trace_id, item.has_spans)).collect();
    assert_eq!(waiting, [(trace_id(2), true), (trace_id(1), false)]);
}

async fn what_is_assigned_is_asked_of_one_person_first_and_of_nobody_else(it: TestStore) {
    for number in 1..=3 {
        judged(&it, number, 0.0, 10 + number as i64).await;
    }
    flag(&it, &["grounded"], 20).await;
    it.store.assign_reviews(&[(trace_id(1), "grounded".to_owned())], "anna", seconds(20)).await.unwrap();
    assert_eq!(asked(&it, Stream::Flagged, "anna").await, [1, 3, 2].map(trace_id));
    assert_eq!(asked(&it, Stream::Flagged, "bert").await, [3, 2].map(trace_id));
    assert_eq!(it.store.review_items(of(Stream::Flagged), 10).await.unwrap().len(), 2);
    it.store.assign_reviews(&[(trace_id(1), "grounded".to_owned())], "bert", seconds(30)).await.unwrap();
    assert_eq!(asked(&it, Stream::Flagged, "anna").await, [3, 2].map(trace_id));
}

async fn what_was_removed_stays_removed_whatever_judges_it_later(it: TestStore) {
    judged(&it, 1, 0.0, 10).await;
    it.store.assign_reviews(&[(trace_id(1), "grounded".to_owned())], "anna", seconds(20)).await.unwrap();
    it.store.remove_review(trace_id(1), "grounded", "anna", seconds(30)).await.unwrap();
    let mut again = stored_evaluation(trace_id(1), "grounded", Some(0.0));
    "r2".clone_into(&mut again.evaluation.revision);
    let mut recorded = RecordedTrace { evaluations: vec![again], ..plain(1) };
    recorded.trace.version = 2;
    it.store.record_traces(&[recorded], seconds(40)).await.unwrap();
    it.store.assign_reviews(&[(trace_id(1), "grounded".to_owned())], "bert", seconds(50)).await.unwrap();
    assert_eq!(flag(&it, &["grounded"], 20).await.len(), 1);
    for reviewer in ["anna", "bert"] {
        assert!(asked(&it, Stream::Flagged, reviewer).await.is_empty());
    }
}

async fn a_second_person_is_asked_about_a_rule_that_passed(it: TestStore) {
    let mut passed = stored_evaluation(trace_id(1), "grounded", Some(0.75));
    passed.evaluation.annotator_kind = AnnotatorKind::Code;
    it.store.record_traces(&[RecordedTrace { evaluations: vec![passed], ..plain(1) }], seconds(10)).await.unwrap();
    assert!(asked(&it, Stream::Second, "bert").await.is_empty());
    it.store.insert_labels(&[label(1, Answer::Fail, 60)], seconds(0)).await.unwrap();
    let filter = ReviewFilter { reviewer: Some("bert"), ..of(Stream::Second) };
    let items = it.store.review_items(filter, 10).await.unwrap();
    let told: Vec<_> = items.iter().map(|item| (item.trace_id, item.passed, item.reason.as_deref())).collect();
    assert_eq!(told, [(trace_id(1), true, Some("because"))]);
}

async fn a_second_person_is_asked_about_what_another_has_decided(it: TestStore) {
    for number in 1..=2 {
        judged(&it, number, 0.0, 10 + number as i64).await;
    }
    it.store.insert_labels(&[label(1, Answer::Pass, 60), label(2, Answer::Skip, 61)], seconds(0)).await.unwrap();
    assert!(asked(&it, Stream::Second, "anna").await.is_empty(), "nobody seconds themselves");
    assert_eq!(asked(&it, Stream::Second, "bert").await, [trace_id(1)]);
    let mut second = label(1, Answer::Fail, 70);
    "bert".clone_into(&mut second.label.reviewer);
    it.store.insert_labels(&[second], seconds(0)).await.unwrap();
    assert!(asked(&it, Stream::Second, "bert").await.is_empty());
    let given = it.store.labels_by("anna", seconds(0), 10).await.unwrap();
    assert_eq!(given.iter().map(|label| label.trace_id).collect::<Vec<_>>(), [2, 1].map(trace_id));
    assert_eq!(it.store.labels_by("anna", seconds(61), 10).await.unwrap().len(), 1);
}
