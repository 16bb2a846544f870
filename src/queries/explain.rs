//! What happened to a trace, and why, in sentences.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::QueryError;
use super::calibration::standings_for;
use super::scores::{ScoreRow, external};
use super::trace::Body;
use crate::backends::store::{PendingTrace, Selection, Store, StoredEvaluation, StoredTrace, WaitingJudgement};
use crate::domain::evaluation::{FailureClass, Outcome};
use crate::domain::ids::TraceId;
use crate::domain::time::Timestamp;
use crate::domain::trace::{TRUNCATED, UpstreamProbability};
use crate::evaluate::run::Evaluators;
use crate::evaluate::sampling::{SamplingDecision, SamplingReason};
use crate::watch::standings::{Standings, uncalibrated_note};

/// Traces of a conversation that are looked at for neighbours.
const MOST_NEIGHBOURS: usize = 100;

/// Everything that was decided about one trace.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    /// The trace.
    pub trace_id: TraceId,
    /// Where the trace is.
    pub state: TraceState,
    /// The same in a sentence.
    pub summary: String,
    /// `service.name`, once evaluated.
    pub service: Option<String>,
    /// How the run failed, when it did.
    pub failure_class: Option<FailureClass>,
    /// Whether it is judged and kept whole, once evaluated.
    pub sampling: Option<SamplingDecision>,
    /// Why, in a sentence.
    pub sampling_reason: Option<String>,
    /// Other traces of its conversation that ran at the same time. Where one service calls another, they may be pieces
    /// of one run whose context was not passed on.
    pub neighbours: Vec<TraceId>,
    /// What limits its numbers, in sentences.
    pub notes: Vec<String>,
    /// What is left of its spans, once evaluated.
    pub body: Option<Body>,
    /// What each evaluator made of it, by name.
    pub evaluators: Vec<EvaluatorOutcome>,
    /// What other tools and people scored, by name.
    #[serde(default)]
    pub external_scores: Vec<ScoreRow>,
}

/// Where a trace is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TraceState {
    /// It has arrived and waits for more of it, or for its evaluation.
    Pending,
    /// It is evaluated.
    Evaluated,
    /// It is evaluated and has grown since; it will be evaluated again.
    Grown,
}

/// What one evaluator made of a trace.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EvaluatorOutcome {
    /// The evaluator.
    pub evaluator: String,
    /// Its revision.
    pub revision: String,
    /// An outcome as in rows; `waiting` for a judgement that is still to be made, `not_run` for an evaluator that was
    /// loaded after the trace was evaluated.
    pub outcome: String,
    /// The score, when there is one.
    pub value: Option<f64>,
    /// Its label.
    pub label: Option<String>,
    /// Probability with which the trace was chosen for it.
    pub probability: Option<f64>,
    /// Why, in a sentence.
    pub why: String,
    /// Whether the judge was shown a shortened input.
    #[serde(default)]
    pub truncated: bool,
    /// Whether the judge that scored is calibrated; absent where no judge did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibrated: Option<bool>,
}

/// Explains one trace.
///
/// # Errors
/// The trace is unknown, or the store failed.
pub async fn explain(
    store: &Store,
    trace_id: TraceId,
    evaluators: &Evaluators,
    now: Timestamp,
) -> Result<Explanation, QueryError> {
    let pending = store.pending_trace(trace_id).await?;
    match (store.trace(trace_id).await?, pending) {
        (None, None) => Err(QueryError::UnknownTrace { trace_id }),
        (None, Some(pending)) => Ok(still_pending(trace_id, &pending, now)),
        (Some(stored), pending) => {
            let rows = store.evaluations(trace_id).await?;
            let waiting = store.waiting_judgements(trace_id).await?;
            let is_kept = store.has_body(trace_id).await?;
            let standings = standings_for(store, &rows).await?;
            let outcomes = outcomes(rows, waiting, evaluators, &standings);
            let uncalibrated = outcomes.iter().filter(|outcome| outcome.calibrated == Some(false));
            let notes: Vec<String> = uncalibrated.map(|outcome| uncalibrated_note(&outcome.evaluator)).collect();
            let mut explanation = evaluated(&stored, pending.as_ref(), is_kept, outcomes, now);
            explanation.notes.extend(notes);
            let external_scores = external(store, &stored).await?;
            Ok(Explanation { neighbours: neighbours(store, &stored).await?, external_scores, ..explanation })
        }
    }
}

