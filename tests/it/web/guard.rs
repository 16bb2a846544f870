//! Who is let in, and what browsers are told.

use super::fixtures::{Service, client};

#[tokio::test]
async fn a_name_that_was_made_to_resolve_here_is_refused() {
    let service = Service::empty().await;
    for (host, status) in
        [("localhost:8080", 200), ("[::1]", 200), ("evil.example", 403), ("127.0.0.1.evil.example", 403)]
    {
        let response = client().get(&service.url).header("host", host).send().await.unwrap();
        assert_eq!(response.status(), status, "{host}");
        let text = response.text().await.unwrap();
        assert_eq!(text.contains("localhost, 127.0.0.1"), status == 403, "{text}");
    }
}

#[tokio::test]
async fn a_form_of_another_site_changes_nothing() {
    let service = Service::with_traffic().await;
    let body = r#"{"name": "default", "from": "service=support-agent"}"#;
    for content_type in ["text/plain", "application/x-www-form-urlencoded"] {
        let (status, _) = service.post("/api/v1/baselines", content_type, body).await;
        assert_eq!(status, 415, "{content_type}");
    }
    let request = client().post(format!("{}/api/v1/baselines", service.url)).header("content-type", "application/json");
    let response = request.header("sec-fetch-site", "cross-site").body(body).send().await.unwrap();
    assert_eq!(response.status(), 403);
    let listed = service.answer("/api/v1/baselines").await;
    assert!(listed["baselines"].as_array().unwrap().is_empty());
}

#[tokio::test]
async fn every_answer_forbids_scripts_and_framing() {
    let service = Service::empty().await;
    for path in ["/", "/style.css", "/api/v1/traces", "/nowhere"] {
        let response = service.get(path).await;
        let policy = response.headers()["content-security-policy"].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("script"), "{policy}");
        assert_eq!(response.headers()["referrer-policy"], "no-referrer");
    }
}
