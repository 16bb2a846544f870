//! The client against a real local server that behaves well and badly.

use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::domain::judge::{JudgeRequest, REPAIR, TokenUsage};
use crate::domain::money::NanoUsd;

/// What the server received.
#[derive(Clone, Default)]
struct Received(Arc<Mutex<Vec<(HeaderMap, Value)>>>);

impl Received {
    fn only(&self) -> (HeaderMap, Value) {
        let received = self.0.lock().unwrap();
        assert_eq!(received.len(), 1, "exactly one call was made");
        received[0].clone()
    }
}

/// Serves `/v1/chat/completions` and `/v1/messages` with one fixed response.
async fn serve(response: impl Fn() -> Response + Clone + Send + Sync + 'static) -> (String, Received) {
    let received = Received::default();
    let handler = move |State(received): State<Received>, headers: HeaderMap, Json(body): Json<Value>| async move {
        received.0.lock().unwrap().push((headers, body));
        response()
    };
    let app =
        axum::Router::new().route("/v1/chat/completions", post(handler.clone())).route("/v1/messages", post(handler));
    let app = app.with_state(received.clone());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    (url, received)
}

/// Reads one request, writes these bytes and closes.
async fn serve_bytes(bytes: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut request = vec![0; 64 * 1024];
        let read = socket.read(&mut request).await.unwrap();
        assert!(read > 0);
        socket.write_all(bytes).await.unwrap();
    });
    url
}

fn anthropic(base_url: &str) -> JudgeModelSettings {
    JudgeModelSettings { provider: Provider::Anthropic, ..settings(base_url) }
}

fn settings(base_url: &str) -> JudgeModelSettings {
    toml::from_str(&format!("base_url = {base_url:?}\nmodel = \"judge-1\"\ntimeout = \"5s\"\nallow_unpriced = true"))
        .unwrap()
}

fn client(settings: JudgeModelSettings) -> Result<JudgeClient, SettingsError> {
    // Main does this once; in tests whoever comes first wins.
    drop(rustls::crypto::ring::default_provider().install_default());
    JudgeClient::new(settings)
}

static SCHEMA: LazyLock<Value> = LazyLock::new(|| json!({"type": "object"}));

fn request() -> JudgeRequest {
    JudgeRequest { system: "judge".to_owned(), user: "a private text".to_owned(), schema: &SCHEMA, max_tokens: 64 }
}

async fn ask(base_url: &str) -> Result<crate::domain::judge::JudgeAnswer, JudgeError> {
    client(settings(base_url)).unwrap().complete(&request()).await
}

fn completion(content: &str) -> Response {
    let usage = json!({"prompt_tokens": 120, "completion_tokens": 9});
    Json(json!({"choices": [{"message": {"role": "assistant", "content": content}}], "usage": usage})).into_response()
}

#[tokio::test]
async fn a_good_answer_comes_back_with_its_tokens_and_the_request_is_complete() {
    let (url, received) = serve(|| completion(r#"{"reason": "r", "verdict": "YES"}"#)).await;
    let answer = ask(&url).await.unwrap();
    assert_eq!(answer.text, r#"{"reason": "r", "verdict": "YES"}"#);
    assert_eq!(answer.usage, Some(TokenUsage { input: 120, output: 9 }));

    let (headers, body) = received.only();
    assert!(headers.get("authorization").is_none());
    let expected = json!({
        "model": "judge-1",
        "messages": [{"role": "system", "content": "judge"}, {"role": "user", "content": "a private text"}],
        "max_tokens": 64,
        "temperature": 0,
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "verdict", "strict": true, "schema": {"type": "object"}}
        }
    });
    assert_eq!(body, expected);
}

#[tokio::test]
async fn prose_around_the_verdict_is_passed_on_as_it_is() {
    let (url, _) = serve(|| completion("Sure! {\"verdict\": \"NO\"} Bye")).await;
    assert_eq!(ask(&url).await.unwrap().text, "Sure! {\"verdict\": \"NO\"} Bye");
}

#[tokio::test]
async fn parameters_replace_the_temperature_and_the_token_key_can_be_named() {
    let (url, received) = serve(|| completion("x")).await;
    let mut settings = settings(&url);
    settings.parameters = [("reasoning_effort".to_owned(), json!("low"))].into();
    settings.max_tokens_key = "max_completion_tokens".to_owned();
    settings.structured_output = false;
    client(settings).unwrap().complete(&request()).await.unwrap();
    let (_, body) = received.only();
    let keys: Vec<&String> = body.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["max_completion_tokens", "messages", "model", "reasoning_effort"]);
}

