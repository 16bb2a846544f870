//! Asks users' own services for their scores. Each has its queue in the outbox: one that hangs delays its own answers and
//! nothing else.

use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use futures_util::future::join_all;
use serde::{Deserialize, Serialize};

use super::Shared;
use super::crash_point::crash_point;
use super::retry::delay;
use super::scoring::{Scoring, count};
use crate::backends::http::{HttpSender, SendError};
use crate::backends::store::{ExpiredItem, NewOutboxItem, OutboxItem, ServiceAnswer, StoreError, StoredEvaluation};
use crate::domain::evaluation::{AnnotatorKind, Evaluation, Outcome};
use crate::domain::ids::TraceId;
use crate::domain::trace::Trace;
use crate::evaluate::definition::EvaluatorDefinition;
use crate::evaluate::run::{ServiceTask, answered, unscored};
use crate::evaluate::service::{InvalidAnswer, Service, ServiceScore, parse_answer};

/// Questions in one claim, which are asked at once.
const BATCH: usize = 8;
/// How long a claim holds beyond the timeout of the service.
const LEASE: Duration = Duration::from_secs(15);
const IDLE: Duration = Duration::from_millis(500);
/// An answer is a number and a sentence; more is not read.
const LARGEST_ANSWER: usize = 64 * 1024;
/// Longest wait between two attempts while someone waits for the answer.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// Why a service gave no score.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// It did not answer, or refused.
    #[error(transparent)]
    Send(#[from] SendError),
    /// Its answer is no score.
    #[error(transparent)]
    Answer(#[from] InvalidAnswer),
}

impl AskError {
    const fn is_transient(&self) -> bool {
        !matches!(self, Self::Send(SendError::Refused { .. } | SendError::TooLarge { .. }))
    }

    const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Send(error) => error.retry_after(),
            Self::Answer(_) => None,
        }
    }
}

/// One question in the outbox. The run itself is read when it is asked about.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Question {
    trace_id: TraceId,
    trace_version: i64,
    revision: String,
    probability: f64,
}

/// An evaluator whose service is asked.
#[derive(Debug, Clone)]
pub struct Asking {
    /// How traces are read; the evaluator is among its own.
    pub scoring: Arc<Scoring>,
    /// The evaluator's name.
    pub evaluator: String,
    /// The way to its service.
    pub sender: HttpSender,
}

/// The outbox item that asks a service about a version of a trace.
pub(super) fn question(trace_id: TraceId, trace_version: i64, task: &ServiceTask) -> NewOutboxItem {
    let ServiceTask { evaluator, revision, probability } = task.clone();
    let key = format!("{trace_id}:{trace_version}:{revision}");
    let question = Question { trace_id, trace_version, revision, probability };
    let payload = serde_json::to_vec(&question).unwrap_or_default();
    NewOutboxItem { destination: destination(&evaluator), key, payload }
}

/// How the names of these queues begin in the outbox.
pub(super) const QUEUE: &str = "evaluator ";

fn destination(evaluator: &str) -> String {
    format!("{QUEUE}{evaluator}")
}

/// Asks a service once.
///
/// # Errors
/// It gave no score.
pub async fn ask(sender: &HttpSender, trace: &Trace) -> Result<ServiceScore, AskError> {
    let body = Service::subject(trace).to_string().into_bytes();
    Ok(parse_answer(&sender.ask(body, LARGEST_ANSWER).await?)?)
}

/// Asks a service until it answers, or until its attempts are spent: then the row says `failed`, and why.
pub async fn ask_or_failure(
    sender: &HttpSender,
    trace: &Trace,
    definition: &EvaluatorDefinition,
    service: &Service,
    rng: &mut Rng,
) -> Evaluation {
    let mut attempt = 1;
    loop {
        match ask(sender, trace).await {
            Ok(score) => return answered(trace, definition, score),
            Err(error) if error.is_transient() && attempt < service.attempts => {
                tokio::time::sleep(delay(attempt, error.retry_after(), rng.f64()).min(LONGEST_WAIT)).await;
                attempt += 1;
            }
            Err(error) => return failed(trace, definition, service, attempt, &error),
        }
    }
}

fn failed(
    trace: &Trace,
    definition: &EvaluatorDefinition,
    service: &Service,
    attempt: u32,
    error: &AskError,
) -> Evaluation {
    let explanation = format!("{error} (attempt {attempt} of {})", service.attempts);
    unscored(trace, definition, Outcome::Failed, explanation)
}

/// Asks one evaluator's service until the process is to end.
pub async fn ask_service(shared: Shared, asking: Asking) {
    while !shared.is_stopping() {
        let step = step(&shared, &asking).await;
        shared.rest("ask", IDLE, step).await;
    }
}

