//! OTLP/HTTP: protobuf or JSON, answered in kind.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::post;

use super::refusal::Refusal;
use super::{Accepted, Message, Receiver, feedback, grpc};
use crate::otlp::{Compression, Encoding, Signal, accepted_body, status_body};

const PATHS: &str = "POST /v1/traces and /v1/logs, and feedback to /api/v1/feedback";
const TYPES: &str = "application/x-protobuf or application/json";

/// `POST /v1/traces`, `/v1/logs` and `/api/v1/feedback`.
pub fn router(receiver: Arc<Receiver>) -> Router {
    let export = |signal| {
        post(async move |State(receiver): State<Arc<Receiver>>, headers: HeaderMap, body: Body| {
            export(&receiver, signal, &headers, body).await
        })
    };
    Router::new()
        .route("/v1/traces", export(Signal::Traces))
        .route("/v1/logs", export(Signal::Logs))
        .route("/v1/metrics", post(metrics))
        .route("/api/v1/feedback", post(feedback::feedback))
        .method_not_allowed_fallback(async |headers: HeaderMap| answer(&Refusal::Method, encoding(&headers).ok()))
        .fallback(unknown)
        .with_state(receiver)
}

async fn export(receiver: &Receiver, signal: Signal, headers: &HeaderMap, body: Body) -> Response {
    let encoding = encoding(headers);
    let answered_in = encoding.as_ref().ok().copied();
    match take(receiver, signal, headers, encoding, body).await {
        Ok((Accepted { rejected, reason }, encoding)) => {
            let body = accepted_body(encoding, signal, rejected, &reason);
            (StatusCode::OK, [(CONTENT_TYPE, encoding.content_type())], body).into_response()
        }
        Err(refusal) => answer(&refusal, answered_in),
    }
}

async fn take(
    receiver: &Receiver,
    signal: Signal,
    headers: &HeaderMap,
    encoding: Result<Encoding, Refusal>,
    body: Body,
) -> Result<(Accepted, Encoding), Refusal> {
    let (body, room) = receiver.read(body, receiver.max_body_bytes).await?;
    let (encoding, compression) = (encoding?, compression(headers)?);
    let message = Message { signal, encoding, compression, body, room };
    receiver.take(message, "otlp_http").await.map(|accepted| (accepted, encoding))
}

/// The body is heard out, for the reason to arrive.
async fn metrics(State(receiver): State<Arc<Receiver>>, headers: HeaderMap, body: Body) -> Response {
    let heard = receiver.read(body, receiver.max_body_bytes).await;
    drop(heard);
    answer(&receiver.refuse_metrics(), encoding(&headers).ok())
}

async fn unknown(uri: Uri, headers: HeaderMap) -> Response {
    if grpc::is_grpc(&headers) {
        let instead = "this is OTLP/HTTP, and OTLP/gRPC has an address of its own ([receive] grpc)";
        return grpc::refused(&Refusal::Path { path: uri.path().to_owned(), instead });
    }
    answer(&Refusal::Path { path: uri.path().to_owned(), instead: PATHS }, encoding(&headers).ok())
}

pub(super) fn encoding(headers: &HeaderMap) -> Result<Encoding, Refusal> {
    let found = header(headers, &CONTENT_TYPE);
    Encoding::from_content_type(found).ok_or_else(|| Refusal::ContentType { found: found.to_owned(), expected: TYPES })
}

fn compression(headers: &HeaderMap) -> Result<Compression, Refusal> {
    let found = header(headers, &CONTENT_ENCODING);
    Compression::from_content_encoding(found).ok_or_else(|| Refusal::Compression(found.to_owned()))
}

/// A header's text; empty when it is absent or no text.
pub(super) fn header<'a>(headers: &'a HeaderMap, name: &HeaderName) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// A refusal in the request's encoding, or in JSON where that is neither of the two.
pub(super) fn answer(refusal: &Refusal, encoding: Option<Encoding>) -> Response {
    let encoding = encoding.unwrap_or(Encoding::Json);
    let body = status_body(encoding, refusal.code(), &refusal.to_string());
    let mut response = (refusal.http_status(), [(CONTENT_TYPE, encoding.content_type())], body).into_response();
    if let Some(seconds) = refusal.retry_after() {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(u16::from(seconds)));
    }
    response
}
