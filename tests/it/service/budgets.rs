//! Budgets of agents: what a gateway is told, and what people are, over real HTTP.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use driftline::app::settings::Settings;
use driftline::backends::clock::{Clock, ManualClock, SystemClock};
use driftline::backends::store::AlertFilter;
use driftline::domain::alert::{Alert, AlertState, Severity};
use driftline::domain::money::NanoUsd;
use driftline::domain::time::Timestamp;
use driftline::domain::usage::{ModelUsage, Usage};
use driftline::pipeline::Shared;
use driftline::pipeline::agent_budgets::{guard_budgets, step};
use driftline::telemetry::metrics::Metrics;
use driftline::watch::budgets::{AgentBudget, AgentBudgets};
use driftline::watch::segments::SegmentPattern;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::fake::{Fake, status};
use super::fixtures::{JSON, Running, eventually, post};
use crate::stores::fixtures::{TestStore, plain};

fn budgets(scope: &str, daily_usd: f64) -> AgentBudgets {
    let scope = SegmentPattern::try_from(scope.to_owned()).unwrap();
    AgentBudgets(vec![AgentBudget { scope, daily_usd }])
}

/// A finished run of the refund feature with one model call at a price.
fn priced(number: u8, usd: f64) -> Vec<u8> {
    let text = |key: &str, value: &str| json!({"key": key, "value": {"stringValue": value}});
    let (end, second) = (SystemClock.now().0, 1_000_000_000);
    let span = json!({
        "traceId": format!("{number:032x}"), "spanId": "00000000000000aa", "name": "chat",
        "startTimeUnixNano": (end - second).to_string(), "endTimeUnixNano": end.to_string(),
        "attributes": [text("gen_ai.operation.name", "chat"), text("gen_ai.request.model", "m"),
            text("feature_name", "refunds"), json!({"key": "gen_ai.usage.cost", "value": {"doubleValue": usd}})],
    });
    json!({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}).to_string().into_bytes()
}

async fn ask(running: &Running, scope: &str) -> (u16, Value) {
    let response = reqwest::get(format!("http://{}/api/v1/budgets/{scope}", running.web)).await.unwrap();
    let status = response.status().as_u16();
    let body: Value = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
    crate::web::contract::hold("get", &format!("/api/v1/budgets/{scope}"), status, &body);
    (status, body)
}

