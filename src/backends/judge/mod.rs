//! Judge models: one request, one answer with its token usage. Never retries by itself, never logs what it carries.

mod openai;
mod settings;

use std::time::Duration;

pub use openai::JudgeClient;
pub use settings::{JudgeModelSettings, Provider, SettingsError};

/// Why a judge model gave no answer. Its text never holds what was asked or answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JudgeError {
    /// The connection could not be made, or broke.
    #[error("the connection to the judge model at {host} failed: {problem}")]
    Connection {
        /// Host and port of the provider.
        host: String,
        /// The innermost cause.
        problem: String,
    },
    /// No whole answer in time.
    #[error("the judge model did not answer within {} s", .after.as_secs_f64())]
    Timeout {
        /// The configured timeout.
        after: Duration,
    },
    /// The provider asks to come back later.
    #[error("the judge model's provider limits the rate of calls")]
    RateLimited {
        /// How long to wait, when the provider says so.
        retry_after: Option<Duration>,
    },
    /// The provider is in trouble.
    #[error("the judge model's provider answered with status {status}")]
    Unavailable {
        /// HTTP status.
        status: u16,
        /// How long to wait, when the provider says so.
        retry_after: Option<Duration>,
    },
    /// The provider will not answer this request, however often it is asked.
    #[error("the judge model's provider refused the request with status {status} ({code})")]
    Refused {
        /// HTTP status.
        status: u16,
        /// The provider's error code, a word.
        code: String,
    },
    /// The model declined to judge.
    #[error("the judge model declined to answer")]
    Declined,
    /// The answer is not a chat completion.
    #[error("the judge model's provider sent an answer that is no chat completion")]
    Unreadable,
    /// The answer is larger than any completion should be.
    #[error("the judge model's provider sent more than {limit} bytes")]
    TooLarge {
        /// Bytes that are read at most.
        limit: usize,
    },
}

impl JudgeError {
    /// Whether the same request may succeed later.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        match self {
            Self::Connection { .. }
            | Self::Timeout { .. }
            | Self::RateLimited { .. }
            | Self::Unavailable { .. }
            | Self::Unreadable => true,
            Self::Refused { .. } | Self::Declined | Self::TooLarge { .. } => false,
        }
    }

    /// How long the provider asks to wait.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::RateLimited { retry_after } | Self::Unavailable { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