/// Other traces of the same conversation that overlap with a trace in time.
async fn neighbours(store: &Store, stored: &StoredTrace) -> Result<Vec<TraceId>, QueryError> {
    let Some(conversation) = &stored.conversation_id else { return Ok(Vec::new()) };
    let since = Some(stored.started_at);
    let selection = Selection { conversation: Some(conversation.clone()), since, ..Selection::default() };
    let overlaps = |other: &StoredTrace| other.trace_id != stored.trace_id && other.started_at < stored.ended_at;
    let found = store.search(&selection, MOST_NEIGHBOURS).await?;
    Ok(found.into_iter().filter(overlaps).map(|other| other.trace_id).collect())
}

fn still_pending(trace_id: TraceId, pending: &PendingTrace, now: Timestamp) -> Explanation {
    Explanation {
        trace_id,
        state: TraceState::Pending,
        summary: format!("First seen at {}; {}.", pending.first_seen_at, wait(pending, now)),
        service: None,
        failure_class: None,
        sampling: None,
        sampling_reason: None,
        neighbours: Vec::new(),
        notes: Vec::new(),
        body: None,
        evaluators: Vec::new(),
        external_scores: Vec::new(),
    }
}

fn wait(pending: &PendingTrace, now: Timestamp) -> String {
    let root = if pending.root_ended { "its root span has ended" } else { "its root span has not ended yet" };
    let next = match (now < pending.due_at, pending.attempts) {
        (true, _) => format!("it counts as complete at {} unless more of it comes", pending.due_at),
        (false, 0) => "it is complete and waits for a worker".to_owned(),
        (false, attempts) => format!("it is complete and has been taken up {attempts} times"),
    };
    format!("{root}, and {next}")
}

fn evaluated(
    stored: &StoredTrace,
    pending: Option<&PendingTrace>,
    is_kept: bool,
    evaluators: Vec<EvaluatorOutcome>,
    now: Timestamp,
) -> Explanation {
    let decision: Option<SamplingDecision> = serde_json::from_str(&stored.decision).ok();
    let flagged = flagged(stored);
    let summary = match pending {
        Some(pending) => {
            format!("Evaluated (version {}) {flagged}; it has grown since: {}.", stored.version, wait(pending, now))
        }
        None => format!("Evaluated (version {}) {flagged}.", stored.version),
    };
    let summary = if stored.attributes.contains_key(TRUNCATED) {
        format!("{summary} It is too large to be read whole: pieces of it are missing.")
    } else {
        summary
    };
    Explanation {
        trace_id: stored.trace_id,
        state: if pending.is_some() { TraceState::Grown } else { TraceState::Evaluated },
        summary,
        service: Some(stored.service.clone()),
        failure_class: stored.failure_class,
        sampling_reason: decision.as_ref().map(sampling_sentence),
        sampling: decision,
        neighbours: Vec::new(),
        notes: stored.record.notes.clone(),
        body: Some(Body { kept: is_kept, until: stored.keep_body_until }),
        evaluators,
        external_scores: Vec::new(),
    }
}

fn flagged(stored: &StoredTrace) -> &'static str {
    match (stored.failing, stored.failure_class) {
        (_, Some(FailureClass::Looping)) => "and flagged as looping: it goes round in circles",
        (true, Some(FailureClass::Hard)) => "and flagged as a hard failure: it says itself that something went wrong",
        (false, Some(FailureClass::Hard)) => "and not flagged, but a hard failure: the run ended in an error",
        (_, Some(FailureClass::Soft)) => "and flagged as a soft failure: it reports success and is wrong",
        (_, Some(FailureClass::Drifting)) => "and drifting: nothing is wrong with it alone, but it is behind an alert",
        (true, None) => "and flagged as failing",
        (false, None) => "and not flagged",
    }
}

