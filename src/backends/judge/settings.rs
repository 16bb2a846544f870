//! One judge model as it is configured: a `[judge.models.NAME]` table.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::Adaptations;
use crate::domain::judge::JudgeModelIdentity;
use crate::domain::money::NanoUsd;
use crate::limits::bucket::PerMinute;
use crate::limits::fleet::Limits;

/// The protocol a judge model is spoken to in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Provider {
    /// OpenAI chat completions, and whatever offers the same.
    #[default]
    Openai,
    /// Anthropic messages.
    Anthropic,
}

/// A judge model's settings.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JudgeModelSettings {
    /// Which protocol.
    #[serde(default)]
    pub provider: Provider,
    /// Where `/chat/completions` or `/messages` hangs, for example `https://host/v1`.
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
    /// Whether the model may be asked though its calls cannot be counted as money.
    #[serde(default)]
    pub allow_unpriced: bool,
    /// Longest wait for a whole answer.
    #[serde(default = "default_timeout", deserialize_with = "duration")]
    pub timeout: Duration,
    /// Calls under way at once, over the whole fleet.
    #[serde(default = "default_concurrency")]
    pub concurrency: u32,
    /// Calls in any minute, over the whole fleet.
    #[serde(default)]
    pub requests_per_minute: Option<u64>,
    /// Tokens in any minute, over the whole fleet.
    #[serde(default)]
    pub tokens_per_minute: Option<u64>,
    /// Sampling parameters sent with every call; some models refuse a temperature, so the whole table can be replaced.
    #[serde(default = "default_parameters")]
    pub parameters: BTreeMap<String, Value>,
    /// Name of the parameter that bounds the answer: `max_tokens`, or `max_completion_tokens` for newer models.
    #[serde(default = "default_max_tokens_key")]
    pub max_tokens_key: String,
    /// Whether to ask for structured output: a JSON schema of OpenAI, a tool call of Anthropic. A server that refuses it
    /// is asked without from then on.
    #[serde(default = "default_structured_output")]
    pub structured_output: bool,
}

fn default_timeout() -> Duration {
    Duration::from_secs(60)
}

fn default_concurrency() -> u32 {
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
    /// A price that is none.
    #[error("{0} must be a number of dollars, 0 or more")]
    Price(&'static str),
    /// Calls could not be counted as money.
    #[error(
        "the model has no price: set input_usd_per_mtok and output_usd_per_mtok, or allow_unpriced = true if its calls \
         are to count nothing against the budget"
    )]
    Unpriced,
    /// The HTTP client could not be built.
    #[error("the HTTP client of the judge model could not be built")]
    Client(#[source] reqwest::Error),
}

impl JudgeModelSettings {
    /// A model with the defaults of every other setting: no key, and no price, which is allowed.
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
            allow_unpriced: true,
            timeout: default_timeout(),
            concurrency: default_concurrency(),
            requests_per_minute: None,
            tokens_per_minute: None,
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

    /// Price of so many tokens; `None` when a price is not configured.
    #[must_use]
    pub fn cost(&self, input_tokens: u64, output_tokens: u64) -> Option<NanoUsd> {
        let (input, output) = (self.input_usd_per_mtok?, self.output_usd_per_mtok?);
        Some(NanoUsd::from_usd((input_tokens as f64 * input + output_tokens as f64 * output) / 1e6))
    }

    /// What the model allows the whole fleet.
    #[must_use]
    pub fn limits(&self) -> Limits {
        Limits {
            concurrency: self.concurrency,
            requests: self.requests_per_minute.map(PerMinute),
            tokens: self.tokens_per_minute.map(PerMinute),
            timeout: self.timeout,
        }
    }

    /// Whether the server takes its key as Azure does.
    pub(super) fn is_azure(&self) -> bool {
        let host = self.base_url.split("://").nth(1).and_then(|rest| rest.split(['/', ':']).next());
        host.is_some_and(|host| host.ends_with(".azure.com"))
    }

    /// Adds the sampling parameters to a request's body.
    pub(super) fn add_parameters(&self, body: &mut Value, adaptations: Adaptations) {
        let sent = self.parameters.iter().filter(|(name, _)| !adaptations.no_temperature || *name != "temperature");
        sent.for_each(|(name, value)| body[name] = value.clone());
    }

    /// What can be wrong beyond types.
    pub(super) fn check(&self) -> Result<(), SettingsError> {
        let counts = [
            ("concurrency", u64::from(self.concurrency)),
            ("requests_per_minute", self.requests_per_minute.unwrap_or(1)),
            ("tokens_per_minute", self.tokens_per_minute.unwrap_or(1)),
            ("timeout", u64::try_from(self.timeout.as_nanos()).unwrap_or(u64::MAX)),
        ];
        if let Some((name, _)) = counts.into_iter().find(|(_, count)| *count == 0) {
            return Err(SettingsError::Zero(name));
        }
        let prices =
            [("input_usd_per_mtok", self.input_usd_per_mtok), ("output_usd_per_mtok", self.output_usd_per_mtok)];
        let is_price = |price: f64| price.is_finite() && price >= 0.0;
        if let Some((name, _)) = prices.into_iter().find(|(_, price)| price.is_some_and(|price| !is_price(price))) {
            return Err(SettingsError::Price(name));
        }
        if self.cost(0, 0).is_none() && !self.allow_unpriced {
            return Err(SettingsError::Unpriced);
        }
        Ok(())
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
