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
        Encoding::Protobuf => RpcStatus { code, message: message.to_owned() }.encode_to_vec(),
    }
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
    }
}
