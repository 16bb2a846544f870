//! What a trace does in the world, and how each of its effects is found again: once, lost, or doubled.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock, Mutex};

use axum::Json;
use axum::response::IntoResponse;
use driftline::backends::clock::{Clock as _, SystemClock};
use driftline::backends::store::{AlertFilter, CostDimension, CostSelection, Selection, Store, StoredEvaluation};
use driftline::domain::evaluation::{AnnotatorKind, Outcome};
use driftline::domain::ids::TraceId;
use driftline::domain::money::NanoUsd;
use driftline::domain::time::Timestamp;
use driftline::evaluate::flagging::FlagPolicy;
use driftline::evaluate::run::Evaluators;
use driftline::limits::budget::day_of;
use driftline::pipeline::notify::JUDGE_BUDGET;
use driftline::simulate::{Agent, SimulatedTrace};
use driftline::watch::baseline::Baseline;
use serde_json::{Value, json};
use sqlx::{AnyConnection, AssertSqlSafe, Connection as _};
use tempfile::TempDir;

use super::queue::{HOUR, START};
use crate::crash::Backend;
use crate::service::fake::{Fake, status};
use crate::service::fixtures::{Running, simulated};
use crate::service::judging::{PRICES, YES, bill, chat};
use crate::support::serve::Serve;

/// Everyone that a service talks to: a judge model, a user's own evaluator, a tracing backend and a webhook.
pub(super) struct Neighbours {
    judge: Fake,
    _service: Fake,
    webhook: Fake,
    backend: Backend,
    backend_url: String,
    evaluators: TempDir,
    told: Arc<Mutex<Vec<Value>>>,
}

impl Neighbours {
    pub(super) async fn start() -> Self {
        let judge = Fake::start(|asked| Some(Json(chat(&asked[asked.len() - 1], YES)).into_response())).await;
        let service = Fake::start(|_| Some(Json(json!({ "value": 1.0 })).into_response())).await;
        let told = Arc::new(Mutex::new(Vec::new()));
        let taken = Arc::clone(&told);
        let webhook = Fake::start(move |asked| {
            taken.lock().unwrap().push(serde_json::from_slice(&asked[asked.len() - 1].body).unwrap());
            status(200)
        });
        let evaluators = tempfile::tempdir().unwrap();
        std::fs::create_dir(evaluators.path().join("orders")).unwrap();
        let definition = format!("kind = \"http\"\ndescription = \"d\"\n[http]\nurl = \"{}/check\"\n", service.url);
        std::fs::write(evaluators.path().join("orders/evaluator.toml"), definition).unwrap();
        let backend = Backend::default();
        let backend_url = backend.start().await;
        Self { judge, _service: service, webhook: webhook.await, backend, backend_url, evaluators, told }
    }

    /// Settings with these neighbours, after the store's and the queue's. Nothing may be spent on one of the agents, which
    /// raises an alert.
    pub(super) fn settings(&self) -> String {
        format!(
            "[sampling]\nhealthy_rate = 1.0\n[review]\naudit_rate = 1.0\naudit_failing_rate = 1.0\n[watch]\n\
             interval = \"100ms\"\nlateness = \"1s\"\n[evaluators]\ndirectory = \"{evaluators}\"\n[alerts]\n\
             webhook = \"{webhook}\"\n[judge]\ncontrol_share = 0.0\n[judge.budget]\ndaily_usd = 100.0\n[judge.budget.services]\n\
             \"{poor}\" = 0.000001\n[judge.models.default]\nbase_url = \"{judge}/v1\"\nmodel = \"m\"\ntimeout = \"2s\"\n\
             input_usd_per_mtok = {input}\noutput_usd_per_mtok = {output}\n[[write_back]]\nkind = \"otlp\"\n\
             endpoint = \"{backend}\"\n",
            evaluators = self.evaluators.path().display(),
            webhook = self.webhook.url,
            poor = Agent::Invoice.service(),
            judge = self.judge.url,
            input = PRICES.0,
            output = PRICES.1,
            backend = self.backend_url,
        )
    }
}

