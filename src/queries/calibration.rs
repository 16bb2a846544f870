//! Judges against people: the report of `calibrate`, and which judges are not calibrated.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{QueryError, compute};
use crate::backends::store::Store;
use crate::domain::label::{AnchorScore, Judgement, Label};
use crate::domain::time::Timestamp;
use crate::watch::calibration::{Calibration, calibrations};
use crate::watch::judge_drift::{JudgeDrift, judge_drifts};

/// How far back judgements count where nothing is said.
pub const DEFAULT_SINCE: &str = "30d";

/// Every revision of the judges that were asked about.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CalibrationReport {
    /// By judge and revision.
    pub judges: Vec<JudgeCalibration>,
}

/// A judge's revision against people, and over time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JudgeCalibration {
    /// Against people.
    #[serde(flatten)]
    pub calibration: Calibration,
    /// Over time, by its anchors; `None` where it was never asked about any.
    pub anchors: Option<JudgeDrift>,
}

/// The report on what a store holds of one judge or of all, as far as was judged since an instant.
///
/// # Errors
/// There is no such judge, or the store failed.
pub async fn calibration(
    store: &Store,
    judge: Option<&str>,
    since: Timestamp,
) -> Result<CalibrationReport, QueryError> {
    let judgements = store.judgements(judge, since, false).await?;
    let (labels, scores) = (store.labels(judge).await?, store.anchor_scores(judge).await?);
    let report = compute(move || report(&judgements, &labels, &scores)).await?;
    match judge {
        Some(name) if report.judges.is_empty() => Err(QueryError::UnknownJudge { name: name.to_owned() }),
        _ => Ok(report),
    }
}

/// The report on judgements, labels and scores of anchors.
#[must_use]
pub fn report(judgements: &[Judgement], labels: &[Label], scores: &[AnchorScore]) -> CalibrationReport {
    let mut drifts = judge_drifts(scores, judgements);
    let judge = |calibration: Calibration| {
        let is_same =
            |drift: &JudgeDrift| (&drift.evaluator, &drift.revision) == (&calibration.evaluator, &calibration.revision);
        let anchors = drifts.iter().position(is_same).map(|at| drifts.swap_remove(at));
        JudgeCalibration { calibration, anchors }
    };
    CalibrationReport { judges: calibrations(judgements, labels).into_iter().map(judge).collect() }
}

/// Which revisions of which judges are known to be calibrated. A judge that is not among them is not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standings(BTreeMap<(String, String), bool>);

impl Standings {
    /// Whether a judge's revision is calibrated.
    #[must_use]
    pub fn is_calibrated(&self, evaluator: &str, revision: &str) -> bool {
        self.0.get(&(evaluator.to_owned(), revision.to_owned())).copied().unwrap_or(false)
    }

    /// Whether any revision of a judge is calibrated.
    #[must_use]
    pub fn is_any_calibrated(&self, evaluator: &str) -> bool {
        self.0.iter().any(|((name, _), calibrated)| name == evaluator && *calibrated)
    }
}

/// Which judges the labels of a store calibrate.
///
/// # Errors
/// The store failed.
pub async fn standings(store: &Store) -> Result<Standings, QueryError> {
    let judgements = store.judgements(None, Timestamp(i64::MIN), true).await?;
    let labels = store.labels(None).await?;
    let of = |it: Calibration| ((it.evaluator, it.revision), it.calibrated);
    Ok(Standings(calibrations(&judgements, &labels).into_iter().map(of).collect()))
}

/// What a reader of a judge's numbers must know while it is not calibrated.
#[must_use]
pub fn uncalibrated_note(evaluator: &str) -> String {
    format!(
        "{evaluator} is an uncalibrated judge: how often it errs is not known; driftline calibrate says what is missing"
    )
}
