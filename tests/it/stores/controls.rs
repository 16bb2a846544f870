//! Scores on shortened inputs, and the answers of judges to control questions.

use driftline::backends::store::{Selection, StoredEvaluation};
use driftline::domain::time::Timestamp;

use super::contract;
use super::fixtures::{TestStore, plain, seconds, stored_evaluation, trace_id};

contract!(
    a_score_on_a_shortened_input_is_marked_and_its_trace_is_in_a_segment_of_its_own,
    control_questions_are_counted_by_judge_revision_over_the_last_days,
);

async fn a_score_on_a_shortened_input_is_marked_and_its_trace_is_in_a_segment_of_its_own(it: TestStore) {
    let judged = |number: u64, evaluator: &str, truncated: bool| {
        let mut stored: StoredEvaluation = stored_evaluation(trace_id(number), evaluator, Some(1.0));
        stored.evaluation.truncated = truncated;
        stored
    };
    let (mut cut, mut whole) = (plain(1), plain(2));
    cut.evaluations = vec![judged(1, "grounded", true), judged(1, "polite", false)];
    whole.evaluations = vec![judged(2, "grounded", false)];
    it.store.record_traces(&[cut, whole, plain(3)], seconds(9)).await.unwrap();
    let rows = it.store.evaluations(trace_id(1)).await.unwrap();
    let marks: Vec<_> = rows.iter().map(|row| (row.evaluation.evaluator.as_str(), row.evaluation.truncated)).collect();
    assert_eq!(marks, [("grounded", true), ("polite", false)]);
    let records = it.store.records(&Selection::default()).await.unwrap();
    let segments: Vec<_> = records.iter().map(|record| record.segments.get("truncated").map(String::as_str)).collect();
    assert_eq!(segments, [Some("true"), Some("false"), None], "of a trace that no judge scored nothing is said");
}

async fn control_questions_are_counted_by_judge_revision_over_the_last_days(it: TestStore) {
    let day = |days: i64| Timestamp(days * 24 * Timestamp::NANOS_PER_HOUR);
    for (revision, is_caught, at) in
        [("a", false, day(10)), ("a", true, day(15)), ("a", true, day(16)), ("a", false, day(16)), ("b", true, day(16))]
    {
        it.store.count_control("grounded", revision, is_caught, at).await.unwrap();
    }
    let counted = it.store.controls(3, day(16)).await.unwrap();
    let counts: Vec<_> = counted.iter().map(|it| (it.revision.as_str(), it.caught, it.missed)).collect();
    assert_eq!(counts, [("a", 2, 1), ("b", 1, 0)]);
    assert_eq!(it.store.controls(7, day(16)).await.unwrap()[0].missed, 2);
    assert_eq!(it.store.controls(7, day(40)).await.unwrap(), []);
}
