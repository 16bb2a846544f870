//! Tokens: who is let in to what, and how a browser signs in.

use reqwest::redirect::Policy;
use reqwest::{Client, Response};
use serde_json::json;

use super::fixtures::{Service, client};

async fn token(service: &Service, role: &str, bearer: Option<&str>) -> String {
    let request = client().post(format!("{}/api/v1/tokens", service.url)).json(&json!({ "role": role }));
    let request = if let Some(bearer) = bearer { request.bearer_auth(bearer) } else { request };
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 201);
    let given: serde_json::Value = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
    given["secret"].as_str().unwrap().to_owned()
}

async fn status(service: &Service, path: &str, bearer: &str) -> u16 {
    let request = client().get(format!("{}{path}", service.url)).bearer_auth(bearer);
    request.send().await.unwrap().status().as_u16()
}

/// The clock of these services stands still, so that what a service knows of tokens never grows old: a new service over
/// the same store knows the new ones.
async fn guarded(roles: &[&str]) -> (Service, Vec<String>) {
    let service = Service::with_traffic().await;
    let mut tokens = Vec::new();
    for role in roles {
        let made = driftline::backends::access::create_token(
            &service.store.store,
            role.parse().unwrap(),
            role,
            None,
            super::fixtures::START,
        );
        tokens.push(made.await.unwrap().secret);
    }
    (service, tokens)
}

#[tokio::test]
async fn without_tokens_this_machine_is_let_in_and_the_first_token_ends_that() {
    let (service, tokens) = guarded(&[]).await;
    assert!(tokens.is_empty());
    assert_eq!(service.get("/api/v1/traces").await.status(), 200);
    let (service, _) = guarded(&["admin"]).await;
    let refused = service.get("/api/v1/traces").await;
    assert_eq!((refused.status().as_u16(), &refused.headers()["www-authenticate"]), (401, &"Bearer".parse().unwrap()));
    for open in ["/healthz", "/readyz", "/style.css", "/login"] {
        assert_eq!(service.get(open).await.status(), 200, "{open}");
    }
    for closed in ["/", "/metrics", "/nowhere", "/audit", "/api/v1/audit/log"] {
        assert_eq!(service.get(closed).await.status(), 401, "{closed}");
    }
}

#[tokio::test]
async fn each_role_opens_what_it_says_and_no_more() {
    let (service, tokens) = guarded(&["admin", "read", "review", "ingest"]).await;
    let [admin, read, review, ingest] = <[String; 4]>::try_from(tokens).unwrap();
    assert_eq!(status(&service, "/api/v1/traces", "driftline_wrong").await, 401);
    for (bearer, traces, tokens) in [(&admin, 200, 200), (&read, 200, 403), (&review, 200, 403), (&ingest, 403, 403)] {
        assert_eq!(status(&service, "/api/v1/traces", bearer).await, traces);
        assert_eq!(status(&service, "/api/v1/tokens", bearer).await, tokens);
    }
    let labels = json!({ "labels": [] });
    for (bearer, expected) in [(&read, 403), (&ingest, 403), (&review, 200), (&admin, 200)] {
        let request = client().post(format!("{}/api/v1/labels", service.url)).bearer_auth(bearer).json(&labels);
        assert_eq!(request.send().await.unwrap().status(), expected);
    }
    let made = token(&service, "read", Some(&admin)).await;
    assert!(made.starts_with("driftline_") && made.len() == 74);
    let listed = client().get(format!("{}/api/v1/tokens", service.url)).bearer_auth(&admin).send().await.unwrap();
    let listed = listed.text().await.unwrap();
    assert!(listed.contains("\"role\":\"read\"") && !listed.contains(&made[10..]), "{listed}");
}

fn browser() -> Client {
    client();
    Client::builder().redirect(Policy::none()).build().unwrap()
}

async fn sign_in(service: &Service, token: &str, next: &str) -> Response {
    let form = format!("token={token}&next={next}");
    let request = browser().post(format!("{}/login", service.url)).body(form);
    request.header("content-type", "application/x-www-form-urlencoded").send().await.unwrap()
}

#[tokio::test]
async fn a_browser_is_sent_to_sign_in_and_comes_back_with_a_cookie_that_no_script_sees() {
    let (service, tokens) = guarded(&["read"]).await;
    let asked = browser().get(format!("{}/traces?limit=5", service.url)).header("accept", "text/html");
    let asked = asked.send().await.unwrap();
    assert_eq!(
        (asked.status().as_u16(), &asked.headers()["location"]),
        (303, &"/login?next=/traces%3Flimit%3D5".parse().unwrap())
    );
    let wrong = sign_in(&service, "driftline_wrong", "/traces").await;
    assert!(wrong.status() == 401 && !wrong.headers().contains_key("set-cookie"));
    let elsewhere = sign_in(&service, &tokens[0], "//evil.example").await;
    assert_eq!(elsewhere.headers()["location"], "/");

    let signed_in = sign_in(&service, &tokens[0], "/traces").await;
    assert_eq!((signed_in.status().as_u16(), &signed_in.headers()["location"]), (303, &"/traces".parse().unwrap()));
    let cookie = signed_in.headers()["set-cookie"].to_str().unwrap().to_owned();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
    let pair = cookie.split(';').next().unwrap();
    let page = browser().get(format!("{}/traces", service.url)).header("cookie", pair).send().await.unwrap();
    assert_eq!(page.status(), 200);
}

#[tokio::test]
async fn a_cookie_alone_changes_nothing_unless_our_own_pages_send_it() {
    let (service, tokens) = guarded(&["admin"]).await;
    let send = |name: &'static str, value: String| {
        let request = browser().post(format!("{}/api/v1/labels", service.url)).json(&json!({ "labels": [] }));
        request.header("cookie", format!("driftline_token={}", tokens[0])).header(name, value).send()
    };
    for (name, value, status) in [
        ("x-nothing", "x".to_owned(), 403),
        ("origin", "http://evil.example".to_owned(), 403),
        ("origin", service.url.clone(), 200),
        ("sec-fetch-site", "same-origin".to_owned(), 200),
        ("sec-fetch-site", "same-site".to_owned(), 403),
    ] {
        assert_eq!(send(name, value.clone()).await.unwrap().status(), status, "{name}: {value}");
    }
}
