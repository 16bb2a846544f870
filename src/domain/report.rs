//! What a drift report and a gate say: the JSON that `driftline drift --json` and `driftline gate --json` print.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::ids::TraceId;
use super::measurement::SeriesKind;
use super::release::ChangeEvent;
use super::time::Timestamp;

/// Verdict on one series, or on a whole report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DriftVerdict {
    /// The change is significant after correction and large enough to matter.
    Drift,
    /// There was enough to judge by, and no drift.
    NoDrift,
    /// Too little to judge by.
    InsufficientEvidence,
}

/// An estimate with its interval and the number of traces behind it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// Traces with a value.
    pub n: u64,
    /// Weighted mean (numeric), share true (boolean), share of the largest category or transition otherwise.
    pub estimate: Option<f64>,
    /// Lower end of the 95 % interval.
    pub low: Option<f64>,
    /// Upper end of the 95 % interval.
    pub high: Option<f64>,
    /// Traces among them of which it is not known with what probability upstream sampling kept them; each stands for
    /// itself alone.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub upstream_unknown: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// What is written behind the name of a series that a judge scored: how often that judge errs may not be known.
#[must_use]
pub const fn calibration_mark(calibrated: Option<bool>) -> &'static str {
    match calibrated {
        Some(false) => " (uncalibrated)",
        Some(true) | None => "",
    }
}

/// A named effect size.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Effect {
    /// Which effect size, for example `difference` or `ratio_of_means`.
    pub name: String,
    /// Its value; current against baseline.
    pub value: Option<f64>,
}

/// One tool transition or category whose share moved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Transition {
    /// The tool before; `START` at the beginning of a run. Empty for a category.
    pub from: String,
    /// The tool after; `END` at the end of a run. The category's name for a category.
    pub to: String,
    /// Share of all transitions in the baseline.
    pub baseline: f64,
    /// Share of all transitions now.
    pub current: f64,
    /// Standardised difference with the pooled, clustered variance.
    pub z: f64,
    /// Lower end of the 95 % interval of `current - baseline`, by the same variance.
    #[serde(default)]
    pub low: f64,
    /// Upper end.
    #[serde(default)]
    pub high: f64,
}

impl Transition {
    /// The interval of the difference in points of per cent, within what a difference of two shares can be.
    #[must_use]
    pub fn points(&self) -> (f64, f64) {
        let points = |difference: f64| (difference * 100.0).clamp(-100.0, 100.0);
        (points(self.low), points(self.high))
    }
}

/// One bar of a distribution, on both sides.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DistributionBin {
    /// The value, range of values, category or transition.
    pub label: String,
    /// Share of the baseline.
    pub baseline: f64,
    /// Share of the current side.
    pub current: f64,
}

/// An estimate over a stretch of time.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct HistoryPoint {
    /// Start of the stretch, in nanoseconds since the Unix epoch.
    pub at: Timestamp,
    /// Whether it is of the current side.
    pub is_current: bool,
    /// The estimate.
    #[serde(flatten)]
    pub estimate: Estimate,
}

/// The comparison of one series.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SeriesReport {
    /// Name of the series.
    pub series: String,
    /// `all`, or `dimension=value`.
    pub segment: String,
    /// Kind of the series.
    pub kind: SeriesKind,
    /// Whether the judge that scored it is calibrated; `None` where no judge did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibrated: Option<bool>,
    /// The verdict.
    pub verdict: DriftVerdict,
    /// Significant before correction over the report only: worth a look, not an alarm.
    pub notable: bool,
    /// The baseline side.
    pub baseline: Estimate,
    /// The current side.
    pub current: Estimate,
    /// Effect size.
    pub effect: Effect,
    /// The test that gave the p-value, or why there is none.
    pub test: String,
    /// p-value before correction.
    pub p_value: Option<f64>,
    /// p-value after Benjamini-Hochberg over the whole report.
    pub adjusted_p_value: Option<f64>,
    /// What moved inside a sequence or categorical series, largest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub transitions: Vec<Transition>,
    /// Traces of the current side that contribute most.
    pub evidence: Vec<TraceId>,
    /// Pairs used, when the comparison was paired.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pairs: Option<u64>,
    /// What limits this number, in plain words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// How the values are distributed on both sides: values in order, categories and transitions by share.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub distribution: Vec<DistributionBin>,
    /// How the estimate went over time, where traces were compared and not summaries alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<HistoryPoint>,
}

