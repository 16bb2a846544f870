//! OpenAI chat completions, as OpenAI, Azure, vLLM, Ollama and gateways speak them.

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::{Response, StatusCode, Url};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::{JudgeError, JudgeModelSettings, SettingsError};
use crate::backends::http::{innermost, retry_after};
use crate::domain::judge::{JudgeAnswer, JudgeRequest};

/// A completion with a verdict is a few kilobytes; more is not read.
const LARGEST_ANSWER: usize = 1024 * 1024;

/// One judge model, ready to be asked.
#[derive(Debug)]
pub struct JudgeClient {
    http: reqwest::Client,
    url: Url,
    settings: JudgeModelSettings,
    /// Bounds the calls under way; waiting for a turn does not count against the timeout.
    turns: Semaphore,
}

impl JudgeClient {
    /// Reads the key and builds the client; nothing is sent yet.
    ///
    /// # Errors
    /// What is wrong with the settings.
    pub fn new(settings: JudgeModelSettings) -> Result<Self, SettingsError> {
        if settings.concurrency == 0 {
            return Err(SettingsError::Zero("concurrency"));
        }
        if settings.timeout.is_zero() {
            return Err(SettingsError::Zero("timeout"));
        }
        let url =
            completions_url(&settings.base_url).ok_or_else(|| SettingsError::BaseUrl(settings.base_url.clone()))?;
        let http = reqwest::Client::builder()
            .timeout(settings.timeout)
            // A redirect would carry the key and the trace to a host that no one configured.
            .redirect(reqwest::redirect::Policy::none())
            .default_headers(authorization(settings.api_key()?)?)
            .build()
            .map_err(SettingsError::Client)?;
        Ok(Self { http, url, turns: Semaphore::new(settings.concurrency.min(Semaphore::MAX_PERMITS)), settings })
    }

    /// The settings this client was built from.
    #[must_use]
    pub const fn settings(&self) -> &JudgeModelSettings {
        &self.settings
    }

    /// Asks once.
    ///
    /// # Errors
    /// See [`JudgeError::is_transient`] for which may be asked again.
    pub async fn complete(&self, request: &JudgeRequest) -> Result<JudgeAnswer, JudgeError> {
        // The semaphore is never closed, so a refused turn cannot happen; without one the call goes ahead.
        let _turn = self.turns.acquire().await.ok();
        let sent = self.http.post(self.url.clone()).json(&self.body(request)).send().await;
        let mut response = sent.map_err(|error| self.network_error(&error))?;
        let status = response.status();
        let retry_after = retry_after(response.headers());
        let body = self.read(&mut response).await?;
        match status {
            StatusCode::TOO_MANY_REQUESTS => Err(JudgeError::RateLimited { retry_after }),
            StatusCode::REQUEST_TIMEOUT => Err(JudgeError::Unavailable { status: status.as_u16(), retry_after }),
            status if status.is_server_error() => Err(JudgeError::Unavailable { status: status.as_u16(), retry_after }),
            status if !status.is_success() => {
                Err(JudgeError::Refused { status: status.as_u16(), code: error_code(&body) })
            }
            _ => answer(&body),
        }
    }

    fn body(&self, request: &JudgeRequest) -> Value {
        let mut body = json!({
            "model": self.settings.model,
            "messages": [
                { "role": "system", "content": request.system },
                { "role": "user", "content": request.user },
            ],
        });
        body[&self.settings.max_tokens_key] = json!(request.max_tokens);
        if self.settings.structured_output {
            let schema = json!({ "name": "verdict", "strict": true, "schema": request.schema });
            body["response_format"] = json!({ "type": "json_schema", "json_schema": schema });
        }
        for (name, value) in &self.settings.parameters {
            body[name] = value.clone();
        }
        body
    }

    async fn read(&self, response: &mut Response) -> Result<Vec<u8>, JudgeError> {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.network_error(&error))? {
            if body.len() + chunk.len() > LARGEST_ANSWER {
                return Err(JudgeError::TooLarge { limit: LARGEST_ANSWER });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    fn network_error(&self, error: &reqwest::Error) -> JudgeError {
        if error.is_timeout() {
            return JudgeError::Timeout { after: self.settings.timeout };
        }
        let host = self.url.host_str().unwrap_or_default();
        let host = self.url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        JudgeError::Connection { host, problem: innermost(error) }
    }
}

fn completions_url(base_url: &str) -> Option<Url> {
    let mut url = Url::parse(base_url).ok().filter(|url| matches!(url.scheme(), "http" | "https"))?;
    // The path alone is extended: Azure-style base URLs carry a query.
    url.path_segments_mut().ok()?.pop_if_empty().extend(["chat", "completions"]);
    Some(url)
}

fn authorization(key: Option<String>) -> Result<HeaderMap, SettingsError> {
    let mut headers = HeaderMap::new();
    if let Some(key) = key {
        let mut value = HeaderValue::from_str(&format!("Bearer {key}")).map_err(|_| SettingsError::KeyCharacters)?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    Ok(headers)
}

/// The provider's code or type of an error. Its message is left out: providers quote the request in it.
fn error_code(body: &[u8]) -> String {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let error = &body["error"];
    let code = error["code"].as_str().or_else(|| error["type"].as_str()).unwrap_or("no error code");
    code.chars().filter(|character| !character.is_control()).take(60).collect()
}

#[derive(Deserialize)]
struct Completion {
    choices: Vec<Choice>,
    usage: Option<Usage>,
}

#[derive(Deserialize)]
struct Choice {
    message: Message,
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

fn answer(body: &[u8]) -> Result<JudgeAnswer, JudgeError> {
    let completion: Completion = serde_json::from_slice(body).map_err(|_| JudgeError::Unreadable)?;
    let message = completion.choices.into_iter().next().ok_or(JudgeError::Unreadable)?.message;
    match (message.content.filter(|text| !text.is_empty()), message.refusal) {
        (Some(text), _) => Ok(JudgeAnswer {
            text,
            input_tokens: completion.usage.as_ref().and_then(|usage| usage.prompt_tokens),
            output_tokens: completion.usage.as_ref().and_then(|usage| usage.completion_tokens),
        }),
        (None, Some(_)) => Err(JudgeError::Declined),
        (None, None) => Err(JudgeError::Unreadable),
    }
}
