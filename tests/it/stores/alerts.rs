//! The life of alerts, who is told of it, and silences.

use std::time::Duration;

use driftline::backends::store::{Notice, NoticeCommit};
use driftline::domain::alert::{Acknowledgement, Alert, AlertState, Amendment, Severity, Transition};
use driftline::domain::silence::Silence;

use super::contract;
use super::fixtures::{LEASE, TestStore, alert, item, seconds};

contract!(
    every_step_of_a_life_is_kept_and_what_people_did_stands,
    what_is_over_or_unknown_cannot_be_amended,
    the_same_alert_reported_by_many_at_once_begins_once,
    there_is_something_to_notice_until_it_is_told_to_the_end,
    of_two_who_tell_at_once_one_does,
    a_lane_is_sent_in_order_and_holds_up_no_other,
    a_silence_holds_until_it_ends_or_is_ended,
    old_steps_of_alerts_that_are_over_are_forgotten_and_the_alerts_are_not,
);

fn pending(fingerprint: &str) -> Alert {
    alert(fingerprint, "shop", AlertState::Pending, seconds(1))
}

fn taken(by: &str) -> Amendment {
    Amendment::Acknowledge(Acknowledgement { by: by.to_owned(), at: seconds(5), note: Some("mine\0".to_owned()) })
}

async fn steps(it: &TestStore, fingerprint: &str) -> Vec<Transition> {
    it.store.alert_events(fingerprint).await.unwrap().into_iter().map(|event| event.transition).collect()
}

async fn every_step_of_a_life_is_kept_and_what_people_did_stands(it: TestStore) {
    let put = async |alert: Alert| it.store.put_alert(&alert, seconds(2)).await.unwrap();
    let amend = async |amendment| it.store.amend_alert("f", &amendment, seconds(3)).await.unwrap().unwrap();
    put(pending("f")).await;
    assert_eq!(amend(Amendment::Tell).await.state, AlertState::Firing);
    let acknowledged = amend(taken("kim")).await;
    put(pending("f")).await;
    assert_eq!(it.store.alert("f").await.unwrap(), Some(acknowledged));
    put(Alert { severity: Severity::Page, ..pending("f") }).await;
    assert_eq!(it.store.alert("f").await.unwrap().unwrap().state, AlertState::Firing, "it got louder");
    amend(Amendment::NoData).await;
    put(Alert { severity: Severity::Page, ..pending("f") }).await;
    put(Alert { severity: Severity::Page, state: AlertState::Resolved, ..pending("f") }).await;
    put(pending("f")).await;
    use Transition::{Acknowledged, DataBack, Firing, Louder, NoData, Pending, Resolved};
    let life = [Pending, Firing, Acknowledged, Louder, NoData, DataBack, Resolved, Pending];
    assert_eq!(steps(&it, "f").await, life);
    let events = it.store.alert_events("f").await.unwrap();
    assert!(events.is_sorted_by_key(|event| event.id));
    assert_eq!(events[2].alert.acknowledgement.as_ref().unwrap().by, "kim");
}

async fn what_is_over_or_unknown_cannot_be_amended(it: TestStore) {
    assert_eq!(it.store.amend_alert("f", &taken("kim"), seconds(3)).await.unwrap(), None);
    it.store.put_alert(&pending("f"), seconds(2)).await.unwrap();
    let over = Alert { state: AlertState::Resolved, ..pending("f") };
    it.store.put_alert(&over, seconds(3)).await.unwrap();
    assert_eq!(it.store.amend_alert("f", &taken("kim"), seconds(3)).await.unwrap(), Some(over));
    assert_eq!(steps(&it, "f").await, [Transition::Pending, Transition::Resolved]);
}

async fn the_same_alert_reported_by_many_at_once_begins_once(it: TestStore) {
    let report = |_| {
        let store = it.store.clone();
        tokio::spawn(async move { store.put_alert(&pending("f"), seconds(2)).await.unwrap() })
    };
    for reported in (0..8).map(report).collect::<Vec<_>>() {
        reported.await.unwrap();
    }
    assert_eq!(steps(&it, "f").await, [Transition::Pending]);
}

fn commit(before: Option<Notice>, last_event: i64, is_open: bool, messages: &[&str]) -> NoticeCommit {
    let after = Notice { last_event, is_open, told: format!("{{\"told\":{last_event}}}") };
    let messages = messages.iter().map(|key| item("slack", key)).collect();
    NoticeCommit { fingerprint: "f".to_owned(), before, after, messages }
}

