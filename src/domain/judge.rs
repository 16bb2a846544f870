//! What is asked of a judge model, and what it answers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// One question to a judge model, independent of the provider.
#[derive(Debug, Clone, PartialEq)]
pub struct JudgeRequest {
    /// Our instructions; never holds text from a trace.
    pub system: String,
    /// The material to judge, every untrusted text between fences.
    pub user: String,
    /// JSON schema of the answer.
    pub schema: &'static serde_json::Value,
    /// Most tokens the answer may take.
    pub max_tokens: u32,
}

/// What is said to a model whose answer could not be read. The answer itself is not shown to it again: it may repeat text
/// of the trace, which would then stand outside its fences.
pub const REPAIR: &str = "You have answered this before, and your answer could not be read. Answer again, from the same \
                          material, with nothing but one JSON object that has the keys \"reason\", one sentence in your \
                          own words, and \"verdict\", which is \"YES\" or \"NO\".";

impl JudgeRequest {
    /// The same question, asked again of a model that wrote what cannot be read.
    #[must_use]
    pub fn repaired(&self) -> Self {
        Self { user: format!("{}\n\n{REPAIR}", self.user), ..self.clone() }
    }
}

/// What a judge model answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JudgeAnswer {
    /// The text, as the model wrote it.
    pub text: String,
    /// The model that answered, as the provider names it.
    pub model: Option<String>,
    /// Tokens charged; `None` when the provider did not say.
    pub usage: Option<TokenUsage>,
}

/// Tokens that one call took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenUsage {
    /// Prompt tokens, whether cached by the provider or not.
    pub input: u64,
    /// Tokens of the answer, reasoning included.
    pub output: u64,
}

/// What of a judge model's configuration changes its verdicts: part of every judge's revision.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JudgeModelIdentity {
    /// The model's name at its provider.
    pub model: String,
    /// Sampling parameters sent with every call.
    pub parameters: BTreeMap<String, serde_json::Value>,
}
