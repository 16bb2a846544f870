//! Pieces arrive, traces come due, workers claim them, bodies go.

use std::collections::BTreeSet;
use std::time::Duration;

use driftline::backends::store::{AppendReport, Chunk, CompletionPolicy, DueTrace, Store};
use driftline::domain::ids::TraceId;
use driftline::domain::time::Timestamp;

use super::contract;
use super::fixtures::{LEASE, POLICY, TestStore, chunk, recorded, seconds, trace_id};

contract!(
    of_a_trace_that_grows_without_end_so_much_is_kept_and_it_is_marked,
    a_trace_that_was_evaluated_keeps_no_more_than_its_bound_and_is_not_evaluated_for_what_is_dropped,
    a_trace_that_keeps_growing_waits_longer_for_each_version,
    a_trace_is_due_when_it_has_been_quiet,
    a_trace_whose_root_has_ended_is_due_sooner_and_stays_so,
    a_trace_that_never_falls_quiet_is_due_at_its_greatest_age,
    a_repeated_piece_is_counted_and_reopens_nothing,
    a_batch_may_repeat_a_piece_and_hold_many_traces,
    pieces_come_back_in_order_of_arrival,
    the_longest_due_are_claimed_first_and_no_more_than_asked_for,
    a_claim_holds_until_its_lease_ends_and_attempts_are_counted,
    a_trace_whose_claim_was_not_finished_is_claimed_alone,
    what_is_given_back_was_never_claimed,
    two_claimers_at_once_never_share_a_trace,
    many_workers_record_every_trace_exactly_once,
    bodies_are_purged_when_they_need_not_be_kept_and_not_before,
    a_purged_trace_takes_no_more_pieces,
    a_trace_that_waits_for_evaluation_keeps_its_body,
    pieces_that_come_while_bodies_are_purged_are_kept_whole_or_refused,
);

async fn claim_ids(store: &Store, now: Timestamp) -> Vec<TraceId> {
    store.claim_due(now, LEASE, 1_000).await.unwrap().iter().map(|due| due.trace_id).collect()
}

async fn append(store: &Store, number: u64, text: &str, root_ended: bool, now: Timestamp) -> AppendReport {
    store.append_chunks(&[chunk(number, text, root_ended)], now, &POLICY).await.unwrap()
}

async fn a_trace_is_due_when_it_has_been_quiet(it: TestStore) {
    append(&it.store, 1, "a", false, seconds(0)).await;
    append(&it.store, 1, "b", false, seconds(10)).await;
    assert_eq!(claim_ids(&it.store, seconds(39)).await, []);
    assert_eq!(claim_ids(&it.store, seconds(40)).await, [trace_id(1)]);
}

async fn a_trace_whose_root_has_ended_is_due_sooner_and_stays_so(it: TestStore) {
    append(&it.store, 1, "root", true, seconds(0)).await;
    append(&it.store, 1, "straggler", false, seconds(2)).await;
    assert_eq!(claim_ids(&it.store, seconds(6)).await, []);
    assert_eq!(claim_ids(&it.store, seconds(7)).await, [trace_id(1)]);
}

async fn a_trace_that_never_falls_quiet_is_due_at_its_greatest_age(it: TestStore) {
    for second in (0..100).step_by(10) {
        append(&it.store, 1, &format!("at {second}"), false, seconds(second)).await;
    }
    assert_eq!(claim_ids(&it.store, seconds(99)).await, []);
    assert_eq!(claim_ids(&it.store, seconds(100)).await, [trace_id(1)]);
}

async fn a_repeated_piece_is_counted_and_reopens_nothing(it: TestStore) {
    let due = it.claimed(&[1]).await;
    it.store.record_traces(&[recorded(&due[0])], seconds(6)).await.unwrap();
    let report = append(&it.store, 1, "first", true, seconds(7)).await;
    assert_eq!(report, AppendReport { duplicates: 1, ..AppendReport::default() });
    assert_eq!(it.store.queue_depths(seconds(500)).await.unwrap().pending, 0);
}

async fn a_batch_may_repeat_a_piece_and_hold_many_traces(it: TestStore) {
    let mut chunks: Vec<_> = (0..100).map(|number| chunk(number, "a", true)).collect();
    chunks.extend((0..100).map(|number| chunk(number, "b", false)));
    chunks.push(chunk(3, "a", true));
    let report = it.store.append_chunks(&chunks, seconds(0), &POLICY).await.unwrap();
    assert_eq!(report, AppendReport { inserted: 200, duplicates: 1, too_late: 0, left_out: 0 });
    let due = it.store.claim_due(seconds(5), LEASE, 1_000).await.unwrap();
    assert_eq!(due.len(), 100);
    assert!(due.iter().all(|trace| trace.body.chunks.len() == 2 && trace.generation == 1 && trace.version == 0));
}

