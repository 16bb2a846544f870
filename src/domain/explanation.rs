//! What is known of an alert beyond that it is one: what moved, since when, where it comes from, and whom it affects.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::ids::TraceId;
use super::release::ChangeEvent;
use super::report::Transition;
use super::time::Timestamp;

/// Part of the change within that one segment must explain to be called its cause.
const CAUSE: f64 = 0.8;

/// What is behind an alert.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Evidence {
    /// What the alert's `baseline` and `current` are, for example `share above 812`.
    pub measure: String,
    /// The first and last hour that the change may have begun in, with 95 % confidence; of scores only.
    pub onset_between: Option<(Timestamp, Timestamp)>,
    /// What changed nearest to the onset, of everything that could have moved this series.
    pub nearest_change: Option<ChangeEvent>,
    /// Where the change comes from, by segments.
    pub explanation: Option<Explanation>,
    /// Categories or transitions that moved, largest first.
    pub transitions: Vec<Transition>,
    /// Revision of the evaluator whose scores moved; absent for what is measured.
    pub revision: Option<String>,
    /// Which traces the alert affects.
    pub affects: Affects,
}

/// Which traces an alert affects, by their value in its series.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Affects {
    /// None: what is wrong is no single trace's.
    #[default]
    Nothing,
    /// Those that are true.
    True,
    /// Those that are false.
    False,
    /// Those with a greater value.
    Above(f64),
    /// Those with this value or a smaller one.
    AtMost(f64),
    /// Those in which one of these categories or tool transitions occurs; a category has no name before it.
    Cells(Vec<(String, String)>),
}

/// A change of a mean or share, taken apart.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    /// The dimension by which it is taken apart.
    pub dimension: String,
    /// Part of the change that comes from segments having other shares.
    pub mix: f64,
    /// Part that comes from within segments.
    pub within: f64,
    /// Segments by their part in `within`, largest first.
    pub segments: Vec<Contribution>,
    /// Versions that the baseline has not seen, as `dimension=value`.
    pub new_versions: Vec<String>,
    /// Traces of the first segment furthest in the direction of the change.
    pub trace_ids: Vec<TraceId>,
}

/// What one segment contributes to the change within.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Contribution {
    /// `dimension=value`.
    pub segment: String,
    /// Traces since the onset.
    pub traces: u64,
    /// Its mean or share in the baseline.
    pub baseline: f64,
    /// Its mean or share since the onset.
    pub current: f64,
    /// Its part in the change of the whole.
    pub contribution: f64,
    /// Lower end of the 95 % interval of `contribution`.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

impl fmt::Display for Affects {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => write!(formatter, "no single trace: what is wrong is not in the traces that came"),
            Self::True => write!(formatter, "each trace whose value is true"),
            Self::False => write!(formatter, "each trace whose value is false"),
            Self::Above(limit) => write!(formatter, "each trace whose value is above {limit:.4}"),
            Self::AtMost(limit) => write!(formatter, "each trace whose value is {limit:.4} or less"),
            Self::Cells(cells) => {
                let names: Vec<String> = cells.iter().map(cell_name).collect();
                write!(formatter, "each trace with what is new or at least twice as frequent: {}", names.join(", "))
            }
        }
    }
}

fn cell_name((from, to): &(String, String)) -> String {
    if from.is_empty() { to.clone() } else { format!("{from} → {to}") }
}

impl Explanation {
    /// The segment that explains four fifths of the change within, if one does: its alert and that of the whole service
    /// are one trouble.
    #[must_use]
    pub fn cause(&self) -> Option<&Contribution> {
        self.segments.first().filter(|first| self.within != 0.0 && first.contribution / self.within >= CAUSE)
    }

    /// One sentence for an alert.
    #[must_use]
    pub fn sentence(&self) -> String {
        let Self { dimension, mix, within, segments, new_versions, .. } = self;
        let mut text = format!("of the change {mix:+.3} is another mix of {dimension} and {within:+.3} within");
        if let Some(Contribution { segment, baseline, current, contribution, low, high, .. }) = segments.first() {
            text.push_str(&format!(
                "; {segment} contributes {contribution:+.3} ({low:+.3} to {high:+.3}), from {baseline:.3} to {current:.3}"
            ));
        }
        if !new_versions.is_empty() {
            text.push_str(&format!("; new since the baseline: {}", new_versions.join(", ")));
        }
        text
    }
}
