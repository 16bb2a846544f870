//! What is asked of a judge model, and what it answers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// One question to a judge model, independent of the provider.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JudgeRequest {
    /// Our instructions; never holds text from a trace.
    pub system: String,
    /// The material to judge, every untrusted text between fences.
    pub user: String,
    /// JSON schema of the answer.
    pub schema: serde_json::Value,
    /// Most tokens the answer may take.
    pub max_tokens: u32,
}

/// What a judge model answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JudgeAnswer {
    /// The text, as the model wrote it.
    pub text: String,
    /// Prompt tokens charged; `None` when the provider did not say.
    pub input_tokens: Option<u64>,
    /// Completion tokens charged; `None` when the provider did not say.
    pub output_tokens: Option<u64>,
}

/// What of a judge model's configuration changes its verdicts: part of every judge's revision.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JudgeModelIdentity {
    /// The model's name at its provider.
    pub model: String,
    /// Sampling parameters sent with every call.
    pub parameters: BTreeMap<String, serde_json::Value>,
}