/// A baseline of an hour of healthy traffic, as JSON; what is sent after that hour is watched.
pub(super) async fn baseline() -> String {
    let running = Running::start(|settings| settings.sampling.healthy_rate = 1.0).await;
    let traces = simulated("healthy", 30, START.minus(HOUR * 2).hour(), HOUR);
    for request in crate::service::fixtures::requests(&traces, 10) {
        running.accept(&request).await;
    }
    for trace in &traces {
        running.scored(trace.truth.trace_id, 1).await;
    }
    let records = running.store.records(&Selection::default()).await.unwrap();
    serde_json::to_string(&Baseline::from_records("default", START, "", &records)).unwrap()
}

/// Puts the baseline into a store that no one has open.
pub(super) async fn insert_baseline(url: &str, baseline: &str) {
    let store = Store::open(url, false).await.unwrap();
    store.insert_baseline("default", START, "", baseline).await.unwrap();
    store.close().await;
}

/// Effects that are not there, and that are there more than once; and what the processes say did not hold.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Effects {
    pub(super) lost: Vec<String>,
    pub(super) doubled: Vec<String>,
    pub(super) violations: Vec<String>,
}

impl Effects {
    fn count(&mut self, what: impl ToString, expected: usize, found: usize) {
        let told = || format!("{}: {found} of {expected}", what.to_string());
        if found < expected {
            self.lost.push(told());
        }
        if found > expected {
            self.doubled.push(told());
        }
    }
}

/// The evaluators that put a trace before people when it fails them.
static FLAGGING: LazyLock<Vec<String>> = LazyLock::new(|| {
    let evaluators = Evaluators::load(None, BTreeMap::new()).unwrap();
    FlagPolicy::of(&evaluators, 0).evaluators.into_keys().collect()
});

/// Whether nothing is left to do: every trace is there, judged, drawn, flagged, watched and told of.
pub(super) async fn is_done(store: &Store, traces: &[SimulatedTrace]) -> bool {
    for trace in traces {
        if store.trace(trace.truth.trace_id).await.unwrap().is_none() {
            return false;
        }
    }
    let depths = store.queue_depths(Timestamp(0)).await.unwrap();
    let is_watched = store.unwatched_hours(SystemClock.now()).await.unwrap().is_empty();
    let is_noticed = store.noticing().await.unwrap().iter().all(|noticing| noticing.events.is_empty());
    let is_drawn = store.undrawn(Timestamp(0), 1).await.unwrap().is_empty();
    let flagging: Vec<&str> = FLAGGING.iter().map(String::as_str).collect();
    let is_flagged = store.unflagged(Timestamp(0), &flagging, 1).await.unwrap().is_empty();
    let is_offered = is_drawn && is_flagged;
    depths.pending + depths.judge_jobs + depths.outbox == 0 && is_watched && is_noticed && is_offered
}

/// Looks for each effect of each trace.
pub(super) async fn effects(
    url: &str,
    traces: &[SimulatedTrace],
    neighbours: &Neighbours,
    processes: &[Serve],
) -> Effects {
    let store = Store::open(url, true).await.unwrap();
    let violations = processes.iter().flat_map(Serve::violations).collect();
    let mut effects = Effects { violations, ..Effects::default() };
    let rows = rows(&store, traces, &mut effects).await;
    series(&store, traces.len(), &mut effects).await;
    spend(&store, neighbours, &mut effects).await;
    alerts(&store, neighbours, &mut effects).await;
    let judged = |row: &&StoredEvaluation| {
        row.evaluation.annotator_kind == AnnotatorKind::Llm && row.evaluation.outcome == Outcome::Scored
    };
    effects.count("review draws", rows.iter().filter(judged).count(), rows_of(url, "review_draw").await);
    let flagged = |row: &&StoredEvaluation| {
        FLAGGING.contains(&row.evaluation.evaluator) && row.evaluation.value.is_some_and(|value| value < 0.5)
    };
    let flags = rows.iter().filter(flagged).count();
    assert!(flags > 0, "nothing in this traffic is flagged");
    effects.count("review flags", flags, rows_of(url, "review_flag").await);
    let told = rows.iter().filter(|row| row.evaluation.value.is_some()).count();
    effects.count("deliveries", told, neighbours.backend.identities());
    store.close().await;
    effects
}

