//! Evaluated traces by what they are: newest first.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::QueryError;
use crate::backends::store::{Selection, Store, StoredTrace};
use crate::domain::evaluation::FailureClass;
use crate::domain::ids::TraceId;
use crate::domain::measurement::{TraceRecord, Value};
use crate::domain::time::Timestamp;

/// Traces listed when no number is asked for.
pub const DEFAULT_LIMIT: usize = 50;
/// Most traces that one answer lists.
pub const LARGEST_LIMIT: usize = 1_000;

/// The traces that were found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FoundTraces {
    /// Newest first.
    pub traces: Vec<FoundTrace>,
}

/// One evaluated trace, in short.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FoundTrace {
    /// The trace.
    pub trace_id: TraceId,
    /// `service.name`.
    pub service: String,
    /// The release.
    pub release: Option<String>,
    /// The model; several are joined by `+`.
    pub model: Option<String>,
    /// The deployment environment.
    pub environment: Option<String>,
    /// The conversation.
    pub conversation_id: Option<String>,
    /// The end user.
    pub user_id: Option<String>,
    /// Configured attributes and business ids.
    pub attributes: BTreeMap<String, String>,
    /// Earliest span start, in nanoseconds since the Unix epoch.
    pub started_at: Timestamp,
    /// Latest span end, in nanoseconds since the Unix epoch.
    pub ended_at: Timestamp,
    /// Wall time; `null` when the sender's clock is invented.
    pub latency_seconds: Option<f64>,
    /// Whether a rule or a judge flags the trace.
    pub failing: bool,
    /// How the run failed: `hard`, `soft`, `looping` or `drifting`.
    pub failure_class: Option<FailureClass>,
    /// Whether the run as a whole ended in an error.
    pub error: bool,
    /// Whether sampling chose the trace for judging and keeping.
    pub sampled: bool,
}

impl From<StoredTrace> for FoundTrace {
    fn from(trace: StoredTrace) -> Self {
        Self {
            latency_seconds: latency_seconds(&trace.record),
            trace_id: trace.trace_id,
            service: trace.service,
            release: trace.release,
            model: trace.model,
            environment: trace.environment,
            conversation_id: trace.conversation_id,
            user_id: trace.user_id,
            attributes: trace.attributes,
            started_at: trace.started_at,
            ended_at: trace.ended_at,
            failing: trace.failing,
            failure_class: trace.failure_class,
            error: trace.error,
            sampled: trace.sampled,
        }
    }
}

/// Wall time of a run, which was not measured when the sender's clock is invented.
pub(super) fn latency_seconds(record: &TraceRecord) -> Option<f64> {
    match record.measurement("latency_seconds")?.value {
        Value::Number(seconds) => Some(seconds),
        _ => None,
    }
}

/// Finds the newest traces of a selection.
///
/// # Errors
/// The limit is out of range, or the store failed.
pub async fn search(store: &Store, selection: &Selection, limit: usize) -> Result<FoundTraces, QueryError> {
    within_limit(limit)?;
    let traces = store.search(selection, limit).await?.into_iter().map(FoundTrace::from).collect();
    Ok(FoundTraces { traces })
}

/// Refuses a limit that is out of range.
pub(super) fn within_limit(limit: usize) -> Result<(), QueryError> {
    let is_within = (1..=LARGEST_LIMIT).contains(&limit);
    let refusal = || QueryError::OutOfRange { name: "limit", value: limit as f64, expected: "1 to 1000" };
    is_within.then_some(()).ok_or_else(refusal)
}
