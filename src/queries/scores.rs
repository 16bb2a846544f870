//! Every evaluation of a trace: one row for each evaluator, scored or not.

use serde::{Deserialize, Serialize};

use super::{QueryError, not_evaluated};
use crate::backends::store::{Store, StoredEvaluation};
use crate::domain::evaluation::Evaluation;
use crate::domain::ids::TraceId;

/// The evaluations of a trace.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    /// The trace.
    pub trace_id: TraceId,
    /// A row for each evaluator, by name.
    pub scores: Vec<ScoreRow>,
}

/// The line that `evaluate` prints, with what statistics must know of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScoreRow {
    /// The evaluation.
    #[serde(flatten)]
    pub evaluation: Evaluation,
    /// Version of the trace that was evaluated.
    pub trace_version: i64,
    /// Probability with which the trace was chosen for this evaluator.
    pub probability: f64,
}

impl From<StoredEvaluation> for ScoreRow {
    fn from(stored: StoredEvaluation) -> Self {
        Self { evaluation: stored.evaluation, trace_version: stored.trace_version, probability: stored.probability }
    }
}

/// Answers for one trace.
///
/// # Errors
/// The trace is not evaluated, or the store failed.
pub async fn scores(store: &Store, trace_id: TraceId) -> Result<Scores, QueryError> {
    if store.trace(trace_id).await?.is_none() {
        return Err(not_evaluated(store, trace_id).await?);
    }
    let scores = store.evaluations(trace_id).await?.into_iter().map(ScoreRow::from).collect();
    Ok(Scores { trace_id, scores })
}
