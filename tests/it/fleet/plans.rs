//! No statement of a trace's path reads a table from end to end. The service itself tells what it asks of its database,
//! and both databases tell how they would answer.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use driftline::backends::store::Store;
use driftline::simulate::SimulatedTrace;
use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, Row as _, SqliteConnection};
use tokio::time::sleep;

use super::effects::{Neighbours, baseline, insert_baseline, is_done};
use super::queue::{HOUR, START, ready};
use crate::service::fixtures::{eventually, requests, simulated};
use crate::support::serve::Serve;
use crate::support::services::postgres;

/// Tables that grow with the traffic. What is deleted when it is done is read from its start on, which is its end.
const LARGE: [&str; 12] = [
    "chunk",
    "chunk_other",
    "trace",
    "trace_attribute",
    "evaluation",
    "evaluation_list",
    "judge_call",
    "judge_cache",
    "judge_cache_trace",
    "external_score",
    "review_draw",
    "archived_trace",
];

/// What a service logs of its database from a trace's arrival to the last of its effects, and when people look for it.
async fn observed(url: &str) -> Vec<Value> {
    let neighbours = Neighbours::start().await;
    let settings = format!("[store]\nurl = \"{url}\"\n{}", neighbours.settings());
    let mut serve = tokio::task::block_in_place(|| Serve::start(&settings));
    ready(&serve).await;
    serve.kill();
    insert_baseline(url, &baseline().await).await;
    // A migration may read what it changes.
    let migrating = serve.log().lines().count();
    tokio::task::block_in_place(|| serve.restart_logging_statements());
    let traces = simulated("healthy", 9, START, HOUR);
    let bodies = requests(&traces, 3).iter().map(prost::Message::encode_to_vec).collect();
    super::rounds::send(format!("http://{}/v1/traces", serve.receives_on), bodies, Duration::ZERO).await;
    let store = Store::open(url, true).await.unwrap();
    eventually("the end of all work", async || is_done(&store, &traces).await.then_some(())).await;
    look_for(&serve, &traces).await;
    // What is done by the clock comes round too.
    sleep(Duration::from_secs(1)).await;
    serve.kill();
    serve.log().lines().skip(migrating).filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// Asks as people do who look for a trace.
async fn look_for(serve: &Serve, traces: &[SimulatedTrace]) {
    let id = traces[0].truth.trace_id;
    for path in [format!("audit?id={id}"), format!("traces/{id}"), format!("traces/{id}/scores")] {
        let answer = reqwest::get(format!("http://{}/api/v1/{path}", serve.web_on)).await.unwrap();
        assert_eq!(answer.status(), 200, "{path}");
    }
    for path in ["audit?id=key%3Dvalue", "audit?id=nobody", "traces?limit=20", "traces?conversation=c&limit=20"] {
        let answer = reqwest::get(format!("http://{}/api/v1/{path}", serve.web_on)).await.unwrap();
        assert_ne!(answer.status(), 400, "{path}");
    }
}

/// The statement that a line of the log tells of, if it reads or writes rows.
fn statement(line: &Value) -> Option<String> {
    let whole = line["db.statement"].as_str().map(str::trim).filter(|text| !text.is_empty());
    let sql = whole.or_else(|| line["summary"].as_str())?;
    ["SELECT", "INSERT", "UPDATE", "DELETE", "WITH"].iter().any(|verb| sql.starts_with(verb)).then(|| sql.to_owned())
}

/// Lines of plans that read all of a large table.
fn whole_reads(
    plans: impl IntoIterator<Item = (String, Vec<String>)>,
    is_whole: impl Fn(&str, &str) -> bool,
) -> String {
    let mut found = String::new();
    for (sql, plan) in plans {
        for line in plan.iter().filter(|line| LARGE.iter().any(|table| is_whole(line, table))) {
            found += &format!("{line}\n    {sql}\n");
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn no_statement_of_a_traces_path_reads_a_table_of_sqlite_from_end_to_end() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}/driftline.db", folder.path().display());
    let statements: BTreeSet<String> = observed(&url).await.iter().filter_map(statement).collect();
    assert!(statements.len() > 40, "{statements:#?}");
    let mut connection = SqliteConnection::connect(&url).await.unwrap();
    let mut plans: Vec<(String, Vec<String>)> = Vec::new();
    for sql in statements {
        let rows = connection.fetch_all(AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}"))).await.unwrap();
        plans.push((sql, rows.iter().map(|row| row.get("detail")).collect()));
    }
    // However many traces wait, those whose claim was not finished are found without a look at the others.
    let again = plans.iter().find(|(sql, _)| sql.contains("attempts > 0")).unwrap();
    assert!(again.1.iter().any(|line| line.contains("USING INDEX pending_again")), "{again:#?}");
    let found = whole_reads(plans, |line, table| line == format!("SCAN {table}"));
    assert!(found.is_empty(), "{found}");
}

/// Lets PostgreSQL tell each client how it has answered, and read no table whole that it can read otherwise: it would,
/// because they are so small.
const EXPLAIN: &str = "SET session_preload_libraries = 'auto_explain'; SET auto_explain.log_min_duration = 0; \
                       SET auto_explain.log_level = 'notice'; SET enable_seqscan = off";

#[tokio::test(flavor = "multi_thread")]
async fn no_statement_of_a_traces_path_reads_a_table_of_postgresql_from_end_to_end() {
    let url = postgres().database().await;
    let mut connection = PgConnection::connect(&url).await.unwrap();
    let database = url.rsplit('/').next().unwrap();
    for setting in EXPLAIN.split("; ") {
        connection.execute(AssertSqlSafe(format!("ALTER DATABASE {database} {setting}"))).await.unwrap();
    }
    let mut plans = BTreeMap::new();
    for line in observed(&url).await {
        let told = line["message"].as_str().and_then(|told| told.split_once("Query Text: "));
        let Some((_, told)) = told else { continue };
        let (sql, plan) = told.split_once('\n').unwrap();
        plans.insert(sql.to_owned(), plan.lines().map(str::to_owned).collect());
    }
    assert!(plans.len() > 40, "{plans:#?}");
    let found = whole_reads(plans, |line, table| line.contains(&format!("Seq Scan on {table} ")));
    assert!(found.is_empty(), "{found}");
}
