//! Sums of what agents used by hour: whatever has been summed up, the answer is that of the runs one by one.

use std::time::Duration;

use driftline::backends::store::{AgentDimension, ConversationUse, RecordedTrace, Selection};
use driftline::domain::money::NanoUsd;
use driftline::domain::time::Timestamp;
use driftline::domain::usage::{ModelUsage, ToolUsage, Usage};
use sqlx::{AnyConnection, AssertSqlSafe, Connection as _, Executor as _};

use super::contract;
use super::fixtures::{TestStore, plain, seconds};
use super::migrations::blocked;

contract!(
    an_hour_is_summed_up_once_it_is_over_and_says_what_its_runs_say,
    what_comes_changes_or_goes_after_an_hour_was_summed_up_is_in_its_next_sum,
    what_a_process_of_an_earlier_release_writes_is_in_the_next_sum,
    an_hour_with_too_many_parts_is_read_run_by_run,
    of_what_was_erased_no_sum_keeps_a_name,
    runs_that_come_while_hours_are_summed_up_are_counted,
    a_run_that_comes_before_the_hour_that_was_chosen_is_counted,
    any_number_of_marked_hours_can_be_read,
);

const HOUR: i64 = 3_600;
const NAMES: [&str; 1] = ["tier"];

/// A run of a service that ended at that second, called one model for one nanodollar, or two, and two tools.
fn run(number: u64, version: i64, models: &[&str], ended_at: i64) -> RecordedTrace {
    let mut it = plain(number);
    (it.trace.version, it.trace.ended_at) = (version, seconds(ended_at));
    it.trace.service = format!("service-{}", number % 2);
    it.trace.user_id = Some(format!("u-{number}"));
    it.trace.attributes = [("tier".to_owned(), format!("tier-{}", number % 3))].into();
    it.trace.record.upstream_probability = number.is_multiple_of(2).then_some(0.5);
    let used = ModelUsage { calls: 2, unpriced: 1, input_tokens: 100, cost: NanoUsd(1), ..ModelUsage::default() };
    let models = models.iter().map(|model| ((*model).to_owned(), used)).collect();
    let tool = |calls| ToolUsage { calls, failed: number % 3, empty: 1 };
    let tools = [("find".to_owned(), tool(4)), (format!("tool-{number}"), tool(number))].into();
    it.trace.conversation_id = (number != 5).then(|| format!("c-{}", number / 2));
    it.usage = Usage { operation: Some(format!("o-{number}")), models, tools };
    it
}

async fn record(it: &TestStore, runs: &[RecordedTrace]) {
    it.store.record_traces(runs, seconds(0)).await.unwrap();
}

/// Sums up what there is to sum up at that second; how many hours that were.
async fn sum_up(it: &TestStore, now: i64) -> usize {
    let mut hours = 0;
    loop {
        let next = it.store.next_used_hour(seconds(now)).await.unwrap();
        let marked = it.store.marked_used_hours().await.unwrap();
        let found: Vec<Timestamp> = marked.into_iter().chain(next).collect();
        if found.is_empty() {
            return hours;
        }
        for hour in found {
            it.store.sum_used_hour(hour, &NAMES).await.unwrap();
            hours += 1;
        }
    }
}

/// What each part came to: traces, unknown, calls, cost.
type Said = Vec<(Option<String>, u64, u64, f64, f64)>;

async fn said(it: &TestStore, by: &AgentDimension, selection: &Selection) -> Said {
    let rows = it.store.agent_costs(by, selection, 100).await.unwrap();
    let total = it.store.agent_cost(selection).await.unwrap();
    let rows = rows.into_iter().chain(total);
    rows.map(|row| (row.part, row.traces, row.upstream_unknown, row.calls, row.cost)).collect()
}

/// What the calls of each tool and in each conversation came to: traces, calls, failed, empty.
async fn ranked(it: &TestStore, selection: &Selection) -> Said {
    let tools = it.store.failing_tools(selection, 100).await.unwrap();
    let tools = tools.into_iter().map(|of| (Some(of.tool), of.traces, of.empty as u64, of.calls, of.failed));
    let conversations = it.store.busiest_conversations(selection, 100).await.unwrap();
    let read = |of: ConversationUse| (Some(of.conversation), of.traces, 0, of.tool_calls as f64, of.failed as f64);
    tools.chain(conversations.into_iter().map(read)).collect()
}

