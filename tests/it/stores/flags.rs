//! What is put before people because something is wrong with it: why, how much of it, and in what order.

use std::time::Duration;

use driftline::backends::store::{Flag, Offered, RecordedTrace, ReviewFilter, Stream, Undrawn, Unflagged};
use driftline::domain::evaluation::AnnotatorKind;
use driftline::domain::ids::TraceId;
use driftline::domain::label::{Draw, FlagReason};
use driftline::domain::time::Timestamp;

use super::contract;
use super::fixtures::{TestStore, plain, seconds, stored_evaluation, trace_id};

contract!(
    a_failed_rule_a_failing_judge_and_judges_in_doubt_each_say_why_they_are_asked_about,
    of_each_day_and_evaluator_the_most_severe_wait_and_what_was_let_go_stays_so,
    what_people_have_in_hand_keeps_its_place_and_the_random_sample_takes_none,
    what_a_later_version_of_the_trace_does_not_fail_waits_no_longer,
    flags_of_days_long_past_are_forgotten,
);

const DAY: Duration = Duration::from_hours(24);
/// In seconds after what is evaluated first.
const A_DAY_LATER: i64 = 86_410;
const EVALUATORS: [&str; 2] = ["grounded", "loop"];

fn number(of: TraceId) -> u64 {
    (0..20).find(|number| trace_id(*number) == of).unwrap()
}

/// Flags what is new, each trace as severe as its number and counted for the day of its evaluation.
async fn flag(it: &TestStore, flags_a_day: u32, since: Timestamp) -> Vec<Unflagged> {
    let unflagged = it.store.unflagged(seconds(0), &EVALUATORS, 100).await.unwrap();
    let flag = |of: &Unflagged| Flag {
        of: of.clone(),
        day: of.evaluated_at.floor(DAY),
        severity: number(of.trace_id).cast_signed(),
    };
    let flags: Vec<Flag> = unflagged.iter().map(flag).collect();
    let offered = Offered { draws: &[], keep_until: seconds(0), flags: &flags, flags_a_day, flags_since: since };
    it.store.offer(offered, seconds(50)).await.unwrap();
    unflagged
}

/// The numbers of the traces that wait, in order, with the reasons.
async fn waiting(it: &TestStore) -> Vec<(u64, FlagReason)> {
    let filter = ReviewFilter { stream: Stream::Flagged, evaluator: None, reviewer: None };
    let items = it.store.review_items(filter, 100).await.unwrap();
    items.iter().map(|item| (number(item.trace_id), item.flagged.unwrap())).collect()
}

async fn numbers(it: &TestStore) -> Vec<u64> {
    waiting(it).await.into_iter().map(|(number, _)| number).collect()
}

/// A trace that the rule `loop` passes or fails, recorded at that second.
async fn ruled(it: &TestStore, number: u64, value: f64, version: i64, at: i64) {
    let mut stored = stored_evaluation(trace_id(number), "loop", Some(value));
    stored.evaluation.annotator_kind = AnnotatorKind::Code;
    stored.trace_version = version;
    let mut trace = RecordedTrace { evaluations: vec![stored], ..plain(number) };
    trace.trace.version = version;
    it.store.record_traces(&[trace], seconds(at)).await.unwrap();
}

async fn a_failed_rule_a_failing_judge_and_judges_in_doubt_each_say_why_they_are_asked_about(it: TestStore) {
    let judged = |number, value| stored_evaluation(trace_id(number), "grounded", Some(value));
    let (mut split, mut of_other_model) = (judged(3, 1.0), judged(4, 1.0));
    split.evaluation.split = true;
    "r2".clone_into(&mut of_other_model.evaluation.revision);
    let unflagging = stored_evaluation(trace_id(6), "tone", Some(0.0));
    for (number, evaluations) in [
        (2, vec![judged(2, 0.0)]),
        (3, vec![split]),
        (4, vec![judged(4, 0.0), of_other_model]),
        (5, vec![judged(5, 1.0)]),
        (6, vec![unflagging]),
    ] {
        it.store.record_traces(&[RecordedTrace { evaluations, ..plain(number) }], seconds(10)).await.unwrap();
    }
    ruled(&it, 1, 0.0, 1, 10).await;
    assert_eq!(flag(&it, 20, Timestamp(0)).await.len(), 4);
    let expected = [
        (4, FlagReason::JudgesDisagree),
        (3, FlagReason::LowConfidence),
        (2, FlagReason::JudgeNo),
        (1, FlagReason::FailedRule),
    ];
    assert_eq!(waiting(&it).await, expected);
    let labelled = it.store.judged_by(trace_id(1), Some("loop")).await.unwrap();
    assert_eq!(labelled.into_iter().collect::<Vec<_>>(), [("loop".to_owned(), "r1".to_owned())]);
    assert!(it.store.judged_by(trace_id(1), None).await.unwrap().is_empty(), "a rule is labelled by name only");
}

