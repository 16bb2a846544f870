//! Judges against people: the report of `calibrate`, and which judges are not calibrated.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{QueryError, compute};
use crate::backends::store::{Store, StoreError, StoredEvaluation};
use crate::domain::ids::TraceId;
use crate::domain::label::{AnchorScore, Judgement, Label, LabelledCount, RevisionSum};
use crate::domain::time::Timestamp;
use crate::watch::calibration::{self, Calibration, calibrations};
use crate::watch::judge_drift::{JudgeDrift, judge_drifts};
use crate::watch::standings::Standings;

/// How far back judgements count where nothing is said.
pub const DEFAULT_SINCE: &str = "30d";

/// Every revision of the judges that were asked about.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CalibrationReport {
    /// By judge and revision.
    pub judges: Vec<JudgeCalibration>,
}

impl CalibrationReport {
    /// The traces about which it quotes what judges and people said, where so many disagreements of each judge are shown.
    #[must_use]
    pub fn quoted(&self, disagreements: usize) -> Vec<TraceId> {
        let quoted = self.judges.iter().flat_map(|judge| judge.calibration.disagreements.iter().take(disagreements));
        quoted.map(|one| one.trace_id).collect::<BTreeSet<_>>().into_iter().collect()
    }
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

/// The report on what a store holds of one judge or of all, as far as was judged since an instant. Whether a judge is
/// calibrated is what [`standings`] say, by all labels.
///
/// # Errors
/// There is no such judge, or the store failed.
pub async fn calibration(
    store: &Store,
    judge: Option<&str>,
    since: Timestamp,
) -> Result<CalibrationReport, QueryError> {
    let judgements = store.labelled_judgements(judge, since).await?;
    let unlabelled = store.unlabelled_sums(judge, since).await?;
    let (labels, scores) = (store.labels(judge).await?, store.anchor_scores(judge).await?);
    let counts = store.labelled_counts().await?;
    let of_time = move || report(&judgements, unlabelled, &labels, &scores);
    let report = compute(move || standing_by_all(of_time(), &counts)).await?;
    match judge {
        Some(name) if report.judges.is_empty() => {
            Err(QueryError::UnknownJudge { name: name.to_owned(), known: store.judges().await? })
        }
        _ => Ok(report),
    }
}

fn standing_by_all(report: CalibrationReport, counts: &[LabelledCount]) -> CalibrationReport {
    let mut standings = calibration::standings(counts);
    let judge = |judge: JudgeCalibration| {
        let Calibration { evaluator, revision, .. } = &judge.calibration;
        // A revision that is not counted has no labels, and says so itself.
        match standings.remove(&(evaluator.clone(), revision.clone())) {
            Some(standing) => JudgeCalibration { calibration: judge.calibration.with_standing(standing), ..judge },
            None => judge,
        }
    };
    CalibrationReport { judges: report.judges.into_iter().map(judge).collect() }
}

/// The report on judgements, the sums of those that nobody labelled, labels and scores of anchors.
#[must_use]
pub fn report(
    judgements: &[Judgement],
    unlabelled: Vec<RevisionSum>,
    labels: &[Label],
    scores: &[AnchorScore],
) -> CalibrationReport {
    let calibrations = calibrations(judgements, &unlabelled, labels);
    let traffic: Vec<RevisionSum> = judgements.iter().map(RevisionSum::from).chain(unlabelled).collect();
    let mut drifts = judge_drifts(scores, &traffic);
    let judge = |calibration: Calibration| {
        let is_same =
            |drift: &JudgeDrift| (&drift.evaluator, &drift.revision) == (&calibration.evaluator, &calibration.revision);
        let anchors = drifts.iter().position(is_same).map(|at| drifts.swap_remove(at));
        JudgeCalibration { calibration, anchors }
    };
    CalibrationReport { judges: calibrations.into_iter().map(judge).collect() }
}

/// Which of the judges that scored here the labels of a store calibrate; where none did, the store is not asked.
pub(super) async fn standings_for(store: &Store, rows: &[StoredEvaluation]) -> Result<Standings, StoreError> {
    if rows.iter().any(|row| row.evaluation.is_judged()) { standings(store).await } else { Ok(Standings::default()) }
}

/// Which judges the labels of a store calibrate.
///
/// # Errors
/// The store failed.
pub async fn standings(store: &Store) -> Result<Standings, StoreError> {
    Ok(Standings::new(store.judges().await?, &store.labelled_counts().await?))
}
