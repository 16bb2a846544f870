//! OTLP/gRPC: one message in, one out (gRPC over HTTP/2, `PROTOCOL-HTTP2.md`).
//!
//! The two unary calls are spoken here directly, over the HTTP/2 of the HTTP server: a frame is five bytes and a
//! message. So limits, compression and answers are those of OTLP/HTTP. A gRPC library would answer a message that is
//! too large with `OUT_OF_RANGE`, which tells OTLP senders to repeat it forever.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use http_body_util::{BodyExt as _, Full};

use super::http::{answer, header};
use super::refusal::Refusal;
use super::{Accepted, Message, Receiver};
use crate::otlp::{Compression, Encoding, Signal, accepted_body, encode_base64, status_details};

const TRACES: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
const LOGS: &str = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";
const METRICS: &str = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";

const MEDIA_TYPE: &str = "application/grpc";
const SERVICES: &str = "this is OTLP/gRPC, with TraceService/Export and LogsService/Export; OTLP/HTTP has an address \
                        of its own ([receive] http)";

const GRPC_ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
const GRPC_ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const GRPC_STATUS_DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");

/// Before each message: whether it is compressed, and its length in four bytes, the highest first.
const FRAME_HEADER: usize = 5;

/// `TraceService/Export` and `LogsService/Export`.
pub fn router(receiver: Arc<Receiver>) -> Router {
    let export = |signal| {
        post(async move |State(receiver): State<Arc<Receiver>>, headers: HeaderMap, body: Body| {
            export(&receiver, signal, &headers, body).await
        })
    };
    Router::new()
        .route(TRACES, export(Signal::Traces))
        .route(LOGS, export(Signal::Logs))
        .method_not_allowed_fallback(async || answer(&Refusal::Method, None))
        .fallback(unknown)
        .with_state(receiver)
}

/// Whether a request means to be gRPC, whatever its message format.
pub(super) fn is_grpc(headers: &HeaderMap) -> bool {
    let rest = header(headers, &CONTENT_TYPE).strip_prefix(MEDIA_TYPE);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['+', ';']))
}

async fn export(receiver: &Receiver, signal: Signal, headers: &HeaderMap, body: Body) -> Response {
    if !is_grpc(headers) {
        let found = header(headers, &CONTENT_TYPE).to_owned();
        return answer(&Refusal::ContentType { found, expected: MEDIA_TYPE }, None);
    }
    match take(receiver, signal, headers, body).await {
        Ok(Accepted { rejected, reason }) => answered(&accepted_body(Encoding::Protobuf, signal, rejected, &reason)),
        Err(refusal) => refused(&refusal),
    }
}

async fn take(receiver: &Receiver, signal: Signal, headers: &HeaderMap, body: Body) -> Result<Accepted, Refusal> {
    let (frame, room) = receiver.read(body, receiver.max_body_bytes.saturating_add(FRAME_HEADER)).await?;
    let (is_compressed, body) = message(&frame).ok_or_else(|| Refusal::Invalid("no gRPC message".to_owned()))?;
    let compression = if is_compressed { compression(headers)? } else { Compression::None };
    let message = Message { signal, encoding: Encoding::Protobuf, compression, body, room };
    receiver.take(message, "otlp_grpc").await
}

async fn unknown(State(receiver): State<Arc<Receiver>>, uri: Uri, headers: HeaderMap) -> Response {
    let refusal = match uri.path() {
        METRICS => receiver.refuse_metrics(),
        path => Refusal::Path { path: path.to_owned(), instead: SERVICES },
    };
    if is_grpc(&headers) { refused(&refusal) } else { answer(&refusal, None) }
}

/// The one message of a unary call, and whether it is compressed; `None` when it is not framed as exactly one.
fn message(frame: &Bytes) -> Option<(bool, Bytes)> {
    let (header, message) = frame.split_first_chunk::<FRAME_HEADER>()?;
    let [flag @ (0 | 1), length @ ..] = *header else { return None };
    let is_whole = usize::try_from(u32::from_be_bytes(length)).is_ok_and(|length| length == message.len());
    is_whole.then(|| (flag == 1, frame.slice(FRAME_HEADER..)))
}

fn compression(headers: &HeaderMap) -> Result<Compression, Refusal> {
    let found = header(headers, &GRPC_ENCODING);
    match Compression::from_content_encoding(found) {
        Some(Compression::None) => {
            Err(Refusal::Invalid("message is compressed, and grpc-encoding does not say how".to_owned()))
        }
        Some(compression) => Ok(compression),
        None => Err(Refusal::Compression(found.to_owned())),
    }
}

fn answered(message: &[u8]) -> Response {
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes();
    let frame = [&[0], length.as_slice(), message].concat();
    let trailers = HeaderMap::from_iter([(GRPC_STATUS, HeaderValue::from_static("0"))]);
    let body = Full::new(Bytes::from(frame)).with_trailers(async move { Some(Ok(trailers)) });
    ([(CONTENT_TYPE, MEDIA_TYPE)], Body::new(body)).into_response()
}

/// A refusal as a response of headers alone, with what is needed to repeat the request where that may help.
pub(super) fn refused(refusal: &Refusal) -> Response {
    let message = refusal.to_string();
    let details = status_details(refusal.code(), &message, refusal.retry_after());
    let text = |text: String| HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static(""));
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE)),
        (GRPC_STATUS, HeaderValue::from(refusal.code())),
        (GRPC_MESSAGE, text(percent_encoded(&message))),
        (GRPC_STATUS_DETAILS, text(encode_base64(&details))),
        (GRPC_ACCEPT_ENCODING, HeaderValue::from_static("identity,gzip,zstd")),
    ];
    (headers, Body::empty()).into_response()
}

/// Printable ASCII but for the percent sign stands for itself (gRPC over HTTP/2, `Status-Message`).
fn percent_encoded(text: &str) -> String {
    let encoded = |byte| match byte {
        b' '..=b'~' if byte != b'%' => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    text.bytes().map(encoded).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(bytes: &'static [u8]) -> Option<(bool, Bytes)> {
        message(&Bytes::from_static(bytes))
    }

    #[test]
    fn a_frame_is_a_flag_a_length_and_exactly_one_message() {
        assert_eq!(framed(&[0, 0, 0, 0, 2, 7, 8]), Some((false, Bytes::from_static(&[7, 8]))));
        assert_eq!(framed(&[1, 0, 0, 0, 0]), Some((true, Bytes::new())));
        let broken: [&[u8]; 6] = [
            b"",
            &[0, 0, 0, 0],
            &[0, 0, 0, 0, 2, 7],
            &[0, 0, 0, 0, 1, 7, 8],
            &[2, 0, 0, 0, 0],
            &[0, 0xff, 0xff, 0xff, 0xff, 1],
        ];
        for frame in broken {
            assert_eq!(framed(frame), None, "{frame:?}");
        }
    }

    #[test]
    fn a_message_is_encoded_as_headers_carry_it() {
        assert_eq!(percent_encoded("100 % of \"ü\"\n"), "100 %25 of \"%C3%BC\"%0A");
    }

    #[test]
    fn grpc_is_told_from_other_content_types() {
        let is =
            |content_type| is_grpc(&HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(content_type))]));
        assert!(is("application/grpc") && is("application/grpc+proto") && is("application/grpc;x=y"));
        assert!(!is("application/grpc-web") && !is("application/json") && !is_grpc(&HeaderMap::new()));
    }
}
