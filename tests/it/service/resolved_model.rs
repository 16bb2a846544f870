//! A provider that changes the model behind a name while traces are judged: a new series, and never a bend.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Json;
use axum::response::IntoResponse;
use driftline::backends::judge::Provider;
use driftline::backends::store::{Selection, StoredEvaluation};
use driftline::domain::evaluation::Outcome;
use driftline::domain::time::Timestamp;
use driftline::watch::baseline::Baseline;
use serde_json::json;

use super::fake::Fake;
use super::fixtures::{Running, simulated};
use super::judging::{HOUR, START, YES, accept, chat, judgements, judging, model};

/// The revisions that scored, by judge.
fn revisions(rows: &[StoredEvaluation]) -> BTreeMap<&str, BTreeSet<&str>> {
    let mut revisions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for row in rows.iter().filter(|row| row.evaluation.outcome == Outcome::Scored) {
        revisions.entry(&row.evaluation.evaluator).or_default().insert(&row.evaluation.revision);
    }
    revisions
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_its_provider_changes_starts_a_new_series() {
    let is_new = Arc::new(AtomicBool::new(false));
    let changed = Arc::clone(&is_new);
    let fake = Fake::start(move |asked| {
        let is_new = changed.load(Ordering::SeqCst);
        let verdict = if is_new { YES.replace("YES", "NO") } else { YES.to_owned() };
        let mut answer = chat(&asked[asked.len() - 1], &verdict);
        answer["model"] = json!(if is_new { "m-2027" } else { "m-2026" });
        Some(Json(answer).into_response())
    })
    .await;
    let running = Running::start(|settings| judging(settings, model(Provider::Openai, &fake.url))).await;
    let traces = simulated("healthy", 40, START, HOUR);
    let (before, after) = traces.split_at(20);
    accept(&running, before).await;
    let old = judgements(&running.store, before).await;
    is_new.store(true, Ordering::SeqCst);
    accept(&running, after).await;
    let new = judgements(&running.store, after).await;

    let (old, new) = (revisions(&old), revisions(&new));
    assert!(old.len() >= 2 && old.keys().eq(new.keys()), "{old:?} {new:?}");
    for (judge, revisions) in &old {
        assert_eq!((revisions.len(), new[judge].len()), (1, 1), "{judge}");
        assert!(revisions.is_disjoint(&new[judge]), "{judge} goes on as {:?}", new[judge]);
    }
    let seen = running.store.judge_models().await.unwrap();
    assert_eq!(seen.iter().map(|it| it.answered.as_str()).collect::<Vec<_>>(), ["m-2026", "m-2027"]);

    let records = running.store.records(&Selection::default()).await.unwrap();
    let mixed = Baseline::from_records("mixed", Timestamp(0), "", &records);
    for judge in old.keys() {
        let summary = mixed.overall(judge).unwrap();
        assert_eq!(summary.revision.as_deref(), new[judge].first().copied());
        assert_eq!(summary.moments().unwrap().mean, 0.0, "no score of the old model is averaged into {judge}");
    }
}
