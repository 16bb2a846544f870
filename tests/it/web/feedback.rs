//! Scores that others send, and where they show.

use serde_json::{Value, json};

use super::fixtures::Service;

impl Service {
    async fn feedback(&self, body: &Value) -> (u16, Value) {
        self.post("/api/v1/feedback", "application/json", &body.to_string()).await
    }
}

#[tokio::test]
async fn feedback_shows_beside_the_scores_of_its_trace_once() {
    let service = Service::with_traffic().await;
    let id = service.trace_ids[0].to_string();
    let before = service.answer(&format!("/api/v1/traces/{id}")).await;
    let own = before["scores"].as_array().unwrap().len();
    let thumbs = json!({
        "trace_id": id, "span_id": "00000000000000ff", "name": "<b>thumbs</b>", "value": 0, "label": "down",
        "explanation": "not <i>what</i> I asked", "source": "my-app", "id": "7",
    });
    for _ in 0..2 {
        assert_eq!(service.feedback(&thumbs).await, (200, json!({"trace_id": id})));
    }
    let rows = service.answer(&format!("/api/v1/traces/{id}/scores")).await["scores"].clone();
    let external: Vec<&Value> = rows.as_array().unwrap().iter().filter(|row| row["source"].is_string()).collect();
    assert_eq!((rows.as_array().unwrap().len(), external.len()), (own + 1, 1));
    for (key, value) in [
        ("evaluator", json!("<b>thumbs</b>")),
        ("annotator_kind", json!("human")),
        ("outcome", json!("scored")),
        ("value", json!(0.0)),
        ("label", json!("down")),
        ("span_id", json!("00000000000000ff")),
        ("source", json!("my-app")),
        ("probability", Value::Null),
    ] {
        assert_eq!(external[0][key], value, "{key}");
    }
    let after = service.answer(&format!("/api/v1/traces/{id}")).await;
    assert_eq!((&after["spans"], &after["failing"]), (&before["spans"], &before["failing"]), "it is no score of ours");
    let explanation = service.answer(&format!("/api/v1/traces/{id}/explain")).await;
    assert_eq!(explanation["external_scores"][0], *external[0]);
    let is_evaluator = |row: &Value| row["evaluator"] == "<b>thumbs</b>";
    assert!(!explanation["evaluators"].as_array().unwrap().iter().any(is_evaluator), "{explanation}");
    let page = service.page(&format!("/traces/{id}")).await;
    assert!(page.contains("Scores of others") && page.contains("&lt;b&gt;thumbs") && page.contains("my-app"), "{page}");
}

#[tokio::test]
async fn feedback_of_a_trace_that_is_not_known_yet_is_taken() {
    let service = Service::empty().await;
    let thumbs = json!({"trace_id": "1".repeat(32), "name": "thumbs", "label": "up", "source": "app"});
    assert_eq!(service.feedback(&thumbs).await.0, 200);
    assert_eq!(service.json(&format!("/api/v1/traces/{}/scores", "1".repeat(32))).await.0, 404);
}

#[tokio::test]
async fn feedback_is_a_series_of_its_service() {
    let service = Service::with_traffic().await;
    for trace_id in &service.trace_ids {
        let thumbs = json!({"trace_id": trace_id, "name": "thumbs", "value": 0.5, "source": "app", "id": "1"});
        assert_eq!(service.feedback(&thumbs).await.0, 200);
    }
    let series = service.answer("/api/v1/series").await;
    let found: Vec<&Value> =
        series["series"].as_array().unwrap().iter().filter(|one| one["series"] == "human.thumbs").collect();
    assert!(!found.is_empty() && found.iter().all(|one| one["current"]["estimate"] == 0.5), "{found:?}");
    let key = found[0]["key"].as_str().unwrap();
    assert_eq!(service.answer(&format!("/api/v1/series/{key}")).await["series"], "human.thumbs");
}

#[tokio::test]
async fn what_is_no_feedback_is_refused_by_its_member() {
    let service = Service::empty().await;
    let trace_id = "1".repeat(32);
    for (body, field) in [
        (json!({"name": "n", "value": 1, "source": "s"}), "trace_id"),
        (json!({"trace_id": "1", "name": "n", "value": 1, "source": "s"}), "trace_id"),
        (json!({"trace_id": trace_id, "value": 1, "source": "s"}), "name"),
        (json!({"trace_id": trace_id, "name": "n", "value": "1", "source": "s"}), "value"),
        (json!({"trace_id": trace_id, "name": "n", "value": 1}), "source"),
        (json!({"trace_id": trace_id, "name": "n", "score": 1, "source": "s"}), "score"),
    ] {
        let (status, answer) = service.feedback(&body).await;
        assert_eq!((status, answer["field"].as_str()), (400, Some(field)), "{body} {answer}");
        assert!(answer["error"].as_str().unwrap().starts_with(field) && answer["remedy"].is_string(), "{answer}");
    }
    let (status, _) = service.post("/api/v1/feedback", "application/json", "{not json").await;
    assert_eq!(status, 400);
    let large = json!({"trace_id": trace_id, "name": "n", "explanation": "x".repeat(70_000), "source": "s"});
    assert_eq!(service.feedback(&large).await.0, 413);
}
