//! Sends one request to a judge model and reads one answer, whatever the protocol.

use std::io;
use std::sync::Mutex;

use reqwest::header::{HeaderMap, HeaderValue};
use reqwest::{Response, StatusCode, Url};
use serde_json::Value;

use super::{Adaptations, JudgeError, JudgeModelSettings, Provider, SettingsError, anthropic, openai};
use crate::backends::http::{innermost, retry_after};
use crate::domain::judge::{JudgeAnswer, JudgeRequest};
use crate::domain::money::NanoUsd;

/// An answer with a verdict is a few kilobytes; more is not read.
const LARGEST_ANSWER: usize = 1024 * 1024;
/// Tokens that a provider may add to a prompt: the frame around messages, tool use and schema (Anthropic documents up
/// to some hundred for tool use).
const FRAME_TOKENS: u64 = 1_000;

/// One judge model, ready to be asked.
#[derive(Debug)]
pub struct JudgeClient {
    http: reqwest::Client,
    url: Url,
    settings: JudgeModelSettings,
    /// What this server turned out not to take; found out once, by a request that it refused.
    adaptations: Mutex<Adaptations>,
}

impl JudgeClient {
    /// Reads the key and builds the client; nothing is sent yet.
    ///
    /// # Errors
    /// What is wrong with the settings.
    pub fn new(settings: JudgeModelSettings) -> Result<Self, SettingsError> {
        settings.check()?;
        let path: &[&str] = match settings.provider {
            Provider::Openai => openai::PATH,
            Provider::Anthropic => anthropic::PATH,
        };
        let url = url(&settings.base_url, path).ok_or_else(|| SettingsError::BaseUrl(settings.base_url.clone()))?;
        let http = reqwest::Client::builder()
            .timeout(settings.timeout)
            // A redirect would carry the key and the trace to a host that no one configured.
            .redirect(reqwest::redirect::Policy::none())
            .default_headers(headers(&settings)?)
            .build()
            .map_err(SettingsError::Client)?;
        Ok(Self { http, url, settings, adaptations: Mutex::default() })
    }

    /// The settings this client was built from.
    #[must_use]
    pub const fn settings(&self) -> &JudgeModelSettings {
        &self.settings
    }

    /// Asks once: one request leaves.
    ///
    /// # Errors
    /// See [`JudgeError::is_transient`] for which may be asked again, and [`JudgeError::Adapted`] for which at once.
    pub async fn complete(&self, request: &JudgeRequest) -> Result<JudgeAnswer, JudgeError> {
        let adaptations = self.adaptations();
        let body = match self.settings.provider {
            Provider::Openai => openai::body(&self.settings, adaptations, request),
            Provider::Anthropic => anthropic::body(&self.settings, adaptations, request),
        };
        let sent = self.http.post(self.url.clone()).json(&body).send().await;
        let mut response = sent.map_err(|error| self.network_error(&error))?;
        let status = response.status();
        let retry_after = retry_after(response.headers());
        let body = self.read(&mut response).await?;
        match status {
            StatusCode::TOO_MANY_REQUESTS => Err(JudgeError::RateLimited { retry_after }),
            StatusCode::REQUEST_TIMEOUT => Err(JudgeError::Unavailable { status: status.as_u16(), retry_after }),
            status if status.is_server_error() => Err(JudgeError::Unavailable { status: status.as_u16(), retry_after }),
            status if !status.is_success() => Err(self.refused(status.as_u16(), &body, adaptations)),
            _ => match self.settings.provider {
                Provider::Openai => openai::answer(&body),
                Provider::Anthropic => anthropic::answer(&body),
            },
        }
    }

    /// The most that a request can cost: a token is at least a byte of the prompt. `None` without a price.
    #[must_use]
    pub fn most_it_can_cost(&self, request: &JudgeRequest) -> Option<NanoUsd> {
        self.settings.cost(bytes(request) + FRAME_TOKENS, u64::from(request.max_tokens))
    }

    /// Tokens that a request takes, about: what providers count towards their limits before they know.
    #[must_use]
    pub fn tokens_it_takes(&self, request: &JudgeRequest) -> u64 {
        bytes(request).div_ceil(4) + u64::from(request.max_tokens)
    }

    fn adaptations(&self) -> Adaptations {
        *self.adaptations.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// A refusal may be about a parameter that we can do without. Its message is read for that and never repeated:
    /// providers quote the request in it.
    fn refused(&self, status: u16, body: &[u8], used: Adaptations) -> JudgeError {
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let error = if body["error"].is_object() { &body["error"] } else { &body };
        if matches!(status, 400 | 404 | 422) {
            let said = format!("{} {}", error["param"], body).to_lowercase();
            let mut adaptations = self.adaptations.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            if *adaptations != used {
                return JudgeError::Adapted;
            }
            if let Some(what) = adaptations.adapt(&said, &self.settings) {
                tracing::info!(
                    model = self.settings.model,
                    what,
                    "judge model does not take a parameter; going without"
                );
                return JudgeError::Adapted;
            }
        }
        let code = error["code"].as_str().or_else(|| error["type"].as_str()).unwrap_or("no error code");
        JudgeError::Refused { status, code: code.chars().filter(|it| !it.is_control()).take(60).collect() }
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
        if error.is_timeout() && !error.is_connect() {
            return JudgeError::Timeout { after: self.settings.timeout };
        }
        let host = self.url.host_str().unwrap_or_default();
        let host = self.url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        JudgeError::Connection { host, problem: innermost(error), has_left: !error.is_connect() }
    }
}

fn bytes(request: &JudgeRequest) -> u64 {
    (request.system.len() + request.user.len()) as u64 + json_bytes(request.schema)
}

/// How long a value is as JSON, which is not written for that.
fn json_bytes(value: &Value) -> u64 {
    struct Count(u64);
    impl io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 += bytes.len() as u64;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    // Neither a value nor counting can fail.
    let _written = serde_json::to_writer(&mut count, value);
    count.0
}

fn url(base_url: &str, path: &[&str]) -> Option<Url> {
    let mut url = Url::parse(base_url).ok().filter(|url| matches!(url.scheme(), "http" | "https"))?;
    // The path alone is extended: Azure-style base URLs carry a query.
    url.path_segments_mut().ok()?.pop_if_empty().extend(path);
    Some(url)
}

/// The key under each name that servers of the protocol look for it.
fn headers(settings: &JudgeModelSettings) -> Result<HeaderMap, SettingsError> {
    let mut headers = HeaderMap::new();
    if settings.provider == Provider::Anthropic {
        headers.insert(anthropic::VERSION_HEADER, HeaderValue::from_static(anthropic::VERSION));
    }
    if let Some(key) = settings.api_key()? {
        let (name, value) = match settings.provider {
            Provider::Openai if settings.is_azure() => ("api-key", key),
            Provider::Openai => ("authorization", format!("Bearer {key}")),
            Provider::Anthropic => (anthropic::KEY_HEADER, key),
        };
        let mut value = HeaderValue::from_str(&value).map_err(|_| SettingsError::KeyCharacters)?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    Ok(headers)
}
