//! Makes the judgements that scoring asked for. Its queue is its own: a provider's outage backs up this and nothing
//! else.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::Instant;

use super::Shared;
use super::judgment::{JudgmentError, judgment};
use super::retry::delay;
use super::scoring::{Scoring, count};
use super::write_back::WriteBack;
use crate::backends::judge::JudgeClient;
use crate::backends::store::{JudgeJob, StoreError};
use crate::domain::evaluation::{AnnotatorKind, Evaluation, Outcome};
use crate::domain::ids::TraceId;
use crate::domain::judge::JudgeAnswer;
use crate::domain::trace::Trace;
use crate::evaluate::definition::EvaluatorDefinition;
use crate::evaluate::judge::Judge;
use crate::evaluate::run::{JudgeTask, unscored};
use crate::telemetry::metrics::CallLabels;

/// Jobs in one claim at most.
const LARGEST_BATCH: usize = 32;
/// How long a claim holds beyond the longest timeout of a model.
const LEASE: Duration = Duration::from_secs(15);
const IDLE: Duration = Duration::from_millis(250);

/// How judgements are made.
#[derive(Debug)]
pub struct Judging {
    /// How traces are read; judges are among its evaluators.
    pub scoring: Arc<Scoring>,
    /// Judge models by their name in the settings.
    pub clients: BTreeMap<String, JudgeClient>,
    /// Attempts at one judgement before it is recorded as failed.
    pub attempts: u32,
}

/// Makes judgements until the process is to end.
pub async fn judge(shared: Shared, judging: Arc<Judging>) {
    while !shared.is_stopping() {
        let step = step(&shared, &judging).await;
        shared.rest("judge", IDLE, step).await;
    }
}

/// One claim; whether there was something to do.
async fn step(shared: &Shared, judging: &Judging) -> Result<bool, StoreError> {
    let jobs = shared.store.claim_judge_jobs(shared.now(), judging.longest_call() + LEASE, judging.batch()).await?;
    let mut by_trace: BTreeMap<TraceId, Vec<JudgeJob>> = BTreeMap::new();
    for job in jobs {
        by_trace.entry(job.trace_id).or_default().push(job);
    }
    let is_idle = by_trace.is_empty();
    let judged = by_trace.into_iter().map(|(trace_id, jobs)| judge_trace(shared, judging, trace_id, jobs));
    join_all(judged).await.into_iter().collect::<Result<(), _>>()?;
    Ok(!is_idle)
}

impl Judging {
    fn longest_call(&self) -> Duration {
        self.clients.values().map(|client| client.settings().timeout).max().unwrap_or_default()
    }

    /// No more than any model answers at once: a job that waited for its turn could outlive its claim, and be paid twice.
    fn batch(&self) -> usize {
        let concurrency = self.clients.values().map(|client| client.settings().concurrency).min();
        concurrency.unwrap_or(LARGEST_BATCH).clamp(1, LARGEST_BATCH)
    }
}

async fn judge_trace(
    shared: &Shared,
    judging: &Judging,
    trace_id: TraceId,
    jobs: Vec<JudgeJob>,
) -> Result<(), StoreError> {
    let Some(trace) = judging.scoring.read(shared, trace_id).await? else {
        return give_up(shared, &jobs, "the body of the trace is gone").await;
    };
    let judged = jobs.iter().map(|job| judge_job(shared, judging, &trace, job));
    join_all(judged).await.into_iter().collect()
}

