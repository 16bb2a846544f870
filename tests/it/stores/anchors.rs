//! Anchors: claimed like work, scored apart from traffic.

use driftline::backends::store::{Anchor, FinishedAnchor};
use driftline::domain::label::{AnchorScore, Answer};
use driftline::domain::time::Timestamp;

use super::contract;
use super::fixtures::{LEASE, TestStore, recorded, seconds, trace_id};

contract!(
    an_anchor_is_claimed_by_one_and_scored_once_a_round,
    the_spans_of_an_anchor_are_kept_for_good,
    an_anchor_is_let_go_with_its_spans,
);

fn anchor(number: u64, label: Answer) -> Anchor {
    Anchor { trace_id: trace_id(number), evaluator: "grounded".to_owned(), label }
}

fn score(number: u64, passed: bool) -> AnchorScore {
    AnchorScore {
        trace_id: trace_id(number),
        evaluator: "grounded".to_owned(),
        revision: "r1".to_owned(),
        round_at: seconds(0),
        passed,
        reason: Some("a\0b".to_owned()),
        label: Answer::Fail,
    }
}

async fn record(it: &TestStore, numbers: &[u64]) {
    let due = it.claimed(numbers).await;
    let traces: Vec<_> = due.iter().map(recorded).collect();
    it.store.record_traces(&traces, seconds(6)).await.unwrap();
}

async fn an_anchor_is_claimed_by_one_and_scored_once_a_round(it: TestStore) {
    record(&it, &[1, 2]).await;
    it.store.add_anchors(&[anchor(1, Answer::Pass), anchor(2, Answer::Fail)], seconds(10)).await.unwrap();
    it.store.add_anchors(&[anchor(1, Answer::Fail)], seconds(10)).await.unwrap();
    assert_eq!(it.store.anchors("grounded").await.unwrap(), [anchor(1, Answer::Fail), anchor(2, Answer::Fail)]);
    assert!(it.store.claim_anchors(&["other"], seconds(10), LEASE, 5).await.unwrap().is_empty());
    assert!(it.store.claim_anchors(&[], seconds(10), LEASE, 5).await.unwrap().is_empty());

    let claimed = it.store.claim_anchors(&["other", "grounded"], seconds(10), LEASE, 5).await.unwrap();
    assert_eq!(claimed.len(), 2);
    assert_eq!((claimed[0].trace_version, claimed[0].service.as_str()), (1, "shop"));
    assert!(it.store.claim_anchors(&["grounded"], seconds(10), LEASE, 5).await.unwrap().is_empty());

    for passed in [true, false] {
        let score = Some(score(1, passed));
        let finished =
            FinishedAnchor { anchor: anchor(1, Answer::Fail), score, due_at: seconds(500), calls: Vec::new() };
        it.store.finish_anchor(&finished).await.unwrap();
    }
    let scores = it.store.anchor_scores(Some("grounded")).await.unwrap();
    assert_eq!(scores, [AnchorScore { reason: Some("a\u{fffd}b".to_owned()), ..score(1, true) }]);
    assert!(it.store.evaluations(trace_id(1)).await.unwrap().is_empty(), "no score of traffic");
    // The lease of the other one runs out; the first waits for its next round.
    let again = it.store.claim_anchors(&["grounded"], seconds(10).plus(LEASE), LEASE, 5).await.unwrap();
    assert_eq!(again.iter().map(|due| due.anchor.trace_id).collect::<Vec<_>>(), [trace_id(2)]);
}

async fn the_spans_of_an_anchor_are_kept_for_good(it: TestStore) {
    record(&it, &[1, 2]).await;
    it.store.add_anchors(&[anchor(1, Answer::Pass)], seconds(10)).await.unwrap();
    it.store.purge(Timestamp(i64::MAX - 1)).await.unwrap();
    assert!(it.store.has_body(trace_id(1)).await.unwrap());
    assert!(!it.store.has_body(trace_id(2)).await.unwrap());
}

async fn an_anchor_is_let_go_with_its_spans(it: TestStore) {
    record(&it, &[1, 2]).await;
    it.store.add_anchors(&[anchor(1, Answer::Pass), anchor(2, Answer::Fail)], seconds(10)).await.unwrap();
    it.store.remove_anchors("grounded", &[trace_id(1)], seconds(5_000)).await.unwrap();
    assert_eq!(it.store.anchors("grounded").await.unwrap(), [anchor(2, Answer::Fail)]);
    it.store.purge(seconds(4_000)).await.unwrap();
    assert!(it.store.has_body(trace_id(1)).await.unwrap(), "not at once");
    it.store.purge(seconds(6_000)).await.unwrap();
    assert!(!it.store.has_body(trace_id(1)).await.unwrap());
    assert!(it.store.has_body(trace_id(2)).await.unwrap());
    it.store.remove_anchors("grounded", &[], seconds(9_000)).await.unwrap();
    assert!(it.store.anchors("grounded").await.unwrap().is_empty());
}
