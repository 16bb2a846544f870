//! Makes the judgements that scoring asked for. Its queue is its own: a provider's outage backs up this and nothing
//! else.
//!
//! Each judge model is a lane with its own claims, jobs in hand and gate, so one that hangs takes nothing from another.
//! Jobs stream: whenever one ends, the next is claimed. More are in hand than may be asked at once, so that the next
//! question is rendered and paid for when a turn comes free.

mod anchors;
mod readings;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::task::JoinSet;

use self::readings::{Reader, Reading};
use super::Shared;
use super::bookkeeping::{Books, Treasury};
use super::control;
use super::gate::Gate;
use super::judge_spans::CallSpan;
use super::judgment::{Decided, JudgmentError, judgment, question_hash};
use super::known_verdicts::KnownVerdicts;
use super::metered::MeteredAsker;
use super::resolved_model::ResolvedModel;
use super::scoring::{Scoring, count};
use crate::backends::judge::JudgeClient;
use crate::backends::store::{FinishedJob, JobEnd, JudgeCall, JudgeJob, Lane, NewOutboxItem, StoreError};
use crate::domain::evaluation::{AnnotatorKind, Evaluation, Outcome};
use crate::domain::ids::TraceId;
use crate::domain::time::Timestamp;
use crate::domain::trace::Trace;
use crate::evaluate::definition::EvaluatorDefinition;
use crate::evaluate::judge::{Judge, Prepared};
use crate::evaluate::run::unscored;
use crate::limits::budget::{JudgingRates, is_drawn};
use crate::limits::retry::{Patience, next_attempt};

/// Jobs in one claim at most.
const LARGEST_CLAIM: usize = 128;
/// How long a claim holds beyond the calls that it may come to.
const LEASE: Duration = Duration::from_secs(15);
/// Calls, one after the other, that a job may come to within its claim.
const CALLS_IN_LEASE: u32 = 3;
/// How often jobs are looked for while there are none.
const IDLE: Duration = Duration::from_millis(250);
/// How often jobs of judge models that are no longer configured are looked for.
const STRAYS: Duration = Duration::from_secs(10);
/// When a job that had no turn, or waits for money under way, is looked at again.
const PUT_OFF: Duration = Duration::from_secs(2);

/// How judgements are made.
#[derive(Debug)]
pub struct Judging {
    /// How traces are read; judges are among its evaluators.
    pub scoring: Arc<Scoring>,
    /// Judge models by their name in the settings.
    pub clients: BTreeMap<String, JudgeClient>,
    /// How long a judgement is insisted on.
    pub patience: Patience,
    /// Share of questions beside which a control question is put, from 0 to 1.
    pub control_share: f64,
    /// How money is kept.
    pub treasury: Treasury,
    /// How often judges are asked about their anchors.
    pub anchor_interval: Duration,
}

/// Makes judgements until the process is to end and all that is under way has ended.
pub async fn judge(shared: Shared, judging: Arc<Judging>) {
    if let Err(error) = control::end_unasked(&shared, &judging.scoring.evaluators).await {
        tracing::warn!(%error, "alerts of judges that are asked no longer are not ended");
    }
    let longest_call = judging.clients.keys().map(|lane| judging.lease(lane)).max().unwrap_or_default();
    let (books, bookkeeping) = Books::new(judging.treasury.clone(), longest_call);
    let (known, lookups) = KnownVerdicts::new();
    let (books, known) = (Arc::new(books), Arc::new(known));
    let mut parts = JoinSet::new();
    for lane in judging.clients.keys() {
        let (books, known) = (Arc::clone(&books), Arc::clone(&known));
        parts.spawn(work(shared.clone(), Arc::clone(&judging), books, known, lane.clone()));
    }
    drop(known);
    parts.spawn(give_up_strays(shared.clone(), Arc::clone(&judging), books));
    parts.spawn(async move {
        tokio::join!(bookkeeping.keep(&shared), lookups.answer(&shared));
    });
    // A part that panicked ends this one too, and with it the service, which is then started again.
    while let Some(Ok(())) = parts.join_next().await {}
}

impl Judging {
    /// How long a claim of a lane's job holds.
    fn lease(&self, lane: &str) -> Duration {
        let timeout = self.clients.get(lane).map(|client| client.settings().timeout).unwrap_or_default();
        longest_call(timeout)
    }
}

/// How long calls that wait `timeout` for an answer can be under way for one job.
pub(super) const fn longest_call(timeout: Duration) -> Duration {
    timeout.saturating_mul(CALLS_IN_LEASE).saturating_add(LEASE)
}