async fn pieces_come_back_in_order_of_arrival(it: TestStore) {
    for (second, text) in ["z", "a", "m"].into_iter().enumerate() {
        append(&it.store, 1, text, true, seconds(second as i64)).await;
    }
    let due = it.store.claim_due(seconds(20), LEASE, 1).await.unwrap();
    assert_eq!(due[0].body.chunks, [b"z", b"a", b"m"]);
    assert_eq!(due[0].generation, 3);
    assert_eq!(it.store.chunks_of(trace_id(1)).await.unwrap(), due[0].body);
    assert!(it.store.chunks_of(trace_id(2)).await.unwrap().chunks.is_empty());
}

async fn the_longest_due_are_claimed_first_and_no_more_than_asked_for(it: TestStore) {
    for (second, number) in [3, 1, 2].into_iter().enumerate() {
        append(&it.store, number, "a", true, seconds(second as i64)).await;
    }
    let claim = async || it.store.claim_due(seconds(50), LEASE, 2).await.unwrap();
    let ids = |due: Vec<DueTrace>| -> Vec<TraceId> { due.iter().map(|trace| trace.trace_id).collect() };
    assert_eq!(ids(claim().await), [trace_id(3), trace_id(1)]);
    assert_eq!(ids(claim().await), [trace_id(2)]);
}

async fn a_claim_holds_until_its_lease_ends_and_attempts_are_counted(it: TestStore) {
    let first = it.claimed(&[1]).await;
    assert_eq!(first[0].attempts, 1);
    // What arrives meanwhile does not end the claim.
    append(&it.store, 2, "a", true, seconds(6)).await;
    assert_eq!(claim_ids(&it.store, seconds(64)).await, [trace_id(2)]);
    let second = it.store.claim_due(seconds(65), LEASE, 10).await.unwrap();
    assert_eq!((second[0].trace_id, second[0].attempts), (trace_id(1), 2));
}

async fn a_trace_whose_claim_was_not_finished_is_claimed_alone(it: TestStore) {
    it.claimed(&[1, 2]).await;
    append(&it.store, 3, "first", true, seconds(60)).await;
    let mut claims = Vec::new();
    for _ in 0..4 {
        claims.push(claim_ids(&it.store, seconds(70)).await);
    }
    assert_eq!(claims, [vec![trace_id(1)], vec![trace_id(2)], vec![trace_id(3)], vec![]]);
}

async fn what_is_given_back_was_never_claimed(it: TestStore) {
    let due = it.claimed(&[1, 2]).await;
    it.store.give_back(&due).await.unwrap();
    let again = it.store.claim_due(seconds(6), LEASE, 10).await.unwrap();
    assert_eq!(again, due);
}

async fn two_claimers_at_once_never_share_a_trace(it: TestStore) {
    let chunks: Vec<_> = (0..200).map(|number| chunk(number, "a", true)).collect();
    it.store.append_chunks(&chunks, seconds(0), &POLICY).await.unwrap();
    let claimer = |store: Store| {
        tokio::spawn(async move {
            let mut claimed = Vec::new();
            loop {
                let due = store.claim_due(seconds(10), LEASE, 7).await.unwrap();
                if due.is_empty() {
                    return claimed;
                }
                claimed.extend(due.into_iter().map(|trace| trace.trace_id));
            }
        })
    };
    let claimers = [claimer(it.store.clone()), claimer(it.store.clone()), claimer(it.store.clone())];
    let mut all = Vec::new();
    for claimer in claimers {
        all.extend(claimer.await.unwrap());
    }
    assert_eq!(all.len(), 200);
    assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), 200);
}

