//! One judge model as it is configured: a `[judge.models.NAME]` table.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::domain::judge::JudgeModelIdentity;

/// The protocol a judge model is spoken to in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Provider {
    /// OpenAI chat completions, and whatever offers the same.
    #[default]
    Openai,
}

/// A judge model's settings.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JudgeModelSettings {
    /// Which protocol.
    #[serde(default)]
    pub provider: Provider,
    /// Where `/chat/completions` hangs, for example `https://host/v1`.
    pub base_url: String,
    /// The model's name at its provider.
    pub model: String,
    /// Environment variable that holds the key.
    #[serde(default)]
    pub api_key_env: Option<String>,
    /// File that holds the key.
    #[serde(default)]
    pub api_key_file: Option<PathBuf>,
    /// Price of a million prompt tokens in US dollars.
    #[serde(default)]
    pub input_usd_per_mtok: Option<f64>,
    /// Price of a million completion tokens in US dollars.
    #[serde(default)]
    pub output_usd_per_mtok: Option<f64>,
    /// Longest wait for a whole answer.
    #[serde(default = "default_timeout", deserialize_with = "duration")]
    pub timeout: Duration,
    /// Calls under way at once.
    #[serde(default = "default_concurrency")]
    pub concurrency: usize,
    /// Sampling parameters sent with every call; some models refuse a temperature, so the whole table can be replaced.
    #[serde(default = "default_parameters")]
    pub parameters: BTreeMap<String, Value>,
    /// Name of the parameter that bounds the answer: `max_tokens`, or `max_completion_tokens` for newer models.
    #[serde(default = "default_max_tokens_key")]
    pub max_tokens_key: String,
    /// Whether the provider takes `response_format = json_schema`.
    #[serde(default = "default_structured_output")]
    pub structured_output: bool,
}

fn default_timeout() -> Duration {
    Duration::from_secs(60)
}

fn default_concurrency() -> usize {
    8
}

fn default_parameters() -> BTreeMap<String, Value> {
    BTreeMap::from([("temperature".to_owned(), Value::from(0))])
}

fn default_max_tokens_key() -> String {
    "max_tokens".to_owned()
}

fn default_structured_output() -> bool {
    true
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    humantime::parse_duration(&text)
        .map_err(|error| serde::de::Error::custom(format!("{text:?} is no duration such as \"60s\": {error}")))
}

/// Why a judge model cannot be used as it is configured.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The base URL is no URL of ours to call.
    #[error("base_url {0:?} is no http or https URL")]
    BaseUrl(String),
    /// Both places of a key are set.
    #[error("api_key_env and api_key_file are both set; keep one")]
    TwoKeys,
    /// The variable is not set, or blank.
    #[error("the environment variable {0} named by api_key_env is not set")]
    KeyVariable(String),
    /// The file cannot be read, or is blank.
    #[error("the file {0} named by api_key_file holds no key that can be read")]
    KeyFile(PathBuf),
    /// The key cannot be sent in a header.
    #[error("the API key holds characters that cannot be sent")]
    KeyCharacters,
    /// A number that makes no sense.
    #[error("{0} must be greater than zero")]
    Zero(&'static str),
    /// The HTTP client could not be built.
    #[error("the HTTP client of the judge model could not be built")]
    Client(#[source] reqwest::Error),
}

impl JudgeModelSettings {
    /// A model with the defaults of every other setting: no key, no price.
    #[must_use]
    pub fn new(provider: Provider, base_url: String, model: &str) -> Self {
        Self {
            provider,
            base_url,
            model: model.to_owned(),
            api_key_env: None,
            api_key_file: None,
            input_usd_per_mtok: None,
            output_usd_per_mtok: None,
            timeout: default_timeout(),
            concurrency: default_concurrency(),
            parameters: default_parameters(),
            max_tokens_key: default_max_tokens_key(),
            structured_output: default_structured_output(),
        }
    }

    /// What of these settings changes a verdict.
    #[must_use]
    pub fn identity(&self) -> JudgeModelIdentity {
        JudgeModelIdentity { model: self.model.clone(), parameters: self.parameters.clone() }
    }

    /// Price of so many tokens in US dollars; `None` when a price is not configured.
    #[must_use]
    pub fn cost_usd(&self, input_tokens: u64, output_tokens: u64) -> Option<f64> {
        let (input, output) = (self.input_usd_per_mtok?, self.output_usd_per_mtok?);
        Some((input_tokens as f64 * input + output_tokens as f64 * output) / 1e6)
    }

    /// The API key, if one is configured.
    pub(super) fn api_key(&self) -> Result<Option<String>, SettingsError> {
        let key = match (&self.api_key_env, &self.api_key_file) {
            (Some(_), Some(_)) => return Err(SettingsError::TwoKeys),
            (None, None) => return Ok(None),
            (Some(name), None) => {
                std::env::var(name).ok().and_then(not_blank).ok_or_else(|| SettingsError::KeyVariable(name.clone()))
            }
            (None, Some(path)) => std::fs::read_to_string(path)
                .ok()
                .and_then(not_blank)
                .ok_or_else(|| SettingsError::KeyFile(path.clone())),
        };
        key.map(Some)
    }
}

fn not_blank(key: String) -> Option<String> {
    let key = key.trim();
    (!key.is_empty()).then(|| key.to_owned())
}