async fn there_is_something_to_notice_until_it_is_told_to_the_end(it: TestStore) {
    assert_eq!(it.store.noticing().await.unwrap(), []);
    it.store.put_alert(&pending("f"), seconds(2)).await.unwrap();
    let found = it.store.noticing().await.unwrap().remove(0);
    assert_eq!((found.alert, found.confirmed_at, found.notice), (pending("f"), Some(seconds(2)), None));
    assert_eq!(found.considered, None);
    let first = commit(None, found.events[0].id, true, &["firing"]);
    assert!(it.store.commit_notice(&first, seconds(2)).await.unwrap());

    let again = it.store.noticing().await.unwrap().remove(0);
    assert_eq!((again.events.len(), again.notice), (0, Some(first.after.clone())), "it is open, and told");
    let over = Alert { state: AlertState::Resolved, ..pending("f") };
    it.store.put_alert(&over, seconds(3)).await.unwrap();
    let last = it.store.noticing().await.unwrap().remove(0);
    assert_eq!(last.considered.as_ref(), found.events.first());
    let second = commit(Some(first.after), last.events[0].id, true, &[]);
    assert!(it.store.commit_notice(&second, seconds(3)).await.unwrap());
    assert_eq!(it.store.noticing().await.unwrap().len(), 1, "someone waits to be told the end");
    let third = commit(Some(second.after.clone()), second.after.last_event, false, &["resolved"]);
    let third = NoticeCommit { after: Notice { told: "{}".to_owned(), ..third.after.clone() }, ..third };
    assert!(it.store.commit_notice(&third, seconds(3)).await.unwrap());
    assert_eq!(it.store.noticing().await.unwrap(), []);
    assert_eq!(it.store.queue_depths(seconds(9)).await.unwrap().outbox, 2);
}

async fn of_two_who_tell_at_once_one_does(it: TestStore) {
    let mut before = None;
    for number in 1..=10 {
        let tell = |key: &str| {
            let (store, commit) =
                (it.store.clone(), commit(before.clone(), number, true, &[&format!("{key}{number}")]));
            tokio::spawn(async move { store.commit_notice(&commit, seconds(2)).await.unwrap() })
        };
        let (one, other) = (tell("a"), tell("b"));
        assert!(one.await.unwrap() ^ other.await.unwrap());
        before = Some(commit(None, number, true, &[]).after);
    }
    assert_eq!(it.store.queue_depths(seconds(9)).await.unwrap().outbox, 10);
}

async fn a_lane_is_sent_in_order_and_holds_up_no_other(it: TestStore) {
    let lane = |fingerprint: &str, keys: &[&str]| NoticeCommit {
        fingerprint: fingerprint.to_owned(),
        ..commit(None, 1, true, keys)
    };
    for commit in [lane("f", &["f1", "f2"]), lane("g", &["g1"])] {
        assert!(it.store.commit_notice(&commit, seconds(0)).await.unwrap());
    }
    let claim = async |second: i64| it.store.claim_outbox("slack", seconds(second), LEASE, 10).await.unwrap();
    let keys = |items: &[driftline::backends::store::OutboxItem]| {
        items.iter().map(|item| item.key.clone()).collect::<Vec<_>>()
    };
    let first = claim(1).await;
    assert_eq!(keys(&first), ["f1", "g1"]);
    it.store.retry_outbox(&[first[0].id], seconds(100), "away").await.unwrap();
    it.store.delivered(&[first[1].id]).await.unwrap();
    assert!(claim(50).await.is_empty(), "the second of a lane waits for the first");
    let again = claim(100).await;
    assert_eq!(keys(&again), ["f1"]);
    it.store.delivered(&[again[0].id]).await.unwrap();
    assert_eq!(keys(&claim(101).await), ["f2"]);
}

async fn a_silence_holds_until_it_ends_or_is_ended(it: TestStore) {
    let silence = |id: &str, matcher: &str, hours: u64| Silence {
        id: id.to_owned(),
        matcher: matcher.parse().unwrap(),
        by: "kim".to_owned(),
        reason: "maintenance\0".to_owned(),
        created_at: seconds(0),
        ends_at: seconds(0).plus(Duration::from_hours(hours)),
        ended_by: None,
    };
    let (long, short) = (silence("a", "service=s*", 2), silence("b", "series=loop", 1));
    it.store.insert_silence(&long).await.unwrap();
    it.store.insert_silence(&short).await.unwrap();
    let at = async |second: i64| it.store.silences(seconds(second)).await.unwrap();
    assert_eq!(at(0).await, [short, long.clone()]);
    assert_eq!(at(3_600).await, std::slice::from_ref(&long));
    assert!(long.holds(&pending("f"), seconds(7_199)) && !long.holds(&pending("f"), seconds(7_200)));
    let ended = it.store.end_silence("a", "lee", seconds(10)).await.unwrap().unwrap();
    assert_eq!((ended.ends_at, ended.ended_by.as_deref()), (seconds(10), Some("lee")));
    assert_eq!(it.store.end_silence("a", "kim", seconds(20)).await.unwrap(), Some(ended), "it has ended once");
    assert_eq!(it.store.end_silence("c", "kim", seconds(20)).await.unwrap(), None);
}

async fn old_steps_of_alerts_that_are_over_are_forgotten_and_the_alerts_are_not(it: TestStore) {
    let over = Alert { state: AlertState::Resolved, ..pending("f") };
    for (alert, at) in [(pending("f"), 10), (over.clone(), 20), (pending("open"), 10)] {
        it.store.put_alert(&alert, seconds(at)).await.unwrap();
    }
    assert!(!it.store.purge_alert_events(seconds(20)).await.unwrap(), "there is no more");
    assert_eq!(steps(&it, "f").await, [Transition::Resolved], "what is younger stays");
    it.store.purge_alert_events(seconds(30)).await.unwrap();
    assert_eq!(steps(&it, "f").await, []);
    assert_eq!(it.store.alert("f").await.unwrap(), Some(over));
    assert_eq!(steps(&it, "open").await, [Transition::Pending], "of what goes on the beginning is kept");
}
