//! From complete traces to their scores: claims what is due, evaluates it, and records what came of it.

use std::collections::HashMap;
use std::iter;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use super::Shared;
use super::agent_metrics::requests;
use super::agent_versions::AgentVersions;
use super::asking::question;
use super::crash_point::crash_point;
use super::forward;
use super::invariant::{Invariant, is_answered_once, is_in_bounds};
use super::judge_spans::CallSpan;
use super::retention::BodyRetention;
use super::sampling::CurrentPolicy;
use super::write_back::WriteBack;
use crate::backends::store::{
    DueTrace, NewJudgeJob, NewOutboxItem, RecordedTrace, StoreError, StoredEvaluation, StoredTrace, TraceBody,
};
use crate::domain::evaluation::{Evaluation, Outcome};
use crate::domain::ids::{SpanId, TraceId};
use crate::domain::time::Timestamp;
use crate::domain::trace::{Structure, TRUNCATED, Trace};
use crate::domain::usage::Usage;
use crate::evaluate::definition::EvaluatorDefinition;
use crate::evaluate::failure_class::failure_class;
use crate::evaluate::run::{EvaluatedTrace, Evaluators, evaluate, unscored};
use crate::evaluate::sampling::{SamplingDecision, SamplingPolicy, SamplingReason};
use crate::normalize::{AttributeMapping, PriceTable, normalize_priced};
use crate::telemetry::agents::ModelRequest;
use crate::telemetry::metrics::{EvaluationLabels, Metrics};
use crate::watch::budgets::AgentBudgets;

/// Traces in one claim at most: more of them cost less each, and keep receivers waiting for the writer.
const BATCH: usize = 64;
/// How long a claim holds: far longer than a batch takes, and what a killed process claimed waits no longer. A batch that
/// takes longer all the same is evaluated twice, and recorded once.
const LEASE: Duration = Duration::from_secs(20);
/// How often due traces are looked for while there are none.
const IDLE: Duration = Duration::from_millis(200);
/// The same, by each task, after a claim that was not full: those that come due meanwhile cost less together.
const GATHERING: Duration = Duration::from_millis(50);
/// A trace that took its worker down this often is recorded as one that cannot be read.
const ATTEMPTS: u32 = 4;

/// How traces are evaluated and kept.
#[derive(Debug, Clone)]
pub struct Scoring {
    /// The evaluators.
    pub evaluators: Arc<Evaluators>,
    /// Which traces are judged and kept.
    pub sampling: SamplingPolicy,
    /// Names to search and segment by.
    pub attributes: AttributeMapping,
    /// What model calls cost.
    pub prices: PriceTable,
    /// What agents may cost a day.
    pub budgets: AgentBudgets,
    /// How long bodies are kept.
    pub retention: BodyRetention,
    /// How long log records of a trace wait for its spans.
    pub max_age: Duration,
    /// Destinations in the outbox that scores are written back to.
    pub destinations: Vec<String>,
    /// Destination that whole traces go on to, with the scores of rules on their root span.
    pub forward: Option<String>,
}

/// What a trace leaves behind, and its requests to models that were not counted before.
type Scored = (RecordedTrace, Vec<ModelRequest>);

/// A trace, what was found, and the trace on its way to what is behind us.
type Evaluated = (Trace, EvaluatedTrace, Option<NewOutboxItem>);

/// Evaluates due traces until the process is to end.
pub async fn score(shared: Shared, scoring: Arc<Scoring>) {
    let mut memory = Memory { policy: CurrentPolicy::new(&scoring.sampling), versions: AgentVersions::default() };
    while !shared.is_stopping() {
        let step = step(&shared, &scoring, &mut memory).await;
        let rest = step.as_ref().copied().unwrap_or_default();
        shared.rest("score", rest, step.map(|rest| rest.is_zero())).await;
    }
}

/// What a worker remembers from claim to claim; the store has all of it.
struct Memory {
    policy: CurrentPolicy,
    versions: AgentVersions,
}

