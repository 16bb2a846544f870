//! A judge model that answers after a pause, and a loop that does nothing but ask one; `benches/judges.py` runs both.
//!
//! `cargo bench --bench judge_model -- serve PORT MILLISECONDS` speaks OpenAI chat completions as far as judges and
//! their peers use them: answers to a JSON schema, tool calls, grades and plain text. `GET /stats` tells of the requests
//! since the last `GET /reset`. `... -- loop URL COUNT IN_FLIGHT FILE` posts the file's bytes.
#![expect(clippy::print_stdout, clippy::expect_used, reason = "a tool of the bench scripts, not of the program")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::routing::{get, post};
use axum::{Json, Router};
use futures_util::StreamExt;
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;
use tokio::time::Instant;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let number = |text: &str| text.parse::<u32>().expect("a whole number");
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["serve", port, pause] => serve(port, Duration::from_millis(u64::from(number(pause)))).await,
        ["loop", url, count, in_flight, file] => {
            ask(url, number(count) as usize, number(in_flight) as usize, file).await
        }
        _ => println!("serve PORT MILLISECONDS | loop URL COUNT IN_FLIGHT FILE"),
    }
}

#[derive(Clone)]
struct Model {
    pause: Duration,
    seen: Arc<Mutex<Seen>>,
}

/// The requests since the last reset.
#[derive(Default)]
struct Seen {
    requests: u64,
    in_flight: u64,
    most_in_flight: u64,
    first: Option<Instant>,
    last: Option<Instant>,
    body: Bytes,
}

async fn serve(port: &str, pause: Duration) {
    let model = Model { pause, seen: Arc::default() };
    let router = Router::new()
        .route("/v1/chat/completions", post(complete))
        .route("/stats", get(stats))
        .route("/body", get(async |State(model): State<Model>| model.seen.lock().expect("no panic").body.clone()))
        .route(
            "/reset",
            get(async |State(model): State<Model>| *model.seen.lock().expect("no panic") = Seen::default()),
        )
        .with_state(model);
    let listener = TcpListener::bind(format!("127.0.0.1:{port}")).await.expect("the port is free");
    axum::serve(listener, router).await.expect("the server runs");
}

async fn complete(State(model): State<Model>, body: Bytes) -> Json<Value> {
    {
        let mut seen = model.seen.lock().expect("no panic");
        seen.requests += 1;
        seen.in_flight += 1;
        seen.most_in_flight = seen.most_in_flight.max(seen.in_flight);
        seen.first.get_or_insert_with(Instant::now);
        if seen.body.is_empty() {
            seen.body = body.clone();
        }
    }
    let request: Value = serde_json::from_slice(&body).unwrap_or_default();
    tokio::time::sleep(model.pause).await;
    let mut seen = model.seen.lock().expect("no panic");
    seen.in_flight = seen.in_flight.saturating_sub(1);
    seen.last = Some(Instant::now());
    drop(seen);
    Json(json!({
        "id": "c-1", "object": "chat.completion", "created": 1, "model": request["model"],
        "choices": [{ "index": 0, "finish_reason": "stop", "message": message(&request) }],
        "usage": { "prompt_tokens": body.len() / 4, "completion_tokens": 20, "total_tokens": body.len() / 4 + 20 }
    }))
}

fn message(request: &Value) -> Value {
    let tool = &request["tools"][0]["function"];
    if tool.is_object() {
        let arguments = instance(&tool["parameters"]).to_string();
        let call = json!({ "name": tool["name"], "arguments": arguments });
        let calls = json!([{ "id": "t-1", "type": "function", "function": call }]);
        return json!({ "role": "assistant", "content": null, "tool_calls": calls });
    }
    let schema = &request["response_format"]["json_schema"]["schema"];
    let text = match schema.is_object() {
        true => instance(schema).to_string(),
        false => r#"{"reason": "all of it is there", "verdict": "YES"} GRADE: C"#.to_owned(),
    };
    json!({ "role": "assistant", "content": text })
}

/// Something that fits a JSON schema.
fn instance(schema: &Value) -> Value {
    if let Some(first) = schema["enum"].get(0) {
        return first.clone();
    }
    match schema["type"].as_str() {
        Some("object") => {
            let properties = schema["properties"].as_object().cloned().unwrap_or_default();
            Value::Object(properties.iter().map(|(name, of)| (name.clone(), instance(of))).collect::<Map<_, _>>())
        }
        Some("array") => json!([instance(&schema["items"])]),
        Some("number" | "integer") => json!(1),
        Some("boolean") => json!(true),
        _ => json!("all of it is there"),
    }
}

async fn stats(State(model): State<Model>) -> Json<Value> {
    let seen = model.seen.lock().expect("no panic");
    let seconds = seen.first.zip(seen.last).map_or(0.0, |(first, last)| (last - first).as_secs_f64());
    Json(json!({ "requests": seen.requests, "seconds": seconds, "most_in_flight": seen.most_in_flight }))
}

/// Asks so often, so many at once, with one body.
async fn ask(url: &str, count: usize, in_flight: usize, file: &str) {
    rustls::crypto::ring::default_provider().install_default().expect("it is the first");
    let body = Bytes::from(std::fs::read(file).expect("FILE can be read"));
    let http = reqwest::Client::new();
    let ask = |_| async {
        let request = http.post(url).header("content-type", "application/json").body(body.clone());
        let answer = request.send().await.expect("an answer").bytes().await.expect("a body");
        serde_json::from_slice::<Value>(&answer).expect("JSON")
    };
    let answered = futures_util::stream::iter(0..count).map(ask).buffer_unordered(in_flight).count().await;
    println!("{answered}");
}
