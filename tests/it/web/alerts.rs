//! One alert, and what people do about it, over the API, the pages and the command line.

use std::collections::BTreeSet;
use std::time::Duration;

use driftline::backends::store::Selection;
use driftline::domain::alert::Alert;
use driftline::domain::explanation::{Affects, Evidence};
use serde_json::{Value, json};

use super::fixtures::{START, Service, client};

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

async fn send_form(service: &Service, path: &str, site: &str, form: &str) -> reqwest::Response {
    let quiet = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let request = quiet.post(format!("{}{path}", service.url)).header("sec-fetch-site", site);
    request.header("content-type", "application/x-www-form-urlencoded").body(form.to_owned()).send().await.unwrap()
}

#[tokio::test]
async fn an_alert_is_taken_in_hand_and_silenced_from_its_page_and_not_from_pages_of_others() {
    let service = with_alert().await;
    assert!(service.page("/alerts/f1").await.contains("action=\"/alerts/f1/ack\""));
    let (ack, silence) = ("/alerts/f1/ack", "/alerts/f1/silence");
    let taken = send_form(&service, ack, "same-origin", "by=kim+%C3%A9&note=").await;
    assert_eq!((taken.status().as_u16(), &taken.headers()["location"]), (303, &"/alerts/f1".parse().unwrap()));
    let asked = "by=kim&reason=deploy+%26+rest&for=2h";
    assert_eq!(send_form(&service, silence, "same-origin", asked).await.status(), 303);
    let detail = service.answer(ALERT).await;
    assert_eq!((&detail["acknowledgement"]["by"], &detail["acknowledgement"]["note"]), (&"kim é".into(), &Value::Null));
    assert_eq!(detail["silences"][0]["reason"], "deploy & rest");

    let request = client().post(format!("{}{ack}", service.url)).header("origin", "http://evil.example");
    let old = request.header("content-type", "application/x-www-form-urlencoded").body("by=evil").send().await.unwrap();
    assert_eq!(old.status(), 403, "of a browser that tells the origin alone");
    for (path, site, form, status) in [
        (ack, "cross-site", "by=evil", 403),
        (silence, "same-site", "by=evil&reason=x&for=1h", 403),
        (ack, "same-origin", "note=x", 400),
        (ack, "same-origin", "by=+", 400),
        (silence, "same-origin", "by=kim&reason=x&for=ever", 400),
        (silence, "same-origin", "by=kim&reason=x&for=1h&matcher=service%3D*", 400),
        ("/alerts/nope/ack", "same-origin", "by=kim", 404),
        ("/alerts/nope/silence", "same-origin", "by=kim&reason=x&for=1h", 404),
    ] {
        assert_eq!(send_form(&service, path, site, form).await.status().as_u16(), status, "{path} {site} {form}");
    }
    assert_eq!(service.answer("/api/v1/alerts/silences").await["silences"].as_array().unwrap().len(), 1);
}

/// Puts an alert beside the one that is there.
async fn raise(service: &Service, fingerprint: &str, change: impl FnOnce(Alert) -> Alert) {
    let known = service.store.store.alert("f1").await.unwrap().unwrap();
    let alert = change(Alert { fingerprint: fingerprint.to_owned(), ..known });
    service.store.store.put_alert(&alert, START).await.unwrap();
}

#[tokio::test]
async fn an_alert_about_what_people_said_lists_those_they_said_it_of_and_no_others() {
    let service = with_alert().await;
    let records = service.store.store.records(&Selection::default()).await.unwrap();
    let of_support = records.iter().filter(|record| record.service == "support-agent").take(3);
    let rated: Vec<String> = of_support.map(|record| record.trace_id.to_string()).collect();
    for (trace_id, value) in rated.iter().zip([0.0, 1.0, 0.0]) {
        let body = json!({"trace_id": trace_id, "name": "thumbs", "value": value, "source": "app"});
        let (status, answer) = post(&service, "/api/v1/feedback", body).await;
        assert_eq!(status, 200, "{answer}");
    }
    let affects = Affects::AtMost(0.25);
    raise(&service, "f2", |alert| Alert {
        series: "human.thumbs".to_owned(),
        evidence: Evidence { affects, ..Evidence::default() },
        ..alert
    })
    .await;
    let detail = service.answer("/api/v1/alerts/f2").await;
    let shown = detail["affected"]["traces"].as_array().unwrap();
    let listed: BTreeSet<&str> = shown.iter().map(|trace| trace["trace_id"].as_str().unwrap()).collect();
    assert_eq!(listed, [rated[0].as_str(), rated[2].as_str()].into(), "{detail}");
    assert_eq!((&detail["affected_traces"], &detail["current_estimate"]["n"]), (&2.into(), &3.into()));
    assert!(detail["affected_are"].as_str().unwrap().contains("0.25"), "{detail}");
}

