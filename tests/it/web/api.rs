//! The shapes and the errors of the API.

use driftline::domain::time::Timestamp;
use serde_json::{Value, json};

use super::fixtures::{START, Service, TRACES, append, fill, hostile};

fn list<'a>(answer: &'a Value, key: &str) -> &'a Vec<Value> {
    answer[key].as_array().unwrap()
}

fn has_error(answer: &(u16, Value), status: u16, part: &str) {
    let (found, body) = answer;
    assert_eq!(*found, status, "{body}");
    assert!(body["error"].as_str().unwrap().contains(part), "{body}");
    assert!(!body["remedy"].as_str().unwrap().is_empty(), "{body}");
}

#[tokio::test]
async fn traces_are_found_by_every_kind_of_key() {
    let service = Service::with_traffic().await;
    let all = service.answer("/api/v1/traces?limit=1000").await;
    let all = list(&all, "traces");
    assert_eq!(all.len(), TRACES);
    let ended: Vec<i64> = all.iter().map(|trace| trace["ended_at"].as_i64().unwrap()).collect();
    assert!(ended.is_sorted_by(|a, b| a >= b));

    let one = all.iter().find(|trace| trace["user_id"].is_string() && trace["conversation_id"].is_string()).unwrap();
    for (key, field) in [
        ("service", "service"),
        ("release", "release"),
        ("model", "model"),
        ("environment", "environment"),
        ("conversation", "conversation_id"),
        ("user", "user_id"),
        ("failing", "failing"),
    ] {
        let wanted = &one[field];
        let text = wanted.as_str().map_or_else(|| wanted.to_string(), str::to_owned);
        let found = service.answer(&format!("/api/v1/traces?limit=1000&{key}={text}")).await;
        let expected = all.iter().filter(|trace| trace[field] == *wanted).count();
        assert_eq!(list(&found, "traces").len(), expected, "{key}={text}");
    }
    let invoice = all.iter().find(|trace| trace["attributes"]["invoice.id"].is_string()).unwrap();
    let id = invoice["attributes"]["invoice.id"].as_str().unwrap();
    let found = service.answer(&format!("/api/v1/traces?invoice.id={id}")).await;
    assert!(list(&found, "traces").contains(invoice));
    let found = service.answer(&format!("/api/v1/traces?since={}", Timestamp(ended[9]))).await;
    assert!(list(&found, "traces").len() >= 10 && list(&found, "traces").len() < TRACES);
}

#[tokio::test]
async fn a_stored_trace_carries_its_scores_on_the_judged_span_and_the_root() {
    let service = Service::with_traffic().await;
    let failing = service.answer("/api/v1/traces?failing=true").await;
    let id = failing["traces"][0]["trace_id"].as_str().unwrap().to_owned();
    let trace = service.answer(&format!("/api/v1/traces/{id}")).await;
    assert_eq!(trace["trace_id"], id.as_str());
    assert_eq!(trace["body"]["kept"], true);
    assert!(trace["decision"]["probability"].is_number());
    let scores = service.answer(&format!("/api/v1/traces/{id}/scores")).await;
    assert_eq!(scores["scores"], trace["scores"]);
    let scored: Vec<&Value> = list(&scores, "scores").iter().filter(|row| row["outcome"] == "scored").collect();
    assert!(!scored.is_empty());
    for row in scored {
        let name = row["evaluator"].as_str().unwrap();
        for span_id in [&row["span_id"], &trace["root_span_id"]] {
            let span = list(&trace, "spans").iter().find(|span| span["span_id"] == *span_id).unwrap();
            assert_eq!(span["attributes"][format!("driftline.eval.{name}.score")], row["value"]);
            assert_eq!(span["attributes"][format!("driftline.eval.{name}.revision")], row["revision"]);
            assert_eq!(span["attributes"][format!("driftline.eval.{name}.explanation")], row["explanation"]);
        }
    }
    let root = list(&trace, "spans").iter().find(|span| span["span_id"] == trace["root_span_id"]).unwrap();
    assert!(root["attributes"]["gen_ai.operation.name"].is_string() && root["name"].is_string());
}

