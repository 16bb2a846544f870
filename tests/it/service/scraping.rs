//! A real Prometheus reads `/metrics`.

use driftline::domain::time::Timestamp;
use serde_json::Value;

use super::fixtures::{Running, eventually, requests, simulated};
use crate::support::services::Prometheus;

async fn ask(prometheus: &Prometheus, path: &str) -> Value {
    let answer = reqwest::get(format!("{}/api/v1/{path}", prometheus.url)).await.unwrap();
    serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap()
}

/// What a query finds once it finds something.
async fn found(prometheus: &Prometheus, path: &str) -> Vec<Value> {
    let found = async || {
        let answer = ask(prometheus, path).await;
        let list = if answer["data"].is_array() { &answer["data"] } else { &answer["data"]["result"] };
        list.as_array().filter(|list| !list.is_empty()).cloned()
    };
    eventually(path, found).await
}

#[tokio::test(flavor = "multi_thread")]
async fn prometheus_finds_every_promised_metric_and_the_exemplars_lead_to_traces() {
    let running = Running::start(|_| {}).await;
    let now = Timestamp(i64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos()).unwrap());
    let minute = std::time::Duration::from_secs(60);
    let traces = simulated("healthy", 20, Timestamp(now.0 - Timestamp::NANOS_PER_HOUR / 20), minute);
    for request in requests(&traces, 5) {
        running.accept(&request).await;
    }
    for trace in &traces {
        running.scored(trace.truth.trace_id, 1).await;
    }
    let prometheus = Prometheus::scraping(&running.web.to_string());

    for metric in [
        "ai_tokens_total",
        "ai_request_duration_seconds_count",
        "agent_token_cost_total",
        "agent_tool_error_rate",
        "agent_task_completion_rate",
        "driftline_series_estimate",
        "driftline_queue_depth",
    ] {
        found(&prometheus, &format!("query?query={metric}")).await;
    }
    let tokens = found(&prometheus, "query?query=ai_tokens_total").await;
    let labels = tokens[0]["metric"].as_object().unwrap();
    assert!(["model", "operation", "user_tier"].iter().all(|label| labels.contains_key(*label)), "{labels:?}");

    for metric in ["ai_tokens_total", "ai_request_duration_seconds_bucket"] {
        let range = format!("start={}&end={}", now.0 / 1_000_000_000 - 60, now.0 / 1_000_000_000 + 120);
        let series = found(&prometheus, &format!("query_exemplars?query={metric}&{range}")).await;
        let exemplars = series.iter().flat_map(|of| of["exemplars"].as_array().unwrap());
        for exemplar in exemplars {
            let trace_id = exemplar["labels"]["trace_id"].as_str().unwrap().parse().unwrap();
            assert!(traces.iter().any(|trace| trace.truth.trace_id == trace_id), "{trace_id} is none of ours");
        }
    }
}
