//! One alert, and what people do about it, over the API, the pages and the command line.

use serde_json::{Value, json};

use super::fixtures::{Service, client};

const ALERT: &str = "/api/v1/alerts/f1";

async fn with_alert() -> Service {
    let service = Service::with_traffic().await;
    service.raise_alert("loop fell from 0.98 to 0.71").await;
    service
}

async fn post(service: &Service, path: &str, body: Value) -> (u16, Value) {
    service.post(path, "application/json", &body.to_string()).await
}

#[tokio::test]
async fn an_alert_shows_estimates_life_links_and_pages_through_every_affected_trace() {
    let service = with_alert().await;
    let detail = service.answer(ALERT).await;
    assert_eq!(detail["link"], "http://driftline.example/alerts/f1");
    assert_eq!(detail["runbook_url"], "http://driftline.example/runbooks/quality-drift");
    assert_eq!(detail["history"][0]["transition"], "pending");
    let current = &detail["current_estimate"];
    assert!(current["n"].as_u64().unwrap() > 0 && current["low"].is_number(), "{current}");
    let all = detail["affected_traces"].as_u64().unwrap() as usize;
    assert!(all >= 2, "{detail}");

    let (mut seen, mut after) = (Vec::new(), String::new());
    loop {
        let page = service.answer(&format!("{ALERT}/traces?limit=1{after}")).await;
        seen.extend(page["traces"].as_array().unwrap().iter().map(|trace| trace["trace_id"].to_string()));
        let Some(next) = page["next"].as_str() else { break };
        after = format!("&after={next}");
    }
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), all);
    let business = detail["affected"]["traces"][0]["attributes"].as_object().unwrap();
    assert!(!business.is_empty(), "{detail}");
    assert_eq!(service.json("/api/v1/alerts/nope").await.0, 404);
    assert_eq!(service.json(&format!("{ALERT}/traces?after=x")).await.0, 400);
}

#[tokio::test]
async fn an_alert_is_taken_in_hand_and_silenced_by_programs_and_not_by_pages_of_others() {
    let service = with_alert().await;
    let ack = format!("{ALERT}/ack");
    let (status, alert) = post(&service, &ack, json!({"by": "kim", "note": "mine"})).await;
    assert_eq!(
        (status, &alert["state"], &alert["acknowledgement"]["by"]),
        (200, &"acknowledged".into(), &"kim".into())
    );
    assert_eq!(post(&service, &ack, json!({"by": " "})).await.0, 400);
    assert_eq!(post(&service, "/api/v1/alerts/nope/ack", json!({"by": "kim"})).await.0, 404);
    assert_eq!(service.post(&ack, "text/plain", r#"{"by": "evil"}"#).await.0, 415);
    let request = client().post(format!("{}{ack}", service.url)).header("content-type", "application/json");
    let foreign = request.header("sec-fetch-site", "cross-site").body(r#"{"by": "evil"}"#).send().await.unwrap();
    assert_eq!(foreign.status(), 403);

    let asked = json!({"matcher": "service=support-*", "for": "2h", "by": "kim", "reason": "deploy"});
    let (status, silence) = post(&service, "/api/v1/alerts/silences", asked).await;
    assert_eq!(status, 201, "{silence}");
    assert_eq!(service.answer(ALERT).await["silences"][0]["reason"], "deploy");
    let id = silence["id"].as_str().unwrap();
    let (status, _) = post(&service, &format!("/api/v1/alerts/silences/{id}/end"), json!({"by": "lee"})).await;
    assert_eq!(status, 200);
    assert_eq!(service.answer("/api/v1/alerts/silences").await["silences"], json!([]));
    for wrong in [
        json!({"matcher": "shop", "for": "2h", "by": "kim", "reason": "x"}),
        json!({"matcher": "service=a", "for": "0s", "by": "kim", "reason": "x"}),
        json!({"matcher": "service=a", "for": "2y", "by": "kim", "reason": "x"}),
        json!({"matcher": "service=a", "for": "2h", "by": "kim", "reason": ""}),
    ] {
        let (status, answer) = post(&service, "/api/v1/alerts/silences", wrong).await;
        assert!(status == 400 && !answer["remedy"].as_str().unwrap().is_empty(), "{answer}");
    }
}

#[tokio::test]
async fn the_page_of_an_alert_shows_what_it_affects_and_its_runbook() {
    let service = with_alert().await;
    post(&service, &format!("{ALERT}/ack"), json!({"by": "<script>kim", "note": "<img>"})).await;
    let page = service.page("/alerts/f1").await;
    for part in ["loop fell from 0.98 to 0.71", "Affected traces (", "/runbooks/quality-drift", "&lt;script&gt;kim"] {
        assert!(page.contains(part), "{part} is not in {page}");
    }
    assert!(!page.contains("<script") && !page.contains("<img"));
    assert!(service.page("/runbooks/quality-drift").await.contains("Stop the bleeding"));
    assert!(service.page("/alerts").await.contains("/alerts/f1"));
    for path in ["/alerts/nope", "/runbooks/..%2f..%2fREADME"] {
        assert_eq!(service.get(path).await.status(), 404, "{path}");
    }
}