/// One lane, and the lease of its gate.
async fn work(shared: Shared, judging: Arc<Judging>, books: Arc<Books>, known: Arc<KnownVerdicts>, name: String) {
    let Some(client) = judging.clients.get(&name) else { return };
    let limits = client.settings().limits();
    let gate = Arc::new(Gate::default());
    let worker = Arc::new(Worker {
        shared: shared.clone(),
        judging: Arc::clone(&judging),
        reader: Reader::new(shared.clone(), Arc::clone(&judging.scoring)),
        books,
        known,
        gate: Arc::clone(&gate),
        resolved_model: ResolvedModel::load(&shared, &name, &client.settings().model).await,
        lane: name.clone(),
    });
    let mut jobs = JoinSet::new();
    let working = async {
        while !shared.is_stopping() {
            let room = worth_claiming(gate.room(&limits, shared.now()), jobs.len());
            match worker.claim(room).await {
                Ok(claimed) if claimed.is_empty() => wait(&shared, &mut jobs).await,
                Ok(claimed) => worker.start(claimed, &mut jobs).await,
                Err(error) => shared.rest("judge", IDLE, Err(error)).await,
            }
        }
        while jobs.join_next().await.is_some() {}
    };
    tokio::join!(working, anchors::rescore(&worker), gate.keep_leased(&shared, &shared.worker, &name, &limits));
}

/// How many jobs to claim while so many of so many are in hand: none until a quarter is gone, for a claim of one costs
/// as much as a claim of many.
fn worth_claiming(most: usize, in_hand: usize) -> usize {
    let room = most.saturating_sub(in_hand);
    if room >= most.div_ceil(4) { room.min(LARGEST_CLAIM) } else { 0 }
}

/// Waits until a job has ended, but not long: others may be due by then.
async fn wait(shared: &Shared, jobs: &mut JoinSet<()>) {
    if jobs.is_empty() {
        return shared.pause(IDLE).await;
    }
    tokio::select! {
        _ended = jobs.join_next() => while jobs.try_join_next().is_some() {},
        () = shared.pause(IDLE) => {}
    }
}

/// What one judgement is about.
struct Subject<'a> {
    job: &'a JudgeJob,
    trace: &'a Trace,
    definition: &'a EvaluatorDefinition,
    /// A question that has no turn by then is not put.
    deadline: Timestamp,
}

/// How a job ends, and what was asked for it.
struct Made {
    end: JobEnd,
    calls: Vec<JudgeCall>,
    /// Requests of the control question that was put beside it.
    control_calls: Vec<JudgeCall>,
}

impl Made {
    const fn unasked(end: JobEnd) -> Self {
        Self { end, calls: Vec::new(), control_calls: Vec::new() }
    }
}

/// What the jobs of one lane work with.
struct Worker {
    shared: Shared,
    judging: Arc<Judging>,
    reader: Reader,
    books: Arc<Books>,
    known: Arc<KnownVerdicts>,
    gate: Arc<Gate>,
    lane: String,
    resolved_model: ResolvedModel,
}

impl Worker {
    async fn claim(&self, room: usize) -> Result<Vec<JudgeJob>, StoreError> {
        if room == 0 {
            return Ok(Vec::new());
        }
        let (rates, lease) = (self.books.rates(&self.shared).await?, self.judging.lease(&self.lane));
        self.shared.store.claim_judge_jobs(Lane::Of(&self.lane), self.shared.now(), lease, room, &rates).await
    }

    async fn start(self: &Arc<Self>, claimed: Vec<JudgeJob>, jobs: &mut JoinSet<()>) {
        let trace_ids: BTreeSet<TraceId> = claimed.iter().map(|job| job.trace_id).collect();
        let readings = self.reader.fetch(trace_ids.into_iter().collect()).await;
        for job in claimed {
            let reading = readings.get(&job.trace_id).cloned().unwrap_or_default();
            let worker = Arc::clone(self);
            jobs.spawn(async move { worker.make(job, &reading).await });
        }
        while jobs.try_join_next().is_some() {}
    }

