//! Every evaluation of a trace: one row for each evaluator, scored or not; and one for each score of others.

use serde::{Deserialize, Serialize};

use super::calibration::standings_for;
use super::{QueryError, not_evaluated};
use crate::backends::store::{Store, StoredEvaluation, StoredTrace};
use crate::domain::evaluation::{Evaluation, Outcome};
use crate::domain::external_score::ExternalScore;
use crate::domain::ids::{SpanId, TraceId};
use crate::watch::standings::Standings;

/// The evaluations of a trace.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    /// The trace.
    pub trace_id: TraceId,
    /// A row for each evaluator, by name; then those of others, by name, each with its `source`.
    pub scores: Vec<ScoreRow>,
}

/// The line that `evaluate` prints, with what statistics must know of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScoreRow {
    /// The evaluation.
    #[serde(flatten)]
    pub evaluation: Evaluation,
    /// Version of the trace that was evaluated; that which stands, where others scored.
    pub trace_version: i64,
    /// Probability with which the trace was chosen for this evaluator; not known where others scored.
    pub probability: Option<f64>,
    /// Which tool or application sent it; absent for evaluators of our own. Then the evaluator is the name that it gives
    /// to what it scored, the value is on its scale, and there may be a label alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Whether the judge that scored is calibrated; absent where no judge of ours did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibrated: Option<bool>,
}

impl ScoreRow {
    fn own(stored: StoredEvaluation, standings: &Standings) -> Self {
        Self {
            calibrated: standings.of_evaluation(&stored.evaluation),
            evaluation: stored.evaluation,
            trace_version: stored.trace_version,
            probability: Some(stored.probability),
            source: None,
        }
    }

    /// What others scored, as a row beside those of our own evaluators.
    #[must_use]
    pub fn external(score: ExternalScore, root_span_id: SpanId, trace_version: i64) -> Self {
        let evaluation = Evaluation {
            trace_id: score.trace_id,
            span_id: score.span_id.unwrap_or(root_span_id),
            evaluator: score.name,
            revision: String::new(),
            annotator_kind: score.annotator_kind,
            outcome: if score.error.is_some() { Outcome::Failed } else { Outcome::Scored },
            value: score.value,
            label: score.label,
            explanation: score.explanation.or(score.error),
            truncated: false,
            split: false,
        };
        Self { evaluation, trace_version, probability: None, source: Some(score.source), calibrated: None }
    }
}

/// Answers for one trace.
///
/// # Errors
/// The trace is not evaluated, or the store failed.
pub async fn scores(store: &Store, trace_id: TraceId) -> Result<Scores, QueryError> {
    let Some(trace) = store.trace(trace_id).await? else {
        return Err(not_evaluated(store, trace_id).await?);
    };
    Ok(Scores { trace_id, scores: rows(store, &trace).await? })
}

/// The rows of a trace.
pub(super) async fn rows(store: &Store, trace: &StoredTrace) -> Result<Vec<ScoreRow>, QueryError> {
    let own = store.evaluations(trace.trace_id).await?;
    let standings = standings_for(store, &own).await?;
    let own = own.into_iter().map(|row| ScoreRow::own(row, &standings));
    Ok(own.chain(external(store, trace).await?).collect())
}

/// The rows of what others scored.
pub(super) async fn external(store: &Store, trace: &StoredTrace) -> Result<Vec<ScoreRow>, QueryError> {
    let scores = store.external_scores(trace.trace_id).await?.into_iter();
    Ok(scores.map(|score| ScoreRow::external(score, trace.root_span_id, trace.version)).collect())
}
