//! A store with simulated traffic, and the router over it on a real socket.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use driftline::backends::clock::{Clock as _, ManualClock};
use driftline::backends::rabbitmq::BrokerQueue;
use driftline::backends::store::{
    Chunk, DueTrace, Flag, HourCommit, NewJudgeJob, Offered, RecordedTrace, Store, StoredEvaluation, StoredTrace,
    Unflagged,
};
use driftline::domain::alert::{Alert, AlertState, Severity};
use driftline::domain::explanation::{Affects, Evidence};
use driftline::domain::ids::TraceId;
use driftline::domain::money::NanoUsd;
use driftline::domain::time::Timestamp;
use driftline::domain::trace::Trace;
use driftline::domain::usage::Usage;
use driftline::evaluate::flagging::FlagPolicy;
use driftline::evaluate::run::{EvaluatedTrace, Evaluators, evaluate};
use driftline::evaluate::sampling::SamplingPolicy;
use driftline::limits::budget::{BudgetPolicy, Ladder};
use driftline::normalize::{AttributeMapping, normalize};
use driftline::otlp::{Compression, Encoding, ResourceSpans, decode_traces, decompress, pack, split_by_trace};
use driftline::simulate::{Plan, Scenario, simulate};
use driftline::telemetry::metrics::Metrics;
use driftline::watch::budgets::{AgentBudget, AgentBudgets};
use driftline::watch::rules::Objective;
use driftline::watch::segments::SegmentPattern;
use driftline::web::{ReadinessCheck, WebState, router};
use serde_json::Value;

use super::contract::hold;
use crate::stores::fixtures::{LEASE, POLICY, TestStore};
use crate::support::data::shared_data;

pub(crate) const START: Timestamp = Timestamp(480_000 * Timestamp::NANOS_PER_HOUR);
pub(crate) const TRACES: usize = 60;

/// Bodies of traces that sampling did not choose go an hour after their end; a week later the chosen ones go too.
const KEPT: [Duration; 2] = [Duration::from_hours(1), Duration::from_hours(7 * 24)];

/// One agent a day apart, believed unchanged.
const REAL: [&str; 2] = ["tau_retail_gpt-4.1-mini_base-r1.otlp.jsonl.gz", "tau_retail_gpt-4.1-mini_base.otlp.jsonl.gz"];

/// A served store.
pub(crate) struct Service {
    pub(crate) store: TestStore,
    pub(crate) url: String,
    pub(crate) trace_ids: Vec<TraceId>,
    pub(crate) clock: ManualClock,
    /// The service whose traces it holds.
    pub(crate) agent: &'static str,
}

/// A dependency that never answers.
struct Stuck;

#[async_trait]
impl ReadinessCheck for Stuck {
    fn name(&self) -> &str {
        "queue"
    }

    async fn check(&self) -> Result<(), String> {
        std::future::pending().await
    }
}

impl Service {
    /// Sixty simulated traces, evaluated, half of them after a bad upgrade.
    pub(crate) async fn with_traffic() -> Self {
        let store = TestStore::sqlite().await;
        let trace_ids = fill(&store.store, simulated()).await;
        Self::over(store, trace_ids, Vec::new()).await
    }

    /// The same, each of them judged.
    pub(crate) async fn with_judged_traffic(judgement: fn(TraceId, usize) -> StoredEvaluation) -> Self {
        let store = TestStore::sqlite().await;
        let trace_ids = fill_judged(&store.store, simulated(), START, |id, place| Some(judgement(id, place))).await;
        Self::over(store, trace_ids, Vec::new()).await
    }

    /// Real traces of one agent before and after a release, where they are, each of them judged.
    pub(crate) async fn with_real_traffic(judgement: fn(TraceId, usize) -> StoredEvaluation) -> Option<Self> {
        let folder = shared_data()?;
        let store = TestStore::sqlite().await;
        let request: Vec<ResourceSpans> = REAL.iter().flat_map(|file| real_traces(&folder.join(file))).collect();
        let spans = request.iter().flat_map(|of| &of.scope_spans).flat_map(|of| &of.spans);
        let ended_at = Timestamp(spans.map(|span| span.end_time_unix_nano).max().unwrap().cast_signed());
        let trace_ids = fill_judged(&store.store, request, ended_at, |id, place| Some(judgement(id, place))).await;
        let service = Self::over(store, trace_ids, Vec::new()).await;
        service.clock.set(ended_at.plus(Duration::from_hours(2)));
        Some(Self { agent: "retail-support-agent", ..service })
    }

