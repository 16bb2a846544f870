//! A provider that changes the model behind a name while traces are judged: a new series, and never a bend.

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Json;
use axum::response::IntoResponse;
use driftline::backends::clock::{Clock as _, SystemClock};
use driftline::backends::judge::Provider;
use driftline::backends::store::{Selection, Store, StoredEvaluation};
use driftline::domain::evaluation::Outcome;
use driftline::domain::time::Timestamp;
use driftline::evaluate::run::Evaluators;
use driftline::queries::judges::judges;
use driftline::watch::baseline::Baseline;
use serde_json::{Value, json};

use super::fake::Fake;
use super::fixtures::{Running, eventually, simulated};
use super::judging::{HOUR, START, YES, accept, chat, judgements, judging, ledger, model};

/// The revisions that scored, by judge.
fn revisions(rows: &[StoredEvaluation]) -> BTreeMap<&str, BTreeSet<&str>> {
    let mut revisions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for row in rows.iter().filter(|row| row.evaluation.outcome == Outcome::Scored) {
        revisions.entry(&row.evaluation.evaluator).or_default().insert(&row.evaluation.revision);
    }
    revisions
}

/// A provider whose old model says YES to everything and whose new one NO; `m` is the old one until the switch is set,
/// and each can be asked for by name.
async fn changing() -> (Fake, Arc<AtomicBool>) {
    let is_new = Arc::new(AtomicBool::new(false));
    let changed = Arc::clone(&is_new);
    let fake = Fake::start(move |asked| {
        let last = &asked[asked.len() - 1];
        let request: Value = serde_json::from_slice(&last.body).unwrap();
        let is_new = request["model"] == "m-2027" || request["model"] == "m" && changed.load(Ordering::SeqCst);
        let mut answer = chat(last, &if is_new { YES.replace("YES", "NO") } else { YES.to_owned() });
        answer["model"] = json!(if is_new { "m-2027" } else { "m-2026" });
        Some(Json(answer).into_response())
    })
    .await;
    (fake, is_new)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_its_provider_changes_starts_a_new_series() {
    let (fake, is_new) = changing().await;
    let folder = tempfile::tempdir().unwrap();
    let store_url = format!("sqlite://{}/kept.db", folder.path().display());
    let running = Running::start(|settings| {
        settings.store.url.clone_from(&store_url);
        judging(settings, model(Provider::Openai, &fake.url));
    })
    .await;
    let traces = simulated("healthy", 40, START, HOUR);
    let (before, after) = traces.split_at(20);
    accept(&running, before).await;
    let old = judgements(&running.store, before).await;
    is_new.store(true, Ordering::SeqCst);
    accept(&running, after).await;
    let new = judgements(&running.store, after).await;

    let (stored, old, new) = (new.clone(), revisions(&old), revisions(&new));
    // One that judges only what failed may have had nothing to judge on one side.
    let on_both_sides = || old.iter().filter(|(judge, _)| new.contains_key(*judge));
    assert!(on_both_sides().count() >= 2, "{old:?} {new:?}");
    for (judge, revisions) in on_both_sides() {
        assert_eq!((revisions.len(), new[judge].len()), (1, 1), "{judge}");
        assert!(revisions.is_disjoint(&new[judge]), "{judge} goes on as {:?}", new[judge]);
    }
    let seen = running.store.judge_models().await.unwrap();
    assert_eq!(seen.iter().map(|it| it.answered.as_str()).collect::<Vec<_>>(), ["m-2026", "m-2027"]);

    let records = running.store.records(&Selection::default()).await.unwrap();
    let mixed = Baseline::from_records("mixed", Timestamp(0), "", &records);
    for (judge, _) in on_both_sides() {
        let summary = mixed.overall(judge).unwrap();
        assert_eq!(summary.revision.as_deref(), new[judge].first().copied());
        assert_eq!(summary.moments().unwrap().mean, 0.0, "no score of the old model is averaged into {judge}");
    }
    let of = |revisions: &BTreeMap<&str, BTreeSet<&str>>| revisions["groundedness"].first().unwrap().to_string();
    let (asked, refused) = (fake.asked().len(), bridged(&store_url, &fake.url, of(&old), of(&new)).await);
    assert!(!refused.status.success() && fake.asked().len() == asked, "no one asks beside the ledger");
    drop(running);
    eventually("the end of the service", async || Store::open(&store_url, false).await.ok().map(drop)).await;
    let output = bridged(&store_url, &fake.url, of(&old), of(&new)).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&found["bridge"]["old"], &found["bridge"]["new"]), (&json!(1.0), &json!(0.0)), "{found}");
    assert_eq!(found["comparable_beyond"], 1.0);
    let store = Store::open(&store_url, true).await.unwrap();
    let (ledger, all) = (ledger(&store).await, fake.asked().len());
    assert!(all > asked && ledger.requests == all as u64, "{all} requests, {asked} of the service: {ledger:?}");
    assert_eq!(judgements(&store, after).await, stored, "a comparison leaves no score");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_control_question_counts_for_the_model_that_answered_it() {
    let (fake, is_new) = changing().await;
    let model = model(Provider::Openai, &fake.url);
    let identity = model.identity();
    let running = Running::start(|settings| {
        judging(settings, model);
        settings.judge.control_share = 1.0;
    })
    .await;
    let traces = simulated("healthy", 20, START, HOUR);
    let (before, after) = traces.split_at(10);
    accept(&running, before).await;
    let old = judgements(&running.store, before).await;
    is_new.store(true, Ordering::SeqCst);
    accept(&running, after).await;
    let new = judgements(&running.store, after).await;

    let (old, new) = (revisions(&old), revisions(&new));
    let evaluators = Evaluators::load(None, [("default".to_owned(), identity)].into()).unwrap();
    let found = judges(&running.store, &evaluators, SystemClock.now()).await.unwrap().judges;
    let of = |revision: &str| {
        let state = found.iter().find(|it| it.evaluator == "groundedness" && it.revision == revision).unwrap();
        (state.catches.caught > 0, state.catches.missed > 0, state.current)
    };
    let revision = |revisions: &BTreeMap<&str, BTreeSet<&str>>| revisions["groundedness"].first().unwrap().to_string();
    assert_eq!(of(&revision(&old)), (false, true, false), "{found:?}");
    assert_eq!(of(&revision(&new)), (true, false, true), "{found:?}");
    let of_judge = found.iter().filter(|it| it.evaluator == "groundedness");
    assert_eq!(of_judge.count(), 2, "and none for the definition: {found:?}");
}

/// What the command line says of two revisions that have scored.
async fn bridged(store_url: &str, model_url: &str, old: String, new: String) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let model = format!("base_url = \"{model_url}/v1\"\nmodel = \"m\"\nallow_unpriced = true\n");
    let settings = format!("[store]\nurl = \"{store_url}\"\n[judge.models.default]\n{model}");
    std::fs::write(folder.path().join("driftline.toml"), settings).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_driftline"));
    command.args(["evaluators", "bridge", &old, &new, "--from", "where:since=2020-01-01", "--json"]);
    command.current_dir(folder.path());
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}
