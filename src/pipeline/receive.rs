//! OTLP/HTTP: traces pushed by SDKs and collectors (OTLP specification 1.x, OTLP/HTTP).
//!
//! A request is answered 200 when its spans are committed. Spans that cannot be read are reported as a partial success
//! and harm no other.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use futures_util::StreamExt as _;

use super::intake::{Intake, NotStored};
use crate::otlp::{
    Compression, DecompressError, Encoding, Signal, SplitTraces, accepted_body, decode_traces, decompress,
    split_by_trace, status_body,
};
use crate::telemetry::metrics::{Metrics, Transport};

/// When a sender that was turned away should come back.
const RETRY_AFTER_SECONDS: &str = "1";

/// A body that is too large is read up to this many times the limit.
const HEARD_OUT: usize = 4;

/// `google.rpc.Code` of the answers that are no success.
mod code {
    pub(super) const INVALID_ARGUMENT: i32 = 3;
    pub(super) const RESOURCE_EXHAUSTED: i32 = 8;
    pub(super) const UNAVAILABLE: i32 = 14;
}

struct Receiver {
    intake: Intake,
    metrics: Arc<Metrics>,
    max_body_bytes: usize,
}

/// `POST /v1/traces` with bodies up to `max_body_bytes`, before and after decompression.
pub fn router(intake: Intake, metrics: Arc<Metrics>, max_body_bytes: usize) -> Router {
    let receiver = Arc::new(Receiver { intake, metrics, max_body_bytes });
    Router::new().route("/v1/traces", post(traces)).with_state(receiver)
}

async fn traces(State(receiver): State<Arc<Receiver>>, headers: HeaderMap, body: Body) -> Response {
    let encoding = match encoding(&headers) {
        Ok(encoding) => encoding,
        Err(refusal) => return refusal.answer(Encoding::Json),
    };
    match receiver.take(&headers, encoding, body).await {
        Ok(body) => (StatusCode::OK, [(CONTENT_TYPE, encoding.content_type())], body).into_response(),
        Err(refusal) => refusal.answer(encoding),
    }
}

impl Receiver {
    /// Stores the request's spans and gives the body of the answer.
    async fn take(&self, headers: &HeaderMap, encoding: Encoding, body: Body) -> Result<Vec<u8>, Refusal> {
        let compression = compression(headers)?;
        let limit = self.max_body_bytes;
        let body = read(body, limit).await?;
        // Decoding may take a while, and other requests share this thread.
        let decoding = tokio::task::spawn_blocking(move || decode(&body, compression, encoding, limit));
        let (split, bytes) = decoding.await.map_err(|_| Refusal::invalid("body cannot be read"))??;
        let SplitTraces { traces, rejected, .. } = split;
        let reason = rejected.first().map(ToString::to_string).unwrap_or_default();
        let pieces = traces.len() as u64;
        self.intake.store(traces, bytes).await.map_err(|error| self.not_stored(error))?;
        let transport = Transport { transport: "otlp_http".to_owned() };
        self.metrics.received.get_or_create(&transport).inc_by(pieces);
        self.metrics.rejected.get_or_create(&transport).inc_by(rejected.len() as u64);
        Ok(accepted_body(encoding, Signal::Traces, rejected.len(), &reason))
    }

    fn not_stored(&self, error: NotStored) -> Refusal {
        let (status, code) = match error {
            NotStored::Full => {
                self.metrics.turned_away.inc();
                (StatusCode::TOO_MANY_REQUESTS, code::RESOURCE_EXHAUSTED)
            }
            NotStored::Failed => (StatusCode::SERVICE_UNAVAILABLE, code::UNAVAILABLE),
        };
        Refusal { status, code, message: error.to_string() }
    }
}

/// Reads a body of at most `limit` bytes. One that is larger is read on for a while and dropped, because a sender that
/// is cut off while it writes never sees the answer, and sends again.
async fn read(body: Body, limit: usize) -> Result<Vec<u8>, Refusal> {
    let mut chunks = body.into_data_stream();
    let (mut bytes, mut length) = (Vec::new(), 0_usize);
    while length <= limit.saturating_mul(HEARD_OUT)
        && let Some(chunk) = chunks.next().await
    {
        let chunk = chunk.map_err(|_| Refusal::invalid("body ends early"))?;
        length = length.saturating_add(chunk.len());
        if length > limit {
            bytes = Vec::new();
        } else {
            bytes.extend_from_slice(&chunk);
        }
    }
    if length > limit { Err(Refusal::too_large(limit)) } else { Ok(bytes) }
}

/// A request's spans by trace, and its size after decompression.
fn decode(
    body: &[u8],
    compression: Compression,
    encoding: Encoding,
    limit: usize,
) -> Result<(SplitTraces, usize), Refusal> {
    let body = decompress(body, compression, limit).map_err(|error| match error {
        DecompressError::TooLarge { .. } => Refusal::too_large(limit),
        error => Refusal::invalid(error.to_string()),
    })?;
    let resource_spans = decode_traces(&body, encoding).map_err(|error| {
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
        Refusal::invalid(format!("{error}{cause}"))
    })?;
    Ok((split_by_trace(resource_spans), body.len()))
}

fn encoding(headers: &HeaderMap) -> Result<Encoding, Refusal> {
    let content_type = header(headers, &CONTENT_TYPE);
    Encoding::from_content_type(content_type).ok_or_else(|| Refusal {
        status: StatusCode::UNSUPPORTED_MEDIA_TYPE,
        code: code::INVALID_ARGUMENT,
        message: format!("content type {content_type:?} is neither application/x-protobuf nor application/json"),
    })
}

fn compression(headers: &HeaderMap) -> Result<Compression, Refusal> {
    let content_encoding = header(headers, &CONTENT_ENCODING);
    Compression::from_content_encoding(content_encoding).ok_or_else(|| Refusal {
        status: StatusCode::UNSUPPORTED_MEDIA_TYPE,
        code: code::INVALID_ARGUMENT,
        message: format!("content encoding {content_encoding:?} is neither gzip nor zstd"),
    })
}

fn header<'a>(headers: &'a HeaderMap, name: &HeaderName) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// An answer that is no success.
struct Refusal {
    status: StatusCode,
    code: i32,
    message: String,
}

impl Refusal {
    fn invalid(message: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, code: code::INVALID_ARGUMENT, message: message.into() }
    }

    fn too_large(limit: usize) -> Self {
        let message = format!("body is larger than {limit} bytes ([receive] max_body_mib)");
        Self { status: StatusCode::PAYLOAD_TOO_LARGE, code: code::RESOURCE_EXHAUSTED, message }
    }

    fn answer(self, encoding: Encoding) -> Response {
        let body = status_body(encoding, self.code, &self.message);
        let mut response = (self.status, [(CONTENT_TYPE, encoding.content_type())], body).into_response();
        if matches!(self.status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            let seconds = axum::http::HeaderValue::from_static(RETRY_AFTER_SECONDS);
            response.headers_mut().insert(RETRY_AFTER, seconds);
        }
        response
    }
}
