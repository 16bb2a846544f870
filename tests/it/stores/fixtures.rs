//! A fresh store for a test, and things to put into it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use driftline::backends::store::{
    Chunk, CompletionPolicy, DueTrace, FinishedJob, JobEnd, JudgeJob, Lane, NewJudgeJob, NewOutboxItem, RecordedTrace,
    Store, StoredEvaluation, StoredTrace, TraceBody,
};
use driftline::domain::alert::{Alert, AlertState, Severity};
use driftline::domain::evaluation::{AnnotatorKind, Evaluation, Outcome};
use driftline::domain::explanation::Evidence;
use driftline::domain::ids::{SpanId, TraceId};
use driftline::domain::measurement::{Measurement, SeriesKind, TraceRecord, Value};
use driftline::domain::time::Timestamp;
use driftline::domain::usage::Usage;
use driftline::limits::budget::JudgingRates;
use sqlx::{AnyConnection, AssertSqlSafe, Connection as _, Executor as _};
use tempfile::TempDir;

use crate::support::services::postgres;

pub(crate) const LEASE: Duration = Duration::from_secs(60);

pub(crate) const POLICY: CompletionPolicy = CompletionPolicy {
    root_grace: Duration::from_secs(5),
    quiet_period: Duration::from_secs(30),
    max_age: Duration::from_secs(100),
    max_trace_bytes: usize::MAX,
};

/// A store of its own, and how to open it again.
pub(crate) struct TestStore {
    pub(crate) store: Store,
    pub(crate) url: String,
    _folder: Option<TempDir>,
}

impl TestStore {
    pub(crate) async fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}/data/driftline.db", folder.path().display());
        Self { store: Store::open(&url, false).await.unwrap(), url, _folder: Some(folder) }
    }

    pub(crate) async fn postgres() -> Self {
        let url = postgres().database().await;
        Self { store: Store::open(&url, false).await.unwrap(), url, _folder: None }
    }

    /// Writes as a process does that knows nothing of what is derived from its rows.
    pub(crate) async fn forge(&self, sql: &str) {
        let mut connection = AnyConnection::connect(&self.url).await.unwrap();
        connection.execute(AssertSqlSafe(sql.to_owned())).await.unwrap();
        connection.close().await.unwrap();
    }

    /// The texts of a column, as whoever looks into the database sees them.
    pub(crate) async fn texts(&self, sql: &str) -> Vec<String> {
        let mut connection = AnyConnection::connect(&self.url).await.unwrap();
        let texts = sqlx::query_scalar(AssertSqlSafe(sql.to_owned())).fetch_all(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        texts
    }

    /// Lets go of the store and opens it again.
    pub(crate) async fn reopened(self) -> Self {
        drop(self.store);
        Self { store: Store::open(&self.url, false).await.unwrap(), ..self }
    }

    /// Appends one piece of each trace, whose root has ended, and claims all of them when they are due.
    pub(crate) async fn claimed(&self, numbers: &[u64]) -> Vec<DueTrace> {
        let chunks: Vec<Chunk> = numbers.iter().map(|number| chunk(*number, "first", true)).collect();
        self.store.append_chunks(&chunks, seconds(0), &POLICY).await.unwrap();
        self.store.claim_due(seconds(5), LEASE, numbers.len()).await.unwrap()
    }
}

/// An instant this many seconds after an hour began.
pub(crate) fn seconds(seconds: i64) -> Timestamp {
    Timestamp(480_000 * Timestamp::NANOS_PER_HOUR + seconds * 1_000_000_000)
}

pub(crate) fn trace_id(number: u64) -> TraceId {
    format!("{:032x}", u128::from(number) + 1).parse().unwrap()
}

pub(crate) fn span_id(number: u64) -> SpanId {
    format!("{:016x}", number + 1).parse().unwrap()
}

/// A piece whose content, and so whose hash, follows from `text`.
pub(crate) fn chunk(number: u64, text: &str, root_ended: bool) -> Chunk {
    let mut content_hash = [0; 32];
    content_hash[..text.len()].copy_from_slice(text.as_bytes());
    let (trace_id, body, day) = (trace_id(number), text.as_bytes().to_vec(), 0);
    Chunk { trace_id, content_hash, day, body, span_count: 1, root_ended }
}

/// What a worker records for a trace that it has claimed; the decision tells how many pieces it has seen.
pub(crate) fn recorded(due: &DueTrace) -> RecordedTrace {
    let decision = due.body.chunks.len().to_string();
    RecordedTrace {
        trace: StoredTrace { version: due.version + 1, decision, ..stored_trace(due.trace_id) },
        generation: due.generation,
        evaluations: Vec::new(),
        judge_jobs: Vec::new(),
        outbox: Vec::new(),
        usage: Usage::default(),
        budgets: BTreeSet::new(),
    }
}

/// The first version of a trace that was never pending.
pub(crate) fn plain(number: u64) -> RecordedTrace {
    let body = TraceBody::default();
    recorded(&DueTrace { trace_id: trace_id(number), generation: 1, version: 0, attempts: 1, body })
}

