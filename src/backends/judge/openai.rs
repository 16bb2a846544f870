//! OpenAI chat completions, as OpenAI, Azure, vLLM, Ollama and gateways speak them.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Adaptations, JudgeError, JudgeModelSettings};
use crate::domain::judge::{JudgeAnswer, JudgeRequest, TokenUsage};

/// Where completions hang below the base URL.
pub(super) const PATH: &[&str] = &["chat", "completions"];

pub(super) fn body(settings: &JudgeModelSettings, adaptations: Adaptations, request: &JudgeRequest) -> Value {
    let messages = json!([
        { "role": "system", "content": request.system },
        { "role": "user", "content": request.user },
    ]);
    let mut body = json!({ "model": settings.model, "messages": messages });
    body[max_tokens_key(settings, adaptations)] = json!(request.max_tokens);
    if settings.structured_output && !adaptations.no_structure {
        let schema = json!({ "name": "verdict", "strict": true, "schema": request.schema });
        body["response_format"] = json!({ "type": "json_schema", "json_schema": schema });
    }
    settings.add_parameters(&mut body, adaptations);
    body
}

fn max_tokens_key(settings: &JudgeModelSettings, adaptations: Adaptations) -> &str {
    match (adaptations.other_max_tokens, settings.max_tokens_key.as_str()) {
        (true, "max_tokens") => "max_completion_tokens",
        (true, _) => "max_tokens",
        (false, key) => key,
    }
}

#[derive(Deserialize)]
struct Completion {
    model: Option<String>,
    choices: Vec<Choice>,
    usage: Option<Usage>,
}

#[derive(Deserialize)]
struct Choice {
    message: Message,
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Message {
    content: Option<String>,
    refusal: Option<String>,
}

#[derive(Deserialize)]
struct Usage {
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
}

impl Usage {
    fn tokens(&self) -> Option<TokenUsage> {
        Some(TokenUsage { input: self.prompt_tokens?, output: self.completion_tokens? })
    }
}

pub(super) fn answer(body: &[u8]) -> Result<JudgeAnswer, JudgeError> {
    let completion: Completion = serde_json::from_slice(body).map_err(|_| JudgeError::Unreadable)?;
    let usage = completion.usage.as_ref().and_then(Usage::tokens);
    let choice = completion.choices.into_iter().next().ok_or(JudgeError::Unreadable)?;
    let is_filtered = choice.finish_reason.as_deref() == Some("content_filter");
    match (choice.message.content.filter(|text| !text.is_empty()), choice.message.refusal) {
        (Some(text), _) if !is_filtered => Ok(JudgeAnswer { text, model: completion.model, usage }),
        (_, Some(_)) => Err(JudgeError::Declined { usage }),
        (_, None) if is_filtered => Err(JudgeError::Declined { usage }),
        _ => Err(JudgeError::Unreadable),
    }
}
