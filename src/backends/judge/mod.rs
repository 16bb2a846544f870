//! Judge models: one request, one answer with its token usage. Never retries by itself, never logs what it carries.

mod adaptations;
mod anthropic;
mod client;
mod openai;
mod settings;

use std::time::Duration;

pub use client::JudgeClient;
pub use settings::{JudgeModelSettings, Provider, SettingsError};

use crate::domain::judge::TokenUsage;
use adaptations::Adaptations;

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
        /// Whether the request, or some of it, may have reached the provider.
        has_left: bool,
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
    /// The provider refused a parameter that we can do without, and from now on do: ask again at once.
    #[error("the judge model's provider refused a parameter, which is left out from now on")]
    Adapted,
    /// The model declined to judge.
    #[error("the judge model declined to answer")]
    Declined {
        /// Tokens charged, where the provider said.
        usage: Option<TokenUsage>,
    },
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
            | Self::Adapted
            | Self::Unreadable => true,
            Self::Refused { .. } | Self::Declined { .. } | Self::TooLarge { .. } => false,
        }
    }

    /// Whether the provider was there and able: what the breaker counts.
    #[must_use]
    pub const fn has_answered(&self) -> bool {
        !matches!(self, Self::Connection { .. } | Self::Timeout { .. } | Self::Unavailable { .. })
    }

    /// Whether the request may be on the provider's bill: it is not when it never left, or was turned away.
    #[must_use]
    pub const fn may_be_billed(&self) -> bool {
        match self {
            Self::Connection { has_left, .. } => *has_left,
            Self::RateLimited { .. } | Self::Refused { .. } | Self::Adapted => false,
            Self::Timeout { .. }
            | Self::Unavailable { .. }
            | Self::Declined { .. }
            | Self::Unreadable
            | Self::TooLarge { .. } => true,
        }
    }

    /// The error in a word, for the ledger and for metrics.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Connection { .. } => "connection",
            Self::Timeout { .. } => "timeout",
            Self::RateLimited { .. } => "rate_limited",
            Self::Unavailable { .. } => "unavailable",
            Self::Refused { .. } => "refused",
            Self::Adapted => "adapted",
            Self::Declined { .. } => "declined",
            Self::Unreadable => "unreadable",
            Self::TooLarge { .. } => "too_large",
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
