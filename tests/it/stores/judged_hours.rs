//! Sums of judgements by hour: whatever has been summed up, the answer is that of the judgements one by one.

use std::time::Duration;

use driftline::backends::store::{NewLabel, Offered, RecordedTrace, StoredTrace, Undrawn};
use driftline::domain::label::{Answer, Draw, Label, Origin};
use driftline::domain::time::Timestamp;
use sqlx::{AnyConnection, Connection as _, Executor as _};

use super::contract;
use super::fixtures::{
    LEASE, TestStore, claim_jobs, evaluation, judge_job, plain, record_judgement, seconds, stored_evaluation,
    stored_trace, trace_id,
};

contract!(
    an_hour_is_summed_up_once_it_is_over_and_says_what_its_judgements_say,
    what_changes_after_an_hour_was_summed_up_is_in_its_next_sum,
    a_judgement_that_comes_again_is_counted_once,
    a_judgement_whose_commit_took_hours_is_counted,
    what_a_process_of_an_earlier_release_writes_is_in_the_next_sum,
    what_no_sum_depends_on_marks_no_hour,
    judgements_that_come_while_hours_are_summed_up_are_counted,
    a_judgement_that_comes_before_the_hour_that_was_chosen_is_counted,
    any_number_of_marked_hours_can_be_read,
);

const HOUR: i64 = 3_600;

/// What each sum says: seconds, verdict, judgements, weight, whether a draw was made and came out.
type Said = (i64, bool, u64, f64, Option<bool>);

async fn judged(it: &TestStore, number: u64, version: i64, value: f64, at: i64) {
    let trace = StoredTrace { version, ..stored_trace(trace_id(number)) };
    let evaluations = vec![stored_evaluation(trace_id(number), "grounded", Some(value))];
    it.store.record_traces(&[RecordedTrace { evaluations, trace, ..plain(number) }], seconds(at)).await.unwrap();
}

async fn said(it: &TestStore, since: i64) -> Vec<Said> {
    let sums = it.store.unlabelled_sums(Some("grounded"), seconds(since)).await.unwrap();
    let said = sums.iter().map(|sum| &sum.judged);
    let mut said: Vec<Said> = said
        .map(|of| {
            let at = (of.since.0 - seconds(0).0) / 1_000_000_000;
            (at, of.passed, of.count, of.weight, of.draw.map(|draw| draw.is_drawn))
        })
        .collect();
    said.sort_by(|a, b| a.partial_cmp(b).unwrap());
    said
}

/// Sums up what there is to sum up at that second; how many hours that were.
async fn sum_up(it: &TestStore, now: i64) -> usize {
    let mut hours = 0;
    loop {
        let next = it.store.next_judged_hour(seconds(now)).await.unwrap();
        let marked = it.store.marked_judged_hours().await.unwrap();
        let found: Vec<Timestamp> = marked.into_iter().chain(next).collect();
        if found.is_empty() {
            return hours;
        }
        for hour in found {
            it.store.sum_judged_hour(hour).await.unwrap();
            hours += 1;
        }
    }
}

/// Says the same before and after summing up, and gives it.
async fn settled(it: &TestStore, hours: usize) -> Vec<Said> {
    let before = said(it, 0).await;
    assert_eq!(sum_up(it, 9 * HOUR).await, hours);
    assert_eq!(said(it, 0).await, before);
    before
}

async fn an_hour_is_summed_up_once_it_is_over_and_says_what_its_judgements_say(it: TestStore) {
    for (number, value, at) in [(1, 1.0, 10), (2, 1.0, 20), (3, 0.0, 30), (4, 1.0, 3 * HOUR), (5, 1.0, 4 * HOUR + 1)] {
        judged(&it, number, 1, value, at).await;
    }
    assert_eq!(sum_up(&it, HOUR - 1).await, 0);
    let all = said(&it, 0).await;
    // Each stands for two, by upstream sampling.
    let hours = [(0, false, 1, 2.0, None), (0, true, 2, 4.0, None), (3 * HOUR, true, 1, 2.0, None)];
    assert_eq!(all, [&hours[..], &[(4 * HOUR, true, 1, 2.0, None)]].concat());
    assert_eq!(sum_up(&it, 4 * HOUR).await, 2);
    assert_eq!(said(&it, 0).await, all);
    assert_eq!(said(&it, 15).await, [(0, false, 1, 2.0, None), (0, true, 1, 2.0, None), all[2], all[3]]);
    assert_eq!(sum_up(&it, 5 * HOUR).await, 1);
    assert_eq!(said(&it, HOUR).await, all[2..]);
    assert!(it.store.unlabelled_sums(Some("other"), Timestamp(0)).await.unwrap().is_empty());
    assert_eq!(it.store.unlabelled_sums(None, Timestamp(0)).await.unwrap().len(), 4);
}