/// How long a task rests after a claim. A full claim may have left others, as may one of a trace that is claimed alone because
/// it was claimed before; what was left because it is very large can wait like what comes due meanwhile.
fn rest_after(claimed: &[DueTrace]) -> Duration {
    match claimed {
        [] => IDLE,
        [first, ..] if claimed.len() >= BATCH || first.attempts > 1 => Duration::ZERO,
        _ => GATHERING,
    }
}

/// One claim, and what is done for it; gives how long to rest then.
async fn step(shared: &Shared, scoring: &Arc<Scoring>, memory: &mut Memory) -> Result<Duration, StoreError> {
    let now = shared.now();
    let policy = memory.policy.now(shared).await?;
    let due = shared.store.claim_due(now, LEASE, BATCH).await?;
    let rest = rest_after(&due);
    if due.is_empty() {
        return Ok(rest);
    }
    crash_point("score.claimed");
    let (due, max_age) = (Arc::new(due), scoring.max_age);
    let (scoring, evaluated) = (Arc::clone(scoring), Arc::clone(&due));
    let evaluating = tokio::task::spawn_blocking(move || -> Vec<Option<Scored>> {
        evaluated.iter().map(|trace| scoring.record(trace, &policy, now)).collect()
    });
    let Ok(outcomes) = evaluating.await else {
        // What was claimed comes due again when its lease ends.
        shared.metrics.evaluation_errors.inc();
        return Ok(rest);
    };
    await_spans(shared, &due, &outcomes, max_age).await?;
    let (mut recorded, requests): (Vec<RecordedTrace>, Vec<Vec<ModelRequest>>) = outcomes.into_iter().flatten().unzip();
    let recording = async {
        memory.versions.admit(shared, &mut recorded, now).await?;
        crash_point("score.record");
        shared.store.record_traces(&recorded, shared.now()).await
    };
    let report = match recording.await {
        Ok(report) => report,
        Err(error) => {
            shared.metrics.evaluation_errors.inc();
            if error.is_transient() {
                shared.store.give_back(&due).await?;
            }
            return Err(error);
        }
    };
    shared.metrics.evaluated.inc_by(report.recorded as u64);
    let truncated = recorded.iter().filter(|it| it.trace.attributes.contains_key(TRUNCATED));
    shared.metrics.truncated.inc_by(truncated.count() as u64);
    for (trace, requests) in recorded.iter().zip(&requests) {
        let trace_id = trace.trace.trace_id.to_string();
        requests.iter().for_each(|request| shared.metrics.agents.count(request, &trace_id));
        let holds = is_answered_once(&trace.evaluations, &trace.judge_jobs);
        Invariant::OneAnswerOfEachEvaluator.check(&shared.metrics, holds);
    }
    let rows = || recorded.iter().flat_map(|trace| &trace.evaluations);
    rows().for_each(|row| Invariant::ScoresAreInBounds.check(&shared.metrics, is_in_bounds(row)));
    count(&shared.metrics, rows().map(|row| &row.evaluation));
    Ok(rest)
}

/// Lets traces of which only log records have come wait for their spans, or go when they have waited long enough.
async fn await_spans(
    shared: &Shared,
    due: &[DueTrace],
    outcomes: &[Option<Scored>],
    max_age: Duration,
) -> Result<(), StoreError> {
    let spanless = due.iter().zip(outcomes).filter(|(_, outcome)| outcome.is_none());
    let spanless: Vec<&DueTrace> = spanless.map(|(trace, _)| trace).collect();
    if spanless.is_empty() {
        return Ok(());
    }
    let dropped = shared.store.await_spans(&spanless, shared.now(), max_age).await?;
    if dropped > 0 {
        tracing::warn!(traces = dropped, "log records waited in vain for the spans of their traces and were dropped");
        shared.metrics.spanless.inc_by(dropped as u64);
    }
    Ok(())
}

