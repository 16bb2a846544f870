//! Posts bodies over HTTP: telemetry to OTLP endpoints and messages to webhooks. One attempt a call.

use std::error::Error as _;
use std::time::Duration;

pub use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Response, StatusCode, Url};
use serde_json::Value;

use crate::domain::time::Timestamp;

/// Longest wait for an answer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Waits between attempts while someone waits for the last of them.
const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// Characters that are kept of a refusal's text.
const LONGEST_REASON: usize = 200;
/// Bytes of a refusal that are read: some repeat all that was sent to them.
const LONGEST_REFUSAL: usize = 256 * 1024;
/// How deep a refusal's words are looked for.
const DEEPEST_REASON: usize = 4;

/// Why a body was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The connection could not be made, broke, or took too long.
    #[error("{host} did not answer: {problem}")]
    Connection {
        /// Host and port.
        host: String,
        /// The innermost cause.
        problem: String,
    },
    /// The receiver asks to come back later, or is in trouble.
    #[error("{host} answered with status {status}, which asks to come back later")]
    Later {
        /// Host and port.
        host: String,
        /// HTTP status.
        status: u16,
        /// How long to wait, when the receiver says so.
        retry_after: Option<Duration>,
    },
    /// The answer is larger than any should be.
    #[error("{host} answered with more than {limit} bytes")]
    TooLarge {
        /// Host and port.
        host: String,
        /// Bytes that are read at most.
        limit: usize,
    },
    /// The receiver will not take this body, however often it is sent.
    #[error("{host} refused with status {status}: {reason}")]
    Refused {
        /// Host and port.
        host: String,
        /// HTTP status.
        status: u16,
        /// The start of what the receiver said for itself, without what it repeats of the body.
        reason: String,
    },
}

impl SendError {
    /// How long the receiver asks to wait.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Later { retry_after, .. } => *retry_after,
            Self::Connection { .. } | Self::TooLarge { .. } | Self::Refused { .. } => None,
        }
    }
}

/// Why an address cannot be sent to.
#[derive(Debug, thiserror::Error)]
pub enum AddressError {
    /// It is no URL of ours to call.
    #[error("{0:?} is no http or https URL")]
    Url(String),
    /// A header that cannot be sent.
    #[error("the header {0:?} or its value holds characters that cannot be sent")]
    Header(String),
    /// The HTTP client could not be built.
    #[error("the HTTP client could not be built")]
    Client(#[source] reqwest::Error),
}

/// An answer, whatever it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reached {
    /// HTTP status.
    pub status: u16,
    /// What the server's clock says.
    pub date: Option<Timestamp>,
}

/// Sends to one address.
#[derive(Debug, Clone)]
pub struct HttpSender {
    http: reqwest::Client,
    base: Url,
}

impl HttpSender {
    /// A sender to an http or https URL; nothing is sent yet.
    ///
    /// # Errors
    /// The address is none.
    pub fn new(url: &str) -> Result<Self, AddressError> {
        Self::with(url, TIMEOUT, None)
    }

    /// As [`HttpSender::new`], with a longest wait and a header, name and secret value, of one's own.
    ///
    /// # Errors
    /// The address or the header is none.
    pub fn with(url: &str, timeout: Duration, header: Option<(&str, &str)>) -> Result<Self, AddressError> {
        let usable = |url: &Url| matches!(url.scheme(), "http" | "https") && url.has_host();
        let base = Url::parse(url).ok().filter(usable).ok_or_else(|| AddressError::Url(without_password(url)))?;
        // A redirect would carry what we send to a host that no one configured.
        let builder = reqwest::Client::builder().timeout(timeout).redirect(reqwest::redirect::Policy::none());
        let builder = builder.default_headers(header.map_or_else(|| Ok(HeaderMap::new()), headers)?);
        Ok(Self { http: builder.build().map_err(AddressError::Client)?, base })
    }