#[tokio::test]
async fn a_trace_whose_body_is_gone_says_since_when_and_keeps_its_scores() {
    let service = Service::with_traffic().await;
    while service.store.store.purge(Timestamp(i64::MAX)).await.unwrap().traces > 0 {}
    let id = service.trace_ids[0];
    let trace = service.answer(&format!("/api/v1/traces/{id}")).await;
    assert_eq!(trace["body"]["kept"], false);
    assert!(trace["body"]["until"].as_i64().unwrap() > START.0);
    let root = list(&trace, "spans").iter().find(|span| span["span_id"] == trace["root_span_id"]).unwrap();
    assert_eq!(root["name"], Value::Null);
    assert!(root["attributes"]["driftline.eval.loop.revision"].is_string());
    let explanation = service.answer(&format!("/api/v1/traces/{id}/explain")).await;
    assert_eq!(explanation["body"]["kept"], false);
    has_error(&service.json(&format!("/api/v1/traces/{id}/inspect")).await, 404, "were kept until");
}

#[tokio::test]
async fn explain_has_an_answer_for_every_evaluator() {
    let service = Service::with_traffic().await;
    let explanation = service.answer(&format!("/api/v1/traces/{}/explain", service.trace_ids[0])).await;
    assert_eq!(explanation["state"], "evaluated");
    assert!(explanation["sampling_reason"].as_str().unwrap().contains("probability"));
    let evaluators = list(&explanation, "evaluators");
    for name in ["loop", "limits", "groundedness", "tone"] {
        let outcome = evaluators.iter().find(|outcome| outcome["evaluator"] == name).unwrap();
        assert!(!outcome["why"].as_str().unwrap().is_empty(), "{outcome}");
    }
    let waiting = evaluators.iter().find(|outcome| outcome["evaluator"] == "tone").unwrap();
    assert_eq!((&waiting["outcome"], &waiting["probability"]), (&json!("waiting"), &json!(0.1)));
}

#[tokio::test]
async fn a_pending_trace_is_told_apart_from_an_unknown_one() {
    let service = Service::empty().await;
    let id = append(&service.store.store, hostile("0a0b0c0d0a0b0c0d0a0b0c0d0a0b0c0d", "agent")).await[0];
    let explanation = service.answer(&format!("/api/v1/traces/{id}/explain")).await;
    assert_eq!(explanation["state"], "pending");
    assert!(explanation["summary"].as_str().unwrap().contains("root span has ended"));
    has_error(&service.json(&format!("/api/v1/traces/{id}")).await, 404, "has arrived");
    let unknown = "1".repeat(32);
    for path in ["", "/explain", "/scores", "/inspect"] {
        has_error(&service.json(&format!("/api/v1/traces/{unknown}{path}")).await, 404, "is not known");
    }
    let inspection = service.answer(&format!("/api/v1/traces/{id}/inspect")).await;
    assert_eq!(inspection["service"], "agent");
}

#[tokio::test]
async fn what_cannot_be_meant_is_refused_by_name() {
    let service = Service::with_traffic().await;
    for (path, part) in [
        ("/api/v1/traces/xyz", "not hexadecimal"),
        ("/api/v1/traces/abcd/explain", "has 2 bytes, expected 16"),
        ("/api/v1/traces?servce=shop", "unknown key \"servce\""),
        ("/api/v1/traces?limit=0", "limit is 0"),
        ("/api/v1/traces?limit=many", "limit=\"many\""),
        ("/api/v1/traces?since=yesterday", "since=\"yesterday\""),
        ("/api/v1/traces?model=a&model=b", "given twice"),
        ("/api/v1/alerts?state=open", "unknown parameter \"state\""),
        ("/api/v1/alerts?open=perhaps", "open=\"perhaps\""),
        ("/api/v1/baselines?x=1", "unknown parameter \"x\""),
        ("/api/v1/drift?baseline=may", "parameter current is missing"),
        ("/api/v1/drift?baseline=file:a.jsonl&current=may", "not a source of stored traces"),
        ("/api/v1/drift?baseline=service%3Da&current=service%3Db&alpha=2", "alpha is 2"),
        ("/api/v1/drift?baseline=release%3D1.4.0&current=release%3D1.5.0&by=nope", "no dimension \"nope\"; known: "),
        ("/api/v1/series/loop", "is not service:series:segment"),
        ("/api/v1/traces?since=2h&until=5h", "is later than until"),
        ("/api/v1/series/support-agent:loop:all/traces?bin=9999", "is called \"9999\"; known: false, true"),
        ("/api/v1/series/support-agent:steps:all/traces?bin=abc", "is called \"abc\"; known: "),
        ("/api/v1/series/support-agent:loop:all/traces?from=2h&to=5h", "is later than until"),
    ] {
        has_error(&service.json(path).await, 400, part);
    }
    let bin = "/api/v1/series/support-agent:loop:all/traces?bin=true";
    assert!(service.answer(bin).await["matching"].as_u64().unwrap() > 0);
    assert_eq!(service.get("/series/support-agent:loop:all/traces?bin=9999").await.status(), 400);
    for (path, remedy) in [("since=abc", "24h, 2026-01-31"), ("failing=maybe", "true or false")] {
        let (_, body) = service.json(&format!("/api/v1/traces?{path}")).await;
        assert!(body["remedy"].as_str().unwrap().contains(remedy), "{body}");
    }
    has_error(&service.json("/api/v1/drift?baseline=may&current=may").await, 404, "no baseline \"may\"");
    has_error(&service.json("/api/v1/series/a:b:all").await, 404, "has the series a:b:all");
    has_error(&service.json("/api/v2").await, 404, "nothing at this path");
    has_error(&service.post("/api/v1/traces", "application/json", "{}").await, 405, "no such method");
}