/// The severities that a channel was told of an agents' budget.
fn told(webhook: &Fake) -> Vec<String> {
    let messages = webhook.asked().into_iter().map(|asked| serde_json::from_slice::<Value>(&asked.body).unwrap());
    let of_budget = messages.filter(|message| message["detector"] == "agent_budget");
    of_budget.map(|message| message["severity"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_closes_as_traces_come_in_and_everyone_is_told() {
    let webhook = Fake::start(|_| status(200)).await;
    let url = webhook.url.clone();
    let running = Running::start(|settings: &mut Settings| {
        settings.budget = budgets("feature=refunds", 1.0);
        settings.alerts.webhook = url;
    })
    .await;
    let (code, open) = ask(&running, "feature=refunds").await;
    assert_eq!((code, &open["allowed"], &open["spent_usd"]), (200, &json!(true), &json!(0.0)));
    assert!(open["resets_at"].as_i64().unwrap() > SystemClock.now().0);

    let send = async |number, usd| {
        assert_eq!(post(&running.url, &[("content-type", JSON)], priced(number, usd)).await.status(), 200);
    };
    send(1, 0.85).await;
    let spent = async || Some(ask(&running, "feature=refunds").await.1).filter(|body| body["spent_usd"] == 0.85);
    let warned = eventually("the first run to count", spent).await;
    assert_eq!((&warned["allowed"], &warned["limit_usd"]), (&json!(true), &json!(1.0)));
    assert!(warned["projected_usd"].as_f64().unwrap() >= 0.85);
    eventually("a warning", async || (told(&webhook) == ["warn"]).then_some(())).await;

    send(2, 0.25).await;
    eventually("the budget to close", async || {
        Some(ask(&running, "feature=refunds").await.1).filter(|body| body["allowed"] == false)
    })
    .await;
    eventually("a page", async || (told(&webhook) == ["warn", "page"]).then_some(())).await;

    for scope in ["feature=orders", "tier=gold", "feature=*", "mood=good"] {
        assert_eq!(ask(&running, scope).await.0, 404, "{scope}");
    }
}

/// A store of a service whose time is given, in which one run of a user has spent so much.
async fn spend(store: &TestStore, number: u64, usd: f64, at: Timestamp) {
    let mut trace = plain(number);
    trace.trace.ended_at = at;
    trace.trace.record.upstream_probability = None;
    let cost = ModelUsage { calls: 1, cost: NanoUsd::from_usd(usd), ..ModelUsage::default() };
    trace.usage = Usage { models: BTreeMap::from([("m".to_owned(), cost)]), ..Usage::default() };
    trace.budgets = [format!("user={}", "kim")].into();
    store.store.record_traces(&[trace], at).await.unwrap();
}

fn shared(store: &TestStore, clock: &Arc<ManualClock>) -> Shared {
    Shared {
        store: store.store.clone(),
        clock: Arc::clone(clock) as Arc<dyn Clock>,
        metrics: Arc::new(Metrics::default()),
        stop: CancellationToken::new(),
        worker: "test".into(),
    }
}

#[tokio::test]
async fn one_process_at_a_time_guards_budgets() {
    let store = TestStore::sqlite().await;
    let noon = Timestamp(12 * Timestamp::NANOS_PER_HOUR);
    let shared = shared(&store, &Arc::new(ManualClock::new(noon)));
    spend(&store, 1, 9.0, noon).await;
    let guarding = tokio::spawn(guard_budgets(shared.clone(), budgets("user=*", 10.0)));
    let raised = async || {
        let alerts = store.store.alerts(&AlertFilter::default()).await.unwrap();
        (!alerts.is_empty()).then_some(())
    };
    eventually("a warning", raised).await;
    assert!(!store.store.hold_lease("budgets", "another", noon, Duration::from_secs(20)).await.unwrap());
    shared.stop.cancel();
    guarding.await.unwrap();
}

#[tokio::test]
async fn a_warning_gets_louder_when_the_budget_closes_and_is_over_the_next_day() {
    let store = TestStore::sqlite().await;
    let noon = Timestamp(12 * Timestamp::NANOS_PER_HOUR);
    let clock = Arc::new(ManualClock::new(noon));
    let shared = shared(&store, &clock);
    let budgets = budgets("user=*", 10.0);
    let alerts = async || -> Vec<Alert> {
        step(&shared, &budgets).await.unwrap();
        store.store.alerts(&AlertFilter::default()).await.unwrap()
    };
    spend(&store, 1, 7.0, noon).await;
    assert!(alerts().await.is_empty(), "70 % is no news");
    spend(&store, 2, 1.0, noon).await;
    let warned = alerts().await;
    assert_eq!((warned.len(), warned[0].severity, warned[0].segment.as_str()), (1, Severity::Warn, "user=kim"));
    assert_eq!(warned[0].trace_ids.len(), 2);
    spend(&store, 3, 2.0, noon).await;
    let paged = alerts().await;
    assert_eq!((paged.len(), paged[0].severity, paged[0].state.is_open()), (1, Severity::Page, true));
    let steps = store.store.alert_events(&paged[0].fingerprint).await.unwrap().len();
    alerts().await;
    assert_eq!(store.store.alert_events(&paged[0].fingerprint).await.unwrap().len(), steps, "nothing is said twice");

    clock.set(noon.plus(Duration::from_hours(24)));
    let over = alerts().await;
    assert_eq!((over.len(), over[0].state), (1, AlertState::Resolved));
    assert!(store.store.agent_budget_day(1, None, NanoUsd::ZERO, 9).await.unwrap().is_empty(), "it is open again");
}
