//! Judgements that the budget left out, planned again.

use serde::{Deserialize, Serialize};

use super::QueryError;
use super::judges::loaded_judges;
use crate::backends::store::{Backfill, Selection, Store};
use crate::domain::time::Timestamp;
use crate::evaluate::kinds::Behaviour;
use crate::evaluate::run::Evaluators;

/// What is to be made up for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BackfillRequest {
    /// Of this judge only.
    pub evaluator: Option<String>,
    /// `key=value[,key=value]`: which traces; all when empty.
    #[serde(rename = "where")]
    pub selection: String,
    /// Whether judgements that failed are made again too.
    pub failed: bool,
    /// At most so many of each judge.
    pub limit: Option<usize>,
}

/// What was planned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Planned {
    /// Judgements in all.
    pub planned: u64,
    /// Judgements by judge.
    pub evaluators: Vec<PlannedOf>,
}

/// What was planned of one judge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedOf {
    /// The judge.
    pub evaluator: String,
    /// Its judgements.
    pub planned: u64,
}

/// Plans skipped judgements again, as far as the traces' bodies are kept and the judge's revision is the same. They are
/// made within the budget of the day they are made on.
///
/// # Errors
/// There is no such judge, or the store failed.
pub async fn backfill(
    store: &Store,
    evaluators: &Evaluators,
    asked: &BackfillRequest,
    selection: &Selection,
    now: Timestamp,
) -> Result<Planned, QueryError> {
    let mut planned = Vec::new();
    for definition in evaluators.definitions() {
        let Behaviour::Judge(judge) = &definition.behaviour else { continue };
        if asked.evaluator.as_ref().is_some_and(|name| *name != definition.name) {
            continue;
        }
        let backfill = Backfill {
            evaluator: definition.name.clone(),
            revision: definition.revision.clone(),
            lane: judge.model.clone(),
            with_failed: asked.failed,
            selection: selection.clone(),
            limit: asked.limit.unwrap_or(usize::MAX),
        };
        let count = store.backfill(&backfill, now).await?;
        planned.push(PlannedOf { evaluator: definition.name.clone(), planned: count });
    }
    if let (Some(name), true) = (&asked.evaluator, planned.is_empty()) {
        return Err(QueryError::UnknownJudge { name: name.clone(), known: loaded_judges(evaluators).collect() });
    }
    Ok(Planned { planned: planned.iter().map(|it| it.planned).sum(), evaluators: planned })
}
