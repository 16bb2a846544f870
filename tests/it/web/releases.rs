//! Releases and gates over a store whose traffic changed its release halfway.

use serde_json::{Value, json};

use super::fixtures::Service;

const POLICY: &str = "[[series]]\nseries = \"loop\"\ndirection = \"higher_is_better\"\nmargin = 0.05\n";

async fn counted() -> Service {
    let service = Service::with_traffic().await;
    service.count_versions().await;
    service
}

fn named<'a>(found: &'a Value, value: &str) -> &'a Value {
    found["releases"].as_array().unwrap().iter().find(|release| release["value"] == value).unwrap()
}

#[tokio::test]
async fn releases_are_listed_shown_and_compared() {
    let service = counted().await;
    let found = service.answer("/api/v1/releases?unsettled=true&service=support-agent").await;
    let new = named(&found, "1.5.0");
    assert_eq!((new["dimension"].as_str(), new["previous"].as_str()), (Some("release"), Some("1.4.0")));
    assert!(new["traces"].as_u64() > Some(3) && new["share"].as_f64() > Some(0.5), "{new}");
    let shown = service.answer("/api/v1/releases/show?service=support-agent&version=1.5.0").await;
    assert_eq!(shown["release"], *new);
    assert!(shown["hours"].as_array().unwrap().len() > 1);
    let compared = service.answer("/api/v1/releases/compare?service=support-agent&to=1.5.0").await;
    assert_eq!(
        (compared["before"]["value"].as_str(), compared["dimension"].as_str()),
        (Some("1.4.0"), Some("release"))
    );
    let series =
        |part: &str| compared[part].as_array().unwrap().iter().map(|row| row["series"].clone()).collect::<Vec<_>>();
    assert_eq!(series("cost")[..2], [json!("cost_usd"), json!("latency_seconds")]);
    assert!(series("quality").contains(&json!("loop")) && !series("quality").contains(&json!("steps")));
    let rows = compared["drift"]["series"].as_array().unwrap();
    assert!(rows.iter().any(|row| row["series"] == "latency_seconds" && row["history"].is_array()));
}

#[tokio::test]
async fn a_release_that_cannot_be_compared_says_why() {
    let service = counted().await;
    for (path, status, part) in [
        ("compare?service=support-agent&to=9", 404, "no version \"9\"; known: "),
        ("show?service=nobody&version=9", 404, "no version \"9\"; known: none"),
        ("compare?service=support-agent&to=1.4.0", 400, "no other version ran before"),
        ("compare?service=support-agent&to=1.5.0&from=1.5.0", 400, "both sides are"),
        ("compare?service=support-agent&to=1.5.0&window=1ns", 400, "holds no trace"),
        ("compare?service=support-agent&to=1.5.0&window=soon", 400, "is not a duration"),
        ("show?service=support-agent", 400, "parameter version is missing"),
        (
            "compare?service=support-agent&dimension=nope&to=1.5.0",
            400,
            "no dimension \"nope\"; known: agent_version, model, prompt_version, release",
        ),
        ("show?service=support-agent&dimension=agent_version&version=1.5.0", 404, "no version \"1.5.0\"; known: "),
    ] {
        let (found, answer) = service.json(&format!("/api/v1/releases/{path}")).await;
        assert_eq!(found, status, "{path}: {answer}");
        let error = answer["error"].as_str().unwrap();
        assert!(error.contains(part), "{path}: {answer}");
        assert!(!error.contains("known: 1.4.0, 1.5.0") || !path.contains("version=1.5.0"), "{path}: {answer}");
    }
}

#[tokio::test]
async fn flagger_is_answered_by_status_and_argo_by_a_verdict() {
    let service = counted().await;
    let flagger = |phase: &str, policy: &str| {
        json!({
            "name": "agent", "namespace": "prod", "phase": phase, "checksum": "1",
            "metadata": { "baseline": "where:release=1.4.0", "candidate": "where:release=1.5.0", "policy": policy },
        })
    };
    let status = async |phase: &str, policy: &str| {
        service.post("/api/v1/gate", "application/json", &flagger(phase, policy).to_string()).await
    };
    let (code, report) = status("Progressing", POLICY).await;
    assert_eq!((code, report["verdict"].as_str()), (200, Some("inconclusive")), "{report}");
    assert_eq!((report["sequential"].as_bool(), report["observational"].as_bool()), (Some(true), Some(true)));
    assert_eq!(status("WaitingPromotion", POLICY).await.0, 409);
    let high = "[[series]]\nseries = \"tool_calls\"\nfloor = 50\n";
    assert_eq!(status("Progressing", high).await.0, 412);
    let low = "[[series]]\nseries = \"tool_calls\"\nceiling = 500\n";
    assert_eq!(status("WaitingPromotion", low).await.0, 200);

    let argo = json!({ "baseline": "release=1.4.0", "candidate": "release=1.5.0", "policy": high, "sequential": true });
    let (code, report) = service.post("/api/v1/gate", "application/json", &argo.to_string()).await;
    assert_eq!((code, report["verdict"].as_str()), (200, Some("fail")));
    let named = json!({ "baseline": "default", "candidate": "name:other", "policy": high, "sequential": true });
    let (code, _) = service.post("/api/v1/gate", "application/json", &named.to_string()).await;
    assert_eq!(code, 404);
}

#[tokio::test]
async fn the_page_of_releases_tells_which_ran_since_when() {
    let service = counted().await;
    let page = service.page("/releases?unsettled=true").await;
    assert!(page.contains("<strong>1.5.0</strong>") && page.contains("support-agent"), "{page}");
    assert!(page.contains("<th>Status</th>") && !page.contains("What else changed"), "nothing else did: {page}");
    let empty = Service::empty().await;
    assert!(empty.page("/releases").await.contains("No version has been noticed yet"));
}