/// A whole drift report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DriftReport {
    /// Drift if any series drifts, else no drift if any series could be judged.
    pub verdict: DriftVerdict,
    /// False-discovery rate that holds over the whole report.
    pub alpha: f64,
    /// Traces on each side.
    pub traces: Sides,
    /// Every compared series, drifting ones first.
    pub series: Vec<SeriesReport>,
    /// Share of traces by segment value on each side: `dimension → value → (baseline, current)`.
    pub mix: BTreeMap<String, BTreeMap<String, (f64, f64)>>,
    /// Versions that came or went back during the compared traffic, earliest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<ChangeEvent>,
    /// What limits the whole report, in plain words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// Number of traces on each side of a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sides {
    /// Baseline traces.
    pub baseline: u64,
    /// Current traces.
    pub current: u64,
}

/// Verdict of a gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GateVerdict {
    /// The candidate is shown to be good enough.
    Pass,
    /// The candidate is shown not to be good enough.
    Fail,
    /// Neither is shown.
    Inconclusive,
}

/// The gate's answer for one series of the policy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GateSeries {
    /// Name of the series.
    pub series: String,
    /// Whether the judge that scored it is calibrated; `None` where no judge did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibrated: Option<bool>,
    /// The verdict.
    pub verdict: GateVerdict,
    /// The margin, floor or ceiling that was asked for.
    pub margin: f64,
    /// Candidate minus baseline (margin), or candidate minus bound (floor, ceiling), so that positive is better.
    pub difference: Option<f64>,
    /// Lower end of the (1 - 2 alpha) interval of the difference.
    pub low: Option<f64>,
    /// Upper end of the interval.
    pub high: Option<f64>,
    /// Baseline traces (or pairs).
    pub n_baseline: u64,
    /// Candidate traces (or pairs).
    pub n_candidate: u64,
    /// Candidate traces (or pairs) needed for the policy's power, when inconclusive.
    pub needed_n: Option<u64>,
    /// One sentence for a person.
    pub reason: String,
}

/// What a gate compared with what.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GateDesign {
    /// The same tasks on both sides.
    Paired,
    /// Conversations of the candidate with ones of the baseline at the same time.
    Concurrent,
    /// All traces of one side with all of the other.
    #[default]
    Independent,
}

/// A gate's whole answer: fail if any series fails, pass if all pass, else inconclusive.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GateReport {
    /// The overall verdict.
    pub verdict: GateVerdict,
    /// One-sided error rate of each series' verdict.
    pub alpha: f64,
    /// What was compared with what.
    #[serde(default)]
    pub design: GateDesign,
    /// Whether production traffic was compared that chance did not assign to the sides: a difference may then come from
    /// who was sent where.
    #[serde(default, rename = "observational")]
    pub is_observational: bool,
    /// Whether the answer holds however often it is looked at.
    #[serde(default, rename = "sequential")]
    pub is_sequential: bool,
    /// Each series of the policy.
    pub series: Vec<GateSeries>,
    /// What limits the whole answer, in plain words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::Transition;

    #[test]
    fn a_difference_of_shares_lies_within_a_hundred_points() {
        let moved = Transition {
            from: String::new(),
            to: "stop".to_owned(),
            baseline: 1.0,
            current: 0.0,
            z: -18.0,
            low: -1.11,
            high: -0.89,
        };
        let (low, high) = moved.points();
        assert!((low - -100.0).abs() < 1e-9 && (high - -89.0).abs() < 1e-9, "{low} {high}");
    }
}
