//! Which judges are calibrated: the one answer to that question, wherever a judge's numbers are shown.

use std::collections::BTreeSet;

use super::baseline::Baseline;
use super::calibration::standings;
use crate::domain::evaluation::Evaluation;
use crate::domain::label::LabelledCount;
use crate::domain::report::{DriftReport, GateReport};

/// Which judges there are, and which of their revisions labels calibrate.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standings {
    judges: BTreeSet<String>,
    calibrated: BTreeSet<(String, String)>,
}

impl Standings {
    /// The standings of these judges by the labels of all their revisions.
    #[must_use]
    pub fn new(judges: BTreeSet<String>, counts: &[LabelledCount]) -> Self {
        let calibrated = standings(counts).into_iter().filter(|(_, standing)| standing.is_ok());
        Self { judges, calibrated: calibrated.map(|(revision, _)| revision).collect() }
    }

    /// Whether a judge's revision is calibrated.
    #[must_use]
    pub fn is_calibrated(&self, evaluator: &str, revision: &str) -> bool {
        self.calibrated.contains(&(evaluator.to_owned(), revision.to_owned()))
    }

    /// Whether the judge that scored here is calibrated; `None` where no judge did.
    #[must_use]
    pub fn of_evaluation(&self, evaluation: &Evaluation) -> Option<bool> {
        evaluation.is_judged().then(|| self.is_calibrated(&evaluation.evaluator, &evaluation.revision))
    }

    /// Whether a series that these revisions scored is that of a calibrated judge; `None` where it is no judge's.
    /// Revisions that are not known are not calibrated.
    #[must_use]
    pub fn of_series(&self, series: &str, revisions: &BTreeSet<&str>) -> Option<bool> {
        let is_known = !revisions.is_empty();
        let of = || is_known && revisions.iter().all(|revision| self.is_calibrated(series, revision));
        self.judges.contains(series).then(of)
    }

    /// Whether a series of these summaries is that of a calibrated judge; likewise.
    #[must_use]
    pub fn of_summaries(&self, series: &str, summaries: [&Baseline; 2]) -> Option<bool> {
        self.of_series(series, &summaries.into_iter().flat_map(|of| of.scored_by(series)).collect())
    }

    /// Marks the series of judges in a drift report of these sides, and notes those that are not calibrated.
    pub fn mark_drift(&self, report: &mut DriftReport, sides: [&Baseline; 2]) {
        for row in &mut report.series {
            row.calibrated = self.of_summaries(&row.series, sides);
        }
        let marked = report.series.iter().map(|row| (row.series.as_str(), row.calibrated));
        report.notes.extend(notes(marked));
    }

    /// Marks the series of judges in a gate's answer on these sides, and notes those that are not calibrated.
    pub fn mark_gate(&self, report: &mut GateReport, sides: [&Baseline; 2]) {
        for row in &mut report.series {
            row.calibrated = self.of_summaries(&row.series, sides);
        }
        let marked = report.series.iter().map(|row| (row.series.as_str(), row.calibrated));
        report.notes.extend(notes(marked));
    }
}

/// A note on each judge that is not calibrated.
fn notes<'a>(marked: impl Iterator<Item = (&'a str, Option<bool>)>) -> Vec<String> {
    let uncalibrated: BTreeSet<&str> = marked.filter(|(_, it)| *it == Some(false)).map(|(series, _)| series).collect();
    uncalibrated.into_iter().map(uncalibrated_note).collect()
}

/// What a reader of a judge's numbers must know while it is not calibrated.
#[must_use]
pub fn uncalibrated_note(evaluator: &str) -> String {
    format!(
        "{evaluator} is an uncalibrated judge: how often it errs is not known; driftline calibrate says what is missing"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::label::{Answer, HeldLabel, Origin};

    #[test]
    fn a_revision_is_calibrated_for_itself_alone_and_a_rule_is_neither() {
        let count = |passed| LabelledCount {
            evaluator: "grounded".to_owned(),
            revision: "r1".to_owned(),
            passed,
            is_drawn: true,
            label: Some(HeldLabel { answer: Answer::Pass, origin: Origin::Review, has_probability: true }),
            count: 50,
        };
        let standings = Standings::new(["grounded".to_owned()].into(), &[count(true), count(false)]);
        assert_eq!(standings.of_series("grounded", &["r1"].into()), Some(true));
        assert_eq!(standings.of_series("grounded", &["r1", "r2"].into()), Some(false));
        assert_eq!(standings.of_series("grounded", &BTreeSet::new()), Some(false), "nothing is known of it");
        assert_eq!(standings.of_series("loop", &["r1"].into()), None);
        let few = Standings::new(["grounded".to_owned()].into(), &[count(true)]);
        assert_eq!(few.of_series("grounded", &["r1"].into()), Some(false));
    }
}