    /// Makes one judgement, or says why not.
    async fn make(&self, job: JudgeJob, reading: &Reading) {
        let claimed_at = self.shared.now();
        let trace = match self.reader.trace(reading, job.trace_id).await {
            Ok(trace) => trace,
            // The claim runs out by itself.
            Err(error) => return tracing::warn!(trace_id = %job.trace_id, %error, "trace cannot be read to be judged"),
        };
        let found = self.judging.scoring.evaluators.judge(&job.evaluator, &job.revision);
        let finished = match (trace, found) {
            (None, _) => give_up(&self.shared, job, "the body of the trace is gone").await,
            (_, None) => give_up(&self.shared, job, "the evaluator or its judge model has changed").await,
            (Some(trace), Some((definition, judge))) => {
                let deadline = claimed_at.plus(self.judging.lease(&self.lane) / 2);
                let subject = Subject { job: &job, trace: &trace, definition, deadline };
                let Made { end, mut calls, control_calls } = self.judge(&subject, judge).await;
                let outbox = self.outbox(&subject, &end, &calls);
                calls.extend(control_calls);
                Ok(Some(FinishedJob { job, end, calls, outbox }))
            }
        };
        match finished {
            Ok(Some(finished)) => finish(&self.shared, &self.books, finished).await,
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "a judgement cannot be given up; it comes due again"),
        }
    }

    async fn judge(&self, subject: &Subject<'_>, judge: &Judge) -> Made {
        let unasked = |outcome, why| Made::unasked(ended(unscored(subject.trace, subject.definition, outcome, why)));
        let rate = subject.job.judging_rate;
        if !is_drawn(subject.job.trace_id, rate) {
            let why = format!("left out while the judge budget burns (judging rate {rate})");
            return unasked(Outcome::SampledOut, why);
        }
        let prepared = match judge.prepare(subject.trace) {
            Ok(prepared) => prepared,
            // The definition is the one that planned the job, and the trace the one it planned for.
            Err(finding) => return unasked(Outcome::NotEvaluable, format!("inputs are no longer there: {finding:?}")),
        };
        let Some(client) = self.judging.clients.get(&self.lane) else {
            return unasked(Outcome::Failed, "no judge model".to_owned());
        };
        let key = question_hash(&prepared, subject.definition, &client.settings().identity());
        match self.known(&key).await {
            // Kept again for this trace too: what is erased of a trace is forgotten with every verdict it had.
            Some(decided) => Made::unasked(subject.judged(&decided, &prepared, remembered(key, &decided))),
            None => {
                let (made, control_calls) =
                    tokio::join!(self.ask(subject, &prepared, client, key), self.control(subject, judge, client));
                Made { control_calls, ..made }
            }
        }
    }

    /// The verdict of the same model on the same question, if there is one.
    async fn known(&self, key: &[u8; 32]) -> Option<Decided> {
        let decided = self.known.get(*key).await;
        let decided = decided.filter(|decided| self.resolved_model.is_current(decided.model()));
        self.shared.metrics.judge_cache_hits.inc_by(u64::from(decided.is_some()));
        decided
    }

    async fn ask(&self, subject: &Subject<'_>, prepared: &Prepared<'_>, client: &JudgeClient, key: [u8; 32]) -> Made {
        let asker = self.asker(subject, client);
        let asked = judgment(&asker, prepared).await;
        let calls = asker.into_calls();
        let end = match asked {
            Ok(decided) => {
                self.resolved_model.note(&self.shared, decided.model()).await;
                subject.judged(&decided, prepared, remembered(key, &decided))
            }
            Err(error) => self.failed(subject, &error, calls.iter().any(JudgeCall::was_sent)),
        };
        Made { end, calls, control_calls: Vec::new() }
    }

    /// Puts a control question beside a share of the real ones; gives its requests.
    async fn control(&self, subject: &Subject<'_>, judge: &Judge, client: &JudgeClient) -> Vec<JudgeCall> {
        if fastrand::f64() >= self.judging.control_share {
            return Vec::new();
        }
        let asker = self.asker(subject, client);
        if let Some(decided) = control::ask(&asker, subject.definition, judge, fastrand::f64()).await {
            control::count(&self.shared, subject.definition, &decided).await;
        }
        asker.into_calls()
    }

    fn asker<'a>(&'a self, subject: &Subject<'a>, client: &'a JudgeClient) -> MeteredAsker<'a> {
        MeteredAsker {
            shared: &self.shared,
            books: &self.books,
            gate: &self.gate,
            client,
            lane: &self.lane,
            job: subject.job,
            deadline: subject.deadline,
            calls: Mutex::default(),
        }
    }

    /// The end of a job that was not decided. One whose time ran out between its questions was asked and is paid for, so
    /// it counts as an attempt: else it would pay for the first ones for ever.
    fn failed(&self, subject: &Subject<'_>, error: &JudgmentError, was_asked: bool) -> JobEnd {
        let Subject { job, trace, definition, .. } = *subject;
        let (now, patience) = (self.shared.now(), &self.judging.patience);
        if *error == JudgmentError::NoTurn && (!was_asked || self.shared.is_stopping()) {
            return JobEnd::Later { due_at: now.plus(PUT_OFF), error: None, is_attempt: false, first_attempt_at: None };
        }
        if *error == JudgmentError::Budget {
            let why = "the day's judge budget is spent; driftline evaluators backfill makes up for it".to_owned();
            return ended(unscored(trace, definition, Outcome::SkippedBudget, why));
        }
        let first_at = job.first_attempt_at.unwrap_or(now);
        let failed = error.failed(job.attempts, first_at);
        let next = next_attempt(&failed, patience, now, fastrand::f64()).filter(|_| error.is_transient());
        if let Some(due_at) = next {
            tracing::info!(trace_id = %job.trace_id, evaluator = job.evaluator, %error, "judgement will be tried again");
            let (error, is_attempt) = (Some(error.to_string()), !failed.turned_away);
            return JobEnd::Later { due_at, error, is_attempt, first_attempt_at: Some(first_at) };
        }
        if matches!(error, JudgmentError::Verdict(_)) {
            self.shared.metrics.judge_unreadable.inc();
        }
        let explanation = format!("{error} (attempt {} of {})", job.attempts, patience.attempts);
        tracing::warn!(trace_id = %job.trace_id, evaluator = job.evaluator, %error, "judgement failed");
        ended(unscored(trace, definition, Outcome::Failed, explanation))
    }

    /// The score and the requests, as they go back to where the traces live.
    fn outbox(&self, subject: &Subject<'_>, end: &JobEnd, calls: &[JudgeCall]) -> Vec<NewOutboxItem> {
        let Subject { job, trace, .. } = *subject;
        let rows = match end {
            JobEnd::Recorded { evaluation, .. } => std::slice::from_ref(evaluation),
            JobEnd::Later { .. } => &[],
        };
        let model = self.judging.clients.get(&self.lane).map_or("", |client| client.settings().model.as_str());
        let spans = calls.iter().filter_map(|call| CallSpan::new(call, model, trace.root_span_id));
        self.judging.scoring.write_back(trace, job.trace_version, self.shared.now(), rows, spans)
    }
}