pub(super) fn sampling_sentence(decision: &SamplingDecision) -> String {
    let chosen = if decision.sampled { "Chosen" } else { "Not chosen" };
    let why = match (decision.reason, &decision.policy) {
        (_, Some(policy)) => format!("the policy {policy:?} is about it, so it was drawn by its id"),
        (SamplingReason::Error, None) => "runs that end in an error always are".to_owned(),
        (SamplingReason::Slow, None) => "slow runs always are".to_owned(),
        (SamplingReason::FailedRule, None) => "runs that fail a rule always are".to_owned(),
        (SamplingReason::Policy | SamplingReason::Healthy, None) => {
            "nothing about it is remarkable, so it was drawn by its id".to_owned()
        }
    };
    let before = match &decision.upstream {
        Some(UpstreamProbability { probability, source }) => {
            format!("Before that, upstream sampling kept it with probability {probability} ({source}).")
        }
        None => "With what probability it was kept before it came here is not known.".to_owned(),
    };
    format!("{chosen} for judging and keeping, with probability {}: {why}. {before}", decision.probability)
}

/// The rows, what is waiting, and the loaded evaluators that are in neither.
fn outcomes(
    rows: Vec<StoredEvaluation>,
    waiting: Vec<WaitingJudgement>,
    evaluators: &Evaluators,
    standings: &Standings,
) -> Vec<EvaluatorOutcome> {
    let mut outcomes: Vec<EvaluatorOutcome> = rows.into_iter().map(|row| of_row(row, standings)).collect();
    outcomes.extend(waiting.into_iter().map(of_waiting));
    let known: BTreeSet<String> = outcomes.iter().map(|outcome| outcome.evaluator.clone()).collect();
    let missing = evaluators.definitions().iter().filter(|definition| !known.contains(&definition.name));
    outcomes.extend(missing.map(|definition| EvaluatorOutcome {
        evaluator: definition.name.clone(),
        revision: definition.revision.clone(),
        outcome: "not_run".to_owned(),
        value: None,
        label: None,
        probability: None,
        why: "The evaluator was loaded after this trace was evaluated.".to_owned(),
        truncated: false,
        calibrated: None,
    }));
    outcomes.sort_by(|left, right| (&left.evaluator, &left.revision).cmp(&(&right.evaluator, &right.revision)));
    outcomes
}

fn of_row(row: StoredEvaluation, standings: &Standings) -> EvaluatorOutcome {
    let evaluation = row.evaluation;
    let calibrated = standings.of_evaluation(&evaluation);
    let said = evaluation.explanation.unwrap_or_default();
    let why = match evaluation.outcome {
        Outcome::Scored => said,
        Outcome::NotApplicable => format!("Does not apply to a run like this one: {said}"),
        Outcome::NotEvaluable => format!("Could not be evaluated: {said}"),
        Outcome::Failed => format!("The evaluation failed: {said}"),
        Outcome::SkippedBudget => format!("The judge budget was spent: {said}"),
        Outcome::SampledOut => format!("Sampling left it out: {said}"),
    };
    EvaluatorOutcome {
        evaluator: evaluation.evaluator,
        revision: evaluation.revision,
        outcome: evaluation.outcome.as_str().to_owned(),
        value: evaluation.value,
        label: evaluation.label,
        probability: Some(row.probability),
        why,
        truncated: evaluation.truncated,
        calibrated,
    }
}

fn of_waiting(judgement: WaitingJudgement) -> EvaluatorOutcome {
    let why = match (judgement.attempts, judgement.last_error) {
        (0, _) => "The judgement waits for its turn.".to_owned(),
        (attempts, None) => format!("The judgement is under way (attempt {attempts})."),
        (attempts, Some(error)) => {
            format!("Attempt {attempts} failed ({error}); it is tried again after {}.", judgement.due_at)
        }
    };
    EvaluatorOutcome {
        evaluator: judgement.evaluator,
        revision: judgement.revision,
        outcome: "waiting".to_owned(),
        value: None,
        label: None,
        probability: Some(judgement.probability),
        why,
        truncated: false,
        calibrated: None,
    }
}