    /// Notices the releases of its traces.
    pub(crate) async fn count_versions(&self) {
        let store = &self.store.store;
        for (service, hour) in store.uncounted_hours().await.unwrap() {
            store.count_versions(&service, hour, self.clock.now()).await.unwrap();
        }
    }

    pub(crate) async fn empty() -> Self {
        Self::over(TestStore::sqlite().await, Vec::new(), Vec::new()).await
    }

    pub(crate) async fn with_stuck_dependency() -> Self {
        Self::over(TestStore::sqlite().await, Vec::new(), vec![Arc::new(Stuck)]).await
    }

    /// An empty one whose queue is a broker's.
    pub(crate) async fn with_broker(url: &str, name: &str) -> Self {
        let queue = BrokerQueue { url: url.to_owned(), name: name.to_owned() };
        Self::over_queue(TestStore::sqlite().await, Vec::new(), Vec::new(), Some(queue)).await
    }

    async fn over(store: TestStore, trace_ids: Vec<TraceId>, checks: Vec<Arc<dyn ReadinessCheck>>) -> Self {
        Self::over_queue(store, trace_ids, checks, None).await
    }

    async fn over_queue(
        store: TestStore,
        trace_ids: Vec<TraceId>,
        checks: Vec<Arc<dyn ReadinessCheck>>,
        queue: Option<BrokerQueue>,
    ) -> Self {
        let clock = ManualClock::new(START.plus(Duration::from_hours(13)));
        let state = WebState {
            budget: Arc::new(BudgetPolicy {
                daily: [(String::new(), NanoUsd(5_000_000_000))].into(),
                ladder: Ladder { full_rate_until: 0.5, reserve: 0.1, floor_rate: 0.05 },
            }),
            objectives: [Objective::of_errors()].into(),
            agent_budgets: Arc::new(AgentBudgets(vec![AgentBudget {
                scope: SegmentPattern::try_from("service=*".to_owned()).unwrap(),
                daily_usd: 50.0,
            }])),
            store: store.store.clone(),
            metrics: Arc::new(Metrics::default()),
            clock: Arc::new(clock.clone()),
            evaluators: Arc::new(evaluators()),
            prices: Arc::default(),
            names: Arc::new(AttributeMapping::default()),
            baseline: "default".to_owned(),
            segments: [].into(),
            public_url: "http://driftline.example".to_owned(),
            trace_link: "https://traces.example/{trace_id}?tab=spans".to_owned(),
            logs_link: "https://logs.example/?trace={trace_id}".to_owned(),
            receive_url: "http://127.0.0.1:4318".to_owned(),
            roles: ["web".to_owned()].into(),
            judge_configured: false,
            is_loopback: true,
            redactor: None,
            queue,
            checks,
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router(state)).await });
        Self { store, url, trace_ids, clock, agent: "support-agent" }
    }

    pub(crate) async fn get(&self, path: &str) -> reqwest::Response {
        client().get(format!("{}{path}", self.url)).send().await.unwrap()
    }

    /// The status and the JSON of a path.
    pub(crate) async fn json(&self, path: &str) -> (u16, Value) {
        let response = self.get(path).await;
        let status = response.status().as_u16();
        let json = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
        hold("get", path, status, &json);
        (status, json)
    }

    /// The JSON of a path that has an answer.
    pub(crate) async fn answer(&self, path: &str) -> Value {
        let (status, json) = self.json(path).await;
        assert_eq!(status, 200, "{path}: {json}");
        json
    }

    pub(crate) async fn post(&self, path: &str, content_type: &str, body: &str) -> (u16, Value) {
        let request = client().post(format!("{}{path}", self.url)).header("content-type", content_type);
        let response = request.body(body.to_owned()).send().await.unwrap();
        let status = response.status().as_u16();
        let json = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
        hold("post", path, status, &json);
        (status, json)
    }

    pub(crate) async fn page(&self, path: &str) -> String {
        let response = self.get(path).await;
        assert_eq!(response.status(), 200, "{path}");
        assert_eq!(response.headers()["content-type"], "text/html; charset=utf-8");
        response.text().await.unwrap()
    }

    /// Stores an open alert whose evidence is the first trace.
    pub(crate) async fn raise_alert(&self, summary: &str) {
        self.raise_alert_of_judge(summary, None).await;
    }

    /// The same, of a judge that is calibrated or not.
    pub(crate) async fn raise_alert_of_judge(&self, summary: &str, calibrated: Option<bool>) {
        let commit = HourCommit {
            service: self.agent.to_owned(),
            hour: START,
            traces: 10,
            previous_state: None,
            detector_state: "{}".to_owned(),
            rules: "{}".to_owned(),
            summary: "{}".to_owned(),
            alerts: vec![alert(self.agent, summary, self.trace_ids.first().copied()).marked(calibrated)],
        };
        assert!(self.store.store.commit_hour(&commit, START).await.unwrap());
    }
}

