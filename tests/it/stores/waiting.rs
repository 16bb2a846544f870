//! Where a trace is, and how much of what there is.

use driftline::backends::store::{PendingTrace, Selection, ServiceCount, WeightSums};

use super::contract;
use super::fixtures::{
    LEASE, POLICY, TestStore, chunk, claim_jobs, judge_job, plain, put_off, recorded, seconds, trace_id,
};

contract!(
    a_trace_is_pending_until_it_is_recorded_and_again_when_it_grows,
    judgements_of_a_trace_wait_until_they_are_made,
    services_are_counted_within_a_selection,
);

async fn a_trace_is_pending_until_it_is_recorded_and_again_when_it_grows(it: TestStore) {
    let pending = it.store.pending_trace(trace_id(1)).await.unwrap();
    assert_eq!((pending, it.store.has_body(trace_id(1)).await.unwrap()), (None, false));
    it.store.append_chunks(&[chunk(1, "first", false)], seconds(0), &POLICY).await.unwrap();
    let expected = PendingTrace {
        first_seen_at: seconds(0),
        last_seen_at: seconds(0),
        due_at: seconds(30),
        root_ended: false,
        attempts: 0,
    };
    assert_eq!(it.store.pending_trace(trace_id(1)).await.unwrap(), Some(expected));
    assert!(it.store.has_body(trace_id(1)).await.unwrap());

    let due = it.store.claim_due(seconds(30), LEASE, 1).await.unwrap();
    assert_eq!(it.store.pending_trace(trace_id(1)).await.unwrap().unwrap().attempts, 1);
    it.store.record_traces(&[recorded(&due[0])], seconds(31)).await.unwrap();
    assert_eq!(it.store.pending_trace(trace_id(1)).await.unwrap(), None);
    it.store.append_chunks(&[chunk(1, "late", true)], seconds(40), &POLICY).await.unwrap();
    let grown = it.store.pending_trace(trace_id(1)).await.unwrap().unwrap();
    assert_eq!((grown.root_ended, grown.first_seen_at, grown.due_at), (true, seconds(40), seconds(45)));
}

async fn judgements_of_a_trace_wait_until_they_are_made(it: TestStore) {
    let mut trace = plain(1);
    trace.judge_jobs = vec![judge_job("tone"), judge_job("grounded")];
    it.store.record_traces(&[trace], seconds(0)).await.unwrap();
    let waiting = it.store.waiting_judgements(trace_id(1)).await.unwrap();
    assert_eq!(waiting.iter().map(|one| one.evaluator.as_str()).collect::<Vec<_>>(), ["grounded", "tone"]);
    assert_eq!((waiting[0].attempts, waiting[0].probability, &waiting[0].last_error), (0, 0.25, &None));

    let claimed = claim_jobs(&it.store, seconds(1), LEASE, 2).await;
    put_off(&it.store, &claimed[0], seconds(90), "no answer").await;
    let waiting = it.store.waiting_judgements(trace_id(1)).await.unwrap();
    let postponed = waiting.iter().find(|one| one.evaluator == claimed[0].evaluator).unwrap();
    assert_eq!((postponed.attempts, postponed.due_at), (1, seconds(90)));
    assert_eq!(postponed.last_error.as_deref(), Some("no answer"));
    assert!(it.store.waiting_judgements(trace_id(2)).await.unwrap().is_empty());
}

async fn services_are_counted_within_a_selection(it: TestStore) {
    let mut traces = [plain(1), plain(2), plain(3)];
    traces[0].trace.failing = true;
    traces[2].trace.service = "desk".to_owned();
    traces[2].trace.ended_at = seconds(50);
    it.store.record_traces(&traces, seconds(60)).await.unwrap();
    let sums = |traces: u64| WeightSums { weight: 2.0 * traces as f64, squared: 4.0 * traces as f64 };
    let count = |service: &str, traces, failing| ServiceCount {
        service: service.to_owned(),
        traces,
        failing,
        upstream_unknown: 0,
        all: sums(traces),
        flagged: sums(failing),
    };
    let all = it.store.services(&Selection::default()).await.unwrap();
    assert_eq!(all, [count("desk", 1, 0), count("shop", 2, 1)]);
    let late = Selection { since: Some(seconds(50)), ..Selection::default() };
    assert_eq!(it.store.services(&late).await.unwrap(), [count("desk", 1, 0)]);
}