/// Everything that is said, by every dimension, of all runs, of some hours and of one service.
async fn all(it: &TestStore) -> Vec<Said> {
    let some = Selection { since: Some(seconds(20)), until: Some(seconds(3 * HOUR + 20)), ..Selection::default() };
    let one = Selection { service: Some("service-1".to_owned()), ..Selection::default() };
    let tier = AgentDimension::Attribute("tier".to_owned());
    let mut all = Vec::new();
    for selection in [Selection::default(), some, one] {
        for by in AgentDimension::OWN.into_iter().map(|(_, by)| by).chain([tier.clone()]) {
            all.push(said(it, &by, &selection).await);
        }
        all.push(ranked(it, &selection).await);
    }
    all
}

/// Says the same before and after summing up, and gives it.
async fn settled(it: &TestStore, hours: usize) -> Vec<Said> {
    let before = all(it).await;
    assert_eq!(sum_up(it, 9 * HOUR).await, hours);
    assert_eq!(all(it).await, before);
    before
}

/// What was spent in all.
async fn spent(it: &TestStore) -> Option<f64> {
    it.store.agent_cost(&Selection::default()).await.unwrap().map(|row| row.cost)
}

async fn an_hour_is_summed_up_once_it_is_over_and_says_what_its_runs_say(it: TestStore) {
    let ends = [10, 30, HOUR, HOUR + 1, 3 * HOUR + 10, 3 * HOUR + 30, 8 * HOUR];
    let runs = (1..).zip(ends).map(|(number, end)| run(number, 1, if number > 4 { &["a"] } else { &["a", "b"] }, end));
    record(&it, &runs.collect::<Vec<_>>()).await;
    let all = all(&it).await;
    assert_eq!(all[0][0], (Some("a".to_owned()), 7, 4, 20.0, 10.0), "three of seven stand for two");
    assert_eq!(sum_up(&it, HOUR - 1).await, 0);
    assert_eq!(sum_up(&it, 2 * HOUR).await, 2);
    assert_eq!(settled(&it, 2).await.len(), all.len());
    assert_eq!(self::all(&it).await, all);
    // What stands in the sums is not read from the runs.
    let day = Selection { until: Some(seconds(4 * HOUR)), ..Selection::default() };
    let before = ranked(&it, &day).await;
    assert_eq!(before[0], (Some("find".to_owned()), 6, 9, 36.0, 9.0), "most failures, three of six weigh twice");
    assert!(before.contains(&(Some("c-1".to_owned()), 2, 0, 13.0, 4.0)), "runs 2 and 3, as received: {before:?}");
    it.forge("UPDATE trace_model SET cost = 1000").await;
    it.forge("UPDATE trace_tool SET calls = 1000").await;
    assert_eq!(it.store.agent_cost(&day).await.unwrap().unwrap().cost, 15.0);
    assert_eq!(ranked(&it, &day).await, before);
}

async fn what_comes_changes_or_goes_after_an_hour_was_summed_up_is_in_its_next_sum(it: TestStore) {
    record(&it, &[run(1, 1, &["a"], 10), run(3, 1, &["a"], 20), run(5, 1, &["a"], 3 * HOUR)]).await;
    settled(&it, 2).await;
    record(&it, &[run(7, 1, &["b"], 30)]).await;
    assert_eq!((settled(&it, 1).await.len(), spent(&it).await), (30, Some(4.0)), "a run that came late");
    record(&it, &[run(9, 1, &["b"], HOUR)]).await;
    settled(&it, 1).await;
    assert_eq!(spent(&it).await, Some(5.0), "an hour that had none");
    record(&it, &[run(9, 1, &["b"], HOUR)]).await;
    assert_eq!(sum_up(&it, 9 * HOUR).await, 0, "the same again changes nothing");
    record(&it, &[run(1, 2, &["a", "b"], HOUR + 5)]).await;
    settled(&it, 2).await;
    assert_eq!(spent(&it).await, Some(6.0), "a later version that ended in another hour");
    it.store.purge(seconds(2_000)).await.unwrap();
    assert_eq!(sum_up(&it, 9 * HOUR).await, 0, "a body is not counted");
    it.store.purge_records(seconds(1)).await.unwrap();
    settled(&it, 3).await;
    assert_eq!(spent(&it).await, None);
}

