//! Hours are consumed once, and alerts are what the last one said.

use driftline::backends::store::{AlertFilter, HourCommit};
use driftline::domain::alert::{Alert, AlertState};
use driftline::domain::evaluation::FailureClass;
use driftline::domain::time::Timestamp;

use super::contract;
use super::fixtures::{TestStore, alert, plain, seconds};

contract!(
    hours_with_traces_are_unwatched_until_they_are_consumed,
    an_hour_is_consumed_once_and_all_of_it_or_nothing,
    an_hour_without_traces_can_be_consumed,
    the_traces_behind_an_alert_are_drifting_unless_they_fail_by_themselves,
    two_watchers_at_once_consume_an_hour_once,
    a_watcher_that_knows_an_old_state_consumes_nothing,
    traces_that_come_after_their_hour_was_consumed_are_counted_as_late,
    alerts_are_found_by_state_and_service,
    what_rules_remember_is_read_without_the_rest_and_is_never_out_of_date,
);

const HOUR: i64 = 3_600;

fn commit(service: &str, hour: i64, previous_state: Option<&str>) -> HourCommit {
    HourCommit {
        service: service.to_owned(),
        hour: seconds(hour * HOUR),
        traces: 1,
        previous_state: previous_state.map(str::to_owned),
        detector_state: format!("after {hour}"),
        rules: format!("\"rules after {hour}\""),
        summary: format!("summary of {hour}"),
        alerts: Vec::new(),
    }
}

async fn record(it: &TestStore, number: u64, service: &str, ended_at: Timestamp) {
    let mut trace = plain(number);
    trace.trace.service = service.to_owned();
    trace.trace.ended_at = ended_at;
    it.store.record_traces(&[trace], ended_at).await.unwrap();
}

async fn hours_with_traces_are_unwatched_until_they_are_consumed(it: TestStore) {
    record(&it, 1, "shop", seconds(2 * HOUR + 5)).await;
    record(&it, 2, "shop", seconds(HOUR)).await;
    record(&it, 3, "desk", seconds(HOUR + 7)).await;
    record(&it, 4, "desk", seconds(HOUR + 8)).await;
    let hours = async |before: i64| it.store.unwatched_hours(seconds(before)).await.unwrap();
    let hour = |service: &str, hour: i64| (service.to_owned(), seconds(hour * HOUR));
    assert_eq!(hours(2 * HOUR - 1).await, []);
    assert_eq!(hours(2 * HOUR).await, [hour("desk", 1), hour("shop", 1)]);
    assert_eq!(hours(3 * HOUR).await, [hour("desk", 1), hour("shop", 1), hour("shop", 2)]);
    assert!(it.store.commit_hour(&commit("shop", 1, None), seconds(9)).await.unwrap());
    assert_eq!(hours(3 * HOUR).await, [hour("desk", 1), hour("shop", 2)]);
}

async fn an_hour_is_consumed_once_and_all_of_it_or_nothing(it: TestStore) {
    record(&it, 1, "shop", seconds(HOUR)).await;
    assert_eq!(it.store.detector_state("shop").await.unwrap(), None);
    let mut first = commit("shop", 1, None);
    first.alerts = vec![alert("f", "shop", AlertState::Firing, seconds(2 * HOUR))];
    assert!(it.store.commit_hour(&first, seconds(9)).await.unwrap());

    let mut second = commit("shop", 1, Some("after 1"));
    second.detector_state = "never".to_owned();
    second.summary = "never".to_owned();
    second.alerts = vec![alert("g", "shop", AlertState::Firing, seconds(2 * HOUR))];
    assert!(!it.store.commit_hour(&second, seconds(10)).await.unwrap());

    assert_eq!(it.store.detector_state("shop").await.unwrap().as_deref(), Some("after 1"));
    assert_eq!(it.store.alerts(&AlertFilter::default()).await.unwrap(), first.alerts);
    assert_eq!(it.store.alert_events("f").await.unwrap().len(), 1);
    assert_eq!(it.store.alert_events("g").await.unwrap(), []);
    let hours = it.store.watched_hours("shop", seconds(0)).await.unwrap();
    assert_eq!(hours.len(), 1);
    assert_eq!((&*hours[0].summary, hours[0].hour, hours[0].watched_at), ("summary of 1", seconds(HOUR), seconds(9)));
}

async fn the_traces_behind_an_alert_are_drifting_unless_they_fail_by_themselves(it: TestStore) {
    let mut failing = plain(2);
    (failing.trace.failing, failing.trace.failure_class) = (true, Some(FailureClass::Hard));
    it.store.record_traces(&[plain(1), failing, plain(3)], seconds(9)).await.unwrap();
    let mut hour = commit("shop", 1, None);
    hour.alerts = vec![alert("f", "shop", AlertState::Firing, seconds(2 * HOUR))];
    hour.alerts[0].trace_ids = [1, 2].map(super::fixtures::trace_id).to_vec();
    assert!(it.store.commit_hour(&hour, seconds(9)).await.unwrap());
    let class = async |number| it.store.trace(super::fixtures::trace_id(number)).await.unwrap().unwrap().failure_class;
    assert_eq!(class(1).await, Some(FailureClass::Drifting));
    assert_eq!(class(2).await, Some(FailureClass::Hard));
    assert_eq!(class(3).await, None);
}