/// Once for the process: two providers of cryptography are compiled in, and one has to be chosen.
pub(crate) fn client() -> reqwest::Client {
    let _already_installed = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::new()
}

pub(crate) fn evaluators() -> Evaluators {
    Evaluators::load(None, BTreeMap::new()).unwrap()
}

/// The traces of a file that holds a request a line.
fn real_traces(path: &Path) -> Vec<ResourceSpans> {
    let compressed = fs::read(path).unwrap();
    let text = decompress(&compressed, Compression::Gzip, usize::MAX).unwrap();
    let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.flat_map(|line| decode_traces(line, Encoding::Json).unwrap()).collect()
}

fn simulated() -> Vec<ResourceSpans> {
    let plan = Plan {
        scenario: Scenario::find("model_upgrade").unwrap(),
        traces: TRACES,
        seed: 3,
        start: START,
        duration: Duration::from_hours(12),
    };
    simulate(&plan).flat_map(|trace| trace.request.resource_spans).collect()
}

/// A request that holds one trace whose every text is an attack.
pub(crate) fn hostile(trace_id: &str, text: &str) -> Vec<ResourceSpans> {
    let attribute = |key: &str, value: &str| serde_json::json!({"key": key, "value": {"stringValue": value}});
    let span = serde_json::json!({
        "traceId": trace_id, "spanId": "00000000000000aa", "name": text,
        "startTimeUnixNano": START.0.to_string(), "endTimeUnixNano": (START.0 + 1_000_000_000).to_string(),
        "status": {"code": 2, "message": text},
        "attributes": [attribute("gen_ai.operation.name", "invoke_agent"), attribute(text, text),
            attribute("gen_ai.conversation.id", text), attribute("user.id", text)],
        "events": [{"timeUnixNano": START.0.to_string(), "name": text, "attributes": [attribute(text, text)]}],
    });
    let resource = serde_json::json!({"attributes": [attribute("service.name", text)]});
    let request = serde_json::json!({"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": [span]}]}]});
    decode_traces(request.to_string().as_bytes(), Encoding::Json).unwrap()
}

/// Stores what a request holds as the service would: received, claimed, evaluated and recorded.
pub(crate) async fn fill(store: &Store, request: Vec<ResourceSpans>) -> Vec<TraceId> {
    fill_judged(store, request, START, |_, _| None).await
}

/// The same at that time, with what a judge says of the trace at each place.
async fn fill_judged(
    store: &Store,
    request: Vec<ResourceSpans>,
    at: Timestamp,
    judgement: impl Fn(TraceId, usize) -> Option<StoredEvaluation>,
) -> Vec<TraceId> {
    let trace_ids = append_at(store, request, at).await;
    let now = at.plus(Duration::from_hours(1));
    let due = store.claim_due(now, LEASE, trace_ids.len()).await.unwrap();
    assert_eq!(due.len(), trace_ids.len());
    let evaluators = evaluators();
    let mut recorded: Vec<RecordedTrace> = due.iter().map(|due| record(due, &evaluators)).collect();
    for (place, one) in recorded.iter_mut().enumerate() {
        one.evaluations.extend(judgement(one.trace.trace_id, place));
    }
    assert_eq!(store.record_traces(&recorded, now).await.unwrap().recorded, due.len());
    let policy = FlagPolicy::of(&evaluators, 20);
    let names: Vec<&str> = policy.evaluators.keys().map(String::as_str).collect();
    offer_flags(store, &names).await;
    trace_ids
}

/// Lets everything wait for people that these evaluators fail.
pub(crate) async fn offer_flags(store: &Store, evaluators: &[&str]) {
    let unflagged = store.unflagged(Timestamp(0), evaluators, 1_000).await.unwrap();
    let flag = |of: Unflagged| Flag { day: of.evaluated_at, severity: i64::from(of.failures), of };
    let flags: Vec<Flag> = unflagged.into_iter().map(flag).collect();
    let none = Timestamp(0);
    let offered = Offered { draws: &[], keep_until: none, flags: &flags, flags_a_day: 20, flags_since: none };
    store.offer(offered, START).await.unwrap();
}