async fn what_changes_after_an_hour_was_summed_up_is_in_its_next_sum(it: TestStore) {
    for (number, at) in [(1, 10), (2, 20), (3, 30), (4, HOUR)] {
        judged(&it, number, 1, 1.0, at).await;
    }
    assert_eq!(settled(&it, 2).await, [(0, true, 3, 6.0, None), (HOUR, true, 1, 2.0, None)]);

    judged(&it, 1, 2, 0.0, 2 * HOUR).await;
    let later = [(HOUR, true, 1, 2.0, None), (2 * HOUR, false, 1, 2.0, None)];
    assert_eq!(settled(&it, 2).await, [&[(0, true, 2, 4.0, None)], &later[..]].concat());

    let of =
        Undrawn { trace_id: trace_id(2), evaluator: "grounded".to_owned(), revision: "r1".to_owned(), passed: true };
    let draws = [(of, Draw { probability: 0.5, is_drawn: true })];
    let offered =
        Offered { draws: &draws, keep_until: seconds(50), flags: &[], flags_a_day: 20, flags_since: Timestamp(0) };
    it.store.offer(offered, seconds(3 * HOUR)).await.unwrap();
    let first = [(0, true, 1, 2.0, None), (0, true, 1, 2.0, Some(true))];
    assert_eq!(settled(&it, 1).await, [&first[..], &later].concat());

    let label = Label {
        trace_id: trace_id(2),
        evaluator: "grounded".to_owned(),
        revision: None,
        label: Answer::Pass,
        reviewer: "anna".to_owned(),
        note: None,
        labelled_at: seconds(3 * HOUR),
        origin: Origin::Review,
        probability: None,
    };
    it.store.insert_labels(&[NewLabel { label, said_at: None }], seconds(3 * HOUR)).await.unwrap();
    assert_eq!(settled(&it, 1).await, [&first[..1], &later].concat());

    it.store.purge(seconds(2_000)).await.unwrap();
    while it.store.purge_records(seconds(HOUR + 1)).await.unwrap() {}
    assert_eq!(settled(&it, 2).await, later[1..]);
}

async fn a_judgement_that_comes_again_is_counted_once(it: TestStore) {
    let trace = RecordedTrace { judge_jobs: vec![judge_job("grounded")], ..plain(1) };
    it.store.record_traces(&[trace], seconds(0)).await.unwrap();
    let job = claim_jobs(&it.store, seconds(100), LEASE, 1).await.remove(0);
    let passed = evaluation(trace_id(1), "grounded", Some(1.0));
    assert!(record_judgement(&it.store, &job, passed.clone(), &[], seconds(200)).await);
    let once = settled(&it, 1).await;
    assert_eq!(once.len(), 1);
    assert!(!record_judgement(&it.store, &job, passed, &[], seconds(HOUR + 200)).await);
    assert_eq!(settled(&it, 0).await, once);
}

async fn a_judgement_whose_commit_took_hours_is_counted(it: TestStore) {
    judged(&it, 1, 1, 1.0, 10).await;
    judged(&it, 2, 1, 1.0, 3 * HOUR).await;
    assert_eq!(sum_up(&it, 9 * HOUR).await, 2);
    judged(&it, 3, 1, 1.0, 20).await;
    judged(&it, 4, 1, 1.0, HOUR).await;
    let all = [(0, true, 2, 4.0, None), (HOUR, true, 1, 2.0, None), (3 * HOUR, true, 1, 2.0, None)];
    assert_eq!(settled(&it, 2).await, all);
}

async fn what_a_process_of_an_earlier_release_writes_is_in_the_next_sum(it: TestStore) {
    for (number, at) in [(1, 10), (2, HOUR), (3, 2 * HOUR)] {
        judged(&it, number, 1, 1.0, at).await;
    }
    settled(&it, 3).await;
    let first = seconds(10).0;
    it.forge(&format!("UPDATE evaluation SET value = 0 WHERE evaluated_at = {first}")).await;
    assert_eq!(settled(&it, 1).await[0], (0, false, 1, 2.0, None));
    it.forge(&format!(
        "INSERT INTO label (id, trace_id, evaluator, label, reviewer, labelled_at, origin) \
         SELECT trace_id, trace_id, evaluator, 'pass', 'anna', 1, 'review' FROM evaluation WHERE evaluated_at = {first}"
    ))
    .await;
    assert_eq!(settled(&it, 1).await.len(), 2, "what is labelled is in no sum");
    it.forge("DELETE FROM evaluation").await;
    assert!(settled(&it, 3).await.is_empty());
}