/// Counts what became of evaluations; those of one label in one step, as to look it up takes longer than to count.
pub(super) fn count<'e>(metrics: &Metrics, evaluations: impl IntoIterator<Item = &'e Evaluation>) {
    let mut counts: HashMap<(&str, Outcome), u64> = HashMap::new();
    for evaluation in evaluations {
        *counts.entry((&evaluation.evaluator, evaluation.outcome)).or_default() += 1;
    }
    for ((evaluator, outcome), count) in counts {
        let labels = EvaluationLabels { evaluator: evaluator.to_owned(), outcome: outcome.as_str().to_owned() };
        metrics.evaluations.get_or_create(&labels).inc_by(count);
    }
}

impl Scoring {
    /// The run of a stored trace; `None` when its body is gone.
    ///
    /// # Errors
    /// The store cannot be read.
    pub(super) async fn read(
        self: &Arc<Self>,
        shared: &Shared,
        trace_id: TraceId,
    ) -> Result<Option<Trace>, StoreError> {
        let body = shared.store.chunks_of(trace_id).await?;
        Ok(self.read_body(trace_id, body).await)
    }

    /// The trace that a body holds; `None` when it cannot be read or has no span.
    pub(super) async fn read_body(self: &Arc<Self>, trace_id: TraceId, body: TraceBody) -> Option<Trace> {
        let scoring = Arc::clone(self);
        let reading = tokio::task::spawn_blocking(move || {
            let raw = body.unpack(trace_id).ok()?;
            normalize_priced(&raw, &scoring.attributes, &scoring.prices)
        });
        reading.await.ok().flatten()
    }

    /// Everything that evaluating a claimed trace leaves behind; `None` while there is no span of it. Never fails: what
    /// cannot be read is recorded so.
    fn record(&self, due: &DueTrace, policy: &SamplingPolicy, now: Timestamp) -> Option<Scored> {
        let attempt = || {
            catch_unwind(AssertUnwindSafe(|| self.evaluate(due, policy, now)))
                .unwrap_or(Err("evaluation failed".into()))
        };
        let evaluated = if due.attempts > ATTEMPTS {
            Err(format!("evaluation was given up after {ATTEMPTS} attempts"))
        } else {
            attempt()
        };
        let (trace, evaluated, forwarded) = evaluated.transpose()?.unwrap_or_else(|problem| {
            tracing::error!(trace_id = %due.trace_id, problem, "trace cannot be evaluated");
            self.unreadable(due.trace_id, &problem, now)
        });
        // Later versions repeat the requests of the first.
        let requests = if due.version == 0 { requests(&trace) } else { Vec::new() };
        let mut recorded = self.recorded(due, &trace, evaluated, now);
        recorded.outbox.extend(forwarded);
        Some((recorded, requests))
    }

    fn evaluate(&self, due: &DueTrace, policy: &SamplingPolicy, now: Timestamp) -> Result<Option<Evaluated>, String> {
        let raw = due.body.unpack(due.trace_id).map_err(|error| error.to_string())?;
        let left_out = raw.pieces_left_out;
        let Some(mut trace) = normalize_priced(&raw, &self.attributes, &self.prices) else {
            return if left_out == 0 { Ok(None) } else { Err("each of its pieces is too large to be read".to_owned()) };
        };
        if left_out > 0 {
            tracing::warn!(trace_id = %due.trace_id, pieces = left_out, "trace is too large: its middle is left out");
        }
        end_by(&mut trace, now);
        let mut evaluated = evaluate(&trace, &self.evaluators, policy);
        // Where all clocks run ahead, they must not put the run into an hour that is yet to come.
        evaluated.record.ended_at = trace.ended_at.min(now);
        let version = due.version + 1;
        let forwarded = self.forward.as_ref();
        let forwarded = forwarded.map(|to| forward::item(raw, &trace, version, &evaluated.evaluations, to));
        Ok(Some((trace, evaluated, forwarded)))
    }

    /// A trace of which nothing is known but its id: every evaluator has its row, and none a score.
    fn unreadable(&self, trace_id: TraceId, problem: &str, now: Timestamp) -> Evaluated {
        let trace = nothing_known(trace_id, now);
        let decision = SamplingDecision {
            sampled: true,
            probability: 1.0,
            reason: SamplingReason::Error,
            policy: None,
            upstream: None,
        };
        let mut evaluated = evaluate(&trace, &self.evaluators, &self.sampling);
        let explanation = format!("the trace could not be evaluated: {problem}");
        evaluated.evaluations = self
            .evaluators
            .definitions()
            .iter()
            .map(|definition| unscored(&trace, definition, Outcome::NotEvaluable, explanation.clone()))
            .collect();
        evaluated.record.measurements.clear();
        let evaluated = EvaluatedTrace { judge: Vec::new(), services: Vec::new(), decision, ..evaluated };
        (trace, evaluated, None)
    }

