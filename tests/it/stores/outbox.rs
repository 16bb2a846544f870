//! What waits to be sent.

use super::contract;
use super::fixtures::{LEASE, TestStore, item, plain, seconds};

contract!(
    an_item_is_claimed_by_its_destination_until_it_is_delivered,
    an_item_that_was_not_taken_is_sent_again_later,
    a_key_waits_only_once_for_each_destination,
    two_senders_at_once_never_share_an_item,
    what_waits_too_long_is_found_whoever_it_is_for_and_however_often_it_was_tried,
);

async fn fill(it: &TestStore, items: &[(&str, &str)]) {
    let mut trace = plain(1);
    trace.outbox = items.iter().map(|(destination, key)| item(destination, key)).collect();
    it.store.record_traces(&[trace], seconds(0)).await.unwrap();
}

async fn an_item_is_claimed_by_its_destination_until_it_is_delivered(it: TestStore) {
    fill(&it, &[("phoenix", "a"), ("langfuse", "a"), ("phoenix", "b")]).await;
    let items = it.store.claim_outbox("phoenix", seconds(0), LEASE, 10).await.unwrap();
    assert_eq!(
        items.iter().map(|item| (&*item.key, &*item.payload)).collect::<Vec<_>>(),
        [("a", b"a".as_slice()), ("b", b"b")]
    );
    assert!(it.store.claim_outbox("phoenix", seconds(59), LEASE, 10).await.unwrap().is_empty());
    it.store.delivered(&[items[0].id]).await.unwrap();
    let again = it.store.claim_outbox("phoenix", seconds(60), LEASE, 10).await.unwrap();
    assert_eq!(again.iter().map(|item| (&*item.key, item.attempts)).collect::<Vec<_>>(), [("b", 2)]);
    assert_eq!(it.store.queue_depths(seconds(0)).await.unwrap().outbox, 2);
}

async fn an_item_that_was_not_taken_is_sent_again_later(it: TestStore) {
    fill(&it, &[("phoenix", "a"), ("phoenix", "b")]).await;
    let items = it.store.claim_outbox("phoenix", seconds(0), LEASE, 10).await.unwrap();
    let ids: Vec<i64> = items.iter().map(|item| item.id).collect();
    it.store.retry_outbox(&ids, seconds(20), "503 from the backend").await.unwrap();
    assert!(it.store.claim_outbox("phoenix", seconds(19), LEASE, 10).await.unwrap().is_empty());
    assert_eq!(it.store.claim_outbox("phoenix", seconds(20), LEASE, 10).await.unwrap().len(), 2);
    it.store.delivered(&[]).await.unwrap();
    it.store.delivered(&ids).await.unwrap();
    assert_eq!(it.store.queue_depths(seconds(0)).await.unwrap().outbox, 0);
}

async fn a_key_waits_only_once_for_each_destination(it: TestStore) {
    fill(&it, &[("phoenix", "a"), ("phoenix", "a"), ("langfuse", "a")]).await;
    let mut again = plain(2);
    again.outbox = vec![item("phoenix", "a")];
    it.store.record_traces(&[again], seconds(0)).await.unwrap();
    assert_eq!(it.store.queue_depths(seconds(0)).await.unwrap().outbox, 2);
}

async fn what_waits_too_long_is_found_whoever_it_is_for_and_however_often_it_was_tried(it: TestStore) {
    fill(&it, &[("removed", "a"), ("away", "b"), ("evaluator x", "c")]).await;
    let mut later = plain(2);
    later.outbox = vec![item("removed", "d")];
    it.store.record_traces(&[later], seconds(10)).await.unwrap();
    let tried = it.store.claim_outbox("away", seconds(5), LEASE, 10).await.unwrap();
    it.store.retry_outbox(&[tried[0].id], seconds(900), "503").await.unwrap();

    let expired = async |before| it.store.expired_outbox(seconds(before), "evaluator ").await.unwrap();
    assert!(expired(0).await.is_empty());
    let found = expired(10).await;
    let told: Vec<_> = found.iter().map(|item| (&*item.destination, item.payload.as_deref())).collect();
    assert_eq!(told, [("removed", None), ("away", None), ("evaluator x", Some(b"c".as_slice()))]);
    it.store.delivered(&found.iter().map(|item| item.id).collect::<Vec<_>>()).await.unwrap();
    assert_eq!((expired(10).await.len(), expired(11).await.len()), (0, 1));

    // As a process of the release before leaves it: its age is known from when it is claimed.
    it.forge("UPDATE outbox SET created_at = NULL").await;
    assert_eq!((expired(10).await.len(), expired(11).await.len()), (0, 1));
    it.store.claim_outbox("removed", seconds(20), LEASE, 10).await.unwrap();
    assert_eq!((expired(20).await.len(), expired(21).await.len()), (0, 1));
}

async fn two_senders_at_once_never_share_an_item(it: TestStore) {
    let keys: Vec<String> = (0..100).map(|number| number.to_string()).collect();
    fill(&it, &keys.iter().map(|key| ("phoenix", key.as_str())).collect::<Vec<_>>()).await;
    let sender = |store: driftline::backends::store::Store| {
        tokio::spawn(async move {
            let mut sent = Vec::new();
            loop {
                let items = store.claim_outbox("phoenix", seconds(1), LEASE, 9).await.unwrap();
                if items.is_empty() {
                    return sent;
                }
                sent.extend(items.into_iter().map(|item| item.id));
            }
        })
    };
    let senders = [sender(it.store.clone()), sender(it.store.clone())];
    let mut sent = Vec::new();
    for sender in senders {
        sent.extend(sender.await.unwrap());
    }
    sent.sort_unstable();
    sent.dedup();
    assert_eq!(sent.len(), 100);
}