impl Subject<'_> {
    /// The end of a job that has a verdict. It flags the trace when the judge is one that does.
    fn judged(&self, decided: &Decided, prepared: &Prepared<'_>, cached: Option<([u8; 32], String)>) -> JobEnd {
        let evaluation = decided.evaluation(self.trace, self.definition, prepared);
        JobEnd::Recorded { flags: self.definition.flag && evaluation.is_failing(), evaluation, cached }
    }
}

/// A verdict as it is kept, under the hash of its question.
fn remembered(key: [u8; 32], decided: &Decided) -> Option<([u8; 32], String)> {
    serde_json::to_string(decided).ok().map(|verdict| (key, verdict))
}

/// The end of a job without a verdict.
fn ended(evaluation: Evaluation) -> JobEnd {
    JobEnd::Recorded { evaluation, flags: false, cached: None }
}

async fn finish(shared: &Shared, books: &Books, finished: FinishedJob) {
    let evaluation = match &finished.end {
        JobEnd::Recorded { evaluation, .. } => Some(evaluation.clone()),
        JobEnd::Later { .. } => None,
    };
    if let (Some(true), Some(evaluation)) = (books.finish(finished).await, evaluation) {
        count(&shared.metrics, [&evaluation]);
    }
}

/// The end of a job that can never be done; `None` when it was dropped with its trace.
async fn give_up(shared: &Shared, job: JudgeJob, reason: &str) -> Result<Option<FinishedJob>, StoreError> {
    let Some(stored) = shared.store.trace(job.trace_id).await? else { return Ok(None) };
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
        truncated: false,
        split: false,
    };
    Ok(Some(FinishedJob { job, end: ended(evaluation), calls: Vec::new(), outbox: Vec::new() }))
}

/// Ends jobs whose judge model is no longer configured.
async fn give_up_strays(shared: Shared, judging: Arc<Judging>, books: Arc<Books>) {
    let lanes: Vec<String> = judging.clients.keys().cloned().collect();
    while !shared.is_stopping() {
        let step = give_up_some(&shared, &lanes, &books).await;
        shared.rest("judge", STRAYS, step).await;
    }
}

async fn give_up_some(shared: &Shared, lanes: &[String], books: &Books) -> Result<bool, StoreError> {
    let (lane, rates) = (Lane::Strays(lanes), JudgingRates::full());
    let jobs = shared.store.claim_judge_jobs(lane, shared.now(), LEASE, LARGEST_CLAIM, &rates).await?;
    let has_some = !jobs.is_empty();
    for job in jobs {
        if let Some(finished) = give_up(shared, job, "its judge model is no longer configured").await? {
            finish(shared, books, finished).await;
        }
    }
    Ok(has_some)
}
