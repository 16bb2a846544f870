//! Rows that commit in another order than that in which they were numbered or dated: none is passed over. And clocks that
//! jump.

use std::time::Duration;

use driftline::backends::store::RecordedTrace;
use sqlx::{Connection as _, Executor as _, PgConnection};
use tokio::time::sleep;

use super::contract;
use super::fixtures::{LEASE, POLICY, TestStore, chunk, item, plain, recorded, seconds, stored_evaluation, trace_id};

contract!(traces_of_a_clock_that_was_set_back_wait_for_it_and_hold_up_no_others);

/// Lets a transaction that ends a trace's wait rest just before its commit, for as long as the test holds the lock.
const REST_BEFORE_COMMIT: &str = "CREATE FUNCTION rest() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
                                  PERFORM pg_advisory_xact_lock(1); RETURN NULL; END $$; \
                                  CREATE TRIGGER rest AFTER DELETE ON pending FOR EACH ROW EXECUTE FUNCTION rest()";

/// A judged trace that is to be told of.
fn judged(mut trace: RecordedTrace) -> RecordedTrace {
    let id = trace.trace.trace_id;
    trace.evaluations = vec![stored_evaluation(id, "judge", Some(1.0))];
    trace.outbox = vec![item("backend", &id.to_string())];
    trace
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_that_commits_after_later_ones_were_taken_up_is_taken_up_too() {
    let it = TestStore::postgres().await;
    let due = it.claimed(&[1]).await;
    let mut other = PgConnection::connect(&it.url).await.unwrap();
    other.execute(REST_BEFORE_COMMIT).await.unwrap();
    other.execute("SELECT pg_advisory_lock(1)").await.unwrap();
    let (store, first) = (it.store.clone(), judged(recorded(&due[0])));
    let recording = tokio::spawn(async move { store.record_traces(&[first], seconds(10)).await });
    sleep(Duration::from_millis(300)).await;
    let mut second = judged(plain(2));
    // Of another hour: to note a new one waits for whoever notes the same.
    second.trace.ended_at = seconds(3_601);
    it.store.record_traces(&[second], seconds(20)).await.unwrap();
    assert!(!recording.is_finished(), "the first has its number and its time, and is not committed");
    assert_eq!(taken_up(&it, 30).await, [trace_id(2).to_string()]);
    other.execute("SELECT pg_advisory_unlock(1)").await.unwrap();
    recording.await.unwrap().unwrap();
    assert_eq!(taken_up(&it, 40).await, [trace_id(1).to_string()]);
    let hours = it.store.version_hours(None).await.unwrap();
    let counted = hours.iter().filter(|hour| hour.dimension == "release").map(|hour| hour.traces);
    assert_eq!(counted.collect::<Vec<_>>(), [1, 1]);
    assert_eq!(it.store.undrawn(seconds(0), 10).await.unwrap().len(), 2);
}

/// A pass of each of those who take up what is new; gives what is sent.
async fn taken_up(it: &TestStore, now: i64) -> Vec<String> {
    for (service, hour) in it.store.uncounted_hours().await.unwrap() {
        it.store.count_versions(&service, hour, seconds(now)).await.unwrap();
    }
    it.store.note_counted(seconds(now)).await.unwrap();
    let items = it.store.claim_outbox("backend", seconds(now), LEASE, 10).await.unwrap();
    it.store.delivered(&items.iter().map(|item| item.id).collect::<Vec<_>>()).await.unwrap();
    items.into_iter().map(|item| item.key).collect()
}

async fn traces_of_a_clock_that_was_set_back_wait_for_it_and_hold_up_no_others(it: TestStore) {
    const DAY: i64 = 86_400;
    it.store.append_chunks(&[chunk(1, "of tomorrow", true)], seconds(DAY), &POLICY).await.unwrap();
    it.store.append_chunks(&[chunk(2, "of today", true)], seconds(0), &POLICY).await.unwrap();
    let claim = async |now| it.store.claim_due(seconds(now), LEASE, 10).await.unwrap();
    let due = claim(5).await;
    assert_eq!(due.iter().map(|trace| trace.trace_id).collect::<Vec<_>>(), [trace_id(2)]);
    it.store.record_traces(&[recorded(&due[0])], seconds(5)).await.unwrap();
    assert_eq!(it.store.queue_depths(seconds(5)).await.unwrap().pending, 1, "and is seen to wait");
    let due = claim(DAY + 5).await;
    assert_eq!(due.iter().map(|trace| trace.trace_id).collect::<Vec<_>>(), [trace_id(1)]);
    assert_eq!(it.store.record_traces(&[recorded(&due[0])], seconds(DAY + 5)).await.unwrap().recorded, 1);
}