#[tokio::test]
async fn baselines_are_taken_once_listed_and_compared_with() {
    let service = Service::with_traffic().await;
    let asked = json!({"name": "default", "from": "where:release=1.4.0"}).to_string();
    let (status, created) = service.post("/api/v1/baselines", "application/json", &asked).await;
    assert_eq!(status, 201, "{created}");
    assert!(created["traces"].as_u64().unwrap() > 10 && created["series"].as_u64().unwrap() > 10);
    has_error(&service.post("/api/v1/baselines", "application/json", &asked).await, 409, "exists already");
    let listed = service.answer("/api/v1/baselines").await;
    assert_eq!(listed["baselines"][0]["name"], "default");
    assert_eq!(service.answer("/api/v1/baselines/default").await["traces"], created["traces"]);

    let report = service.answer("/api/v1/drift?baseline=name:default&current=release%3D1.5.0&by=model").await;
    assert_eq!(report["traces"]["baseline"], created["traces"]);
    assert!(!list(&report, "series").is_empty());

    for name in ["", " ", "a b", "a/b", "é", &"a".repeat(101)] {
        let named = json!({"name": name, "from": "release=1.4.0"}).to_string();
        has_error(&service.post("/api/v1/baselines", "application/json", &named).await, 400, "no name for a baseline");
    }
    for (body, part) in [("[]", "no object"), ("{", "not JSON"), ("{}", "missing field `name`")] {
        let (_, answer) = service.post("/api/v1/baselines", "application/json", body).await;
        assert!(answer["error"].as_str().unwrap().contains(part), "{answer}");
        assert!(!answer.to_string().contains("struct"), "{answer}");
    }
    let empty = json!({"name": "none", "from": "service=nobody"}).to_string();
    has_error(&service.post("/api/v1/baselines", "application/json", &empty).await, 400, "holds no trace");
}

#[tokio::test]
async fn series_show_baseline_and_current_with_interval_and_coverage() {
    let service = Service::with_traffic().await;
    let asked = json!({"name": "default", "from": "where:release=1.4.0"}).to_string();
    service.post("/api/v1/baselines", "application/json", &asked).await;
    let watched = service.answer("/api/v1/series").await;
    assert_eq!((&watched["baseline"], &watched["window"]["traces"]), (&json!("default"), &json!(TRACES)));
    let series = list(&watched, "series");
    let latency = series.iter().find(|one| one["series"] == "latency_seconds").unwrap();
    assert_eq!((&latency["kind"], &latency["unit"]), (&json!("numeric"), &json!("seconds")));
    for side in ["baseline", "current"] {
        let figures = &latency[side];
        assert!(figures["low"].as_f64().unwrap() <= figures["estimate"].as_f64().unwrap());
        assert!(figures["n"].as_u64().unwrap() > 0 && figures["weight"].as_f64().unwrap() > 0.0);
    }
    assert_eq!(latency["current"]["coverage"]["with_value"], latency["current"]["n"]);
    let key = latency["key"].as_str().unwrap();
    let one = service.answer(&format!("/api/v1/series/{key}?release=1.5.0")).await;
    assert_eq!(one["baseline"], latency["baseline"]);
    assert!(one["current"]["n"].as_u64() < latency["current"]["n"].as_u64());
    let transitions = series.iter().find(|one| one["kind"] == "sequence").unwrap();
    assert!(transitions["current"]["shares"][0]["share"].as_f64().unwrap() > 0.0);
}