async fn many_workers_record_every_trace_exactly_once(it: TestStore) {
    const TRACES: u64 = 120;
    let worker = |store: Store| {
        tokio::spawn(async move {
            let mut recorded_by_me = 0;
            // Leases that are over at once make every worker take what the others are still at.
            for _ in 0..40 {
                let due = store.claim_due(seconds(200), std::time::Duration::ZERO, 9).await.unwrap();
                let results: Vec<_> = due.iter().map(recorded).collect();
                recorded_by_me += store.record_traces(&results, seconds(200)).await.unwrap().recorded;
            }
            recorded_by_me
        })
    };
    let receiver = |store: Store, text: &'static str| {
        tokio::spawn(async move {
            for number in 0..TRACES {
                append(&store, number, text, true, seconds(0)).await;
            }
        })
    };
    let receivers = [receiver(it.store.clone(), "a"), receiver(it.store.clone(), "b")];
    let workers: Vec<_> = (0..4).map(|_| worker(it.store.clone())).collect();
    for receiver in receivers {
        receiver.await.unwrap();
    }
    let mut recordings = 0;
    for worker in workers {
        recordings += worker.await.unwrap();
    }
    loop {
        let due = it.store.claim_due(seconds(300), LEASE, 50).await.unwrap();
        if due.is_empty() {
            break;
        }
        let results: Vec<_> = due.iter().map(recorded).collect();
        recordings += it.store.record_traces(&results, seconds(300)).await.unwrap().recorded;
    }
    let mut versions = 0;
    for number in 0..TRACES {
        let trace = it.store.trace(trace_id(number)).await.unwrap().unwrap();
        assert_eq!(trace.decision, "2", "no piece is left out of the last evaluation");
        versions += usize::try_from(trace.version).unwrap();
    }
    assert_eq!(recordings, versions, "every accepted recording is one version, and no version came twice");
}

async fn bodies_are_purged_when_they_need_not_be_kept_and_not_before(it: TestStore) {
    let due = it.claimed(&[1, 2]).await;
    let mut traces: Vec<_> = due.iter().map(recorded).collect();
    traces[1].trace.keep_body_until = seconds(2_000);
    it.store.record_traces(&traces, seconds(6)).await.unwrap();
    assert_eq!(it.store.purge(seconds(999)).await.unwrap().traces, 0);
    assert_eq!(it.store.purge(seconds(1_000)).await.unwrap().traces, 1);
    assert_eq!(it.store.purge(seconds(1_000)).await.unwrap().traces, 0);
    assert!(it.store.chunks_of(trace_id(1)).await.unwrap().chunks.is_empty());
    assert_eq!(it.store.chunks_of(trace_id(2)).await.unwrap().chunks.len(), 1);
    assert!(it.store.trace(trace_id(1)).await.unwrap().is_some());
}

async fn a_purged_trace_takes_no_more_pieces(it: TestStore) {
    let due = it.claimed(&[1]).await;
    it.store.record_traces(&[recorded(&due[0])], seconds(6)).await.unwrap();
    it.store.purge(seconds(1_000)).await.unwrap();
    let chunks = [chunk(1, "first", true), chunk(1, "late", false), chunk(2, "other", false)];
    let report = it.store.append_chunks(&chunks, seconds(1_001), &POLICY).await.unwrap();
    assert_eq!(report, AppendReport { inserted: 1, duplicates: 0, too_late: 2, left_out: 0 });
    assert_eq!(it.store.queue_depths(seconds(9_000)).await.unwrap().pending, 1);
    assert!(it.store.chunks_of(trace_id(1)).await.unwrap().chunks.is_empty());
}

async fn a_trace_that_waits_for_evaluation_keeps_its_body(it: TestStore) {
    let due = it.claimed(&[1]).await;
    it.store.record_traces(&[recorded(&due[0])], seconds(6)).await.unwrap();
    append(&it.store, 1, "late", false, seconds(999)).await;
    assert_eq!(it.store.purge(seconds(2_000)).await.unwrap().traces, 0);
    assert_eq!(it.store.chunks_of(trace_id(1)).await.unwrap().chunks.len(), 2);
}

async fn pieces_that_come_while_bodies_are_purged_are_kept_whole_or_refused(it: TestStore) {
    const TRACES: u64 = 200;
    let chunks: Vec<_> = (0..TRACES).map(|number| chunk(number, "first", true)).collect();
    it.store.append_chunks(&chunks, seconds(0), &POLICY).await.unwrap();
    let due = it.store.claim_due(seconds(5), LEASE, 1_000).await.unwrap();
    let mut traces: Vec<_> = due.iter().map(recorded).collect();
    for (number, trace) in traces.iter_mut().enumerate() {
        trace.trace.keep_body_until = seconds(1_000 + number as i64);
    }
    it.store.record_traces(&traces, seconds(6)).await.unwrap();
    let mut kept = BTreeSet::new();
    for number in 0..TRACES {
        let purge = it.store.purge(seconds(1_000 + number as i64));
        let (report, purged) = tokio::join!(append(&it.store, number, "late", true, seconds(500)), purge);
        purged.unwrap();
        if report.inserted == 1 {
            kept.insert(trace_id(number));
        }
    }
    let pending = it.store.claim_due(seconds(9_000), LEASE, 1_000).await.unwrap();
    assert!(pending.iter().all(|trace| trace.body.chunks.len() == 2), "a trace is never read in part");
    assert_eq!(pending.iter().map(|trace| trace.trace_id).collect::<BTreeSet<_>>(), kept);
}