    fn recorded(&self, due: &DueTrace, trace: &Trace, evaluated: EvaluatedTrace, now: Timestamp) -> RecordedTrace {
        let version = due.version + 1;
        let scores = self.write_back(trace, version, now, &evaluated.evaluations, iter::empty());
        let stored = |evaluation| StoredEvaluation { evaluation, trace_version: version, probability: 1.0 };
        let questions = evaluated.services.iter().map(|task| question(trace.trace_id, version, task));
        RecordedTrace {
            generation: due.generation,
            judge_jobs: evaluated
                .judge
                .iter()
                .map(|task| NewJudgeJob {
                    evaluator: task.evaluator.clone(),
                    revision: task.revision.clone(),
                    lane: task.lane.clone(),
                    probability: task.probability,
                })
                .collect(),
            outbox: questions.chain(scores).collect(),
            usage: Usage::of(trace),
            budgets: self.budgets.scopes(&evaluated.record, trace.user_id.as_deref(), trace.conversation_id.as_deref()),
            trace: self.stored_trace(trace, version, &evaluated, now),
            evaluations: evaluated.evaluations.into_iter().map(stored).collect(),
        }
    }

    /// What is worth telling of a trace's evaluations and of the requests to judges, for the outbox; where nobody is to
    /// be told, nothing is put together.
    pub(super) fn write_back(
        &self,
        trace: &Trace,
        trace_version: i64,
        evaluated_at: Timestamp,
        rows: &[Evaluation],
        calls: impl Iterator<Item = CallSpan>,
    ) -> Vec<NewOutboxItem> {
        if self.destinations.is_empty() {
            return Vec::new();
        }
        let write_back = WriteBack::new(trace, trace_version, evaluated_at, rows, calls.collect());
        write_back.map_or_else(Vec::new, |write_back| write_back.items(&self.destinations))
    }

    /// The evaluators that flag a trace.
    fn flagging<'a>(&'a self, rows: &'a [Evaluation]) -> impl Iterator<Item = &'a EvaluatorDefinition> {
        let failing = rows.iter().filter(|row| row.is_failing());
        failing.filter_map(|row| self.evaluators.get(&row.evaluator)).filter(|definition| definition.flag)
    }

    fn stored_trace(&self, trace: &Trace, version: i64, evaluated: &EvaluatedTrace, now: Timestamp) -> StoredTrace {
        let keep = if evaluated.decision.sampled { self.retention.sampled } else { self.retention.late_window };
        StoredTrace {
            trace_id: trace.trace_id,
            version,
            root_span_id: trace.root_span_id,
            service: trace.service.clone(),
            release: trace.release.clone(),
            model: evaluated.record.segments.get("model").cloned(),
            environment: trace.environment.clone(),
            conversation_id: trace.conversation_id.clone(),
            user_id: trace.user_id.clone(),
            attributes: trace.attributes.clone(),
            started_at: trace.started_at,
            ended_at: evaluated.record.ended_at,
            failing: self.flagging(&evaluated.evaluations).next().is_some(),
            failure_class: failure_class(trace.error.is_some(), self.flagging(&evaluated.evaluations)),
            error: trace.error.is_some(),
            sampled: evaluated.decision.sampled,
            reports_decision: trace.decision.is_some(),
            keep_body_until: now.plus(keep),
            stratum: Some(evaluated.decision.stratum().to_owned()),
            decision: serde_json::to_string(&evaluated.decision).unwrap_or_default(),
            record: evaluated.record.clone(),
        }
    }
}

