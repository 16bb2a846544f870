//! One series compared, before the whole report has decided what is significant.

use crate::domain::ids::TraceId;
use crate::domain::measurement::SeriesKind;
use crate::domain::report::{DriftVerdict, Effect, Estimate, SeriesReport, Transition};
use crate::stats::sequence::CellShift;
use crate::stats::session::Cell;

/// Confidence of every interval in a report.
pub(crate) const CONFIDENCE: f64 = 0.95;
/// Transitions and categories listed for one series.
const TRANSITIONS: usize = 10;
/// Least |z| of a listed transition.
const LEAST_Z: f64 = 2.0;
/// Trace ids given as evidence.
pub(crate) const EVIDENCE: usize = 10;

/// An estimate of nothing.
pub(crate) const NO_ESTIMATE: Estimate = Estimate { n: 0, estimate: None, low: None, high: None, upstream_unknown: 0 };

/// What a comparison may conclude.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Drift or no drift.
    Sufficient,
    /// Drift, by an exact test; but its absence would say nothing at this size.
    DriftOnly,
    /// Nothing.
    Insufficient,
}

/// A comparison with its p-value, still without a verdict.
#[derive(Debug, Clone)]
pub(crate) struct Comparison {
    /// The report's row; its verdict, adjusted p-value and `notable` are still open.
    pub(crate) report: SeriesReport,
    /// What may be concluded.
    pub(crate) standing: Standing,
    /// Whether the effect is large enough to matter.
    pub(crate) matters: bool,
}

impl Comparison {
    /// A row about a series that nothing can be concluded of so far.
    pub(crate) fn new(label: &Label, kind: SeriesKind, baseline: Estimate, current: Estimate) -> Self {
        let report = SeriesReport {
            series: label.series.clone(),
            segment: label.segment.clone(),
            kind,
            calibrated: None,
            verdict: DriftVerdict::InsufficientEvidence,
            notable: false,
            baseline,
            current,
            effect: Effect { name: effect_name(kind).to_owned(), value: None },
            test: "none".to_owned(),
            p_value: None,
            adjusted_p_value: None,
            transitions: Vec::new(),
            evidence: Vec::new(),
            pairs: None,
            note: None,
            distribution: Vec::new(),
            history: Vec::new(),
        };
        Self { report, standing: Standing::Insufficient, matters: false }
    }

    /// Adds a sentence to the row's note.
    pub(crate) fn note(mut self, sentence: &str) -> Self {
        self.report.note = Some(match self.report.note.take() {
            Some(note) => format!("{note}; {sentence}"),
            None => sentence.to_owned(),
        });
        self
    }

    /// Records the outcome of a test.
    pub(crate) fn tested(mut self, test: &str, p_value: f64, effect: Option<f64>, matters: bool) -> Self {
        self.report.test = test.to_owned();
        self.report.p_value = Some(p_value);
        self.report.effect.value = effect.filter(|value| value.is_finite());
        self.standing = Standing::Sufficient;
        self.matters = matters;
        self
    }

    /// The p-value, if it takes part in the correction over the report.
    pub(crate) fn judged_p_value(&self) -> Option<f64> {
        self.report.p_value.filter(|_| self.standing != Standing::Insufficient)
    }

    /// The finished row.
    pub(crate) fn conclude(self, adjusted: Option<f64>, alpha: f64) -> SeriesReport {
        let is_significant = adjusted.is_some_and(|p| p <= alpha);
        let is_tiny = is_significant && !self.matters;
        let this = if is_tiny { self.note("significant, but smaller than what is taken to matter") } else { self };
        let verdict = match this.standing {
            Standing::Insufficient => DriftVerdict::InsufficientEvidence,
            _ if is_significant && this.matters => DriftVerdict::Drift,
            Standing::Sufficient => DriftVerdict::NoDrift,
            Standing::DriftOnly => DriftVerdict::InsufficientEvidence,
        };
        let notable = this.judged_p_value().is_some_and(|p| p <= alpha) && !is_significant;
        SeriesReport { verdict, notable, adjusted_p_value: adjusted, ..this.report }
    }
}

/// Where a row belongs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Label {
    /// The series.
    pub(crate) series: String,
    /// The segment.
    pub(crate) segment: String,
}

const fn effect_name(kind: SeriesKind) -> &'static str {
    match kind {
        SeriesKind::Boolean | SeriesKind::Ordinal => "difference",
        SeriesKind::Numeric => "ratio_of_means",
        SeriesKind::Categorical | SeriesKind::Sequence => "jensen_shannon_distance",
    }
}

/// The cells that moved most, as a report lists them.
pub(crate) fn moved(shifts: &[CellShift]) -> Vec<Transition> {
    let moved = shifts.iter().filter(|shift| shift.z.abs() >= LEAST_Z).take(TRANSITIONS);
    moved.map(transition).collect()
}

fn transition(shift: &CellShift) -> Transition {
    let (difference, z) = (shift.current - shift.baseline, shift.z);
    let half = 1.96 * (difference / z).abs();
    Transition {
        from: shift.cell.0.clone(),
        to: shift.cell.1.clone(),
        baseline: shift.baseline,
        current: shift.current,
        z,
        low: (difference - half).max(-1.0),
        high: (difference + half).min(1.0),
    }
}

/// Traces that show the cells which became more frequent.
pub(crate) fn traces_of_risen(shifts: &[CellShift], traces_by_cell: &[(Cell, Vec<TraceId>)]) -> Vec<TraceId> {
    let mut evidence: Vec<TraceId> = Vec::new();
    for shift in shifts.iter().filter(|shift| shift.z >= LEAST_Z) {
        let showing = traces_by_cell.iter().filter(|(cell, _)| *cell == shift.cell);
        for trace in showing.flat_map(|(_, traces)| traces) {
            if !evidence.contains(trace) {
                evidence.push(*trace);
            }
        }
    }
    evidence.truncate(EVIDENCE);
    evidence
}

/// Whether a change of a share matters: 2 points, and Cohen's h of 0.1.
pub(crate) fn share_matters(baseline: f64, current: f64) -> bool {
    (current - baseline).abs() >= 0.02 && crate::stats::proportion::cohen_h(current, baseline).abs() >= 0.1
}

/// Whether two distributions over cells differ enough to matter.
pub(crate) fn distance_matters(jensen_shannon_distance: f64) -> bool {
    jensen_shannon_distance >= 0.05
}
