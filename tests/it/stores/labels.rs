//! Labels, and the draws that say which traces people are asked about.

use driftline::backends::store::{NewLabel, RecordedTrace, Stream, Undrawn};
use driftline::domain::label::{Answer, Draw, Label, Origin};
use driftline::domain::time::Timestamp;

use super::contract;
use super::fixtures::{TestStore, plain, seconds, stored_evaluation, trace_id};

contract!(
    labels_are_only_added_and_what_was_said_before_is_known,
    a_judgement_is_drawn_once_and_its_first_draw_stands,
    what_was_drawn_and_what_is_flagged_wait_apart_until_they_are_labelled,
    judgements_come_with_their_weight_their_draw_and_for_labelled_traces_their_reason,
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

/// A trace that the judge passes or fails, recorded at that second.
async fn judged(it: &TestStore, number: u64, value: f64, at: i64) {
    let evaluations = vec![stored_evaluation(trace_id(number), "grounded", Some(value))];
    it.store.record_traces(&[RecordedTrace { evaluations, ..plain(number) }], seconds(at)).await.unwrap();
}

async fn draw(it: &TestStore, number: u64, draw: Draw) {
    let of = Undrawn {
        trace_id: trace_id(number),
        evaluator: "grounded".to_owned(),
        revision: "r1".to_owned(),
        passed: true,
    };
    it.store.insert_draws(&[(of, draw)], seconds(50)).await.unwrap();
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
    let judgements = it.store.judgements(Some("grounded"), seconds(0), false).await.unwrap();
    let of_first = judgements.iter().find(|judgement| judgement.trace_id == trace_id(1)).unwrap();
    assert_eq!(of_first.draw, Some(Draw { probability: 0.5, is_drawn: true }));
}

async fn what_was_drawn_and_what_is_flagged_wait_apart_until_they_are_labelled(it: TestStore) {
    for (number, value) in [(1, 1.0), (2, 0.0), (3, 0.0), (4, 1.0)] {
        judged(&it, number, value, 10 + number as i64).await;
    }
    draw(&it, 1, Draw { probability: 0.5, is_drawn: true }).await;
    draw(&it, 2, Draw { probability: 0.5, is_drawn: true }).await;
    draw(&it, 4, Draw { probability: 0.5, is_drawn: false }).await;
    let waiting = async |stream| {
        let items = it.store.review_items(stream, None, 10).await.unwrap();
        items.into_iter().map(|item| item.trace_id).collect::<Vec<_>>()
    };
    assert_eq!(waiting(Stream::Audit).await, [trace_id(1), trace_id(2)]);
    assert_eq!(waiting(Stream::Flagged).await, [trace_id(3)]);
    it.store.insert_labels(&[label(1, Answer::Skip, 60), label(3, Answer::Fail, 60)], seconds(0)).await.unwrap();
    assert_eq!(waiting(Stream::Audit).await, [trace_id(2)]);
    assert!(waiting(Stream::Flagged).await.is_empty());
    assert!(it.store.review_items(Stream::Audit, Some("other"), 10).await.unwrap().is_empty());
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
    let found = it.store.judgements(None, Timestamp(0), false).await.unwrap();
    assert_eq!(found.len(), 1);
    // One in four was judged, and upstream sampling kept one in two.
    assert!((found[0].weight - 8.0).abs() < 1e-9, "{}", found[0].weight);
    assert_eq!((found[0].judged_at, found[0].draw, &found[0].reason), (seconds(10), None, &None));
    assert!(it.store.judgements(None, seconds(11), false).await.unwrap().is_empty());
    assert!(it.store.judgements(None, Timestamp(0), true).await.unwrap().is_empty());

    it.store.insert_labels(&[label(1, Answer::Fail, 20)], seconds(0)).await.unwrap();
    let labelled = it.store.judgements(None, Timestamp(0), true).await.unwrap();
    assert_eq!(labelled[0].reason.as_deref(), Some("because"));
    let judges = it.store.judged_by(trace_id(1)).await.unwrap();
    assert_eq!(judges.into_iter().collect::<Vec<_>>(), [("grounded".to_owned(), "r1".to_owned())]);
}
