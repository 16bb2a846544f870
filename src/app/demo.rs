//! The whole product on simulated agents: a service of its own, a baseline, a model upgrade with planted faults, and an
//! account of what was found, what was missed, and what was a false alarm.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use prost::Message as _;
use serde::Serialize;

use super::service::{Role, Service, StartError, review_policy, watching};
use super::settings::{self, Settings, SettingsError};
use crate::backends::clock::{Clock, SystemClock};
use crate::backends::http::{AddressError, HttpSender, SendError};
use crate::backends::judge::{JudgeModelSettings, Provider};
use crate::backends::store::{AlertFilter, Selection, StoreError};
use crate::domain::alert::{Alert, Severity};
use crate::domain::ids::TraceId;
use crate::domain::measurement::TraceRecord;
use crate::domain::report::{GateReport, GateVerdict};
use crate::domain::time::Timestamp;
use crate::otlp::{ExportTraceServiceRequest, ResourceSpans};
use crate::pipeline::Shared;
use crate::pipeline::releases::count_versions;
use crate::pipeline::reviewing::offer_evaluated;
use crate::simulate::judge::ScriptedJudge;
use crate::simulate::{Agent, ExpectedEvidence, Fault, Phase, Plan, Scenario, SimulatedTrace, Truth, simulate};
use crate::watch::baseline::Baseline;
use crate::watch::gate::gate;
use crate::watch::gate_policy::GatePolicy;

/// Simulated time: a day of the old release and a day of the new one.
const SIMULATED: Duration = Duration::from_hours(48);
/// The last hours of the old release are watched and not part of the baseline: an alert there is a false one.
const HEALTHY_AND_WATCHED: Duration = Duration::from_hours(4);
/// Traces in one export request.
const TRACES_A_REQUEST: usize = 40;
const SEND_ATTEMPTS: u32 = 8;
const POLL: Duration = Duration::from_millis(100);
/// Trace ids kept as evidence of a found fault.
const EVIDENCE: usize = 3;

/// The policy that the new release has to pass.
pub const GATE_POLICY: &str = r#"alpha = 0.05

[[series]]
series = "loop"
direction = "higher_is_better"
margin = 0.02

[[series]]
series = "policy_compliance"
direction = "higher_is_better"
margin = 0.02

[[series]]
series = "groundedness"
direction = "higher_is_better"
margin = 0.02

[[series]]
series = "limits"
direction = "higher_is_better"
margin = 0.02
"#;

/// What to show.
#[derive(Debug, Clone)]
pub struct DemoPlan {
    /// Traces to send.
    pub traces: usize,
    /// Everything random comes from this.
    pub seed: u64,
    /// Where the API and pages are, `HOST:PORT`.
    pub web: String,
    /// Folder for the store.
    pub folder: std::path::PathBuf,
}

