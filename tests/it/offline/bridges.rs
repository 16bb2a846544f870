//! Two revisions on the same traces: rules for nothing, judges for money that someone agreed to.

use std::fs;

use driftline::backends::clock::{Clock as _, SystemClock};
use driftline::backends::store::{CostDimension, CostSelection, Selection, Store};
use driftline::domain::money::NanoUsd;
use driftline::limits::budget::day_of;
use driftline::simulate::judge::ScriptedJudge;

use super::program::{Folder, Run};
use crate::support::services::postgres;

fn limits(folder: &Folder, name: &str, tool_calls: u32) {
    fs::create_dir_all(folder.path(name)).unwrap();
    let definition = format!("kind = \"limits\"\ndescription = \"d\"\n[limits]\ntool_calls = {tool_calls}\n");
    folder.write(&format!("{name}/evaluator.toml"), definition);
}

#[test]
fn two_revisions_of_a_rule_are_compared_on_the_same_traces() {
    let folder = Folder::new();
    folder.ends(0, &["simulate", "--scenario", "healthy", "--traces", "150", "-o", "traces.jsonl"]);
    limits(&folder, "before", 50);
    limits(&folder, "after", 3);
    let bridge = |sample: &str, old: &str, new: &str, code| {
        let from = ["--from", "file:traces.jsonl", "--sample", sample, "--json"];
        folder.ends(code, &[&["evaluators", "bridge", old, new], from.as_slice()].concat()).json()
    };
    let found = bridge("100", "before", "after", 0);
    let number = |key: &str| found["bridge"][key].as_f64().unwrap();
    assert_eq!((number("pairs"), number("old"), found["old"] == found["new"]), (100.0, 1.0, false));
    assert!(number("difference") < 0.0 && number("low") < number("high") && number("high") < 0.0, "{found}");
    assert!(found["comparable_beyond"].as_f64().unwrap() >= -number("difference"));
    assert_eq!(bridge("100", "after", "after", 0)["bridge"]["agreement"], 1.0);
    assert!(bridge("9", "before", "after", 3)["bridge"].is_null());
    folder.ends(2, &["evaluators", "bridge", "0123456789ab", "after", "--from", "file:traces.jsonl"]).says("revision");
}

/// A folder with traces, a priced judge model and these further settings.
fn with_judge(judge: &ScriptedJudge, further: &str) -> Folder {
    with_judge_and_store(judge, "sqlite://store.db", further)
}

fn with_judge_and_store(judge: &ScriptedJudge, store: &str, further: &str) -> Folder {
    let folder = Folder::new();
    let model = format!("base_url = \"{}\"\nmodel = \"m\"\ninput_usd_per_mtok = 1.0\n", judge.base_url());
    let model = format!("[judge.models.default]\n{model}output_usd_per_mtok = 1.0\n");
    folder.write("driftline.toml", format!("[store]\nurl = \"{store}\"\n{model}{further}"));
    folder.ends(0, &["simulate", "--scenario", "ungrounded_claim", "--traces", "60", "-o", "traces.jsonl"]);
    folder
}

/// Compares the shipped groundedness with itself on 30 traces.
fn bridge(folder: &Folder, code: i32, further: &[&str]) -> Run {
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/evaluators/groundedness");
    let asked = ["evaluators", "bridge", shipped, shipped, "--from", "file:traces.jsonl", "--sample", "30"];
    folder.ends(code, &[asked.as_slice(), further].concat())
}

