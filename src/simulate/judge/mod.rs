//! A scripted judge behind a real local HTTP server, for demos and tests without a language model.
//!
//! It speaks the OpenAI chat completions wire format and decides only from the fenced text that it is shown: it
//! knows nothing of the ground truth. What it can see is stated in `support_check` and `instructions`.

mod fence;
mod instructions;
mod support_check;

#[cfg(test)]
mod tests;

use std::net::{Ipv4Addr, SocketAddr};

use axum::routing::post;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use self::fence::Shown;

/// A judge that listens on an ephemeral loopback port until it is dropped.
#[derive(Debug)]
pub struct ScriptedJudge {
    address: SocketAddr,
    server: JoinHandle<()>,
}

impl ScriptedJudge {
    /// Begins to listen.
    ///
    /// # Errors
    /// No loopback port could be bound.
    pub async fn start() -> std::io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let router = Router::new().route("/v1/chat/completions", post(complete));
        let server = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                tracing::warn!(%error, "scripted judge stopped");
            }
        });
        Ok(Self { address, server })
    }

    /// What a client takes for OpenAI's base address: `http://127.0.0.1:PORT/v1`.
    #[must_use]
    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.address)
    }
}

impl Drop for ScriptedJudge {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// The parts of a chat completions request that matter here.
#[derive(Deserialize)]
struct Request {
    model: String,
    messages: Vec<Message>,
}

#[derive(Deserialize)]
struct Message {
    role: String,
    content: Content,
}

/// Message content: a text, or a list of parts.
#[derive(Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Parts(Vec<Part>),
}

#[derive(Deserialize)]
struct Part {
    #[serde(default)]
    text: String,
}

impl Content {
    fn text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Parts(parts) => parts.iter().map(|part| part.text.as_str()).collect::<Vec<_>>().join("\n"),
        }
    }
}

/// What the judge answers, as JSON text in the completion: the reason comes before the verdict.
#[derive(Debug, Serialize)]
struct Judgement {
    reason: String,
    verdict: &'static str,
}

async fn complete(Json(request): Json<Request>) -> Json<Value> {
    let asked = request.messages.iter().filter(|message| message.role == "user");
    let asked = asked.map(|message| message.content.text()).collect::<Vec<_>>().join("\n");
    let answer = json!(judge(&asked)).to_string();
    let prompt_characters: usize = request.messages.iter().map(|message| message.content.text().len()).sum();
    let (prompt_tokens, completion_tokens) = (prompt_characters.div_ceil(4), answer.len().div_ceil(4));
    Json(json!({
        "id": "chatcmpl-scripted",
        "object": "chat.completion",
        "created": 0,
        "model": request.model,
        "choices": [{
            "index": 0,
            "message": { "role": "assistant", "content": answer },
            "finish_reason": "stop",
        }],
        "usage": {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": completion_tokens,
            "total_tokens": prompt_tokens + completion_tokens,
        },
    }))
}

/// Decides from the shown text alone.
fn judge(message: &str) -> Judgement {
    match objection(&Shown::parse(message)) {
        Some(reason) => Judgement { reason, verdict: "NO" },
        None => Judgement { reason: "nothing that was shown speaks against the answer".to_owned(), verdict: "YES" },
    }
}

fn objection(shown: &Shown) -> Option<String> {
    let Some(answer) = shown.answer.as_deref() else {
        return Some("no answer was shown".to_owned());
    };
    if answer.to_lowercase().contains("verdict") {
        return Some("the answer speaks to its judge".to_owned());
    }
    let instructions = shown.instructions.as_deref();
    support_check::objection(answer, shown)
        .or_else(|| instructions.and_then(|instructions| instructions::objection(answer, instructions)))
}
