//! A database that ends connections, has none left, or makes two transactions wait for each other.

use std::time::Duration;

use futures_util::future::join_all;
use sqlx::{Connection as _, Executor as _, PgConnection};
use tokio::time::sleep;

use super::fixtures::{POLICY, TestStore, chunk, plain, seconds, trace_id};

/// Ends every connection of the store, in the middle of whatever it does.
const TERMINATE: &str = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                         WHERE datname = current_database() AND pid <> pg_backend_pid()";

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_are_ended_again_and_again_lose_no_piece_and_store_none_twice() {
    let it = TestStore::postgres().await;
    let mut other = PgConnection::connect(&it.url).await.unwrap();
    let store = it.store.clone();
    let writing = tokio::spawn(async move {
        for trace in 0..120 {
            let piece = [chunk(trace, "piece", true)];
            // What is given up after several attempts is tried again by who received it.
            while store.append_chunks(&piece, seconds(1), &POLICY).await.is_err() {}
        }
    });
    while !writing.is_finished() {
        other.execute(TERMINATE).await.unwrap();
        sleep(Duration::from_millis(30)).await;
    }
    writing.await.unwrap();
    assert_eq!(it.store.queue_depths(seconds(1_000)).await.unwrap().due, 120);
    let due = it.store.claim_due(seconds(1_000), Duration::from_mins(1), 200).await.unwrap();
    assert!(due.iter().all(|trace| trace.body.chunks.len() == 1 && trace.generation == 1), "{due:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn more_work_than_connections_waits_for_its_turn() {
    let it = TestStore::postgres().await;
    let mut other = PgConnection::connect(&it.url).await.unwrap();
    let mut locked = other.begin().await.unwrap();
    locked.execute("LOCK TABLE chunk IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let writes = (0..50).map(|trace| {
        let store = it.store.clone();
        tokio::spawn(async move { store.append_chunks(&[chunk(trace, "piece", true)], seconds(1), &POLICY).await })
    });
    let writes: Vec<_> = writes.collect();
    sleep(Duration::from_secs(2)).await;
    assert!(writes.iter().all(|write| !write.is_finished()), "the table is locked");
    locked.commit().await.unwrap();
    for written in join_all(writes).await {
        assert_eq!(written.unwrap().unwrap().inserted, 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_transactions_that_wait_for_each_other_ours_is_tried_again() {
    let it = TestStore::postgres().await;
    it.store.record_traces(&[plain(1), plain(2)], seconds(6)).await.unwrap();
    let mut other = PgConnection::connect(&it.url).await.unwrap();
    let lock = |trace| format!("SELECT 1 FROM trace WHERE trace_id = decode('{}', 'hex') FOR UPDATE", trace_id(trace));
    let mut theirs = other.begin().await.unwrap();
    theirs.execute(sqlx::AssertSqlSafe(lock(2))).await.unwrap();
    let store = it.store.clone();
    let mut next = [plain(1), plain(2)];
    next.iter_mut().for_each(|trace| trace.trace.version = 2);
    let ours = tokio::spawn(async move { store.record_traces(&next, seconds(7)).await });
    sleep(Duration::from_millis(300)).await;
    assert!(!ours.is_finished(), "ours waits for theirs");
    // Now theirs waits for ours, which notices first.
    theirs.execute(sqlx::AssertSqlSafe(lock(1))).await.unwrap();
    theirs.commit().await.unwrap();
    assert_eq!(ours.await.unwrap().unwrap().recorded, 2);
}