async fn what_no_sum_depends_on_marks_no_hour(it: TestStore) {
    judged(&it, 1, 1, 1.0, 10).await;
    settled(&it, 1).await;
    it.forge("UPDATE evaluation SET explanation = NULL, label = NULL").await;
    assert_eq!(it.store.marked_judged_hours().await.unwrap(), []);
    for change in ["value = 0", "outcome = 'failed'", "outcome = 'scored'", "probability = 0.5", "revision = 'r2'"] {
        it.forge(&format!("UPDATE evaluation SET {change}")).await;
        settled(&it, 1).await;
    }
    assert_eq!(said(&it, 0).await, [(0, false, 1, 4.0, None)]);
    for change in ["annotator_kind = 'code'", "annotator_kind = 'llm'", "evaluator = 'tone'"] {
        it.forge(&format!("UPDATE evaluation SET {change}")).await;
        settled(&it, 1).await;
    }
    it.forge(&format!("UPDATE evaluation SET evaluated_at = evaluated_at - {}", Timestamp::NANOS_PER_HOUR)).await;
    assert_eq!(sum_up(&it, 9 * HOUR).await, 2, "the hour it came from and the hour it went to");
}

async fn judgements_that_come_while_hours_are_summed_up_are_counted(it: TestStore) {
    judged(&it, 1, 1, 1.0, 10).await;
    judged(&it, 2, 1, 1.0, 3 * HOUR).await;
    let coming = async {
        for number in 3..60 {
            let at = 3 * HOUR * i64::from(number % 2 == 0) + i64::try_from(number).unwrap();
            judged(&it, number, 1, 1.0, at).await;
        }
    };
    let summing = async {
        for _ in 0..60 {
            sum_up(&it, 9 * HOUR).await;
            tokio::task::yield_now().await;
        }
    };
    tokio::join!(coming, summing);
    sum_up(&it, 9 * HOUR).await;
    let all = [(0, true, 30, 60.0, None), (3 * HOUR, true, 29, 58.0, None)];
    assert_eq!(said(&it, 0).await, all);
}

async fn a_judgement_that_comes_before_the_hour_that_was_chosen_is_counted(it: TestStore) {
    judged(&it, 1, 1, 1.0, 4 * HOUR).await;
    let chosen = it.store.next_judged_hour(seconds(9 * HOUR)).await.unwrap().unwrap();
    judged(&it, 2, 1, 1.0, 10).await;
    judged(&it, 3, 1, 1.0, 2 * HOUR).await;
    it.store.sum_judged_hour(chosen).await.unwrap();
    assert_eq!(it.store.marked_judged_hours().await.unwrap(), [seconds(0), seconds(2 * HOUR)]);
    assert_eq!(settled(&it, 2).await.len(), 3);
}

async fn any_number_of_marked_hours_can_be_read(it: TestStore) {
    for (number, at) in [(1, 10), (2, 3 * HOUR), (3, 9 * HOUR)] {
        judged(&it, number, 1, 1.0, at).await;
    }
    let all = settled(&it, 2).await;
    let (first, hour) = (seconds(-2_200 * HOUR).0, Timestamp::NANOS_PER_HOUR);
    it.forge(&format!(
        "INSERT INTO judged_hour (hour, state) WITH RECURSIVE every (number) AS (SELECT 0 UNION ALL \
         SELECT number + 1 FROM every WHERE number < 2199) SELECT {first} + number * {hour}, number % 2 FROM every"
    ))
    .await;
    assert_eq!(said(&it, -3_000 * HOUR).await, all);
    assert_eq!(it.store.labelled_counts().await.unwrap(), []);
}

#[tokio::test]
async fn while_an_hour_is_read_others_write_judgements_of_it() {
    let it = TestStore::postgres().await;
    judged(&it, 1, 1, 1.0, 10).await;
    let mut other = AnyConnection::connect(&it.url).await.unwrap();
    // Whoever reads judgements waits here.
    let mut reading = other.begin().await.unwrap();
    reading.execute("LOCK TABLE review_draw IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let summing = tokio::spawn({
        let store = it.store.clone();
        async move { store.sum_judged_hour(seconds(0)).await }
    });
    let writing = async {
        while it.store.marked_judged_hours().await.unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
        it.forge("UPDATE evaluation SET value = 0").await;
    };
    tokio::time::timeout(Duration::from_secs(20), writing).await.expect("nobody waits for the reading");
    reading.commit().await.unwrap();
    summing.await.unwrap().unwrap();
    assert_eq!(settled(&it, 1).await, [(0, false, 1, 2.0, None)], "what was read before it changed is in no sum");
}
