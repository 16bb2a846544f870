//! What changed around an agent: its versions, as its own traces tell of them, and what it is judged and watched by.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::time::Timestamp;

/// Dimensions of a trace that tell which version ran.
pub const VERSION_DIMENSIONS: [&str; 4] = ["release", "model", "prompt_version", "agent_version"];

/// Traces of one service that carried one value of one dimension in one hour.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionHour {
    /// The service.
    pub service: String,
    /// One of [`VERSION_DIMENSIONS`].
    pub dimension: String,
    /// The version; empty for traces that do not tell.
    pub value: String,
    /// Start of the hour.
    pub hour: Timestamp,
    /// Traces.
    pub traces: u64,
    /// When the first of them ended.
    pub first_at: Timestamp,
    /// When the last of them ended.
    pub last_at: Timestamp,
}

/// Where a version stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReleaseStatus {
    /// Most of the service's recent traces carry it.
    Main,
    /// It runs beside the main version: a canary, a rollout under way, or a second variant.
    Concurrent,
    /// No recent trace carries it.
    Gone,
    /// Too few traces carry it to count as released: a test, a typing error, or the first minutes.
    Unsettled,
}

/// A version of a service that was noticed in its traces.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Release {
    /// The service.
    pub service: String,
    /// Which kind of version: one of [`VERSION_DIMENSIONS`].
    pub dimension: String,
    /// The version.
    pub value: String,
    /// What most traces carried before it came; absent for the first.
    pub previous: Option<String>,
    /// End of its first trace, in nanoseconds since the Unix epoch.
    pub first_seen_at: Timestamp,
    /// End of its last trace.
    pub last_seen_at: Timestamp,
    /// Its traces.
    pub traces: u64,
    /// Its share of the service's traces since it was first seen.
    pub share: f64,
    /// Its share of the last day in which the service had traces.
    pub recent_share: f64,
    /// Where it stands.
    pub status: ReleaseStatus,
}

/// What kind of change an event is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    /// A version of a service came.
    Release,
    /// The main version went back to one that was known before.
    Rollback,
    /// A judge has another revision: prompt, model or parameters.
    Judge,
    /// A rule has another revision.
    Evaluator,
    /// Settings that decide what is sampled, watched or alarmed have changed.
    Configuration,
}

impl ChangeKind {
    /// Its word in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Release => "release",
            Self::Rollback => "rollback",
            Self::Judge => "judge",
            Self::Evaluator => "evaluator",
            Self::Configuration => "configuration",
        }
    }
}

/// Something that changed at an instant, and that a change of a series may come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeEvent {
    /// When, in nanoseconds since the Unix epoch.
    pub at: Timestamp,
    /// What kind of change.
    pub kind: ChangeKind,
    /// The service; absent where all are meant.
    pub service: Option<String>,
    /// What changed: the dimension of a version, a judge, an evaluator, a section of the settings.
    pub subject: String,
    /// What it was; absent for what is new.
    pub from: Option<String>,
    /// What it is.
    pub to: String,
}

impl fmt::Display for ChangeEvent {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, kind, service, subject, from, to } = self;
        let revision = if matches!(kind, ChangeKind::Judge | ChangeKind::Evaluator) { " revision" } else { "" };
        let service = service.as_ref().map(|service| format!("{service} ")).unwrap_or_default();
        let from = from.as_deref().unwrap_or("nothing");
        write!(formatter, "{at} {}{revision}: {service}{subject} {from} -> {to}", kind.as_str())
    }
}