pub(crate) fn stored_trace(trace_id: TraceId) -> StoredTrace {
    StoredTrace {
        trace_id,
        version: 1,
        root_span_id: span_id(7),
        service: "shop".to_owned(),
        release: None,
        model: None,
        environment: None,
        conversation_id: None,
        user_id: None,
        attributes: BTreeMap::new(),
        started_at: seconds(0),
        ended_at: seconds(1),
        failing: false,
        failure_class: None,
        error: false,
        sampled: false,
        reports_decision: false,
        keep_body_until: seconds(1_000),
        stratum: Some("healthy".to_owned()),
        decision: "{}".to_owned(),
        record: record(trace_id),
    }
}

pub(crate) fn record(trace_id: TraceId) -> TraceRecord {
    TraceRecord {
        trace_id,
        conversation: trace_id.to_string(),
        service: "shop".to_owned(),
        segments: BTreeMap::from([("model".to_owned(), "m-1".to_owned())]),
        ended_at: seconds(1),
        upstream_probability: Some(0.5),
        notes: Vec::new(),
        measurements: vec![Measurement {
            series: "output_tokens".to_owned(),
            kind: SeriesKind::Numeric,
            value: Value::Number(17.0),
            probability: 1.0,
            revision: None,
        }],
    }
}

pub(crate) fn evaluation(trace_id: TraceId, evaluator: &str, value: Option<f64>) -> Evaluation {
    Evaluation {
        trace_id,
        span_id: span_id(7),
        evaluator: evaluator.to_owned(),
        revision: "r1".to_owned(),
        annotator_kind: AnnotatorKind::Llm,
        outcome: if value.is_some() { Outcome::Scored } else { Outcome::NotEvaluable },
        value,
        label: value.map(|value| if value < 0.5 { "fail" } else { "pass" }.to_owned()),
        explanation: Some("because".to_owned()),
        truncated: false,
        split: false,
    }
}

pub(crate) fn stored_evaluation(trace_id: TraceId, evaluator: &str, value: Option<f64>) -> StoredEvaluation {
    StoredEvaluation { evaluation: evaluation(trace_id, evaluator, value), trace_version: 1, probability: 1.0 }
}

pub(crate) fn judge_job(evaluator: &str) -> NewJudgeJob {
    NewJudgeJob {
        evaluator: evaluator.to_owned(),
        revision: "r1".to_owned(),
        lane: "default".to_owned(),
        probability: 0.25,
    }
}

/// An alert of a service.
pub(crate) fn alert(fingerprint: &str, service: &str, state: AlertState, raised_at: Timestamp) -> Alert {
    Alert {
        fingerprint: fingerprint.to_owned(),
        state,
        severity: Severity::Warn,
        service: service.to_owned(),
        series: "loop".to_owned(),
        segment: "all".to_owned(),
        direction: "down".to_owned(),
        detector: "e_detector".to_owned(),
        guarantee: "exact".to_owned(),
        summary: "loops doubled\0".to_owned(),
        baseline: Some(0.1),
        current: None,
        onset_at: raised_at,
        raised_at,
        updated_at: raised_at,
        resolved_at: None,
        trace_ids: vec![trace_id(1)],
        runbook: "quality-drift".to_owned(),
        acknowledgement: None,
        calibrated: None,
        no_data_since: None,
        parent: None,
        evidence: Evidence::default(),
    }
}

pub(crate) fn item(destination: &str, key: &str) -> NewOutboxItem {
    NewOutboxItem { destination: destination.to_owned(), key: key.to_owned(), payload: key.as_bytes().to_vec() }
}

/// Claims judge jobs of the default lane at the full rate.
pub(crate) async fn claim_jobs(store: &Store, now: Timestamp, lease: Duration, jobs: usize) -> Vec<JudgeJob> {
    store.claim_judge_jobs(Lane::Of("default"), now, lease, jobs, &JudgingRates::full()).await.unwrap()
}

/// A job's end with its row.
pub(crate) fn finished(job: &JudgeJob, evaluation: Evaluation, outbox: &[NewOutboxItem]) -> FinishedJob {
    let end = JobEnd::Recorded { flags: evaluation.is_failing(), evaluation, cached: None };
    FinishedJob { job: job.clone(), end, calls: Vec::new(), outbox: outbox.to_vec() }
}

/// Records one judgement; whether it was.
pub(crate) async fn record_judgement(
    store: &Store,
    job: &JudgeJob,
    evaluation: Evaluation,
    outbox: &[NewOutboxItem],
    now: Timestamp,
) -> bool {
    store.finish_judge_jobs(&[finished(job, evaluation, outbox)], now).await.unwrap()[0]
}

/// Puts a job off after an attempt that failed.
pub(crate) async fn put_off(store: &Store, job: &JudgeJob, due_at: Timestamp, error: &str) {
    let end =
        JobEnd::Later { due_at, error: Some(error.to_owned()), is_attempt: true, first_attempt_at: Some(seconds(0)) };
    let put_off = FinishedJob { job: job.clone(), end, calls: Vec::new(), outbox: Vec::new() };
    assert_eq!(store.finish_judge_jobs(&[put_off], due_at).await.unwrap(), [false]);
}

/// A claimed job, of which the store knows nothing.
pub(crate) fn job(number: u64, evaluator: &str) -> JudgeJob {
    JudgeJob {
        trace_id: trace_id(number),
        trace_version: 1,
        evaluator: evaluator.to_owned(),
        revision: "r1".to_owned(),
        service: "shop".to_owned(),
        probability: 1.0,
        judging_rate: 1.0,
        attempts: 1,
        first_attempt_at: None,
    }
}
