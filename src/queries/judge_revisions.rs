//! Which revisions of each judge have scored: one for every model that its provider has answered with.

use serde::{Deserialize, Serialize};

use crate::backends::store::{JudgeModelSeen, Store, StoreError};
use crate::domain::time::Timestamp;
use crate::evaluate::definition::EvaluatorDefinition;
use crate::evaluate::kinds::Behaviour;
use crate::evaluate::revision::resolved;
use crate::evaluate::run::Evaluators;

/// A revision of a judge, as its definition stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JudgeRevision {
    /// The judge.
    pub evaluator: String,
    /// The revision of its scores.
    pub revision: String,
    /// The model that answers, as its provider names it.
    pub model: String,
    /// When it first answered.
    pub first_seen_at: Timestamp,
    /// When it last took over from another.
    pub last_seen_at: Timestamp,
}

/// The revisions of every judge, each judge's in the order in which its models first answered.
///
/// # Errors
/// The store failed.
pub async fn judge_revisions(store: &Store, evaluators: &Evaluators) -> Result<Vec<JudgeRevision>, StoreError> {
    let seen = store.judge_models().await?;
    Ok(evaluators.definitions().iter().flat_map(|definition| of_judge(definition, evaluators, &seen)).collect())
}

fn of_judge(definition: &EvaluatorDefinition, evaluators: &Evaluators, seen: &[JudgeModelSeen]) -> Vec<JudgeRevision> {
    let Behaviour::Judge(judge) = &definition.behaviour else { return Vec::new() };
    let Some(asked) = evaluators.model(&judge.model).map(|identity| identity.model.as_str()) else { return Vec::new() };
    let revision = |seen: &JudgeModelSeen| JudgeRevision {
        evaluator: definition.name.clone(),
        revision: resolved(&definition.revision, Some(seen.answered.as_str()).filter(|answered| *answered != asked)),
        model: seen.answered.clone(),
        first_seen_at: seen.first_seen_at,
        last_seen_at: seen.last_seen_at,
    };
    seen.iter().filter(|seen| seen.lane == judge.model && seen.asked == asked).map(revision).collect()
}
