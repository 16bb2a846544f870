//! The wire: OTLP bytes to spans and back, with nothing yet understood.
//!
//! Spans are the prost types of `opentelemetry-proto`, re-exported here. The JSON decoder is our own because real
//! traffic carries nulls, numbers as text and empty lists that the crate's refuses. Order of reading: [`decompress`],
//! [`decode_traces`], [`split_by_trace`], then [`assemble`] once all pieces of a trace are there.
//!
//! What only goes into the store need not be understood: [`slice_by_trace`] takes a protobuf request apart undecoded, into
//! the same pieces at a fraction of the work, and leaves to decoding and splitting what is not plain.

mod base64;
mod compression;
mod evaluation_events;
mod flat_spans;
mod json;
mod json_logs;
mod json_values;
mod lines;
mod logs;
mod piece;
mod plain;
mod response;
mod slices;
mod split;
mod stored;
mod weight;

pub use base64::encode as encode_base64;
pub use compression::{Compression, DecompressError, decompress};
pub use evaluation_events::InvalidEvaluation;
pub use lines::{LineError, LineProblem, MAX_LINE_BYTES, TraceReader};
pub use logs::{LOG_BODY, SplitLogs, decode_logs, split_logs};
pub use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
pub use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
pub use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList, any_value,
};
pub use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
pub use opentelemetry_proto::tonic::resource::v1::Resource;
pub use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status, TracesData, span, status};
pub use piece::{EncodedPiece, RawTrace, assemble, decode_piece};
pub use response::{Signal, accepted_body, status_body, status_details};
pub use slices::slice_by_trace;
pub use split::{Rejection, SplitTraces, TracePiece, split_by_trace};
pub use stored::{UnpackError, pack, unpack};
pub use weight::TooManyParts;

use prost::Message as _;

/// Instrumentation scope of the spans that driftline itself emits.
pub const OWN_SCOPE: &str = "driftline";

/// Whether spans of this scope are our own evaluations, which are never evaluated again.
#[must_use]
pub fn is_own_span(scope: Option<&InstrumentationScope>) -> bool {
    scope.is_some_and(|scope| scope.name == OWN_SCOPE)
}

/// How an OTLP message is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// Binary protobuf.
    Protobuf,
    /// OTLP/JSON: lower camel case keys, hexadecimal ids.
    Json,
}

impl Encoding {
    /// The encoding of a message without headers, as brokers carry it.
    ///
    /// JSON is an object whose first key starts with a printable character. Protobuf can look like a line feed, a
    /// brace and a quote (a tag and two lengths), but then a tag follows, which is a control character.
    #[must_use]
    pub fn sniff(bytes: &[u8]) -> Self {
        match bytes.trim_ascii_start() {
            [b'{', object @ ..] => match object.trim_ascii_start() {
                [] | [b'}', ..] | [b'"'] => Self::Json,
                [b'"', first, ..] if *first >= b' ' => Self::Json,
                _ => Self::Protobuf,
            },
            _ => Self::Protobuf,
        }
    }

    /// The encoding that a `Content-Type` names, whatever its parameters; `None` when it is neither.
    #[must_use]
    pub fn from_content_type(content_type: &str) -> Option<Self> {
        let media_type = content_type.split(';').next().unwrap_or_default().trim();
        [Self::Protobuf, Self::Json]
            .into_iter()
            .find(|encoding| encoding.content_type().eq_ignore_ascii_case(media_type))
    }

    /// The `Content-Type` of this encoding (OTLP specification, OTLP/HTTP request).
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Protobuf => "application/x-protobuf",
            Self::Json => "application/json",
        }
    }
}

/// Why some bytes are not an OTLP message.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The bytes are not the protobuf message.
    #[error("body is not an OTLP protobuf message")]
    Protobuf(#[source] prost::DecodeError),
    /// The message is small and would take far more memory than it has bytes.
    #[error("body cannot be read: {0}")]
    TooManyParts(#[from] TooManyParts),
    /// The text is not the JSON message.
    #[error("body is not an OTLP/JSON message")]
    Json(#[source] serde_json::Error),
}

/// Reads an `ExportTraceServiceRequest`, which on the wire is also a `TracesData`.
///
/// Ids are not judged here: [`split_by_trace`] rejects single spans.
///
/// # Errors
/// The whole body is not a message of that encoding.
pub fn decode_traces(bytes: &[u8], encoding: Encoding) -> Result<Vec<ResourceSpans>, DecodeError> {
    match encoding {
        Encoding::Protobuf => {
            weight::weigh(bytes, &weight::TRACES)?;
            TracesData::decode(bytes).map(|data| data.resource_spans).map_err(DecodeError::Protobuf)
        }
        Encoding::Json => json::decode(bytes).map(Option::unwrap_or_default).map_err(DecodeError::Json),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_encoding_of_a_headerless_body_is_found_from_its_first_bytes() {
        assert_eq!(Encoding::sniff(b" \t{\"resourceSpans\":[]}"), Encoding::Json);
        assert_eq!(Encoding::sniff(b"\r\n{\n  \"resourceSpans\":[]}"), Encoding::Json);
        assert_eq!(Encoding::sniff(b"\n{\n\"\n\x20"), Encoding::Protobuf, "lengths 123 and 34");
        assert_eq!(Encoding::sniff(b""), Encoding::Protobuf);
    }

    #[test]
    fn content_type_parameters_and_case_do_not_matter() {
        assert_eq!(Encoding::from_content_type("Application/JSON; charset=utf-8"), Some(Encoding::Json));
        assert_eq!(Encoding::from_content_type("application/x-protobuf"), Some(Encoding::Protobuf));
        assert_eq!(Encoding::from_content_type("text/plain"), None);
    }

    #[test]
    fn logs_sent_to_the_traces_path_are_refused_rather_than_read_as_spans() {
        use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
        let record = LogRecord { time_unix_nano: 1, body: Some(AnyValue::default()), ..Default::default() };
        let logs = ExportLogsServiceRequest {
            resource_logs: vec![ResourceLogs {
                scope_logs: vec![ScopeLogs { log_records: vec![record], ..Default::default() }],
                ..Default::default()
            }],
        };
        assert!(decode_traces(&logs.encode_to_vec(), Encoding::Protobuf).is_err());
    }
}