#[tokio::test]
async fn missing_usage_is_unknown_and_not_zero() {
    let (url, _) = serve(|| Json(json!({"choices": [{"message": {"content": "x"}}]})).into_response()).await;
    let answer = ask(&url).await.unwrap();
    assert_eq!(answer.usage, None);
}

#[tokio::test]
async fn a_rate_limit_is_transient_and_says_how_long_to_wait() {
    let (url, _) = serve(|| (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "7")]).into_response()).await;
    let error = ask(&url).await.unwrap_err();
    assert_eq!(error, JudgeError::RateLimited { retry_after: Some(Duration::from_secs(7)) });
    assert!(error.is_transient());
    assert_eq!(error.retry_after(), Some(Duration::from_secs(7)));
}

#[tokio::test]
async fn a_wait_that_makes_no_sense_is_not_said() {
    for wait in ["-1", "NaN", "1e300", "Wed, 21 Oct 2026 07:28:00 GMT"] {
        let (url, _) = serve(move || (StatusCode::TOO_MANY_REQUESTS, [("retry-after", wait)]).into_response()).await;
        assert_eq!(ask(&url).await.unwrap_err(), JudgeError::RateLimited { retry_after: None });
    }
}

#[tokio::test]
async fn server_errors_are_transient() {
    for status in [500, 502, 503, 529, 408] {
        let (url, _) = serve(move || StatusCode::from_u16(status).unwrap().into_response()).await;
        let error = ask(&url).await.unwrap_err();
        assert_eq!(error, JudgeError::Unavailable { status, retry_after: None });
        assert!(error.is_transient());
    }
}

#[tokio::test]
async fn a_refused_request_is_permanent_and_its_message_is_not_repeated() {
    let body = json!({"error": {"message": "cannot process: a private text", "code": "context_length_exceeded"}});
    let (url, _) = serve(move || (StatusCode::BAD_REQUEST, Json(body.clone())).into_response()).await;
    let error = ask(&url).await.unwrap_err();
    assert!(!error.is_transient());
    let text = error.to_string();
    assert_eq!(text, "the judge model's provider refused the request with status 400 (context_length_exceeded)");
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let (other, elsewhere) = serve(|| completion("x")).await;
    let location = format!("{other}/chat/completions");
    let (url, _) =
        serve(move || (StatusCode::TEMPORARY_REDIRECT, [("location", location.clone())]).into_response()).await;
    assert!(matches!(ask(&url).await.unwrap_err(), JudgeError::Refused { status: 307, .. }));
    assert!(elsewhere.0.lock().unwrap().is_empty());
}

#[tokio::test]
async fn half_a_body_is_a_broken_connection() {
    let url = serve_bytes(b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{\"choices\": [{\"mess").await;
    let error = ask(&url).await.unwrap_err();
    assert!(matches!(error, JudgeError::Connection { .. }), "{error:?}");
    assert!(error.is_transient());
}

#[tokio::test]
async fn a_server_that_closes_at_once_is_a_broken_connection() {
    let url = serve_bytes(b"").await;
    assert!(matches!(ask(&url).await.unwrap_err(), JudgeError::Connection { .. }));
}

#[tokio::test]
async fn a_server_that_is_not_there_is_named_without_its_path() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let error = ask(&format!("http://{address}/v1")).await.unwrap_err();
    assert!(error.is_transient());
    let text = error.to_string();
    assert!(text.starts_with(&format!("the connection to the judge model at {address} failed: ")), "{text}");
    assert!(!text.contains("/v1"), "{text}");
}

#[tokio::test]
async fn a_server_that_never_answers_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut settings = settings(&format!("http://{}/v1", listener.local_addr().unwrap()));
    settings.timeout = Duration::from_millis(100);
    let error = client(settings).unwrap().complete(&request()).await.unwrap_err();
    assert_eq!(error, JudgeError::Timeout { after: Duration::from_millis(100) });
    assert!(error.is_transient());
}

#[tokio::test]
async fn an_endless_body_is_not_read_to_its_end() {
    let (url, _) = serve(|| "x".repeat(3 * 1024 * 1024).into_response()).await;
    assert_eq!(ask(&url).await.unwrap_err(), JudgeError::TooLarge { limit: 1024 * 1024 });
}

#[tokio::test]
async fn an_answer_that_is_no_completion_is_unreadable() {
    for body in [json!("hello"), json!({"choices": []}), json!({"choices": [{"message": {"content": null}}]})] {
        let (url, _) = serve(move || Json(body.clone()).into_response()).await;
        assert_eq!(ask(&url).await.unwrap_err(), JudgeError::Unreadable);
    }
}