/// Each trace once, at its first version, with one row of each evaluator.
async fn rows(store: &Store, traces: &[SimulatedTrace], effects: &mut Effects) -> Vec<StoredEvaluation> {
    let found = store.search(&Selection::default(), traces.len() * 2).await.unwrap();
    let ids: BTreeSet<TraceId> = traces.iter().map(|trace| trace.truth.trace_id).collect();
    effects.count("traces", ids.len(), found.iter().filter(|trace| ids.contains(&trace.trace_id)).count());
    let mut by_trace = BTreeMap::new();
    for trace in &found {
        effects.count(format!("evaluations of {}", trace.trace_id), 1, usize::try_from(trace.version).unwrap());
        by_trace.insert(trace.trace_id, store.evaluations(trace.trace_id).await.unwrap());
    }
    let rows: Vec<StoredEvaluation> = by_trace.values().flatten().cloned().collect();
    let evaluators: BTreeSet<&str> = rows.iter().map(|row| row.evaluation.evaluator.as_str()).collect();
    for (trace_id, rows) in &by_trace {
        for evaluator in &evaluators {
            let found = rows.iter().filter(|row| row.evaluation.evaluator == *evaluator).count();
            effects.count(format!("{evaluator} of {trace_id}"), 1, found);
        }
    }
    rows
}

/// Each trace is in one hour that was watched, or counted as late for it.
async fn series(store: &Store, traces: usize, effects: &mut Effects) {
    let mut contributions = 0;
    for agent in Agent::ALL {
        let hours = store.watched_hours(agent.service(), Timestamp(0)).await.unwrap();
        contributions += hours.iter().map(|hour| hour.traces + hour.late_excluded).sum::<u64>();
    }
    effects.count("contributions to series", traces, usize::try_from(contributions).unwrap());
}

/// The ledger and the budget agree, and hold at least what the provider bills.
async fn spend(store: &Store, neighbours: &Neighbours, effects: &mut Effects) {
    let asked = neighbours.judge.asked();
    let ledger = store.costs(CostDimension::JudgeModel, &CostSelection::default()).await.unwrap();
    let (requests, charged) = ledger.first().map_or((0, NanoUsd::ZERO), |row| (row.requests, row.charged));
    if usize::try_from(requests).unwrap() < asked.len() || charged < bill(&asked) {
        effects.lost.push(format!("spend: {requests} of {} requests, {charged} of {}", asked.len(), bill(&asked)));
    }
    let mut committed = NanoUsd::ZERO;
    for day in [0, 1].map(|ago| day_of(SystemClock.now()) - ago) {
        let all = store.budget_day(day).await.unwrap().into_iter().filter(|budget| budget.scope.is_empty());
        committed = committed + all.map(|budget| budget.committed).sum();
    }
    if committed != charged {
        effects.doubled.push(format!("spend: {committed} committed, {charged} charged"));
    }
}

/// The one budget alert was raised once, and each of its steps told under one identity.
async fn alerts(store: &Store, neighbours: &Neighbours, effects: &mut Effects) {
    let alerts = store.alerts(&AlertFilter { open_only: false, service: None }).await.unwrap();
    let budget = alerts.iter().filter(|alert| alert.detector == JUDGE_BUDGET);
    let fingerprints: BTreeSet<&str> = budget.map(|alert| alert.fingerprint.as_str()).collect();
    effects.count("budget alerts", 1, fingerprints.len());
    let told = neighbours.told.lock().unwrap();
    let firing = told.iter().filter(|message| fingerprints.contains(message["fingerprint"].as_str().unwrap()));
    let identities: BTreeSet<String> =
        firing.map(|message| ["raised_at", "state", "severity"].map(|key| message[key].to_string()).concat()).collect();
    effects.count("messages about it", 1, identities.len());
}

async fn rows_of(url: &str, table: &str) -> usize {
    let mut connection = AnyConnection::connect(url).await.unwrap();
    let count = AssertSqlSafe(format!("SELECT count(*) FROM {table}"));
    let rows: i64 = sqlx::query_scalar(count).fetch_one(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    usize::try_from(rows).unwrap()
}
