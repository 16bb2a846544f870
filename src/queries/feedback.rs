//! Feedback that an application sends: kept beside the scores of its trace, whether that is known yet or not.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::QueryError;
use crate::backends::store::Store;
use crate::domain::feedback::parse;
use crate::domain::ids::TraceId;
use crate::domain::time::Timestamp;
use crate::evaluate::redaction::Redactor;

/// What was kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptFeedback {
    /// The trace that it is about.
    pub trace_id: TraceId,
}

/// Keeps one score, without what is to be taken out of it.
///
/// # Errors
/// The object is no feedback, or the store failed.
pub async fn feedback(
    store: &Store,
    object: &Map<String, Value>,
    redactor: Option<&Redactor>,
    now: Timestamp,
) -> Result<KeptFeedback, QueryError> {
    let mut new = parse(object)?;
    if let Some(redactor) = redactor {
        redactor.redact_score(&mut new.score);
    }
    let trace_id = new.score.trace_id;
    store.add_external_scores(&[new], now).await?;
    Ok(KeptFeedback { trace_id })
}