/// Stores what a request holds and evaluates nothing.
pub(crate) async fn append(store: &Store, request: Vec<ResourceSpans>) -> Vec<TraceId> {
    append_at(store, request, START).await
}

async fn append_at(store: &Store, request: Vec<ResourceSpans>, at: Timestamp) -> Vec<TraceId> {
    let pieces = split_by_trace(request).traces;
    let trace_ids = pieces.iter().map(|piece| piece.trace_id).collect();
    let chunks: Vec<Chunk> = pieces
        .into_iter()
        .map(|piece| {
            let (trace_id, root_ended) = (piece.trace_id, piece.root_ended);
            let span_count = u32::try_from(piece.span_count).unwrap();
            Chunk { trace_id, content_hash: [1; 32], day: 0, body: pack(&piece.encode().body), span_count, root_ended }
        })
        .collect();
    store.append_chunks(&chunks, at, &POLICY).await.unwrap();
    trace_ids
}

fn record(due: &DueTrace, evaluators: &Evaluators) -> RecordedTrace {
    let raw = due.body.unpack(due.trace_id).unwrap();
    let trace = normalize(&raw, &AttributeMapping::default()).unwrap();
    let evaluated = evaluate(&trace, evaluators, &SamplingPolicy::default());
    let evaluations = evaluated.evaluations.iter().cloned().map(|evaluation| StoredEvaluation {
        evaluation,
        trace_version: 1,
        probability: 1.0,
    });
    RecordedTrace {
        evaluations: evaluations.collect(),
        trace: stored(&trace, evaluated),
        generation: due.generation,
        judge_jobs: vec![NewJudgeJob {
            evaluator: "tone".into(),
            revision: "r7".into(),
            lane: "default".into(),
            probability: 0.1,
        }],
        outbox: Vec::new(),
        usage: Usage::of(&trace),
        budgets: BTreeSet::from([format!("service={}", trace.service)]),
    }
}

fn stored(trace: &Trace, evaluated: EvaluatedTrace) -> StoredTrace {
    StoredTrace {
        trace_id: trace.trace_id,
        version: 1,
        root_span_id: trace.root_span_id,
        service: trace.service.clone(),
        release: trace.release.clone(),
        model: Some(trace.models().join("+")).filter(|models| !models.is_empty()),
        environment: trace.environment.clone(),
        conversation_id: trace.conversation_id.clone(),
        user_id: trace.user_id.clone(),
        attributes: trace.attributes.clone(),
        started_at: trace.started_at,
        ended_at: trace.ended_at,
        failing: evaluated.evaluations.iter().any(driftline::domain::evaluation::Evaluation::is_failing),
        failure_class: None,
        error: trace.error.is_some(),
        sampled: evaluated.decision.sampled,
        reports_decision: trace.decision.is_some(),
        keep_body_until: trace.ended_at.plus(KEPT[usize::from(evaluated.decision.sampled)]),
        stratum: Some(evaluated.decision.stratum().to_owned()),
        decision: serde_json::to_string(&evaluated.decision).unwrap(),
        record: evaluated.record,
    }
}

fn alert(service: &str, summary: &str, trace_id: Option<TraceId>) -> Alert {
    Alert {
        fingerprint: "f1".to_owned(),
        state: AlertState::Firing,
        severity: Severity::Page,
        service: service.to_owned(),
        series: "loop".to_owned(),
        segment: "all".to_owned(),
        direction: "down".to_owned(),
        detector: "e_sr".to_owned(),
        guarantee: "approximate: hours are over-dispersed".to_owned(),
        summary: summary.to_owned(),
        baseline: Some(0.98),
        current: Some(0.71),
        onset_at: START,
        raised_at: START.plus(Duration::from_hours(2)),
        updated_at: START.plus(Duration::from_hours(3)),
        resolved_at: None,
        trace_ids: trace_id.into_iter().collect(),
        runbook: "quality-drift".to_owned(),
        acknowledgement: None,
        calibrated: None,
        no_data_since: None,
        parent: None,
        evidence: Evidence { affects: Affects::AtMost(1.0), ..Evidence::default() },
    }
}
