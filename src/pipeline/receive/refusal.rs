//! Why a request was not taken, as both transports say it (OTLP specification, failures).

use axum::http::StatusCode;

use crate::backends::access::Denied;
use crate::domain::feedback::InvalidFeedback;
use crate::pipeline::intake::NotStored;

/// When a sender that was turned away should come back.
pub(super) const RETRY_AFTER_SECONDS: u8 = 1;

/// What is said of metrics: which of its variables a sender has to set.
const METRICS: &str = "driftline receives traces and log records, no metrics: set OTEL_METRICS_EXPORTER=none, or \
                       OTEL_EXPORTER_OTLP_METRICS_ENDPOINT to where metrics are kept";

/// `google.rpc.Code` of the answers that are no success.
mod code {
    pub(super) const INVALID_ARGUMENT: i32 = 3;
    pub(super) const DEADLINE_EXCEEDED: i32 = 4;
    pub(super) const RESOURCE_EXHAUSTED: i32 = 8;
    pub(super) const PERMISSION_DENIED: i32 = 7;
    pub(super) const UNAUTHENTICATED: i32 = 16;
    pub(super) const UNIMPLEMENTED: i32 = 12;
    pub(super) const UNAVAILABLE: i32 = 14;
}

/// An answer that is no success.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error("{0}")]
    Invalid(String),
    #[error("body is larger than {limit} bytes ([receive] max_body_mib)")]
    TooLarge { limit: usize },
    #[error("the body took too long to arrive")]
    TooSlow,
    #[error("content type {found:?} is not {expected}")]
    ContentType { found: String, expected: &'static str },
    #[error("content encoding {0:?} is neither gzip nor zstd")]
    Compression(String),
    #[error("only POST is answered here")]
    Method,
    #[error("there is nothing at {path:?}; {instead}")]
    Path { path: String, instead: &'static str },
    #[error("{METRICS}")]
    Metrics,
    #[error(transparent)]
    Feedback(#[from] InvalidFeedback),
    #[error(transparent)]
    Denied(#[from] Denied),
    #[error(transparent)]
    NotStored(#[from] NotStored),
}

impl Refusal {
    /// Of these, senders repeat 429 and 503, and no other.
    pub(super) const fn http_status(&self) -> StatusCode {
        match self {
            Self::Invalid(_) | Self::Feedback(_) | Self::NotStored(NotStored::Refused) => StatusCode::BAD_REQUEST,
            Self::TooLarge { .. } | Self::NotStored(NotStored::TooLarge) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::ContentType { .. } | Self::Compression(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::Path { .. } | Self::Metrics => StatusCode::NOT_FOUND,
            Self::Denied(Denied::NoToken | Denied::UnknownToken) => StatusCode::UNAUTHORIZED,
            Self::Denied(Denied::Role { .. }) => StatusCode::FORBIDDEN,
            Self::Denied(Denied::Store(_)) => StatusCode::SERVICE_UNAVAILABLE,
            Self::NotStored(NotStored::Full) => StatusCode::TOO_MANY_REQUESTS,
            Self::NotStored(NotStored::Failed) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// `google.rpc.Code`. A full queue is `UNAVAILABLE`, which every sender repeats; `RESOURCE_EXHAUSTED` says that the
    /// same request will never be taken.
    pub(super) const fn code(&self) -> i32 {
        match self {
            Self::Invalid(_) | Self::Feedback(_) | Self::ContentType { .. } | Self::NotStored(NotStored::Refused) => {
                code::INVALID_ARGUMENT
            }
            Self::TooLarge { .. } | Self::NotStored(NotStored::TooLarge) => code::RESOURCE_EXHAUSTED,
            Self::TooSlow => code::DEADLINE_EXCEEDED,
            Self::Compression(_) | Self::Method | Self::Path { .. } | Self::Metrics => code::UNIMPLEMENTED,
            Self::Denied(Denied::NoToken | Denied::UnknownToken) => code::UNAUTHENTICATED,
            Self::Denied(Denied::Role { .. }) => code::PERMISSION_DENIED,
            Self::NotStored(NotStored::Full | NotStored::Failed) | Self::Denied(Denied::Store(_)) => code::UNAVAILABLE,
        }
    }

    /// Seconds after which the same request may succeed; `None` when it never will.
    pub(super) fn retry_after(&self) -> Option<u8> {
        let may_pass = [NotStored::Full, NotStored::Failed];
        let is_passing = match self {
            Self::NotStored(why) => may_pass.contains(why),
            Self::Denied(denied) => matches!(denied, Denied::Store(_)),
            _ => false,
        };
        is_passing.then_some(RETRY_AFTER_SECONDS)
    }
}