/// So little is kept that two large pieces fill it.
const BOUNDED: CompletionPolicy = CompletionPolicy { max_trace_bytes: 1024 * 1024, ..POLICY };

/// A piece of half the bound.
fn half(number: u64, text: &str) -> Chunk {
    Chunk { body: vec![7; BOUNDED.max_trace_bytes / 2 - 4_096], ..chunk(number, text, false) }
}

async fn of_a_trace_that_grows_without_end_so_much_is_kept_and_it_is_marked(it: TestStore) {
    let append = async |chunks: &[Chunk], second| {
        let report = it.store.append_chunks(chunks, seconds(second), &BOUNDED).await.unwrap();
        (report.inserted, report.duplicates, report.left_out)
    };
    assert_eq!(append(&[half(1, "a"), half(1, "b")], 0).await, (2, 0, 0));
    assert_eq!(append(&[half(1, "c"), chunk(2, "other", true)], 1).await, (1, 0, 1), "others are not held up");
    assert_eq!(append(&[half(1, "a"), half(1, "d")], 2).await, (0, 1, 1));
    let small: Vec<Chunk> = (0..10).map(|number| chunk(1, &format!("small {number}"), false)).collect();
    assert_eq!(append(&small, 3).await, (0, 0, 10), "small pieces count more than their bytes");
    let due = it.store.claim_due(seconds(200), LEASE, 5).await.unwrap();
    let grown = due.iter().find(|trace| trace.trace_id == trace_id(1)).unwrap();
    assert_eq!((grown.body.chunks.len(), grown.body.left_out), (2, 12));
}

async fn a_trace_that_was_evaluated_keeps_no_more_than_its_bound_and_is_not_evaluated_for_what_is_dropped(
    it: TestStore,
) {
    it.store.append_chunks(&[half(1, "a"), half(1, "b")], seconds(0), &BOUNDED).await.unwrap();
    let due = it.store.claim_due(seconds(100), LEASE, 1).await.unwrap();
    it.store.record_traces(&[recorded(&due[0])], seconds(100)).await.unwrap();
    let stored = async || it.store.trace(trace_id(1)).await.unwrap().unwrap();
    assert!(!stored().await.attributes.contains_key("truncated"));
    for text in ["c", "d"] {
        let report = it.store.append_chunks(&[half(1, text)], seconds(101), &BOUNDED).await.unwrap();
        assert_eq!((report.inserted, report.left_out), (0, 1));
        assert_eq!(it.store.pending_trace(trace_id(1)).await.unwrap(), None);
        assert_eq!(stored().await.attributes["truncated"], "true");
    }
    assert_eq!(it.store.chunks_of(trace_id(1)).await.unwrap().chunks.len(), 2);
}

async fn a_trace_that_keeps_growing_waits_longer_for_each_version(it: TestStore) {
    let mut waits = Vec::new();
    let mut now = 0;
    for version in 0..7 {
        it.store.append_chunks(&[chunk(1, &format!("piece {version}"), true)], seconds(now), &BOUNDED).await.unwrap();
        it.store.append_chunks(&[chunk(1, &format!("more {version}"), true)], seconds(now), &BOUNDED).await.unwrap();
        let due_at = it.store.pending_trace(trace_id(1)).await.unwrap().unwrap().due_at;
        waits.push(due_at.seconds_since(seconds(now)));
        assert!(it.store.claim_due(due_at.minus(Duration::from_nanos(1)), LEASE, 1).await.unwrap().is_empty());
        let due = it.store.claim_due(due_at, LEASE, 1).await.unwrap();
        assert_eq!(due[0].version, version);
        it.store.record_traces(&[recorded(&due[0])], due_at).await.unwrap();
        now += 10_000;
    }
    assert_eq!(waits, [5.0, 5.0, 5.0, 30.0, 60.0, 120.0, 240.0]);

    it.store.append_chunks(&[chunk(1, "last", true)], seconds(now), &BOUNDED).await.unwrap();
    let due = it.store.claim_due(seconds(now + 500), LEASE, 1).await.unwrap();
    it.store.append_chunks(&[chunk(1, "while it is evaluated", true)], seconds(now + 500), &BOUNDED).await.unwrap();
    it.store.record_traces(&[recorded(&due[0])], seconds(now + 501)).await.unwrap();
    let grown = it.store.pending_trace(trace_id(1)).await.unwrap().unwrap();
    assert_eq!(grown.due_at, seconds(now + 501 + 960), "also one that grows faster than it is evaluated");
}