async fn of_each_day_and_evaluator_the_most_severe_wait_and_what_was_let_go_stays_so(it: TestStore) {
    for number in 1..=4 {
        ruled(&it, number, 0.0, 1, 10).await;
    }
    ruled(&it, 5, 0.0, 1, A_DAY_LATER).await;
    assert_eq!(flag(&it, 2, Timestamp(0)).await.len(), 5);
    assert_eq!(numbers(&it).await, [5, 4, 3]);
    // A more severe one takes the place of a less severe one; what was let go is not looked at again.
    ruled(&it, 9, 0.0, 1, 20).await;
    assert_eq!(flag(&it, 2, Timestamp(0)).await.len(), 1);
    assert_eq!(numbers(&it).await, [9, 5, 4]);
    ruled(&it, 1, 0.0, 2, 30).await;
    assert!(flag(&it, 2, Timestamp(0)).await.is_empty());
    assert_eq!(numbers(&it).await, [9, 5, 4]);
}

async fn what_people_have_in_hand_keeps_its_place_and_the_random_sample_takes_none(it: TestStore) {
    let drawn =
        Undrawn { trace_id: trace_id(8), evaluator: "grounded".to_owned(), revision: "r1".to_owned(), passed: false };
    let draws = [(drawn, Draw { probability: 0.5, is_drawn: true })];
    for number in [7, 8] {
        let evaluations = vec![stored_evaluation(trace_id(number), "grounded", Some(0.0))];
        it.store.record_traces(&[RecordedTrace { evaluations, ..plain(number) }], seconds(10)).await.unwrap();
    }
    let keep_until = seconds(100);
    let offered = Offered { draws: &draws, keep_until, flags: &[], flags_a_day: 1, flags_since: Timestamp(0) };
    it.store.offer(offered, seconds(20)).await.unwrap();
    flag(&it, 1, Timestamp(0)).await;
    assert_eq!(numbers(&it).await, [7]);
    it.store.assign_reviews(&[(trace_id(7), "grounded".to_owned())], "anna", seconds(30)).await.unwrap();
    let evaluations = vec![stored_evaluation(trace_id(9), "grounded", Some(0.0))];
    it.store.record_traces(&[RecordedTrace { evaluations, ..plain(9) }], seconds(40)).await.unwrap();
    flag(&it, 1, Timestamp(0)).await;
    let filter = ReviewFilter { stream: Stream::Flagged, evaluator: None, reviewer: Some("anna") };
    let items = it.store.review_items(filter, 10).await.unwrap();
    assert_eq!(items.iter().map(|item| item.trace_id).collect::<Vec<_>>(), [trace_id(7)]);
}

async fn what_a_later_version_of_the_trace_does_not_fail_waits_no_longer(it: TestStore) {
    ruled(&it, 1, 0.0, 1, 10).await;
    flag(&it, 20, Timestamp(0)).await;
    assert_eq!(numbers(&it).await, [1]);
    ruled(&it, 1, 1.0, 2, 20).await;
    assert!(numbers(&it).await.is_empty());
}

async fn flags_of_days_long_past_are_forgotten(it: TestStore) {
    ruled(&it, 1, 0.0, 1, 10).await;
    flag(&it, 20, Timestamp(0)).await;
    ruled(&it, 2, 0.0, 1, A_DAY_LATER).await;
    flag(&it, 20, seconds(A_DAY_LATER).floor(DAY)).await;
    assert_eq!(numbers(&it).await, [2]);
}