async fn store(folder: &Folder, read_only: bool) -> Store {
    Store::open(&format!("sqlite://{}", folder.path("store.db").display()), read_only).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_store_judges_are_asked_only_when_someone_agreed_that_no_ledger_holds_it() {
    let judge = ScriptedJudge::start().await.unwrap();
    let folder = with_judge(&judge, "");
    tokio::task::spawn_blocking(move || {
        bridge(&folder, 2, &[]).says("no ledger").says("--yes");
        let run = bridge(&folder, 0, &["--yes", "--json"]);
        let found = run.says("no ledger").json();
        assert_eq!((&found["bridge"]["pairs"], &found["bridge"]["agreement"]), (&30.into(), &1.0.into()), "{found}");
        assert_eq!(found["in_ledger"], false);
        assert!(!folder.path("store.db").exists(), "and no store is made");
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_judges_are_asked_is_in_the_ledger_and_their_scores_are_not_stored() {
    let judge = ScriptedJudge::start().await.unwrap();
    let folder = with_judge(&judge, "[judge.budget]\ndaily_usd = 50.0\n");
    store(&folder, false).await.close().await;
    tokio::task::block_in_place(|| {
        bridge(&folder, 2, &[]).says("--yes");
        let found = bridge(&folder, 0, &["--yes", "--json"]).json();
        assert_eq!((&found["bridge"]["pairs"], &found["in_ledger"]), (&30.into(), &true.into()), "{found}");
    });
    let store = store(&folder, true).await;
    let rows = store.costs(CostDimension::Evaluator, &CostSelection::default()).await.unwrap();
    assert_eq!((rows.len(), rows[0].part.as_deref()), (1, Some("groundedness")), "{rows:?}");
    assert_eq!((rows[0].requests, rows[0].answered, rows[0].unsettled), (60, 60, NanoUsd::ZERO));
    let budget = store.budget_day(day_of(SystemClock.now())).await.unwrap();
    assert!(
        rows[0].charged > NanoUsd::ZERO && budget.iter().map(|it| it.committed).eq([rows[0].charged]),
        "{budget:?}"
    );
    assert!(store.search(&Selection::default(), 10).await.unwrap().is_empty());
    assert!(store.records(&Selection::default()).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_judge_is_asked_beyond_the_budget_of_the_day_or_of_a_service_or_beside_the_ledger() {
    let judge = ScriptedJudge::start().await.unwrap();
    let budgets = [("all", "daily_usd = 0.001"), ("support-agent", "services = { support-agent = 0.001 }")];
    for (scope, budget) in budgets {
        let folder = with_judge(&judge, &format!("[judge.budget]\n{budget}\n"));
        let held = store(&folder, false).await;
        tokio::task::block_in_place(|| _ = bridge(&folder, 4, &["--yes"]).says("in use"));
        held.close().await;
        drop(held);
        tokio::task::block_in_place(|| {
            _ = bridge(&folder, 2, &["--yes"]).says(&format!("left of the day's budget of {scope}"))
        });
        let rows = store(&folder, true).await.costs(CostDimension::Evaluator, &CostSelection::default()).await.unwrap();
        assert_eq!(rows, [], "{budget}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn on_postgresql_judges_are_asked_beside_a_service_from_its_budget_and_into_its_ledger() {
    let judge = ScriptedJudge::start().await.unwrap();
    let url = postgres().database().await;
    let store = Store::open(&url, false).await.unwrap();
    let folder = with_judge_and_store(&judge, &url, "[judge.budget]\ndaily_usd = 50.0\n");
    tokio::task::block_in_place(|| {
        let found = bridge(&folder, 0, &["--yes", "--json"]).json();
        assert_eq!((&found["bridge"]["pairs"], &found["in_ledger"]), (&30.into(), &true.into()), "{found}");
    });
    let rows = store.costs(CostDimension::Evaluator, &CostSelection::default()).await.unwrap();
    assert_eq!((rows[0].requests, rows[0].answered, rows[0].unsettled), (60, 60, NanoUsd::ZERO), "{rows:?}");
    let budget = store.budget_day(day_of(SystemClock.now())).await.unwrap();
    assert!(budget.iter().map(|it| it.committed).eq([rows[0].charged]), "{budget:?}");
    assert!(store.search(&Selection::default(), 10).await.unwrap().is_empty());

    let spent = rows[0].charged.usd();
    let folder = with_judge_and_store(&judge, &url, &format!("[judge.budget]\ndaily_usd = {spent}\n"));
    tokio::task::block_in_place(|| {
        _ = bridge(&folder, 2, &["--yes"]).says("$0.00 are left of the day's budget of all")
    });
}

/// Scores the folder's traces by the shipped groundedness.
fn evaluated(folder: &Folder) -> Run {
    folder.ends(0, &["evaluate", "traces.jsonl", "--only", "groundedness"])
}

#[tokio::test(flavor = "multi_thread")]
async fn what_evaluate_asks_is_in_the_ledger_of_the_store() {
    let judge = ScriptedJudge::start().await.unwrap();
    let folder = with_judge(&judge, "[judge.budget]\ndaily_usd = 50.0\n");
    store(&folder, false).await.close().await;
    tokio::task::block_in_place(|| _ = evaluated(&folder).says("judges: 60 requests, $"));
    let store = store(&folder, true).await;
    let rows = store.costs(CostDimension::Evaluator, &CostSelection::default()).await.unwrap();
    assert_eq!((rows.len(), rows[0].requests, rows[0].unsettled), (1, 60, NanoUsd::ZERO), "{rows:?}");
    assert!(store.search(&Selection::default(), 10).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_store_evaluate_keeps_to_the_budget_of_a_day_and_says_what_it_spent() {
    let judge = ScriptedJudge::start().await.unwrap();
    let outcomes = |run: &Run, outcome: &str| run.lines().iter().filter(|row| row["outcome"] == outcome).count();
    tokio::task::block_in_place(|| {
        let run = evaluated(&with_judge(&judge, "[judge.budget]\ndaily_usd = 50.0\n"));
        run.says("judges: 60 requests, $").says("in no ledger");
        assert_eq!(outcomes(&run, "scored"), 60);
        let run = evaluated(&with_judge(&judge, "[judge.budget]\ndaily_usd = 0.02\n"));
        let (scored, skipped) = (outcomes(&run, "scored"), outcomes(&run, "skipped_budget"));
        assert!(scored > 0 && skipped > 0 && scored + skipped == 60, "{scored} scored, {skipped} skipped");
    });
}