async fn what_a_process_of_an_earlier_release_writes_is_in_the_next_sum(it: TestStore) {
    record(&it, &[run(1, 1, &["a"], 10), run(3, 1, &["a"], HOUR), run(5, 1, &["a"], 3 * HOUR)]).await;
    settled(&it, 3).await;
    it.forge("UPDATE trace_model SET cost = 5").await;
    assert_eq!(spent(&it).await, Some(3.0), "a row of a model alone is nothing that a process writes");
    it.forge(&format!("UPDATE trace SET version = 2 WHERE ended_at < {}", seconds(HOUR).0)).await;
    settled(&it, 1).await;
    assert_eq!(spent(&it).await, Some(7.0));
    it.forge(&format!("UPDATE trace SET version = 2, ended_at = {} WHERE version = 1", seconds(2 * HOUR).0)).await;
    settled(&it, 3).await;
    assert_eq!(spent(&it).await, Some(15.0), "its hour and the one it came from");
}

async fn an_hour_with_too_many_parts_is_read_run_by_run(it: TestStore) {
    let models: Vec<String> = (0..10).map(|model| format!("m-{model}")).collect();
    let models: Vec<&str> = models.iter().map(String::as_str).collect();
    let runs: Vec<RecordedTrace> = (1..=501).map(|number| run(number, 1, &models, 10)).collect();
    record(&it, &runs).await;
    settled(&it, 1).await;
    it.forge("UPDATE trace_model SET cost = 0").await;
    it.forge("UPDATE trace_tool SET failed = 0").await;
    let tools = it.store.failing_tools(&Selection::default(), 1_000).await.unwrap();
    assert_eq!((tools.len(), tools[0].failed), (502, 0.0), "each run has its own tool");
    let conversations = it.store.busiest_conversations(&Selection::default(), 1_000).await.unwrap();
    assert!(conversations.iter().any(|conversation| conversation.failed > 0), "conversations are summed up");
    let sums = async |by| it.store.agent_costs(&by, &Selection::default(), 1_000).await.unwrap();
    let parts = sums(AgentDimension::Operation).await;
    assert_eq!((parts.len(), parts[0].cost), (501, 0.0), "each run has its own");
    assert!(sums(AgentDimension::Model).await.iter().all(|part| part.cost > 0.0), "these are summed up");
    assert!(sums(AgentDimension::User).await.iter().all(|part| part.cost > 0.0), "and users, many as they are");
}

async fn of_what_was_erased_no_sum_keeps_a_name(it: TestStore) {
    record(&it, &[run(1, 1, &["a"], 10), run(2, 1, &["a"], 20)]).await;
    settled(&it, 1).await;
    let one = Selection { user: Some("u-1".to_owned()), ..Selection::default() };
    it.store.erase(&one, "u-1", seconds(9 * HOUR)).await.unwrap();
    let left = async || -> i64 {
        let mut connection = AnyConnection::connect(&it.url).await.unwrap();
        let sql = "SELECT count(*) FROM (SELECT part FROM used_sum UNION ALL SELECT part FROM used_tool_sum) AS sums \
                   WHERE part IN ('tier-1', 'u-1', 'u-4', 'c-0', 'c-2')";
        sqlx::query_scalar(sql).fetch_one(&mut connection).await.unwrap()
    };
    assert_eq!(left().await, 0, "at once");
    settled(&it, 1).await;
    assert_eq!((left().await, spent(&it).await), (0, Some(3.0)), "and what it cost stays");
    record(&it, &[run(3, 1, &["a"], 10), run(4, 1, &["a"], HOUR)]).await;
    settled(&it, 2).await;
    record(&it, &[run(4, 2, &["a"], 2 * HOUR)]).await;
    let other = Selection { user: Some("u-4".to_owned()), ..Selection::default() };
    it.store.erase(&other, "u-4", seconds(9 * HOUR)).await.unwrap();
    assert_eq!(left().await, 0, "in the hour that a run was once of, too");
}

