//! Traces that are larger than memory should hold, and traces of which only log records came.

use std::time::Duration;

use driftline::backends::store::{Chunk, LARGEST_TRACE_BYTES, MOST_PIECES, Store};
use driftline::domain::ids::TraceId;

use super::contract;
use super::fixtures::{LEASE, POLICY, TestStore, chunk, recorded, seconds, trace_id};

contract!(
    of_a_trace_that_is_too_large_the_ends_are_read_and_the_rest_is_counted,
    of_a_trace_of_too_many_pieces_the_ends_are_read_and_the_rest_is_counted,
    bodies_are_read_together_as_far_as_they_fit,
    a_claim_takes_no_more_bytes_than_fit_and_leaves_the_others_as_they_were,
    a_trace_without_a_span_waits_for_its_greatest_age_and_is_dropped_then,
    a_trace_that_grew_while_it_was_looked_at_is_not_dropped,
);

/// A piece of this size, marked at its first byte.
fn large(number: u64, mark: u8, bytes: usize) -> Chunk {
    let mut body = vec![0; bytes];
    body[0] = mark;
    Chunk { body, ..chunk(number, &mark.to_string(), true) }
}

async fn append(store: &Store, chunk: Chunk, second: i64) {
    store.append_chunks(&[chunk], seconds(second), &POLICY).await.unwrap();
}

async fn of_a_trace_that_is_too_large_the_ends_are_read_and_the_rest_is_counted(it: TestStore) {
    for mark in 1..=7 {
        append(&it.store, large(1, mark, LARGEST_TRACE_BYTES / 5), i64::from(mark)).await;
    }
    let body = it.store.chunks_of(trace_id(1)).await.unwrap();
    assert_eq!(body.chunks.iter().map(|chunk| chunk[0]).collect::<Vec<_>>(), [1, 2, 3, 6, 7]);
    assert_eq!(body.left_out, 2);
    let due = it.store.claim_due(seconds(50), LEASE, 10).await.unwrap();
    assert_eq!(due[0].body, body, "a worker reads what everyone reads");
}

async fn of_a_trace_of_too_many_pieces_the_ends_are_read_and_the_rest_is_counted(it: TestStore) {
    let excess = 10;
    let chunks: Vec<Chunk> = (0..MOST_PIECES + excess).map(|number| chunk(1, &format!("{number:06}"), true)).collect();
    it.store.append_chunks(&chunks, seconds(0), &POLICY).await.unwrap();
    let body = it.store.chunks_of(trace_id(1)).await.unwrap();
    assert_eq!((body.chunks.len(), body.left_out), (MOST_PIECES, excess));
    assert_eq!((body.chunks.first(), body.chunks.last()), (Some(&chunks[0].body), chunks.last().map(|it| &it.body)));
    assert!(body.chunks.is_sorted());
}

async fn bodies_are_read_together_as_far_as_they_fit(it: TestStore) {
    for (number, mark) in [(1, 1), (1, 2), (2, 1), (3, 1)] {
        append(&it.store, large(number, mark, 1_000), i64::from(mark)).await;
    }
    let read = async |numbers: &[u64], most_bytes| {
        let trace_ids: Vec<TraceId> = numbers.iter().copied().map(trace_id).collect();
        let bodies = it.store.bodies_within(&trace_ids, most_bytes).await.unwrap();
        for (trace_id, body) in &bodies {
            assert_eq!(*body, it.store.chunks_of(*trace_id).await.unwrap());
        }
        numbers.iter().copied().filter(|number| bodies.contains_key(&trace_id(*number))).collect::<Vec<u64>>()
    };
    assert_eq!(read(&[1, 2, 3], 1_000_000).await, [1, 2, 3]);
    assert_eq!(read(&[1, 2, 3], 3_500).await, [1, 2], "the third would be too much");
    assert_eq!(read(&[1, 2, 3], 10).await, [1], "one is always read");
    assert_eq!(read(&[9, 3], 3_500).await, [3], "of what is unknown there is nothing");
    assert!(read(&[], 3_500).await.is_empty());
}

async fn a_claim_takes_no_more_bytes_than_fit_and_leaves_the_others_as_they_were(it: TestStore) {
    for number in [1, 2, 3] {
        append(&it.store, large(number, 1, 15 * 1024 * 1024), i64::try_from(number).unwrap()).await;
    }
    let mut claims = Vec::new();
    for _ in 0..3 {
        let due = it.store.claim_due(seconds(50), LEASE, 10).await.unwrap();
        assert!(due.iter().all(|trace| trace.attempts == 1 && trace.body.chunks.len() == 1), "{due:?}");
        claims.push(due.iter().map(|trace| trace.trace_id).collect::<Vec<TraceId>>());
    }
    assert_eq!(claims, [vec![trace_id(1), trace_id(2)], vec![trace_id(3)], vec![]]);
}

async fn a_trace_without_a_span_waits_for_its_greatest_age_and_is_dropped_then(it: TestStore) {
    let max_age = Duration::from_secs(100);
    append(&it.store, chunk(1, "log record", false), 0).await;
    let due = it.store.claim_due(seconds(30), LEASE, 10).await.unwrap();
    assert_eq!(it.store.await_spans(&[&due[0]], seconds(30), max_age).await.unwrap(), 0);
    assert_eq!(it.store.pending_trace(trace_id(1)).await.unwrap().unwrap().due_at, seconds(100));
    assert!(it.store.claim_due(seconds(99), LEASE, 10).await.unwrap().is_empty());

    let due = it.store.claim_due(seconds(100), LEASE, 10).await.unwrap();
    assert_eq!(due[0].attempts, 1, "waiting is no failure");
    assert_eq!(it.store.await_spans(&[&due[0]], seconds(100), max_age).await.unwrap(), 1);
    assert_eq!(it.store.pending_trace(trace_id(1)).await.unwrap(), None);
    assert_eq!(it.store.counts().await.unwrap().chunks, 0);

    // Its spans, should they come after all, are a trace of their own.
    append(&it.store, chunk(1, "span", true), 200).await;
    let due = it.store.claim_due(seconds(205), LEASE, 10).await.unwrap();
    assert_eq!((due.len(), due[0].version), (1, 0));
}

async fn a_trace_that_grew_while_it_was_looked_at_is_not_dropped(it: TestStore) {
    append(&it.store, chunk(1, "log record", false), 0).await;
    let due = it.store.claim_due(seconds(100), LEASE, 10).await.unwrap();
    append(&it.store, chunk(1, "span", true), 101).await;
    assert_eq!(it.store.await_spans(&[&due[0]], seconds(102), Duration::from_secs(100)).await.unwrap(), 0);
    let due = it.store.claim_due(seconds(200), LEASE, 10).await.unwrap();
    assert_eq!(due[0].body.chunks.len(), 2);
    it.store.record_traces(&[recorded(&due[0])], seconds(200)).await.unwrap();
    assert_eq!(it.store.pending_trace(trace_id(1)).await.unwrap(), None);
}