/// Why the demo could not be given.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// The service could not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The compiled-in settings are wrong.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The service's own receiver did not take the traffic.
    #[error("cannot send the simulated traffic")]
    Send(#[from] SendError),
    /// The service's own address is none.
    #[error("cannot send to the service's own receiver")]
    Address(#[from] AddressError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The scripted judge could not start.
    #[error("cannot start the scripted judge")]
    Judge(#[source] std::io::Error),
    /// The compiled-in gate policy is wrong.
    #[error(transparent)]
    Policy(#[from] crate::watch::gate_policy::InvalidGatePolicy),
}

/// What the demo is doing, for a progress display.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DemoStep {
    /// So many traces of all have been sent.
    Sent(usize),
    /// The service is scoring and judging; so much work is left.
    Working(u64),
    /// Hours are compared with the baseline.
    Watching,
}

/// What became of one planted fault.
#[derive(Debug, Clone, Serialize)]
pub struct FaultReport {
    /// Its name.
    pub fault: &'static str,
    /// What it is.
    pub doc: &'static str,
    /// The service that has it.
    pub service: &'static str,
    /// Traces that show it.
    pub planted_traces: usize,
    /// Series whose alert tells of it, if it was found.
    pub found_by: Option<String>,
    /// Hours from the release to that alert.
    pub delay_hours: Option<f64>,
    /// Some of its traces that the alert's evaluator failed.
    pub evidence: Vec<TraceId>,
}

/// The account.
#[derive(Debug, Clone, Serialize)]
pub struct DemoReport {
    /// Kinds of faults planted.
    pub planted: usize,
    /// Kinds of faults found.
    pub found: usize,
    /// Names of those missed.
    pub missed: Vec<&'static str>,
    /// Alerts (warn or page) before the release, or on series that nothing planted can have moved.
    pub false_alarms: usize,
    /// What was alarmed falsely, one sentence each.
    pub false_alarm_summaries: Vec<String>,
    /// The gate's verdict on the new release.
    pub gate: GateReport,
    /// Traces sent.
    pub traces: usize,
    /// Seconds from the first trace to the last verdict.
    pub seconds: f64,
    /// Each planted fault.
    pub faults: Vec<FaultReport>,
    /// Alerts (warn or page) raised.
    pub alerts: usize,
}

/// A demo whose service still runs, so that people can look around.
#[derive(Debug)]
pub struct Demo {
    /// The account.
    pub report: DemoReport,
    /// Where the API and pages are.
    pub web_on: Option<SocketAddr>,
    /// The service; it has to be stopped.
    pub service: Service,
    /// Answers the service's judge calls for as long as it lives.
    _judge: ScriptedJudge,
}

/// Gives the demo.
///
/// # Errors
/// What could not be started, sent or stored.
pub async fn demo(plan: &DemoPlan, mut progress: impl FnMut(DemoStep)) -> Result<Demo, DemoError> {
    let started = tokio::time::Instant::now();
    let scenario = &crate::simulate::SCENARIOS[1];
    let judge = ScriptedJudge::start().await.map_err(DemoError::Judge)?;
    let settings = demo_settings(plan, &judge)?;
    // Watching is done in step with the traffic, which tells of hours that are long past.
    let roles = BTreeSet::from([Role::Receive, Role::Evaluate, Role::Judge, Role::Deliver, Role::Web]);
    let service = Service::start(&settings, &roles).await?;
    let shared = service.shared();

    let start = SystemClock.now().minus(SIMULATED).minus(Duration::from_hours(2)).hour();
    let release = start.plus(SIMULATED / 2);
    let traffic: Vec<SimulatedTrace> =
        simulate(&Plan { scenario, traces: plan.traces, seed: plan.seed, start, duration: SIMULATED }).collect();
    let (before, after): (Vec<_>, Vec<_>) = traffic.into_iter().partition(|trace| trace.truth.phase == Phase::Baseline);
    let receiver =
        HttpSender::new(&format!("http://{}", service.receives_on.map_or_else(String::new, |at| at.to_string())))?;

    let mut truths = send(&receiver, before, 0, &mut progress).await?;
    finish_work(shared, &mut progress).await?;
    let baseline = take_baseline(shared, &settings.watch.baseline, release.minus(HEALTHY_AND_WATCHED)).await?;
    let sent = truths.len();
    truths.extend(send(&receiver, after, sent, &mut progress).await?);
    finish_work(shared, &mut progress).await?;
    progress(DemoStep::Watching);
    count_versions(shared).await?;
    let watching = watching(&settings);
    while watching.step(shared).await? {}
    let evaluators = super::evaluators(&settings, None).map_err(StartError::from)?;
    offer_evaluated(shared, &review_policy(&settings, &evaluators)).await?;

    let candidate =
        shared.store.records(&Selection { release: Some("1.5.0".to_owned()), ..Selection::default() }).await?;
    let gate = gate(&GatePolicy::parse(GATE_POLICY)?, &baseline, &summary("candidate", &candidate), None);
    let alerts = shared.store.alerts(&AlertFilter::default()).await?;
    let account = Account { scenario, release, truths: &truths, alerts: &alerts, shared };
    let report = account.report(gate, started.elapsed()).await?;
    Ok(Demo { report, web_on: service.web_on, service, _judge: judge })
}

fn demo_settings(plan: &DemoPlan, judge: &ScriptedJudge) -> Result<Settings, SettingsError> {
    let mut settings = settings::defaults()?;
    settings.store.url = format!("sqlite://{}", plan.folder.join("driftline.db").display());
    "127.0.0.1:0".clone_into(&mut settings.receive.http);
    settings.receive.grpc.clear();
    settings.web.listen.clone_from(&plan.web);
    settings.complete.root_grace = Duration::from_millis(100);
    settings.complete.quiet_period = Duration::from_secs(2);
    // The scripted judge costs nothing, so every trace is judged.
    settings.sampling.healthy_rate = 1.0;
    settings.watch.lateness = Duration::ZERO;
    settings.judge.models = BTreeMap::from([("default".to_owned(), scripted(judge.base_url()))]);
    Ok(settings)
}

fn scripted(base_url: String) -> JudgeModelSettings {
    JudgeModelSettings { concurrency: 16, ..JudgeModelSettings::new(Provider::Openai, base_url, "scripted-judge") }
}

/// Sends traces in order; gives their ground truth.
async fn send(
    receiver: &HttpSender,
    traces: Vec<SimulatedTrace>,
    sent_before: usize,
    progress: &mut impl FnMut(DemoStep),
) -> Result<Vec<Truth>, SendError> {
    let mut truths: Vec<Truth> = Vec::new();
    let mut resource_spans: Vec<ResourceSpans> = Vec::new();
    let total = traces.len();
    for trace in traces {
        truths.push(trace.truth);
        resource_spans.extend(trace.request.resource_spans);
        if truths.len().is_multiple_of(TRACES_A_REQUEST) || truths.len() == total {
            let request = ExportTraceServiceRequest { resource_spans: std::mem::take(&mut resource_spans) };
            receiver.insist("v1/traces", "application/x-protobuf", request.encode_to_vec(), SEND_ATTEMPTS).await?;
            progress(DemoStep::Sent(sent_before + truths.len()));
        }
    }
    Ok(truths)
}

/// Waits until everything received is scored and judged.
async fn finish_work(shared: &Shared, progress: &mut impl FnMut(DemoStep)) -> Result<(), StoreError> {
    loop {
        let depths = shared.store.queue_depths(shared.now()).await?;
        let left = depths.pending + depths.judge_jobs;
        if left == 0 {
            return Ok(());
        }
        progress(DemoStep::Working(left));
        tokio::time::sleep(POLL).await;
    }
}

async fn take_baseline(shared: &Shared, name: &str, until: Timestamp) -> Result<Baseline, StoreError> {
    let records = shared.store.records(&Selection { until: Some(until), ..Selection::default() }).await?;
    let baseline = summary(name, &records);
    let json = serde_json::to_string(&baseline).unwrap_or_default();
    let selection = format!("until={until}");
    shared.store.insert_baseline(name, shared.now(), &selection, &json).await?;
    Ok(baseline)
}

fn summary(name: &str, records: &[TraceRecord]) -> Baseline {
    Baseline::from_records(name, SystemClock.now(), "", records)
}

/// What is needed to hold alerts against the truth.
struct Account<'a> {
    scenario: &'static Scenario,
    release: Timestamp,
    truths: &'a [Truth],
    alerts: &'a [Alert],
    shared: &'a Shared,
}

impl Account<'_> {
    async fn report(&self, gate: GateReport, elapsed: Duration) -> Result<DemoReport, StoreError> {
        let mut faults = Vec::new();
        for (fault, _) in self.scenario.faults {
            faults.push(self.fault(*fault).await?);
        }
        let missed: Vec<&str> = faults.iter().filter(|it| it.found_by.is_none()).map(|it| it.fault).collect();
        let false_alarms: Vec<String> =
            self.budgeted().filter(|alert| self.is_false(alert)).map(|alert| alert.summary.clone()).collect();
        Ok(DemoReport {
            planted: faults.len(),
            found: faults.len() - missed.len(),
            missed,
            false_alarms: false_alarms.len(),
            false_alarm_summaries: false_alarms,
            gate,
            traces: self.truths.len(),
            seconds: elapsed.as_secs_f64(),
            faults,
            alerts: self.budgeted().count(),
        })
    }

    /// Alerts within the budget: `info` stands outside.
    fn budgeted(&self) -> impl Iterator<Item = &Alert> {
        self.alerts.iter().filter(|alert| alert.severity >= Severity::Warn)
    }

    fn is_false(&self, alert: &Alert) -> bool {
        let agent = Agent::ALL.into_iter().find(|agent| agent.service() == alert.service);
        let is_planted = agent.is_some_and(|agent| self.scenario.affects(agent, &alert.series));
        alert.raised_at <= self.release || !is_planted
    }

    /// A fault is found when an alert tells of a series that is its evidence and, where single traces prove it, the
    /// evaluator failed traces that have it.
    async fn fault(&self, fault: Fault) -> Result<FaultReport, StoreError> {
        let traces: Vec<TraceId> =
            self.truths.iter().filter(|truth| truth.faults.contains(&fault)).map(|truth| truth.trace_id).collect();
        let (names, needs_traces) = match fault.expected_evidence() {
            ExpectedEvidence::FailingEvaluation { any_of } => (any_of, true),
            ExpectedEvidence::DriftingSeries { any_of } => (any_of, false),
        };
        let service = fault.agent().service();
        let (mut found_by, mut evidence) = (None, Vec::new());
        for name in names {
            let is_evidence =
                |alert: &&Alert| alert.service == service && alert.series == **name && !self.is_false(alert);
            let Some(alert) = self.budgeted().find(is_evidence) else { continue };
            evidence = if needs_traces { self.failed(name, &traces).await? } else { alert.trace_ids.clone() };
            if !evidence.is_empty() {
                found_by = Some(alert);
                break;
            }
        }
        evidence.truncate(EVIDENCE);
        Ok(FaultReport {
            fault: fault.name(),
            doc: fault.doc(),
            service,
            planted_traces: traces.len(),
            found_by: found_by.map(|alert| alert.series.clone()),
            delay_hours: found_by.map(|alert| alert.raised_at.seconds_since(self.release) / 3600.0),
            evidence,
        })
    }

    /// Some of these traces that the evaluator failed.
    async fn failed(&self, evaluator: &str, traces: &[TraceId]) -> Result<Vec<TraceId>, StoreError> {
        let mut failed = Vec::new();
        for trace_id in traces {
            let rows = self.shared.store.evaluations(*trace_id).await?;
            if rows.iter().any(|row| row.evaluation.evaluator == evaluator && row.evaluation.is_failing()) {
                failed.push(*trace_id);
            }
            if failed.len() == EVIDENCE {
                break;
            }
        }
        Ok(failed)
    }
}

impl DemoReport {
    /// Whether the demo showed what it is there to show.
    #[must_use]
    pub fn is_convincing(&self) -> bool {
        self.missed.is_empty() && self.false_alarms == 0 && self.gate.verdict == GateVerdict::Fail
    }
}