async fn runs_that_come_while_hours_are_summed_up_are_counted(it: TestStore) {
    record(&it, &[run(1, 1, &["a"], 10), run(2, 1, &["a"], 3 * HOUR)]).await;
    let coming = async {
        for number in 3..60 {
            let end = 3 * HOUR * i64::from(number % 2 == 0) + i64::try_from(number).unwrap();
            record(&it, &[run(number, 1, &["a"], end)]).await;
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
    assert_eq!(spent(&it).await, Some(88.0), "thirty count once and 29 twice");
}

async fn a_run_that_comes_before_the_hour_that_was_chosen_is_counted(it: TestStore) {
    record(&it, &[run(1, 1, &["a"], 10), run(3, 1, &["a"], 4 * HOUR)]).await;
    sum_up(&it, HOUR).await;
    let chosen = it.store.next_used_hour(seconds(9 * HOUR)).await.unwrap().unwrap();
    record(&it, &[run(5, 1, &["a"], 2 * HOUR), run(7, 1, &["a"], 3 * HOUR), run(9, 1, &["a"], 5 * HOUR)]).await;
    it.store.sum_used_hour(chosen, &NAMES).await.unwrap();
    assert_eq!(it.store.marked_used_hours().await.unwrap(), [seconds(2 * HOUR), seconds(3 * HOUR)]);
    settled(&it, 3).await;
    assert_eq!(spent(&it).await, Some(5.0));
}

async fn any_number_of_marked_hours_can_be_read(it: TestStore) {
    record(&it, &[run(1, 1, &["a"], 10), run(2, 1, &["a"], 3 * HOUR)]).await;
    let all = settled(&it, 2).await;
    let (first, hour) = (seconds(-2_200 * HOUR).0, Timestamp::NANOS_PER_HOUR);
    let every = format!(
        "WITH RECURSIVE every (number) AS (SELECT 0 UNION ALL SELECT number + 1 FROM every WHERE number < 2199) \
         SELECT {first} + number * {hour} AS hour, number % 2 AS state FROM every"
    );
    it.forge(&format!("INSERT INTO used_hour (hour, state) {every}")).await;
    // What lies between hours without sums had no runs, so that only known ones come between.
    it.forge("INSERT INTO used_dimension (dimension, hour) SELECT 'service', hour FROM used_hour WHERE state = 1 ON CONFLICT DO NOTHING").await;
    let total = it.store.agent_cost(&Selection::default()).await.unwrap().unwrap();
    assert_eq!((total.traces, total.cost), (2, 3.0));
    assert_eq!(self::all(&it).await, all);
}

#[tokio::test]
async fn a_run_whose_commit_lasts_while_a_later_hour_is_begun_is_counted() {
    let it = TestStore::postgres().await;
    record(&it, &[run(1, 1, &["a"], 10), run(3, 1, &["a"], 4 * HOUR), run(5, 1, &["a"], 5 * HOUR)]).await;
    sum_up(&it, HOUR).await;
    let mut other = AnyConnection::connect(&it.url).await.unwrap();
    let mut writing = other.begin().await.unwrap();
    let moved = format!(
        "UPDATE trace SET version = 2, ended_at = {} WHERE ended_at = {}",
        seconds(HOUR).0,
        seconds(5 * HOUR).0
    );
    writing.execute(AssertSqlSafe(moved)).await.unwrap();
    let chosen = it.store.next_used_hour(seconds(9 * HOUR)).await.unwrap().unwrap();
    assert_eq!(chosen, seconds(4 * HOUR));
    let summing = tokio::spawn({
        let store = it.store.clone();
        async move { store.sum_used_hour(chosen, &NAMES).await }
    });
    blocked(&it.url, "used_hour", &summing).await;
    writing.commit().await.unwrap();
    summing.await.unwrap().unwrap();
    assert_eq!(spent(&it).await, Some(3.0));
    sum_up(&it, 9 * HOUR).await;
    assert_eq!(spent(&it).await, Some(3.0));
}

#[tokio::test]
async fn who_takes_long_to_change_a_run_holds_up_no_one_else() {
    let it = TestStore::postgres().await;
    record(&it, &[run(1, 1, &["a"], 10), run(3, 1, &["a"], 20)]).await;
    settled(&it, 1).await;
    let mut other = AnyConnection::connect(&it.url).await.unwrap();
    let mut changing = other.begin().await.unwrap();
    changing.execute("UPDATE trace SET version = 2 WHERE user_id = 'u-1'").await.unwrap();
    assert!(!it.store.sum_used_hour(seconds(0), &NAMES).await.unwrap());
    record(&it, &[run(5, 1, &["a"], 9 * HOUR)]).await;
    changing.commit().await.unwrap();
    settled(&it, 1).await;
}

/// Waits until so many transactions wait for others.
async fn waiting(it: &TestStore, transactions: i64) {
    let mut connection = AnyConnection::connect(&it.url).await.unwrap();
    let sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    while sqlx::query_scalar::<_, i64>(sql).fetch_one(&mut connection).await.unwrap() < transactions {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn two_that_mark_the_same_hours_in_other_orders_wait_for_each_other_in_a_row() {
    let it = TestStore::postgres().await;
    let ends = [10, HOUR, HOUR, 10];
    let runs: Vec<RecordedTrace> = (1..).zip(ends).map(|(number, end)| run(number, 1, &["a"], end)).collect();
    record(&it, &runs).await;
    settled(&it, 2).await;
    let mut other = AnyConnection::connect(&it.url).await.unwrap();
    let mut held = other.begin().await.unwrap();
    held.execute(AssertSqlSafe(format!("SELECT 1 FROM used_hour WHERE hour = {} FOR UPDATE", seconds(HOUR).0)))
        .await
        .unwrap();
    let change = |users: &'static str| {
        let (url, change) = (it.url.clone(), format!("UPDATE trace SET version = 2 WHERE user_id IN {users}"));
        tokio::spawn(async move {
            let mut connection = AnyConnection::connect(&url).await?;
            connection.execute(AssertSqlSafe(change)).await.map(drop)
        })
    };
    let first = change("('u-3', 'u-4')");
    waiting(&it, 1).await;
    let second = change("('u-1', 'u-2')");
    waiting(&it, 2).await;
    held.commit().await.unwrap();
    first.await.unwrap().unwrap();
    second.await.unwrap().unwrap();
    assert_eq!(it.store.marked_used_hours().await.unwrap(), [seconds(0), seconds(HOUR)]);
}

#[tokio::test]
async fn what_is_erased_while_its_hour_is_kept_is_in_no_sum() {
    let it = TestStore::postgres().await;
    record(&it, &[run(1, 1, &["a"], 10), run(2, 1, &["a"], 20)]).await;
    settled(&it, 1).await;
    it.forge("UPDATE used_hour SET state = 2").await;
    let mut other = AnyConnection::connect(&it.url).await.unwrap();
    let mut keeping = other.begin().await.unwrap();
    keeping.execute("UPDATE used_hour SET state = 1").await.unwrap();
    for anew in [
        "CREATE TEMPORARY TABLE tools AS SELECT * FROM used_tool_sum",
        "WITH sums AS (DELETE FROM used_sum RETURNING *) INSERT INTO used_sum SELECT * FROM sums",
        "WITH kept AS (DELETE FROM used_dimension RETURNING *) INSERT INTO used_dimension SELECT * FROM kept",
        "INSERT INTO used_tool_sum SELECT * FROM tools",
    ] {
        assert!(keeping.execute(anew).await.unwrap().rows_affected() > 0, "{anew}");
    }
    let erasing = tokio::spawn({
        let (store, all) = (it.store.clone(), Selection::default());
        async move { store.erase(&all, "all", seconds(9 * HOUR)).await }
    });
    waiting(&it, 1).await;
    keeping.commit().await.unwrap();
    assert_eq!(erasing.await.unwrap().unwrap().traces, 2);
    let mut connection = AnyConnection::connect(&it.url).await.unwrap();
    let names = "SELECT count(*) FROM (SELECT part FROM used_sum UNION ALL SELECT part FROM used_tool_sum) AS sums \
                 WHERE part IN ('tier-1', 'tier-2', 'u-1', 'u-2', 'c-0', 'c-1')";
    assert_eq!(sqlx::query_scalar::<_, i64>(names).fetch_one(&mut connection).await.unwrap(), 0);
}

#[tokio::test]
async fn sums_that_were_made_anew_leave_no_name_in_the_file() {
    let it = TestStore::sqlite().await;
    let runs = |version, ended_at| -> Vec<RecordedTrace> {
        let of = |number| {
            let mut it = run(number, version, &["a"], ended_at);
            it.usage.operation = Some(format!("the-secret-of-{number}"));
            it.usage.tools = [(format!("the-secret-of-{number}"), ToolUsage::default())].into();
            it
        };
        (1..=400).map(of).collect()
    };
    record(&it, &runs(1, 10)).await;
    sum_up(&it, 9 * HOUR).await;
    record(&it, &runs(2, 5 * HOUR)).await;
    let path = it.url.strip_prefix("sqlite://").unwrap().to_owned();
    let found = || {
        let bytes = std::fs::read(&path).unwrap();
        bytes.windows(14).filter(|window| window == b"the-secret-of-").count()
    };
    it.store.checkpoint().await.unwrap();
    let before = found();
    sum_up(&it, 2 * HOUR).await;
    it.store.checkpoint().await.unwrap();
    assert!(found() + 800 <= before, "{} of {before}", found());
}
