//! Anthropic messages. The verdict is the input of a tool that the model must call.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Adaptations, JudgeError, JudgeModelSettings};
use crate::domain::judge::{JudgeAnswer, JudgeRequest, TokenUsage};

/// Where messages hang below the base URL.
pub(super) const PATH: &[&str] = &["messages"];
/// The version of the protocol (Anthropic API, versions).
pub(super) const VERSION: &str = "2023-06-01";
pub(super) const VERSION_HEADER: &str = "anthropic-version";
pub(super) const KEY_HEADER: &str = "x-api-key";
const TOOL: &str = "verdict";

pub(super) fn body(settings: &JudgeModelSettings, adaptations: Adaptations, request: &JudgeRequest) -> Value {
    let mut body = json!({
        "model": settings.model,
        "max_tokens": request.max_tokens,
        "system": request.system,
        "messages": [{ "role": "user", "content": request.user }],
    });
    if settings.structured_output && !adaptations.no_structure {
        let tool = json!({ "name": TOOL, "description": "Gives the verdict.", "input_schema": request.schema });
        body["tools"] = json!([tool]);
        body["tool_choice"] = json!({ "type": "tool", "name": TOOL });
    }
    settings.add_parameters(&mut body, adaptations);
    body
}

#[derive(Deserialize)]
struct Message {
    model: Option<String>,
    content: Vec<Block>,
    stop_reason: Option<String>,
    usage: Option<Usage>,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Block {
    Text {
        text: String,
    },
    ToolUse {
        input: Value,
    },
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct Usage {
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    cache_creation_input_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
}

impl Usage {
    fn tokens(&self) -> Option<TokenUsage> {
        let cached = [self.cache_creation_input_tokens, self.cache_read_input_tokens];
        let cached: u64 = cached.into_iter().flatten().sum();
        Some(TokenUsage { input: self.input_tokens?.saturating_add(cached), output: self.output_tokens? })
    }
}

pub(super) fn answer(body: &[u8]) -> Result<JudgeAnswer, JudgeError> {
    let message: Message = serde_json::from_slice(body).map_err(|_| JudgeError::Unreadable)?;
    let usage = message.usage.as_ref().and_then(Usage::tokens);
    if message.stop_reason.as_deref() == Some("refusal") {
        return Err(JudgeError::Declined { usage });
    }
    let text = verdict_text(&message.content).ok_or(JudgeError::Unreadable)?;
    Ok(JudgeAnswer { text, model: message.model, usage })
}

/// The tool's input where it was called, else everything that was written.
fn verdict_text(content: &[Block]) -> Option<String> {
    let called = content.iter().find_map(|block| match block {
        Block::ToolUse { input } => Some(input.to_string()),
        Block::Text { .. } | Block::Other => None,
    });
    called.or_else(|| {
        let texts = content.iter().filter_map(|block| match block {
            Block::Text { text } => Some(text.as_str()),
            Block::ToolUse { .. } | Block::Other => None,
        });
        Some(texts.collect::<String>()).filter(|text| !text.is_empty())
    })
}
