//! Asks judges about their anchors, round after round: through the same gate, from the same money and into the same
//! ledger as any judgement, and into scores of their own.

use std::sync::Mutex;
use std::time::Duration;

use super::{Judging, Worker};
use crate::backends::store::{DueAnchor, FinishedAnchor, JudgeCall, JudgeJob, StoreError};
use crate::domain::label::AnchorScore;
use crate::domain::time::Timestamp;
use crate::domain::trace::Trace;
use crate::evaluate::definition::EvaluatorDefinition;
use crate::evaluate::judge::Judge;
use crate::evaluate::kinds::Behaviour;
use crate::pipeline::judgment::{JudgmentError, judgment};
use crate::pipeline::metered::MeteredAsker;

/// Anchors in one claim at most. They are asked about one by one, so that they ride along with traffic.
const LARGEST_CLAIM: usize = 8;
/// How often due anchors are looked for.
const IDLE: Duration = Duration::from_secs(5);
/// When an anchor without an answer is asked about again, within its round.
const AGAIN: Duration = Duration::from_mins(5);

/// Asks about the anchors of one lane until the process is to end.
pub(super) async fn rescore(worker: &Worker) {
    while !worker.shared.is_stopping() {
        let step = step(worker).await;
        worker.shared.rest("anchors", IDLE, step).await;
    }
}

/// One claim; whether there was any.
async fn step(worker: &Worker) -> Result<bool, StoreError> {
    let judges = of_lane(&worker.judging, &worker.lane);
    let lease = worker.judging.lease(&worker.lane) * u32::try_from(LARGEST_CLAIM).unwrap_or(u32::MAX);
    let due = worker.shared.store.claim_anchors(&judges, worker.shared.now(), lease, LARGEST_CLAIM).await?;
    for anchor in &due {
        let finished = ask(worker, anchor).await?;
        worker.shared.store.finish_anchor(&finished).await?;
    }
    Ok(!due.is_empty())
}

/// The judges that ask this lane's model.
fn of_lane<'a>(judging: &'a Judging, lane: &str) -> Vec<&'a str> {
    let asks = |definition: &&EvaluatorDefinition| match &definition.behaviour {
        Behaviour::Judge(judge) => judge.model == lane,
        Behaviour::Rule(_) | Behaviour::Service(_) => false,
    };
    judging.scoring.evaluators.definitions().iter().filter(asks).map(|definition| definition.name.as_str()).collect()
}

async fn ask(worker: &Worker, due: &DueAnchor) -> Result<FinishedAnchor, StoreError> {
    let anchor = &due.anchor;
    let (now, interval) = (worker.shared.now(), worker.judging.anchor_interval);
    let round_at = now.floor(interval);
    let next_round = round_at.plus(interval);
    let evaluators = &worker.judging.scoring.evaluators;
    let found = evaluators.get(&anchor.evaluator).and_then(|it| evaluators.judge(&it.name, &it.revision));
    let trace = worker.judging.scoring.read(&worker.shared, anchor.trace_id).await?;
    let finished = |score, due_at, calls| FinishedAnchor { anchor: anchor.clone(), score, due_at, calls };
    let (Some((definition, judge)), Some(trace)) = (found, trace) else {
        return Ok(finished(None, next_round, Vec::new()));
    };
    let (asked, calls) = judge_anchor(worker, due, (definition, judge), &trace).await;
    Ok(match asked {
        Ok(verdict) => finished(verdict.map(|it| AnchorScore { round_at, ..it }), next_round, calls),
        // Asked again it would cost as much and say no more.
        Err(error) if !error.is_transient() && !matches!(error, JudgmentError::Budget | JudgmentError::NoTurn) => {
            tracing::warn!(trace_id = %anchor.trace_id, evaluator = anchor.evaluator, %error, "anchor has no verdict");
            finished(None, next_round, calls)
        }
        Err(error) => {
            tracing::info!(trace_id = %anchor.trace_id, evaluator = anchor.evaluator, %error, "anchor has no verdict yet");
            finished(None, worker.shared.now().plus(AGAIN).min(next_round), calls)
        }
    })
}

/// The verdict, `None` where the judge has nothing to judge here, and what was asked for it. Known verdicts are not
/// looked up: whether the model would still say the same is the question.
async fn judge_anchor(
    worker: &Worker,
    due: &DueAnchor,
    (definition, judge): (&EvaluatorDefinition, &Judge),
    trace: &Trace,
) -> (Result<Option<AnchorScore>, JudgmentError>, Vec<JudgeCall>) {
    let (Ok(prepared), Some(client)) = (judge.prepare(trace), worker.judging.clients.get(&worker.lane)) else {
        return (Ok(None), Vec::new());
    };
    let job = job(due, &definition.revision);
    let asker = MeteredAsker {
        shared: &worker.shared,
        books: &worker.books,
        gate: &worker.gate,
        client,
        lane: &worker.lane,
        job: &job,
        deadline: worker.shared.now().plus(worker.judging.lease(&worker.lane) / 2),
        calls: Mutex::default(),
    };
    let asked = judgment(&asker, &prepared).await;
    let calls = asker.into_calls();
    let score = asked.map(|decided| {
        let evaluation = decided.evaluation(trace, definition, &prepared);
        Some(AnchorScore {
            trace_id: due.anchor.trace_id,
            evaluator: definition.name.clone(),
            revision: evaluation.revision.clone(),
            round_at: Timestamp(0),
            passed: evaluation.value? >= 0.5,
            reason: evaluation.explanation,
            label: due.anchor.label,
        })
    });
    (score, calls)
}

/// Under what the requests go into the ledger.
fn job(due: &DueAnchor, revision: &str) -> JudgeJob {
    JudgeJob {
        trace_id: due.anchor.trace_id,
        trace_version: due.trace_version,
        evaluator: due.anchor.evaluator.clone(),
        revision: revision.to_owned(),
        service: due.service.clone(),
        probability: 1.0,
        judging_rate: 1.0,
        attempts: 1,
        first_attempt_at: None,
    }
}