async fn judge_job(shared: &Shared, judging: &Judging, trace: &Trace, job: &JudgeJob) -> Result<(), StoreError> {
    let task =
        JudgeTask { evaluator: job.evaluator.clone(), revision: job.revision.clone(), probability: job.probability };
    let found = judging.scoring.evaluators.judge(&task);
    let Some((definition, judge, client)) =
        found.and_then(|(definition, judge)| Some((definition, judge, judging.clients.get(&judge.model)?)))
    else {
        return give_up(shared, std::slice::from_ref(job), "the evaluator or its judge model has changed").await;
    };
    match ask(shared, client, trace, definition, judge).await {
        Ok(evaluation) => record(shared, judging, trace, job, evaluation).await,
        Err(error) if error.is_transient() && job.attempts < judging.attempts => {
            let due_at = shared.now().plus(delay(job.attempts, error.retry_after(), fastrand::f64()));
            tracing::info!(trace_id = %job.trace_id, evaluator = job.evaluator, %error, "judgement will be tried again");
            shared.store.retry_judge_job(job, due_at, &error.to_string()).await
        }
        Err(error) => {
            let explanation = format!("{error} (attempt {} of {})", job.attempts, judging.attempts);
            tracing::warn!(trace_id = %job.trace_id, evaluator = job.evaluator, %error, "judgement failed");
            let evaluation = unscored(trace, definition, Outcome::Failed, explanation);
            record(shared, judging, trace, job, evaluation).await
        }
    }
}

/// Asks once, and counts the call.
async fn ask(
    shared: &Shared,
    client: &JudgeClient,
    trace: &Trace,
    definition: &EvaluatorDefinition,
    judge: &Judge,
) -> Result<Evaluation, JudgmentError> {
    let prepared = match judge.prepare(trace) {
        Ok(prepared) => prepared,
        // The definition is the one that planned the job, and the trace the one it planned for.
        Err(finding) => {
            let explanation = format!("inputs are no longer there: {finding:?}");
            return Ok(unscored(trace, definition, Outcome::NotEvaluable, explanation));
        }
    };
    let started = Instant::now();
    let asked = judgment(client, trace, definition, &prepared).await;
    let result = match &asked {
        Ok(_) => "ok",
        Err(error) if error.is_transient() => "retry",
        Err(_) => "failed",
    };
    let labels = CallLabels { to: judge.model.clone(), result: result.to_owned() };
    shared.metrics.judge_calls.get_or_create(&labels).inc();
    let (evaluation, answer) = asked?;
    shared.metrics.judge_seconds.observe(started.elapsed().as_secs_f64());
    shared.metrics.judge_usd.inc_by(cost_usd(client, &answer));
    Ok(evaluation)
}

fn cost_usd(client: &JudgeClient, answer: &JudgeAnswer) -> f64 {
    let tokens = |count: Option<u64>| count.unwrap_or_default();
    client.settings().cost_usd(tokens(answer.input_tokens), tokens(answer.output_tokens)).unwrap_or_default()
}

async fn record(
    shared: &Shared,
    judging: &Judging,
    trace: &Trace,
    job: &JudgeJob,
    evaluation: Evaluation,
) -> Result<(), StoreError> {
    let now = shared.now();
    let write_back = WriteBack::new(trace, job.trace_version, now, std::slice::from_ref(&evaluation));
    let outbox = write_back.map_or_else(Vec::new, |write_back| write_back.items(&judging.scoring.destinations));
    if shared.store.record_judgement(job, evaluation.clone(), &outbox, now).await? {
        count(shared, &evaluation);
    }
    Ok(())
}

/// Ends jobs that can never be done, each with a row that says why.
async fn give_up(shared: &Shared, jobs: &[JudgeJob], reason: &str) -> Result<(), StoreError> {
    for job in jobs {
        // Without the trace's row the job was dropped with it.
        let Some(stored) = shared.store.trace(job.trace_id).await? else { continue };
        let evaluation = Evaluation {
            trace_id: job.trace_id,
            span_id: stored.root_span_id,
            evaluator: job.evaluator.clone(),
            revision: job.revision.clone(),
            annotator_kind: AnnotatorKind::Llm,
            outcome: Outcome::Failed,
            value: None,
            label: None,
            explanation: Some(reason.to_owned()),
        };
        if shared.store.record_judgement(job, evaluation.clone(), &[], shared.now()).await? {
            count(shared, &evaluation);
        }
    }
    Ok(())
}