#[tokio::test]
async fn a_model_that_declines_is_not_asked_again() {
    let body = json!({"choices": [{"message": {"content": null, "refusal": "I cannot help with that"}}]});
    let (url, _) = serve(move || Json(body.clone()).into_response()).await;
    let error = ask(&url).await.unwrap_err();
    assert_eq!(error, JudgeError::Declined { usage: None });
    assert!(!error.is_transient());
}

#[tokio::test]
async fn the_key_is_sent_and_never_shown() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key");
    std::fs::write(&file, "top-secret\n").unwrap();
    let (url, received) = serve(|| completion("x")).await;
    let client = client(JudgeModelSettings { api_key_file: Some(file), ..settings(&url) }).unwrap();
    client.complete(&request()).await.unwrap();
    assert_eq!(received.only().0["authorization"], "Bearer top-secret");
    assert!(!format!("{client:?}").contains("top-secret"));
}

#[test]
fn settings_that_cannot_work_are_refused_before_any_call() {
    let refused = |change: fn(&mut JudgeModelSettings)| {
        let mut settings = settings("http://127.0.0.1:1/v1");
        change(&mut settings);
        client(settings).unwrap_err().to_string()
    };
    assert_eq!(refused(|s| s.base_url = "ftp://host".to_owned()), "base_url \"ftp://host\" is no http or https URL");
    assert_eq!(refused(|s| s.concurrency = 0), "concurrency must be greater than zero");
    assert_eq!(
        refused(|s| s.api_key_env = Some("DRIFTLINE_TEST_NOT_SET".to_owned())),
        "the environment variable DRIFTLINE_TEST_NOT_SET named by api_key_env is not set"
    );
    assert!(refused(|s| s.api_key_file = Some("/nonexistent/key".into())).contains("/nonexistent/key"));
    assert!(toml::from_str::<JudgeModelSettings>("base_url = \"x\"\nmodel = \"m\"\nmodle = \"n\"").is_err());
}

#[test]
fn a_price_is_known_only_when_both_halves_are() {
    let mut settings = settings("http://127.0.0.1:1/v1");
    assert_eq!(settings.cost(1_000, 1_000), None);
    settings.input_usd_per_mtok = Some(2.0);
    assert_eq!(settings.cost(1_000, 1_000), None);
    settings.output_usd_per_mtok = Some(8.0);
    assert_eq!(settings.cost(1_000_000, 500_000), Some(NanoUsd::from_usd(6.0)));
}

#[tokio::test]
async fn anthropic_is_asked_in_its_own_words_and_answers_by_calling_the_tool() {
    let usage = json!({"input_tokens": 100, "cache_read_input_tokens": 20, "output_tokens": 9});
    let verdict = json!({"type": "tool_use", "id": "t", "name": "verdict", "input": {"reason": "r", "verdict": "NO"}});
    let body = json!({"model": "m-2", "content": [{"type": "thinking", "thinking": "hm"}, verdict], "usage": usage});
    let (url, received) = serve(move || Json(body.clone()).into_response()).await;
    let answer = client(anthropic(&url)).unwrap().complete(&request()).await.unwrap();
    assert_eq!(answer.text, r#"{"reason":"r","verdict":"NO"}"#);
    assert_eq!((answer.model.as_deref(), answer.usage), (Some("m-2"), Some(TokenUsage { input: 120, output: 9 })));

    let (headers, body) = received.only();
    assert_eq!(headers["anthropic-version"], "2023-06-01");
    let tool = json!({"name": "verdict", "description": "Gives the verdict.", "input_schema": {"type": "object"}});
    let expected = json!({
        "model": "judge-1",
        "max_tokens": 64,
        "system": "judge",
        "messages": [{"role": "user", "content": "a private text"}],
        "tools": [tool],
        "tool_choice": {"type": "tool", "name": "verdict"},
        "temperature": 0
    });
    assert_eq!(body, expected);
}

#[tokio::test]
async fn anthropic_may_answer_in_prose_or_refuse() {
    let (url, _) = serve(|| Json(json!({"content": [{"type": "text", "text": "YES"}]})).into_response()).await;
    assert_eq!(client(anthropic(&url)).unwrap().complete(&request()).await.unwrap().text, "YES");
    let body = json!({"content": [], "stop_reason": "refusal", "usage": {"input_tokens": 3, "output_tokens": 1}});
    let (url, _) = serve(move || Json(body.clone()).into_response()).await;
    let error = client(anthropic(&url)).unwrap().complete(&request()).await.unwrap_err();
    assert_eq!(error, JudgeError::Declined { usage: Some(TokenUsage { input: 3, output: 1 }) });
}

#[tokio::test]
async fn the_key_is_sent_where_each_protocol_looks_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key");
    std::fs::write(&file, "top-secret").unwrap();
    let (url, received) = serve(|| StatusCode::OK.into_response()).await;
    let keyed = JudgeModelSettings { api_key_file: Some(file), ..anthropic(&url) };
    drop(client(keyed).unwrap().complete(&request()).await);
    assert_eq!(received.only().0["x-api-key"], "top-secret");
    let azure = settings("https://name.openai.azure.com/openai/v1?api-version=preview");
    assert!(azure.is_azure() && !settings("https://azure.com.example/v1").is_azure());
}