    /// The address as it may be shown: without user, password and query, which can hold secrets.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}://{}{}", self.base.scheme(), self.host(), self.base.path())
    }

    /// Posts a body to the address itself.
    ///
    /// # Errors
    /// The body was not taken.
    pub async fn post(&self, content_type: &'static str, body: Vec<u8>) -> Result<(), SendError> {
        self.post_to(self.base.clone(), content_type, body).await
    }

    /// Posts a body to a path below the address, for example `v1/traces` (OTLP/HTTP request).
    ///
    /// # Errors
    /// The body was not taken.
    pub async fn post_below(&self, path: &str, content_type: &'static str, body: Vec<u8>) -> Result<(), SendError> {
        self.post_to(self.below(path), content_type, body).await
    }

    /// Sends JSON to a path below the address, with a query if it has one, and reads what it answers, at most `limit`
    /// bytes.
    ///
    /// # Errors
    /// The body was not taken, or the answer is larger.
    pub async fn call_below(
        &self,
        method: Method,
        path: &str,
        body: Vec<u8>,
        limit: usize,
    ) -> Result<Vec<u8>, SendError> {
        let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
        let mut url = self.below(path);
        url.set_query(query);
        let response = self.response(method, url, "application/json", body).await?;
        self.read(response, limit).await
    }

    /// Asks the address for an answer, whatever it is.
    ///
    /// # Errors
    /// There is none.
    pub async fn reach(&self) -> Result<Reached, SendError> {
        let sent = self.http.get(self.base.clone()).send().await;
        let response = sent.map_err(|error| SendError::Connection { host: self.host(), problem: innermost(&error) })?;
        Ok(Reached { status: response.status().as_u16(), date: date(response.headers()) })
    }

    /// The error of a receiver whose answer says in its body that something was not taken.
    #[must_use]
    pub fn refusal(&self, status: u16, reason: &str) -> SendError {
        let host = self.host();
        match StatusCode::from_u16(status) {
            Ok(code) if asks_to_come_back(code) => SendError::Later { host, status, retry_after: None },
            _ => SendError::Refused { host, status, reason: shown(reason) },
        }
    }

    /// Posts a body to a path below the address, up to `attempts` times while the receiver is away or asks to come back.
    ///
    /// # Errors
    /// The body was refused, or not taken in the last attempt.
    pub async fn insist(
        &self,
        path: &str,
        content_type: &'static str,
        body: Vec<u8>,
        attempts: u32,
    ) -> Result<(), SendError> {
        let mut attempt = 1;
        loop {
            match self.post_below(path, content_type, body.clone()).await {
                Err(error) if attempt < attempts && !matches!(error, SendError::Refused { .. }) => {
                    let doubled = FIRST_WAIT.saturating_mul(2_u32.saturating_pow(attempt - 1));
                    tokio::time::sleep(error.retry_after().unwrap_or(doubled).min(LONGEST_WAIT)).await;
                    attempt += 1;
                }
                sent => return sent,
            }
        }
    }

    /// Posts JSON to the address itself and reads what it answers, at most `limit` bytes.
    ///
    /// # Errors
    /// There is no such answer.
    pub async fn ask(&self, body: Vec<u8>, limit: usize) -> Result<Vec<u8>, SendError> {
        let response = self.response(Method::POST, self.base.clone(), "application/json", body).await?;
        self.read(response, limit).await
    }

    async fn read(&self, mut response: Response, limit: usize) -> Result<Vec<u8>, SendError> {
        let broken = |error| SendError::Connection { host: self.host(), problem: innermost(&error) };
        let mut answer = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(broken)? {
            if answer.len() + chunk.len() > limit {
                return Err(SendError::TooLarge { host: self.host(), limit });
            }
            answer.extend_from_slice(&chunk);
        }
        Ok(answer)
    }

    async fn post_to(&self, url: Url, content_type: &'static str, body: Vec<u8>) -> Result<(), SendError> {
        self.response(Method::POST, url, content_type, body).await.map(drop)
    }

    fn below(&self, path: &str) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path.split('/'));
        }
        url
    }

    /// The answer of a receiver that took the body.
    async fn response(
        &self,
        method: Method,
        url: Url,
        content_type: &'static str,
        body: Vec<u8>,
    ) -> Result<Response, SendError> {
        let host = self.host();
        let sent = self.http.request(method, url).header(CONTENT_TYPE, content_type).body(body).send().await;
        let response =
            sent.map_err(|error| SendError::Connection { host: host.clone(), problem: innermost(&error) })?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let retry_after = retry_after(response.headers());
        if asks_to_come_back(status) {
            return Err(SendError::Later { host, status: status.as_u16(), retry_after });
        }
        Err(SendError::Refused { host, status: status.as_u16(), reason: reason(response).await })
    }

    fn host(&self) -> String {
        let host = self.base.host_str().unwrap_or_default();
        self.base.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
    }
}

fn headers((name, value): (&str, &str)) -> Result<HeaderMap, AddressError> {
    let wrong = || AddressError::Header(name.to_owned());
    let mut secret = HeaderValue::from_str(value).map_err(|_| wrong())?;
    secret.set_sensitive(true);
    let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong())?;
    Ok(HeaderMap::from_iter([(name, secret)]))
}

/// Text that was meant as an address, without what stands before its last `@`.
fn without_password(url: &str) -> String {
    url.rsplit_once('@').map_or_else(|| url.to_owned(), |(_, host)| format!("…@{host}"))
}

