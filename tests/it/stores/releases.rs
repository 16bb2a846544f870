//! Versions are counted exactly however often, and what traces are judged by is noted once.

use driftline::backends::store::RecordedTrace;
use driftline::domain::release::{ChangeKind, VersionHour};

use super::contract;
use super::fixtures::{TestStore, plain, seconds};

contract!(
    a_pass_that_was_interrupted_is_done_again_to_its_end,
    versions_are_counted_by_hour_and_counting_again_changes_nothing,
    a_superseded_trace_counts_under_its_new_version_alone,
    what_traces_are_judged_by_is_noted_once_and_its_changes_are_told,
);

fn of_release(number: u64, release: Option<&str>, at: i64) -> RecordedTrace {
    let mut recorded = plain(number);
    recorded.trace.release = release.map(str::to_owned);
    recorded.trace.ended_at = seconds(at);
    recorded.trace.record.segments.insert("agent_version".to_owned(), "abc".to_owned());
    recorded
}

async fn counted(it: &TestStore, dimension: &str) -> Vec<(String, i64, u64)> {
    let hours = it.store.version_hours(Some("shop")).await.unwrap();
    let row = |hour: VersionHour| (hour.value, (hour.hour.0 - seconds(0).0) / 3_600_000_000_000, hour.traces);
    hours.into_iter().filter(|hour| hour.dimension == dimension).map(row).collect()
}

/// A whole pass; how many hours it counted.
async fn count(it: &TestStore, at: i64) -> usize {
    let hours = it.store.uncounted_hours().await.unwrap();
    for (service, hour) in &hours {
        it.store.count_versions(service, *hour, seconds(at)).await.unwrap();
    }
    it.store.note_counted(seconds(at)).await.unwrap();
    hours.len()
}

async fn a_pass_that_was_interrupted_is_done_again_to_its_end(it: TestStore) {
    let traces = [of_release(1, Some("1"), 10), of_release(2, Some("2"), 3_610)];
    it.store.record_traces(&traces, seconds(50)).await.unwrap();
    let hours = it.store.uncounted_hours().await.unwrap();
    it.store.count_versions(&hours[0].0, hours[0].1, seconds(60)).await.unwrap();
    // Much later than any clock may be behind.
    assert_eq!(it.store.uncounted_hours().await.unwrap(), hours, "the pass has not come to its end");
    assert_eq!(count(&it, 90_000).await, 2);
    assert_eq!(counted(&it, "release").await, [("1".to_owned(), 0, 1), ("2".to_owned(), 1, 1)]);
    it.store.note_counted(seconds(70)).await.unwrap();
    assert_eq!(count(&it, 90_010).await, 0, "who was slower takes nothing back");
}

async fn versions_are_counted_by_hour_and_counting_again_changes_nothing(it: TestStore) {
    let traces = [
        of_release(1, Some("1"), 10),
        of_release(2, Some("2"), 20),
        of_release(3, Some("2"), 3_610),
        of_release(4, None, 30),
    ];
    it.store.record_traces(&traces, seconds(50)).await.unwrap();
    assert_eq!(count(&it, 60).await, 2);
    let expected =
        [("", 0, 1), ("1", 0, 1), ("2", 0, 1), ("2", 1, 1)].map(|(value, hour, n)| (value.to_owned(), hour, n));
    assert_eq!(counted(&it, "release").await, expected);
    assert_eq!(counted(&it, "agent_version").await, [("abc".to_owned(), 0, 3), ("abc".to_owned(), 1, 1)]);
    count(&it, 70).await;
    assert_eq!(counted(&it, "release").await, expected);
    count(&it, 7_000).await;
    assert_eq!(count(&it, 7_010).await, 0, "nothing came, so nothing is counted");
    assert!(it.store.version_hours(Some("other")).await.unwrap().is_empty());
}

async fn a_superseded_trace_counts_under_its_new_version_alone(it: TestStore) {
    it.store.record_traces(&[of_release(1, Some("1"), 10)], seconds(50)).await.unwrap();
    count(&it, 60).await;
    let mut again = of_release(1, Some("2"), 11);
    again.trace.version = 2;
    it.store.record_traces(&[again], seconds(70)).await.unwrap();
    count(&it, 80).await;
    assert_eq!(counted(&it, "release").await, [("2".to_owned(), 0, 1)]);
}

async fn what_traces_are_judged_by_is_noted_once_and_its_changes_are_told(it: TestStore) {
    let definitions = |judge: &str| {
        [
            (ChangeKind::Judge, "grounded".to_owned(), judge.to_owned()),
            (ChangeKind::Evaluator, "loop".into(), "r".into()),
        ]
    };
    assert_eq!(it.store.note_definitions(&definitions("r1"), seconds(1)).await.unwrap(), []);
    assert_eq!(it.store.note_definitions(&definitions("r1"), seconds(2)).await.unwrap(), []);
    assert_eq!(it.store.changes().await.unwrap(), [], "what was there from the start is no change");
    let changes = it.store.note_definitions(&definitions("r2"), seconds(3)).await.unwrap();
    assert_eq!(changes, it.store.changes().await.unwrap());
    assert_eq!(changes.len(), 1);
    let change = &changes[0];
    assert_eq!((change.at, change.subject.as_str(), change.from.as_deref()), (seconds(3), "grounded", Some("r1")));
}