#[tokio::test]
async fn an_unreadable_answer_is_asked_for_again_without_being_repeated() {
    let (url, received) = serve(|| completion("x")).await;
    client(settings(&url)).unwrap().complete(&request().repaired()).await.unwrap();
    let (_, body) = received.only();
    let messages = body["messages"].as_array().unwrap();
    assert_eq!(messages.len(), 2, "no turn of the model: what it wrote may be the trace's words");
    assert_eq!(messages[1]["content"], format!("a private text\n\n{REPAIR}"));
}

/// A server that takes a request only without some keys, and names the first of them that it finds.
async fn picky(refused: &'static [(&'static str, &'static str)]) -> (String, Received) {
    let received = Received::default();
    let handler = move |State(received): State<Received>, headers: HeaderMap, Json(body): Json<Value>| async move {
        received.0.lock().unwrap().push((headers, body.clone()));
        match refused.iter().find(|(key, _)| body.get(*key).is_some()) {
            Some((_, message)) => {
                (StatusCode::BAD_REQUEST, Json(json!({"error": {"message": message, "type": "invalid"}})))
                    .into_response()
            }
            None => completion("x"),
        }
    };
    let app = axum::Router::new().route("/v1/chat/completions", post(handler)).with_state(received.clone());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    (url, received)
}

#[tokio::test]
async fn parameters_that_a_server_refuses_are_left_out_from_then_on() {
    let (url, received) = picky(&[
        ("max_tokens", "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."),
        ("response_format", "response_format of type json_schema is not supported"),
        ("temperature", "'temperature' does not support 0 with this model"),
    ])
    .await;
    let client = client(settings(&url)).unwrap();
    for _ in 0..3 {
        assert_eq!(client.complete(&request()).await.unwrap_err(), JudgeError::Adapted);
    }
    client.complete(&request()).await.unwrap();
    client.complete(&request()).await.unwrap();
    let last = received.0.lock().unwrap().last().unwrap().1.clone();
    let keys: Vec<&String> = last.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["max_completion_tokens", "messages", "model"]);
}

#[tokio::test]
async fn a_server_that_refuses_what_is_left_out_already_has_refused_the_request() {
    let (url, _) = picky(&[("model", "temperature, max_tokens and response_format are not the point")]).await;
    let client = client(settings(&url)).unwrap();
    for _ in 0..3 {
        assert_eq!(client.complete(&request()).await.unwrap_err(), JudgeError::Adapted);
    }
    assert!(matches!(client.complete(&request()).await.unwrap_err(), JudgeError::Refused { status: 400, .. }));
}

#[test]
fn a_model_needs_a_price_that_is_one_or_leave_to_have_none() {
    let with = |input, output, allow_unpriced| JudgeModelSettings {
        input_usd_per_mtok: input,
        output_usd_per_mtok: output,
        allow_unpriced,
        ..settings("http://127.0.0.1:1/v1")
    };
    let refusal = |settings| client(settings).unwrap_err().to_string();
    assert!(refusal(with(None, None, false)).contains("the model has no price: set input_usd_per_mtok"));
    assert!(refusal(with(Some(1.0), None, false)).contains("no price"));
    assert!(refusal(with(Some(-1.0), Some(1.0), true)).contains("input_usd_per_mtok must be a number of dollars"));
    assert!(client(with(Some(0.0), Some(0.0), false)).is_ok(), "free is a price");
    assert!(client(with(None, None, true)).is_ok());
}

#[test]
fn the_most_a_request_can_cost_is_a_token_a_byte_and_all_that_may_be_answered() {
    let settings = JudgeModelSettings {
        input_usd_per_mtok: Some(1.0),
        output_usd_per_mtok: Some(10.0),
        ..settings("http://127.0.0.1:1/v1")
    };
    let request = JudgeRequest { user: "x".repeat(10_000), ..request() };
    let most = client(settings).unwrap().most_it_can_cost(&request).unwrap();
    assert!(most > NanoUsd((10_000 + 640) * 1_000) && most < NanoUsd(13_000 * 1_000), "{most}");
}
