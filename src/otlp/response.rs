//! Bodies of OTLP/HTTP answers, in the encoding of the request (OTLP specification, OTLP/HTTP response).

use opentelemetry_proto::tonic::collector::trace::v1::{ExportTracePartialSuccess, ExportTraceServiceResponse};
use prost::Message as _;

use super::Encoding;

/// What was sent; it only names the count of rejected items.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// Spans.
    Traces,
    /// Log records.
    Logs,
}

/// `google.rpc.Status`, the body of every 4xx and 5xx answer.
#[derive(Clone, PartialEq, prost::Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, prost::Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

/// `google.rpc.RetryInfo`, with the one field of `google.protobuf.Duration` that is used.
#[derive(Clone, PartialEq, prost::Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<Seconds>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Seconds {
    #[prost(int64, tag = "1")]
    seconds: i64,
}

/// The body of a 200: empty when everything was accepted, else how many were rejected and why.
#[must_use]
pub fn accepted_body(encoding: Encoding, signal: Signal, rejected: usize, reason: &str) -> Vec<u8> {
    let complete = rejected == 0 && reason.is_empty();
    match encoding {
        Encoding::Json if complete => b"{}".to_vec(),
        Encoding::Json => {
            let count = match signal {
                Signal::Traces => "rejectedSpans",
                Signal::Logs => "rejectedLogRecords",
            };
            let partial = serde_json::json!({ count: rejected.to_string(), "errorMessage": reason });
            serde_json::json!({ "partialSuccess": partial }).to_string().into_bytes()
        }
        // The answers to traces and logs have the same field numbers and types.
        Encoding::Protobuf => {
            let partial = ExportTracePartialSuccess {
                rejected_spans: i64::try_from(rejected).unwrap_or(i64::MAX),
                error_message: reason.to_owned(),
            };
            ExportTraceServiceResponse { partial_success: (!complete).then_some(partial) }.encode_to_vec()
        }
    }
}

/// The body of a 4xx or 5xx; `code` is a `google.rpc.Code`, for example 3 for an invalid argument.
#[must_use]
pub fn status_body(encoding: Encoding, code: i32, message: &str) -> Vec<u8> {
    match encoding {
        Encoding::Json => serde_json::json!({ "code": code, "message": message }).to_string().into_bytes(),
        Encoding::Protobuf => RpcStatus { code, message: message.to_owned(), details: Vec::new() }.encode_to_vec(),
    }
}

/// The `google.rpc.Status` of a gRPC answer, with a `RetryInfo` where the same request may succeed after some seconds
/// (OTLP specification, OTLP/gRPC throttling).
#[must_use]
pub fn status_details(code: i32, message: &str, retry_after_seconds: Option<u8>) -> Vec<u8> {
    let retry_info = |seconds: u8| Any {
        type_url: "type.googleapis.com/google.rpc.RetryInfo".to_owned(),
        value: RetryInfo { retry_delay: Some(Seconds { seconds: seconds.into() }) }.encode_to_vec(),
    };
    let details = retry_after_seconds.map(retry_info).into_iter().collect();
    RpcStatus { code, message: message.to_owned(), details }.encode_to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_success_leaves_partial_success_unset() {
        assert_eq!(accepted_body(Encoding::Json, Signal::Traces, 0, ""), b"{}");
        assert!(accepted_body(Encoding::Protobuf, Signal::Traces, 0, "").is_empty());
    }

    #[test]
    fn partial_success_counts_what_was_rejected_under_the_name_of_its_signal() {
        let body = accepted_body(Encoding::Json, Signal::Logs, 2, "no \"id\"");
        let json: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(json["partialSuccess"]["rejectedLogRecords"], "2");
        assert_eq!(json["partialSuccess"]["errorMessage"], "no \"id\"");
        let body = accepted_body(Encoding::Protobuf, Signal::Traces, 2, "bad");
        let response = ExportTraceServiceResponse::decode(body.as_slice()).unwrap();
        assert_eq!(response.partial_success.unwrap().rejected_spans, 2);
    }

    #[test]
    fn an_error_is_an_rpc_status() {
        assert_eq!(status_body(Encoding::Json, 3, "bad"), br#"{"code":3,"message":"bad"}"#);
        assert_eq!(status_body(Encoding::Protobuf, 3, "bad"), [8, 3, 18, 3, b'b', b'a', b'd']);
        assert_eq!(status_details(3, "bad", None), [8, 3, 18, 3, b'b', b'a', b'd']);
    }

    #[test]
    fn a_delay_is_a_detail_of_its_type() {
        let status = RpcStatus::decode(status_details(14, "full", Some(7)).as_slice()).unwrap();
        assert_eq!((status.code, status.details.len()), (14, 1));
        assert_eq!(status.details[0].type_url, "type.googleapis.com/google.rpc.RetryInfo");
        assert_eq!(status.details[0].value, [10, 2, 8, 7], "retry_delay of seconds 7");
    }
}
