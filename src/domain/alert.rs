//! An alert and its life: pending → firing → acknowledged → resolved, one fingerprint.

use serde::{Deserialize, Serialize};

use super::ids::TraceId;
use super::time::Timestamp;

/// How loud an alert is. `info` stands outside the alert budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Worth knowing; not budgeted.
    Info,
    /// Someone should look today.
    Warn,
    /// Someone should look now.
    Page,
}

/// Where an alert is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlertState {
    /// Seen, and not told anyone yet.
    Pending,
    /// Told.
    Firing,
    /// Someone has it.
    Acknowledged,
    /// Over.
    Resolved,
}

impl AlertState {
    /// Whether the alert is still about something that goes on.
    #[must_use]
    pub const fn is_open(self) -> bool {
        !matches!(self, Self::Resolved)
    }
}

/// One thing that is wrong with one series of one service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// Hash of service, series, segment and direction: the same trouble keeps the same fingerprint.
    pub fingerprint: String,
    /// Where it is in its life.
    pub state: AlertState,
    /// How loud.
    pub severity: Severity,
    /// The service.
    pub service: String,
    /// The series.
    pub series: String,
    /// `all` or `dimension=value`.
    pub segment: String,
    /// `up`, `down` or `shape`.
    pub direction: String,
    /// The detector that raised it.
    pub detector: String,
    /// Whether the false-alarm guarantee holds exactly or approximately for this series.
    pub guarantee: String,
    /// One sentence: what moved, from what to what, since when.
    pub summary: String,
    /// Baseline estimate.
    pub baseline: Option<f64>,
    /// Estimate since the onset.
    pub current: Option<f64>,
    /// Start of the first hour that the change is seen in.
    pub onset_at: Timestamp,
    /// End of the hour in which the alert was raised to its severity.
    pub raised_at: Timestamp,
    /// End of the hour in which the alert was last confirmed.
    pub updated_at: Timestamp,
    /// End of the hour in which it was over.
    pub resolved_at: Option<Timestamp>,
    /// Traces behind it, most telling first.
    pub trace_ids: Vec<TraceId>,
    /// Runbook for this kind of trouble, by name.
    pub runbook: String,
}
