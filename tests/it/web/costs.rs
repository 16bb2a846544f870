//! What judging costs, as the API and the command line tell it; and making up for what the budget left out.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use driftline::backends::store::JudgeCall;
use driftline::domain::money::NanoUsd;
use driftline::limits::budget::{Admission, BudgetPolicy, Ladder};

use super::fixtures::{START, Service};

/// Reserves two requests of a day, of which each may cost two dollars; a third is refused.
async fn spend(service: &Service, day: u8) {
    let now = START.plus(Duration::from_hours(13 + 24 * u64::from(day)));
    let policy = BudgetPolicy {
        daily: [(String::new(), NanoUsd(5_000_000_000))].into(),
        ladder: Ladder { full_rate_until: 0.5, reserve: 0.1, floor_rate: 0.05 },
    };
    let calls = [1, 2, 3].map(|number| JudgeCall {
        id: [number + 10 * day; 16],
        reserved_at: now,
        lane: "default".to_owned(),
        evaluator: "tone".to_owned(),
        revision: "r7".to_owned(),
        service: "support-agent".to_owned(),
        trace_id: service.trace_ids[0],
        reserved: NanoUsd(2_000_000_000),
        settled: None,
    });
    let reserve = async |calls: &[JudgeCall], now| {
        service.store.store.reserve_calls(calls, &policy, Duration::from_secs(1), now).await.unwrap().admissions
    };
    assert_eq!(reserve(&calls[..2], now).await, [Admission::Admit; 2]);
    assert_eq!(reserve(&calls[2..], now.plus(Duration::from_secs(2))).await, [Admission::Refuse]);
}

