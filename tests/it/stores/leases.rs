//! Work that one process at a time does, and messages that are begun and not ended.

use std::time::Duration;

use super::contract;
use super::fixtures::{TestStore, seconds};

const MINUTE: Duration = Duration::from_mins(1);
const DAY: i64 = 86_400;

contract!(
    a_lease_is_one_holders_until_it_runs_out_or_is_given_up,
    a_lease_of_a_clock_that_was_far_ahead_holds_no_one_up,
    a_message_is_counted_until_it_is_ended_or_a_day_is_over,
);

async fn a_lease_is_one_holders_until_it_runs_out_or_is_given_up(it: TestStore) {
    let hold = async |holder, now| it.store.hold_lease("watch", holder, seconds(now), MINUTE).await.unwrap();
    assert!(hold("a", 0).await);
    assert!(!hold("b", 59).await);
    assert!(hold("a", 59).await, "its holder keeps it");
    assert!(!hold("b", 118).await, "for as long as from the last time");
    assert!(hold("b", 119).await);
    assert!(!hold("a", 120).await);
    assert!(it.store.hold_lease("notify", "a", seconds(120), MINUTE).await.unwrap(), "other work has another lease");
    it.store.release_leases("b").await.unwrap();
    assert!(hold("a", 121).await);
}

async fn a_lease_of_a_clock_that_was_far_ahead_holds_no_one_up(it: TestStore) {
    let hold = async |holder, now| it.store.hold_lease("watch", holder, seconds(now), MINUTE).await.unwrap();
    assert!(hold("a", DAY).await);
    assert!(!hold("b", DAY - 59).await, "a clock that is a little behind waits");
    assert!(hold("b", 0).await, "the clock was set back by a day");
    assert!(!hold("a", 30).await);
}

async fn a_message_is_counted_until_it_is_ended_or_a_day_is_over(it: TestStore) {
    let begin = async |message, now| it.store.begin_message(&[message; 32], seconds(now)).await.unwrap();
    assert_eq!((begin(1, 0).await, begin(1, 1).await, begin(2, 2).await), (1, 2, 1));
    it.store.end_message(&[1; 32], seconds(3)).await.unwrap();
    assert_eq!((begin(1, 4).await, begin(2, 5).await), (1, 2));
    assert_eq!(begin(2, 7 + DAY).await, 1);
}