async fn an_hour_without_traces_can_be_consumed(it: TestStore) {
    assert!(it.store.commit_hour(&HourCommit { traces: 0, ..commit("shop", 1, None) }, seconds(9)).await.unwrap());
    assert!(it.store.commit_hour(&commit("shop", 2, Some("after 1")), seconds(9)).await.unwrap());
    let since = |hour: i64| it.store.watched_hours("shop", seconds(hour * HOUR));
    assert_eq!(since(1).await.unwrap().len(), 2);
    assert_eq!(since(2).await.unwrap().len(), 1);
    assert!(it.store.watched_hours("desk", seconds(0)).await.unwrap().is_empty());
}

async fn two_watchers_at_once_consume_an_hour_once(it: TestStore) {
    let mut state = None;
    for hour in 1..=20 {
        let watch = || {
            let (store, commit) = (it.store.clone(), commit("shop", hour, state.as_deref()));
            tokio::spawn(async move { store.commit_hour(&commit, seconds(9)).await.unwrap() })
        };
        let (one, other) = (watch(), watch());
        assert!(one.await.unwrap() ^ other.await.unwrap(), "hour {hour}");
        state = it.store.detector_state("shop").await.unwrap();
    }
    assert_eq!(state.as_deref(), Some("after 20"));
}

async fn a_watcher_that_knows_an_old_state_consumes_nothing(it: TestStore) {
    assert!(it.store.commit_hour(&commit("shop", 1, None), seconds(9)).await.unwrap());
    for stale in [commit("shop", 2, None), commit("shop", 2, Some("after 0"))] {
        assert!(!it.store.commit_hour(&stale, seconds(9)).await.unwrap());
    }
    assert_eq!(it.store.watched_hours("shop", seconds(0)).await.unwrap().len(), 1);
    assert!(it.store.commit_hour(&commit("shop", 2, Some("after 1")), seconds(9)).await.unwrap());
}

async fn traces_that_come_after_their_hour_was_consumed_are_counted_as_late(it: TestStore) {
    record(&it, 1, "shop", seconds(HOUR)).await;
    assert!(it.store.commit_hour(&commit("shop", 1, None), seconds(9)).await.unwrap());
    record(&it, 2, "shop", seconds(HOUR + 1)).await;
    record(&it, 3, "shop", seconds(2 * HOUR - 1)).await;
    record(&it, 4, "shop", seconds(2 * HOUR)).await;
    let hours = it.store.watched_hours("shop", seconds(0)).await.unwrap();
    assert_eq!((hours[0].traces, hours[0].late_excluded), (1, 2));
    assert_eq!(it.store.unwatched_hours(seconds(2 * HOUR)).await.unwrap(), [], "late traces do not reopen the hour");
}

async fn alerts_are_found_by_state_and_service(it: TestStore) {
    let firing = alert("a", "shop", AlertState::Firing, seconds(1));
    let resolved = alert("b", "shop", AlertState::Resolved, seconds(3));
    let elsewhere = alert("c", "desk", AlertState::Acknowledged, seconds(2));
    let mut commit_one = commit("shop", 1, None);
    commit_one.alerts = vec![firing.clone(), resolved.clone(), elsewhere.clone()];
    assert!(it.store.commit_hour(&commit_one, seconds(9)).await.unwrap());
    let find = async |open_only: bool, service: Option<&str>| {
        it.store.alerts(&AlertFilter { open_only, service: service.map(str::to_owned) }).await.unwrap()
    };
    assert_eq!(find(false, None).await, [resolved.clone(), elsewhere.clone(), firing.clone()]);
    assert_eq!(find(true, None).await, [elsewhere, firing.clone()]);
    assert_eq!(find(false, Some("shop")).await, [resolved, firing.clone()]);

    let mut commit_two = commit("shop", 2, Some("after 1"));
    commit_two.alerts = vec![Alert { state: AlertState::Resolved, resolved_at: Some(seconds(5)), ..firing }];
    assert!(it.store.commit_hour(&commit_two, seconds(9)).await.unwrap());
    assert_eq!(find(true, Some("shop")).await, []);
    assert_eq!(it.store.counts().await.unwrap().alerts, 3);
}

async fn what_rules_remember_is_read_without_the_rest_and_is_never_out_of_date(it: TestStore) {
    let states = async || it.store.rule_states().await.unwrap();
    let of = |service: &str, state: &str| (service.to_owned(), state.to_owned());
    assert!(it.store.commit_hour(&commit("shop", 1, None), seconds(9)).await.unwrap());
    assert!(it.store.commit_hour(&commit("desk", 4, None), seconds(9)).await.unwrap());
    assert!(it.store.commit_rules(&commit("shop", 2, Some("after 1")), seconds(9)).await.unwrap());
    assert!(!it.store.commit_rules(&commit("shop", 3, Some("after 1")), seconds(9)).await.unwrap());
    let desk = of("desk", r#"{"rules":"rules after 4"}"#);
    assert_eq!(states().await, [desk.clone(), of("shop", r#"{"rules":"rules after 2"}"#)]);
    // A process of an earlier release writes the whole state alone.
    it.forge("UPDATE detector_state SET state = 'everything' WHERE service = 'shop'").await;
    assert_eq!(states().await, [desk.clone(), of("shop", "everything")]);
    assert!(it.store.commit_hour(&commit("shop", 5, Some("everything")), seconds(9)).await.unwrap());
    assert_eq!(states().await, [desk, of("shop", r#"{"rules":"rules after 5"}"#)]);
}
