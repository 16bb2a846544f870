//! What the settings say about sampling beyond the healthy rate: policies of our own, and strata of upstream's.

use std::time::Duration;

use serde::Deserialize;

use super::condition::TraceCondition;
use super::{SamplingReason, positive_probability};

/// One `[[sampling.policies]]`: the probability of the traces that it is about.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(try_from = "WrittenPolicy")]
pub struct TracePolicy {
    /// What explanations call it.
    pub name: String,
    /// Which traces it is about.
    pub condition: TraceCondition,
    /// Their probability; with a limit, the highest.
    pub rate: f64,
    /// About how many of them are chosen.
    pub limit: Option<RateLimit>,
}

/// About how many traces are chosen in a window, of each service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    /// So many.
    pub traces: u32,
    /// In each of these.
    pub window: Window,
}

/// The window of a rate limit; it begins at a full minute or hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Window {
    /// A minute.
    Minute,
    /// An hour.
    Hour,
}

impl Window {
    /// Its length.
    #[must_use]
    pub const fn length(self) -> Duration {
        match self {
            Self::Minute => Duration::from_mins(1),
            Self::Hour => Duration::from_hours(1),
        }
    }
}

/// A policy as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenPolicy {
    name: String,
    #[serde(default, rename = "where")]
    condition: TraceCondition,
    #[serde(default, deserialize_with = "super::optional_positive_probability")]
    rate: Option<f64>,
    per_minute: Option<u32>,
    per_hour: Option<u32>,
}

/// Why a policy means nothing.
#[derive(Debug, thiserror::Error)]
enum InvalidPolicy {
    #[error("policy {name:?} needs a name of its own: it is blank, or what a built-in reason is called")]
    Name { name: String },
    #[error("policy {name:?} says neither rate nor per_minute nor per_hour")]
    Nothing { name: String },
    #[error("policy {name:?} says both per_minute and per_hour; keep one")]
    TwoLimits { name: String },
    #[error("policy {name:?} allows no trace at all; per_minute and per_hour are at least 1")]
    NoTraces { name: String },
    #[error(
        "policy {name:?} asks for error: runs that end in one are always chosen; ask for span_error, or leave it out"
    )]
    Error { name: String },
}

impl TryFrom<WrittenPolicy> for TracePolicy {
    type Error = InvalidPolicy;

    fn try_from(written: WrittenPolicy) -> Result<Self, InvalidPolicy> {
        let WrittenPolicy { name, condition, rate, per_minute, per_hour } = written;
        if name.trim().is_empty() || SamplingReason::ALL.iter().any(|reason| reason.as_str() == name) {
            return Err(InvalidPolicy::Name { name });
        }
        let limit = match (per_minute, per_hour) {
            (Some(_), Some(_)) => return Err(InvalidPolicy::TwoLimits { name }),
            (Some(0), _) | (_, Some(0)) => return Err(InvalidPolicy::NoTraces { name }),
            (Some(traces), None) => Some(RateLimit { traces, window: Window::Minute }),
            (None, Some(traces)) => Some(RateLimit { traces, window: Window::Hour }),
            (None, None) if rate.is_none() => return Err(InvalidPolicy::Nothing { name }),
            (None, None) => None,
        };
        if condition.asks_for_error() {
            return Err(InvalidPolicy::Error { name });
        }
        Ok(Self { name, condition, rate: rate.unwrap_or(1.0), limit })
    }
}

/// One `[[sampling.upstream]]`: with what probability upstream sampling keeps the traces that it is about.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpstreamStratum {
    /// Which traces it is about.
    #[serde(default, rename = "where")]
    pub condition: TraceCondition,
    /// Their probability.
    #[serde(deserialize_with = "positive_probability")]
    pub probability: f64,
}
