//! The evaluators: what is loaded, and what became of it on recent traces.

use std::collections::BTreeMap;

use super::QueryError;
use super::judge_revisions::judge_revisions;
use crate::backends::store::Store;
use crate::domain::evaluation::{AnnotatorKind, Outcome};
use crate::evaluate::definition::{EvaluatorDefinition, Severity};
use crate::evaluate::run::Evaluators;

/// Newest traces whose outcomes are counted.
pub const TRACES: usize = 1_000;

/// One revision of an evaluator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EvaluatorStanding {
    /// Its name.
    pub name: String,
    /// Its revision.
    pub revision: String,
    /// What is loaded of it; `None` for revisions of the past.
    pub loaded: Option<LoadedEvaluator>,
    /// How often it came to each outcome.
    pub outcomes: BTreeMap<Outcome, u64>,
    /// How many scores are below a half.
    pub failing: u64,
}

/// What a definition says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadedEvaluator {
    /// Its kind.
    pub kind: &'static str,
    /// What a pass means.
    pub description: String,
    /// Who scores.
    pub annotator_kind: AnnotatorKind,
    /// How bad a failing score is.
    pub severity: Severity,
    /// Whether a failing score puts the trace before a person.
    pub flag: bool,
    /// Its labelled examples.
    pub cases: usize,
}

/// Every loaded evaluator, and revisions of the past that scored recent traces, by name, loaded ones first.
///
/// # Errors
/// The store failed.
pub async fn evaluators(store: &Store, evaluators: &Evaluators) -> Result<Vec<EvaluatorStanding>, QueryError> {
    let seen = judge_revisions(store, evaluators).await?;
    // The revision of a judge is that of the model which answers.
    let is_loaded = |definition: &EvaluatorDefinition, name: &str, revision: &str| {
        definition.name == name
            && (definition.revision == revision
                || seen.iter().any(|it| it.evaluator == name && it.revision == revision))
    };
    let mut found: Vec<EvaluatorStanding> = evaluators.definitions().iter().map(unused).collect();
    for counted in store.outcome_counts(TRACES).await? {
        let loaded = evaluators.definitions().iter().any(|it| is_loaded(it, &counted.evaluator, &counted.revision));
        let is_same = |it: &EvaluatorStanding| {
            it.name == counted.evaluator && if loaded { it.loaded.is_some() } else { it.revision == counted.revision }
        };
        let at = found.iter().position(is_same).unwrap_or_else(|| {
            found.push(past(&counted.evaluator, &counted.revision));
            found.len() - 1
        });
        *found[at].outcomes.entry(counted.outcome).or_default() += counted.count;
        found[at].failing += counted.failing;
    }
    found.sort_by(|a, b| (&a.name, a.loaded.is_none()).cmp(&(&b.name, b.loaded.is_none())));
    Ok(found)
}

fn unused(definition: &EvaluatorDefinition) -> EvaluatorStanding {
    let loaded = LoadedEvaluator {
        kind: definition.kind.name,
        description: definition.description.clone(),
        annotator_kind: definition.annotator_kind(),
        severity: definition.severity,
        flag: definition.flag,
        cases: definition.cases.len(),
    };
    EvaluatorStanding { loaded: Some(loaded), ..past(&definition.name, &definition.revision) }
}

fn past(name: &str, revision: &str) -> EvaluatorStanding {
    EvaluatorStanding {
        name: name.to_owned(),
        revision: revision.to_owned(),
        loaded: None,
        outcomes: BTreeMap::new(),
        failing: 0,
    }
}