/// What has arrived has ended: a clock that runs ahead on one of its spans must not make a run longer than it was.
fn end_by(trace: &mut Trace, now: Timestamp) {
    if trace.started_at < now {
        trace.ended_at = trace.ended_at.min(now);
    }
}

fn nothing_known(trace_id: TraceId, now: Timestamp) -> Trace {
    Trace {
        trace_id,
        root_span_id: placeholder_span(trace_id),
        convention: "unknown",
        service: "unknown_service".to_owned(),
        release: None,
        environment: None,
        agent: None,
        agent_version: None,
        conversation_id: None,
        user_id: None,
        attributes: std::collections::BTreeMap::new(),
        started_at: now,
        ended_at: now,
        clock_is_real: false,
        error: None,
        steps: Vec::new(),
        input: None,
        output: None,
        system_instructions: None,
        decision: None,
        span_count: 0,
        failed_spans: 0,
        upstream_probability: None,
        missing: Vec::new(),
        structure: Structure::default(),
    }
}

/// A span id for a trace whose spans cannot be read: one half of its trace id, of which not both are zero.
fn placeholder_span(trace_id: TraceId) -> SpanId {
    let halves = trace_id.as_bytes().chunks(8).rev();
    let mut ids = halves.filter_map(|half| SpanId::from_bytes(half).ok());
    ids.next().unwrap_or_else(|| unreachable!("a trace id is never all zero"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::definition::JudgeModels;

    #[test]
    fn one_clock_that_runs_ahead_makes_no_run_longer_and_clocks_that_all_do_make_none_shorter() {
        let seconds = |started_at, ended_at| {
            let trace_id = TraceId::from_bytes(&[1; 16]).unwrap();
            let now = Timestamp(100_000_000_000);
            let mut trace = Trace { started_at, ended_at, clock_is_real: true, ..nothing_known(trace_id, now) };
            end_by(&mut trace, now);
            trace.latency_seconds()
        };
        let at = |second: i64| Timestamp(second * 1_000_000_000);
        assert_eq!(seconds(at(90), at(95)), Some(5.0));
        assert_eq!(seconds(at(90), at(3_700)), Some(10.0));
        assert_eq!(seconds(at(300), at(305)), Some(5.0));
    }

    #[test]
    fn evaluations_are_counted_by_evaluator_and_outcome_however_many_come_at_once() {
        let trace = nothing_known(TraceId::from_bytes(&[1; 16]).unwrap(), Timestamp(0));
        let evaluators = Evaluators::load(None, JudgeModels::new()).unwrap();
        let row = |outcome| unscored(&trace, &evaluators.definitions()[0], outcome, String::new());
        let (failed, skipped) = (row(Outcome::Failed), row(Outcome::SkippedBudget));
        let metrics = Metrics::default();
        count(&metrics, [&failed, &skipped, &failed]);
        count(&metrics, [&failed]);
        for (row, expected) in [(failed, 3), (skipped, 1)] {
            let labels = EvaluationLabels { evaluator: row.evaluator, outcome: row.outcome.as_str().to_owned() };
            assert_eq!(metrics.evaluations.get_or_create(&labels).get(), expected, "{labels:?}");
        }
    }

    #[test]
    fn claims_follow_each_other_while_there_may_be_more_and_else_wait_for_company() {
        let trace_id = TraceId::from_bytes(&[1; 16]).unwrap();
        let due = |attempts| DueTrace { trace_id, generation: 1, version: 0, attempts, body: TraceBody::default() };
        assert_eq!(rest_after(&[]), IDLE);
        assert_eq!(rest_after(&vec![due(1); BATCH - 1]), GATHERING);
        assert_eq!(rest_after(&vec![due(1); BATCH]), Duration::ZERO);
        assert_eq!(rest_after(&[due(2)]), Duration::ZERO, "those that were claimed before come alone");
    }

    #[test]
    fn a_trace_that_cannot_be_read_has_a_span_to_hang_its_rows_on() {
        let zero_half = TraceId::from_bytes(&[0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]).unwrap();
        assert_eq!(placeholder_span(zero_half).as_bytes(), &[0, 0, 0, 0, 0, 0, 0, 1]);
    }
}