/// A server in trouble will be well again; one that does not implement what is asked will not.
fn asks_to_come_back(status: StatusCode) -> bool {
    let is_trouble = status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED;
    is_trouble || matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT)
}

/// Why a receiver refuses; what is too long, and may never end, is not read on.
async fn reason(mut response: Response) -> String {
    let mut body = Vec::new();
    while body.len() < LONGEST_REFUSAL
        && let Ok(Some(chunk)) = response.chunk().await
    {
        body.extend_from_slice(&chunk);
    }
    shown(&said(&body))
}

/// What a receiver says for itself. JSON may repeat what was sent, which is text of traces: of it only what is meant as a
/// reason is taken, and nothing of what cannot be read.
fn said(body: &[u8]) -> String {
    let body = body.trim_ascii_start();
    match serde_json::from_slice(body) {
        Ok(answer @ Value::Object(_)) => words(&answer, DEEPEST_REASON).join(": "),
        Ok(_) => String::new(),
        Err(_) if body.starts_with(b"{") || body.starts_with(b"[") => String::new(),
        Err(_) => String::from_utf8_lossy(body).into_owned(),
    }
}

/// The words of a reason, and of what it holds. FastAPI says of each mistake where it is, what, and of which kind, beside
/// the `input` itself.
fn words(value: &Value, depth: usize) -> Vec<String> {
    match value {
        Value::String(text) => vec![text.clone()],
        Value::Number(number) => vec![number.to_string()],
        Value::Array(list) if depth > 0 => list.iter().flat_map(|value| words(value, depth - 1)).collect(),
        Value::Object(object) if depth > 0 => {
            let known = ["error", "message", "detail", "loc", "msg", "type"];
            known.iter().filter_map(|key| object.get(*key)).flat_map(|value| words(value, depth - 1)).collect()
        }
        _ => Vec::new(),
    }
}

fn shown(text: &str) -> String {
    text.chars().filter(|character| !character.is_control()).take(LONGEST_REASON).collect()
}

/// The last cause of an error: the one that says what happened, and never the URL or the body.
pub(super) fn innermost(error: &reqwest::Error) -> String {
    let mut cause = error.source();
    let mut text = "no further cause".to_owned();
    while let Some(error) = cause {
        text = error.to_string();
        cause = error.source();
    }
    text
}

/// The `Date` of an answer, in the one format that servers may write (RFC 9110 section 5.6.7).
fn date(headers: &HeaderMap) -> Option<Timestamp> {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let text = headers.get(reqwest::header::DATE)?.to_str().ok()?;
    let words: Vec<&str> = text.split_whitespace().collect();
    let [_, day, month, year, time, "GMT"] = words[..] else { return None };
    let month = MONTHS.iter().position(|name| *name == month)? + 1;
    let instant = humantime::parse_rfc3339(&format!("{year}-{month:02}-{day}T{time}Z")).ok()?;
    let nanos = instant.duration_since(std::time::UNIX_EPOCH).ok()?.as_nanos();
    i64::try_from(nanos).ok().map(Timestamp)
}

/// `retry-after-ms`, else `Retry-After` in seconds; a date is not understood and counts as not said.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let number = |name: &str| headers.get(name)?.to_str().ok()?.trim().parse::<f64>().ok();
    let seconds = number("retry-after-ms").map(|milliseconds| milliseconds / 1e3).or_else(|| number("retry-after"))?;
    Duration::try_from_secs_f64(seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_refusal_its_reason_is_told_and_nothing_that_it_repeats() {
        let fastapi = r#"{"detail":[{"type":"string_type","loc":["body","data",0,"name"],"input":{"note":"ann's secret"},
            "msg":"Input should be a valid string","ctx":{"error":"ann's secret"},"url":"https://errors.pydantic.dev"}]}"#;
        let truncated = &fastapi[..fastapi.len() - 9];
        for (body, told) in [
            (fastapi, "body: data: 0: name: Input should be a valid string: string_type"),
            (truncated, ""),
            (r#"{"detail":"Not authenticated","body":"ann's secret"}"#, "Not authenticated"),
            (r#"{"error":{"message":"no such project","param":"ann's secret"}}"#, "no such project"),
            (r#"{"error_code":"RESOURCE_DOES_NOT_EXIST","message":"no such trace"}"#, "no such trace"),
            (r#"{"spans":[{"name":"ann's secret"}]}"#, ""),
            (r#"["ann's secret"]"#, ""),
            ("invalid_payload", "invalid_payload"),
        ] {
            assert_eq!(said(body.as_bytes()), told, "{body}");
        }
        let deep = format!("{}\"ann's secret\"{}", "[".repeat(50), "]".repeat(50));
        assert_eq!(said(deep.as_bytes()), "");
    }
}