#[tokio::test]
async fn alerts_of_one_cause_stand_under_the_one_that_is_told() {
    let service = with_alert().await;
    for series in ["cost_usd", "grounded"] {
        raise(&service, &format!("child-{series}"), |alert| Alert {
            series: series.to_owned(),
            parent: Some("f1".to_owned()),
            summary: format!("{series} moved"),
            ..alert
        })
        .await;
    }
    let detail = service.answer(ALERT).await;
    assert_eq!(detail["group"].as_array().unwrap().len(), 2, "{detail}");
    assert_eq!(service.answer("/api/v1/alerts").await["alerts"].as_array().unwrap().len(), 3, "each is listed");
    let page = service.page("/alerts").await;
    let counted = "Open (1 cause, 3 alerts)";
    assert!(service.page("/").await.contains("Open alerts (1 cause, 3 alerts)"));
    assert!(page.contains(counted) && page.contains("and 2 more series") && page.contains("/alerts/child-cost_usd"));
    assert!(service.page("/alerts/f1").await.contains("grounded moved"));
    assert!(service.page("/alerts/child-grounded").await.contains("href=\"/alerts/f1\""));
}

#[tokio::test]
async fn what_is_known_of_a_change_is_in_the_answer_and_on_the_page() {
    let service = with_alert().await;
    let moved = |to, high| json!({"from": "search", "to": to, "baseline": 0.1, "current": 0.4, "z": 6.0, "low": 0.2, "high": high});
    let segment = json!({"segment": "model=b", "traces": 7, "baseline": 0.9, "current": 0.5, "contribution": -0.4,
        "low": -0.5, "high": -0.3});
    let evidence = json!({"measure": "share true", "onset_between": [START, START.plus(Duration::from_hours(3))],
        "nearest_change": {"at": START, "kind": "judge", "service": null, "subject": "loop", "from": "r1", "to": "r2"},
        "explanation": {"dimension": "model", "mix": 0.0, "within": -0.4, "segments": [segment],
            "new_versions": ["model=b"], "trace_ids": []}, "transitions": [moved("<b>END", 0.4), moved("answer", 1.11)]});
    raise(&service, "f2", |alert| Alert { evidence: serde_json::from_value(evidence).unwrap(), ..alert }).await;
    let detail = service.answer("/api/v1/alerts/f2").await;
    assert_eq!(detail["explanation"]["segments"][0]["segment"], "model=b");
    assert_eq!((&detail["nearest_change"]["to"], &detail["onset_between"][0]), (&"r2".into(), &START.0.into()));
    assert_eq!(detail["transitions"][0]["low"], 0.2);
    let page = service.page("/alerts/f2").await;
    let moved = ["+20.0 to +40.0 points", "+20.0 to +100.0 points", "of the <strong>share true</strong>"];
    for part in ["Began between", "r2", "-0.500 to -0.300", "&lt;b&gt;END", "no single trace"].into_iter().chain(moved)
    {
        assert!(page.contains(part), "{part} is not in {page}");
    }
}

#[tokio::test]
async fn the_page_of_an_alert_shows_what_it_affects_and_its_runbook() {
    let service = with_alert().await;
    post(&service, &format!("{ALERT}/ack"), json!({"by": "<script>kim", "note": "<img>"})).await;
    let page = service.page("/alerts/f1").await;
    let shown = ["Affected traces (", "Traces, for example", "<th>What happened</th>"];
    for part in ["loop fell from 0.98 to 0.71", "/runbooks/quality-drift", "&lt;script&gt;kim"].into_iter().chain(shown)
    {
        assert!(page.contains(part), "{part} is not in {page}");
    }
    assert!(!page.contains("<script") && !page.contains("<img"));
    assert!(service.page("/runbooks/quality-drift").await.contains("Stop the bleeding"));
    assert!(service.page("/alerts").await.contains("/alerts/f1"));
    for path in ["/alerts/nope", "/runbooks/..%2f..%2fREADME"] {
        assert_eq!(service.get(path).await.status(), 404, "{path}");
    }
}