#[tokio::test(flavor = "multi_thread")]
async fn costs_are_told_by_what_is_asked_for_with_the_budgets_of_today() {
    let service = Service::with_traffic().await;
    spend(&service, 0).await;
    let costs = service.answer("/api/v1/costs").await;
    assert_eq!((costs["cost_usd"].as_f64(), costs["by"].as_str()), (Some(4.0), Some("evaluator")));
    assert_eq!((costs["parts"][0]["name"].as_str(), costs["parts"][0]["requests"].as_u64()), (Some("tone"), Some(2)));
    assert_eq!(costs["parts"][0]["unsettled_usd"], 4.0);
    assert_eq!((&costs["budgets"][0]["partial"], &costs["budgets"][0]["limit_usd"]), (&true.into(), &5.0.into()));
    let trace = service.answer(&format!("/api/v1/traces/{}", service.trace_ids[0])).await;
    let by_release = service.answer("/api/v1/costs?by=release").await;
    assert_eq!(by_release["parts"][0]["name"], trace["release"]);
    assert_eq!(service.answer("/api/v1/costs?service=other").await["cost_usd"], 0.0);

    let budget = service.answer("/api/v1/budgets/all").await;
    assert_eq!((&budget["allowed"], &budget["committed_usd"]), (&true.into(), &4.0.into()));
    for (path, part) in [
        ("/api/v1/costs?by=mood", "no dimension \"mood\"; known: day, environment, evaluator"),
        ("/api/v1/costs?model=x", "unknown key \"model\""),
        ("/api/v1/costs?since=2h&until=5h", "is later than until"),
    ] {
        let (status, body) = service.json(path).await;
        assert_eq!(status, 400, "{body}");
        assert!(body["error"].as_str().unwrap().contains(part), "{body}");
    }
    let response = service.get("/costs?of=judges&by=user").await;
    assert_eq!(response.status(), 400);
    let page = response.text().await.unwrap();
    assert!(page.contains("known: day, environment, evaluator"), "{page}");
    assert!(service.page("/costs?of=judges").await.contains("since the first request"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_asks_for_costs_and_plans_backfills() {
    let service = Service::with_traffic().await;
    spend(&service, 0).await;
    let run = async |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_driftline"));
        let folder = Path::new(service.store.url.strip_prefix("sqlite://").unwrap()).parent().unwrap();
        command.args(arguments).current_dir(folder).env("DRIFTLINE__STORE__URL", &service.store.url);
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).unwrap())
    };
    let (code, text) = run(&["costs", "--by", "service", "--since", "2020-01-01", "--url", &service.url]).await;
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("support-agent") && text.contains("partial"), "{text}");
    assert!(text.contains("$4.0000 in all, from 2020-01-01T00:00:00Z on"), "the window is said: {text}");
    let (code, text) = run(&["costs", "--since", "2020-01-01"]).await;
    assert!(code == Some(0) && text.contains("tone"), "{text}");

    for place in [&["--url", &service.url][..], &[]] {
        let asked =
            ["costs", "--of", "agents", "--by", "tier", "--since", "2020-01-01", "--where", "service=support-agent"];
        let (code, text) = run(&[&asked, place].concat()).await;
        assert!(code == Some(0) && text.contains("cache hits") && text.contains("today: $"), "{text}");
        assert!(text.contains(", from 2020-01-01T00:00:00Z on"), "the window is said: {text}");
    }
    let (code, text) = run(&["costs", "--of", "agents", "--by", "mood"]).await;
    assert!(code == Some(2) && text.contains("there is no dimension \"mood\""), "{text}");

    let (code, text) = run(&["evaluators", "backfill", "--url", &service.url]).await;
    assert!(code == Some(0) && text.contains("0 judgements are planned"), "{text}");
    let (code, text) = run(&["evaluators", "backfill", "--only", "loop", "--url", &service.url]).await;
    assert!(code == Some(4) && text.contains("there is no judge \"loop\""), "{text}");
    let (code, text) = run(&["evaluators", "backfill"]).await;
    assert!(code == Some(4) && text.contains("--url"), "the store is in use: {text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_agents_cost_is_told_by_any_dimension_and_adds_up() {
    let service = Service::with_traffic().await;
    let by_model = service.answer("/api/v1/costs?of=agents").await;
    let sum = |costs: &serde_json::Value, key: &str| -> f64 {
        costs["parts"].as_array().unwrap().iter().map(|part| part[key].as_f64().unwrap()).sum()
    };
    assert!(by_model["cost_usd"].as_f64().unwrap() > 0.0, "{by_model}");
    for by in ["model", "operation", "service", "user", "conversation", "day", "tier", "feature", "organisation"] {
        let costs = service.answer(&format!("/api/v1/costs?of=agents&by={by}")).await;
        assert!((sum(&costs, "cost_usd") - by_model["cost_usd"].as_f64().unwrap()).abs() < 1e-9, "{by}: {costs}");
        assert_eq!(sum(&costs, "input_tokens"), by_model["input_tokens"].as_f64().unwrap(), "{by}");
    }
    assert_eq!(service.answer("/api/v1/costs?of=agents&service=other").await["traces"], 0);
    let (status, body) = service.json("/api/v1/costs?of=agents&by=mood").await;
    assert!(status == 400 && body["error"].as_str().unwrap().contains("\"mood\""), "{body}");
    assert_eq!(service.json("/api/v1/costs?of=nobody").await.0, 400);

    let budget = service.answer("/api/v1/budgets/service=support-agent").await;
    assert_eq!((&budget["allowed"], &budget["limit_usd"]), (&true.into(), &50.0.into()));
    let of_service = service.answer("/api/v1/costs?of=agents&service=support-agent").await;
    assert!(of_service["budgets"].as_array().unwrap().contains(&budget), "{of_service}");
    let (today, spent) = (&of_service["today"]["spent_usd"], &budget["spent_usd"]);
    assert!((today.as_f64().unwrap() - spent.as_f64().unwrap()).abs() < 1e-6, "{today} {spent}");
    assert_eq!(service.json("/api/v1/budgets/feature=refunds").await.0, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn tools_conversations_and_failures_are_ranked() {
    let service = Service::with_traffic().await;
    let tools = service.answer("/api/v1/traces?top=tools").await;
    let failed: Vec<f64> = tools["tools"].as_array().unwrap().iter().map(|it| it["failed"].as_f64().unwrap()).collect();
    assert!(!failed.is_empty() && failed.is_sorted_by(|left, right| left >= right), "{tools}");
    let conversations = service.answer("/api/v1/traces?top=conversations&limit=3").await;
    assert_eq!(conversations["conversations"].as_array().unwrap().len(), 3);
    assert!(service.answer("/api/v1/traces?top=failures").await["traces"].is_array());
    assert!(tools["since"].is_null(), "of all time where nothing is said");
    assert!(service.answer("/api/v1/traces?top=tools&since=24h").await["since"].is_i64());
    assert!(service.answer("/api/v1/traces").await["since"].is_null());
    assert_eq!(service.json("/api/v1/traces?top=models").await.0, 400);
    let failing = service.answer("/api/v1/traces?verdict=fail").await;
    assert!(!failing["traces"].as_array().unwrap().is_empty());
    assert_eq!(service.answer("/api/v1/traces?verdict=loop:none").await["traces"].as_array().unwrap().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_of_costs_shows_what_agents_spent_beside_what_judging_cost() {
    let service = Service::with_traffic().await;
    spend(&service, 0).await;
    let page = service.page("/costs").await;
    for part in ["By model", "at this pace", "Judging, today", "$ 4.00", "Today, service=support-agent"] {
        assert!(page.contains(part), "{part} is not in {page}");
    }
    for by in ["operation", "service", "user", "conversation", "day", "tier", "feature", "organisation"] {
        let page = service.page(&format!("/costs?of=agents&by={by}")).await;
        assert!(page.contains(&format!("By {by}")) && page.contains("From cache"), "{page}");
    }
    let by_tier = service.page("/costs?by=tier&service=support-agent&since=7d").await;
    let runs = "/traces?service=support-agent&amp;since=7d&amp;tier=";
    assert!(by_tier.contains(runs), "the runs that were counted are a click away: {by_tier}");
    let by_service = service.page("/costs?by=service&service=support-agent").await;
    assert!(by_service.contains("/traces?since=24h&amp;service=support-agent"), "{by_service}");
    assert!(!service.page("/costs?by=model").await.contains("model="), "a run may call several");
    let judging = service.page("/costs?of=judges&by=service").await;
    assert!(judging.contains("support-agent") && judging.contains("Not settled"), "{judging}");
    assert!(service.page("/costs?service=other").await.contains("No run of this time calls a model"));
    assert!(Service::empty().await.page("/costs?of=judges").await.contains("Rules cost nothing"));
}

#[tokio::test(flavor = "multi_thread")]
async fn days_are_listed_newest_first() {
    let service = Service::with_traffic().await;
    spend(&service, 0).await;
    spend(&service, 1).await;
    let days = service.answer("/api/v1/costs?by=day").await;
    let day = |place: usize| format!("<td>{}</td>", days["parts"][place]["name"].as_str().unwrap());
    let page = service.page("/costs?of=judges&by=day").await;
    assert!(page.find(&day(1)).unwrap() < page.find(&day(0)).unwrap(), "{page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rankings_have_pages_and_the_overview_leads_to_them() {
    let service = Service::with_traffic().await;
    let ranked = service.answer("/api/v1/traces?top=tools").await;
    let tools = service.page("/traces?top=tools").await;
    assert!(tools.contains(ranked["tools"][0]["tool"].as_str().unwrap()), "{tools}");
    assert!(tools.contains("Returned nothing") && tools.contains("since = 24h"), "{tools}");
    let ranked = service.answer("/api/v1/traces?top=conversations&service=support-agent").await;
    let conversations = service.page("/traces?top=conversations&service=support-agent").await;
    let busiest = ranked["conversations"][0]["conversation_id"].as_str().unwrap();
    assert!(conversations.contains(&format!("/traces?conversation={busiest}")), "{conversations}");
    assert!(service.page("/traces?top=failures").await.contains("No trace of this time failed"));
    assert!(service.page("/traces?top=tools&service=other").await.contains("No trace of this time calls a tool"));
    let overview = service.page("/").await;
    for link in ["/traces?top=tools&amp;service=support-agent", "/traces?top=conversations", "/costs?of=agents"] {
        assert!(overview.contains(link), "{link} is not in {overview}");
    }
    assert_eq!(service.get("/traces?top=mood").await.status(), 400);
}