/// One claim; whether there was something to do.
async fn step(shared: &Shared, asking: &Asking) -> Result<bool, StoreError> {
    let lease = LEASE + asking.service().map_or(Duration::ZERO, |(_, service)| service.timeout);
    let queue = destination(&asking.evaluator);
    let items = shared.store.claim_outbox(&queue, shared.now(), lease, BATCH).await?;
    let answered = items.iter().map(|item| answer(shared, asking, item));
    join_all(answered).await.into_iter().collect::<Result<(), _>>()?;
    Ok(!items.is_empty())
}

impl Asking {
    fn service(&self) -> Option<(&EvaluatorDefinition, &Service)> {
        let definition = self.scoring.evaluators.get(&self.evaluator)?;
        self.scoring.evaluators.service(&self.evaluator, &definition.revision)
    }
}

/// Answers one question; one that can never be answered ends with a row that says why.
async fn answer(shared: &Shared, asking: &Asking, item: &OutboxItem) -> Result<(), StoreError> {
    let Ok(question) = serde_json::from_slice::<Question>(&item.payload) else {
        return shared.store.delivered(&[item.id]).await;
    };
    let current = asking.service().filter(|(definition, _)| definition.revision == question.revision);
    let Some((definition, service)) = current else {
        return give_up(shared, &asking.evaluator, item.id, &question, "the evaluator has changed").await;
    };
    let Some(trace) = asking.scoring.read(shared, question.trace_id).await? else {
        return give_up(shared, &asking.evaluator, item.id, &question, "the body of the trace is gone").await;
    };
    crash_point("ask.send");
    let evaluation = match ask(&asking.sender, &trace).await {
        Ok(score) => answered(&trace, definition, score),
        Err(error) if error.is_transient() && item.attempts < service.attempts => {
            let due_at = shared.now().plus(delay(item.attempts, error.retry_after(), fastrand::f64()));
            return shared.store.retry_outbox(&[item.id], due_at, &error.to_string()).await;
        }
        Err(error) => {
            tracing::warn!(trace_id = %trace.trace_id, evaluator = asking.evaluator, %error, "service gave no score");
            failed(&trace, definition, service, item.attempts, &error)
        }
    };
    record(shared, asking, item, &question, (&trace, definition, evaluation)).await
}

/// Ends a question that has waited too long with a row that says so; whether it was one.
pub(super) async fn give_up_expired(shared: &Shared, item: &ExpiredItem) -> Result<bool, StoreError> {
    let question = item.payload.as_deref().and_then(|payload| serde_json::from_slice::<Question>(payload).ok());
    let (Some(evaluator), Some(question)) = (item.destination.strip_prefix(QUEUE), question) else { return Ok(false) };
    give_up(shared, evaluator, item.id, &question, "it was not asked for as long as whole traces are kept").await?;
    Ok(true)
}

async fn give_up(
    shared: &Shared,
    evaluator: &str,
    item: i64,
    question: &Question,
    reason: &str,
) -> Result<(), StoreError> {
    let Some(stored) = shared.store.trace(question.trace_id).await? else {
        return shared.store.delivered(&[item]).await;
    };
    let evaluation = Evaluation {
        trace_id: question.trace_id,
        span_id: stored.root_span_id,
        evaluator: evaluator.to_owned(),
        revision: question.revision.clone(),
        annotator_kind: AnnotatorKind::Code,
        outcome: Outcome::Failed,
        value: None,
        label: None,
        explanation: Some(reason.to_owned()),
        truncated: false,
        split: false,
    };
    let Question { trace_version, probability, .. } = *question;
    let evaluation = StoredEvaluation { evaluation, trace_version, probability };
    let answer = ServiceAnswer { item, evaluation, flags: false, outbox: Vec::new() };
    if shared.store.record_answer(&answer, shared.now()).await? {
        count(&shared.metrics, [&answer.evaluation.evaluation]);
    }
    Ok(())
}

async fn record(
    shared: &Shared,
    asking: &Asking,
    item: &OutboxItem,
    question: &Question,
    (trace, definition, evaluation): (&Trace, &EvaluatorDefinition, Evaluation),
) -> Result<(), StoreError> {
    let now = shared.now();
    let Question { trace_version, probability, .. } = *question;
    let rows = std::slice::from_ref(&evaluation);
    let items = asking.scoring.write_back(trace, trace_version, now, rows, std::iter::empty());
    let key = format!("{}:{trace_version}:{}@{}", trace.trace_id, evaluation.evaluator, evaluation.revision);
    let answer = ServiceAnswer {
        item: item.id,
        flags: definition.flag && evaluation.is_failing(),
        evaluation: StoredEvaluation { evaluation, trace_version, probability },
        outbox: items.into_iter().map(|item| NewOutboxItem { key: key.clone(), ..item }).collect(),
    };
    crash_point("ask.record");
    let is_recorded = shared.store.record_answer(&answer, now).await?;
    if is_recorded {
        count(&shared.metrics, [&answer.evaluation.evaluation]);
    }
    Ok(())
}