#[tokio::test]
async fn a_gate_is_asked_with_json_or_with_the_policy_file_itself() {
    let service = Service::with_traffic().await;
    let toml = "[[series]]\nseries = \"loop\"\nfloor = 0.2\n";
    let sources = [("baseline", "release=1.4.0"), ("candidate", "release=1.5.0")];
    let asked = |policy: Value| json!({"baseline": sources[0].1, "candidate": sources[1].1, "policy": policy});
    let keys = json!({"series": [{"series": "loop", "floor": 0.2}]});
    let (status, from_keys) = service.post("/api/v1/gate", "application/json", &asked(keys).to_string()).await;
    assert_eq!(status, 200, "{from_keys}");
    assert_eq!(from_keys["series"][0]["series"], "loop");
    let (_, from_text) = service.post("/api/v1/gate", "application/json", &asked(json!(toml)).to_string()).await;
    let path = "/api/v1/gate?baseline=release%3D1.4.0&candidate=release%3D1.5.0";
    let (_, from_file) = service.post(path, "application/toml", toml).await;
    assert_eq!((&from_text, &from_file), (&from_keys, &from_keys));

    let wrong = asked(json!("alpha = 0.9")).to_string();
    has_error(&service.post("/api/v1/gate", "application/json", &wrong).await, 400, "alpha is 0.9");
    has_error(&service.post("/api/v1/gate", "application/json", "{").await, 400, "");
    has_error(&service.post("/api/v1/gate", "application/toml", toml).await, 400, "parameter baseline is missing");
}

#[tokio::test]
async fn alerts_are_listed_with_their_evidence() {
    let service = Service::with_traffic().await;
    service.raise_alert("loop fell from 0.98 to 0.71").await;
    for (path, count) in [
        ("/api/v1/alerts", 1),
        ("/api/v1/alerts?open=true&service=support-agent", 1),
        ("/api/v1/alerts?service=other", 0),
    ] {
        assert_eq!(list(&service.answer(path).await, "alerts").len(), count, "{path}");
    }
    let alerts = service.answer("/api/v1/alerts").await;
    assert_eq!(alerts["alerts"][0]["trace_ids"][0], service.trace_ids[0].to_string());
}

#[tokio::test]
async fn hostile_text_stays_text_in_json() {
    let service = Service::empty().await;
    let text = "</script><img src=x onerror=alert(1)>\u{202e}\u{0}\"";
    let id = fill(&service.store.store, hostile("0a0b0c0d0a0b0c0d0a0b0c0d0a0b0c0d", text)).await[0];
    let response = service.get(&format!("/api/v1/traces/{id}")).await;
    assert_eq!(response.headers()["content-type"], "application/json");
    assert_eq!(response.headers()["x-content-type-options"], "nosniff");
    let trace: Value = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
    assert_eq!(trace["spans"][0]["attributes"][text], text);
    assert_eq!(trace["spans"][0]["status_message"], text);
}

#[tokio::test]
async fn metrics_read_their_gauges_from_the_store() {
    let service = Service::with_traffic().await;
    service.raise_alert("loop fell").await;
    append(&service.store.store, hostile("0a0b0c0d0a0b0c0d0a0b0c0d0a0b0c0d", "agent")).await;
    let response = service.get("/metrics").await;
    let content_type = response.headers()["content-type"].to_str().unwrap().to_owned();
    assert!(content_type.starts_with("application/openmetrics-text"));
    let text = response.text().await.unwrap();
    assert!(text.contains("driftline_queue_depth{queue=\"pending\"} 1"), "{text}");
    assert!(text.contains(&format!("driftline_queue_depth{{queue=\"judge\"}} {TRACES}")), "{text}");
    assert!(text.contains("driftline_alerts_open{severity=\"page\"} 1"), "{text}");
}

#[tokio::test]
async fn readiness_names_each_dependency_and_health_depends_on_none() {
    let service = Service::empty().await;
    assert_eq!(service.answer("/readyz").await["dependencies"][0]["name"], "store");
    service.store.store.close().await;
    let (status, readiness) = service.json("/readyz").await;
    assert_eq!((status, &readiness["ready"]), (503, &json!(false)));
    has_error(&service.json("/api/v1/traces").await, 503, "tokens cannot be looked up");
    assert_eq!(service.get("/healthz").await.status(), 200);
    assert!(service.get("/metrics").await.text().await.unwrap().ends_with("# EOF\n"));
}

#[tokio::test]
async fn a_dependency_that_never_answers_is_not_ready() {
    let service = Service::with_stuck_dependency().await;
    let (status, readiness) = service.json("/readyz").await;
    assert_eq!(status, 503);
    assert_eq!(readiness["dependencies"][0]["ready"], true);
    assert_eq!(readiness["dependencies"][1]["name"], "queue");
    assert!(readiness["dependencies"][1]["error"].as_str().unwrap().contains("no answer"));
}
