//! The service: every role of one process, started together and stopped in order.

mod take_in;

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ring::digest::{SHA256, digest};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::channels::{ChannelError, channels, destinations_of as channel_destinations, links};
use super::listening::Listening;
pub use super::role::Role;
use super::security::{note_settings, redaction, refuse_exposed};
use super::settings::Settings;
use super::write_back;
use crate::backends::clock::SystemClock;
use crate::backends::http::{AddressError, HttpSender};
use crate::backends::judge::{JudgeClient, SettingsError};
use crate::backends::rabbitmq::{BrokerQueue, RabbitMqError};
use crate::backends::store::{Store, StoreError};
use crate::domain::money::NanoUsd;
use crate::domain::release::ChangeKind;
use crate::evaluate::flagging::FlagPolicy;
use crate::evaluate::kinds::Behaviour;
use crate::evaluate::mistake::InvalidEvaluators;
use crate::evaluate::redaction::{InvalidRedaction, Redactor};
use crate::evaluate::run::Evaluators;
use crate::limits::budget::{ALL_SERVICES, BudgetPolicy, Ladder};
use crate::limits::retry::Patience;
use crate::pipeline::Shared;
use crate::pipeline::agent_budgets::guard_budgets;
use crate::pipeline::asking::{Asking, ask_service};
use crate::pipeline::bookkeeping::Treasury;
use crate::pipeline::checkpoint::checkpoint;
use crate::pipeline::deliver::{Destination, Protocol, deliver};
use crate::pipeline::invariant;
use crate::pipeline::judging::{Judging, judge};
use crate::pipeline::notify::{Notifying, notify};
use crate::pipeline::releases::{Definition, definitions, notice_releases};
use crate::pipeline::retention::{BodyRetention, Retention, purge};
use crate::pipeline::reviewing::{ReviewPolicy, offer_reviews};
use crate::pipeline::scoring::{Scoring, score};
use crate::pipeline::summing::sum_hours;
use crate::pipeline::watching::{Watching, watch};
use crate::telemetry::metrics::Metrics;
use crate::watch::audit::AuditPolicy;
use crate::watch::rules::{Objective, RulePolicy};
use crate::web::{self, ReadinessCheck, WebState};

/// How long taking leave of the others may take.
const PATIENCE: Duration = Duration::from_secs(2);
const MIB: usize = 1024 * 1024;

/// Why the service could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The store cannot be opened.
    #[error("cannot open the store ([store] url)")]
    Store(#[from] StoreError),
    /// The broker's queue cannot be used as it is configured.
    #[error("the queue cannot be used ([queue])")]
    Queue(#[from] RabbitMqError),
    /// An address cannot be listened on.
    #[error("cannot listen on {address} ([{section}] {key}); is it in use? choose another, for example 127.0.0.1:0")]
    Listen {
        /// Section of the setting.
        section: &'static str,
        /// Its key.
        key: &'static str,
        /// The address.
        address: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// An address is open to the network.
    #[error(
        "[{section}] {key} = {address:?} is open to the network and there is no access token yet: make one with \
         driftline tokens create --role admin, or listen on 127.0.0.1"
    )]
    Exposed {
        /// Section of the setting.
        section: &'static str,
        /// Its key.
        key: &'static str,
        /// The address.
        address: String,
    },
    /// What is to be taken out cannot be looked for.
    #[error("[redaction] cannot be used")]
    Redaction(#[from] InvalidRedaction),
    /// Values are to be hashed, and there is no key.
    #[error(
        "the environment variable {variable:?} named by [redaction] hash_key_env is not set, and hash needs its key"
    )]
    HashKey {
        /// The variable.
        variable: String,
    },
    /// Nothing would run.
    #[error("there is nothing to do: the roles asked for need something that is not configured, such as a judge model")]
    Idle,
    /// An evaluator is wrong.
    #[error(transparent)]
    Evaluators(#[from] InvalidEvaluators),
    /// The address of a user's own service is wrong.
    #[error("the service of the evaluator {name} cannot be asked")]
    Service {
        /// The evaluator.
        name: String,
        /// What is wrong.
        source: AddressError,
    },
    /// The secret of a user's own service is not there.
    #[error("the environment variable {variable} named by header_env of the evaluator {name} is not set")]
    ServiceSecret {
        /// The evaluator.
        name: String,
        /// The variable.
        variable: String,
    },
    /// A judge model is wrong.
    #[error("[judge.models.{name}] cannot be used")]
    Judge {
        /// Its name in the settings.
        name: String,
        /// What is wrong.
        source: SettingsError,
    },
    /// A channel of alerts cannot be used as it is configured.
    #[error("[[alerts.channels]] {name:?} cannot be used")]
    Channel {
        /// Its name.
        name: String,
        /// What is wrong.
        source: ChannelError,
    },
    /// A destination of scores cannot be used as it is configured.
    #[error("[[write_back]] of kind {kind} cannot be used")]
    WriteBack {
        /// Its kind.
        kind: &'static str,
        /// What is wrong.
        source: ChannelError,
    },
    /// An address to send to is wrong.
    #[error("{setting} cannot be used")]
    Destination {
        /// The setting.
        setting: &'static str,
        /// What is wrong.
        source: AddressError,
    },
}

impl StartError {
    /// Whether the settings are at fault, and not the world.
    #[must_use]
    pub fn is_usage(&self) -> bool {
        match self {
            Self::Store(StoreError::Address { .. } | StoreError::Archive { .. })
            | Self::Queue(_)
            | Self::Exposed { .. }
            | Self::Idle
            | Self::Redaction(_)
            | Self::HashKey { .. }
            | Self::Evaluators(_)
            | Self::Judge { .. }
            | Self::Channel { .. }
            | Self::WriteBack { .. }
            | Self::Service { .. }
            | Self::ServiceSecret { .. }
            | Self::Destination { .. } => true,
            Self::Listen { source, .. } => source.kind() == std::io::ErrorKind::InvalidInput,
            Self::Store(_) => false,
        }
    }
}

/// A part of the service ended by itself, which none ever should.
#[derive(Debug, thiserror::Error)]
#[error("a part of the service failed; what was accepted is in the store, start again to go on")]
pub struct PartFailed;

/// What a process needs to be ready.
type Checks = Vec<Arc<dyn ReadinessCheck>>;

/// A running service.
#[derive(Debug)]
pub struct Service {
    /// Where OTLP/HTTP is received.
    pub receives_on: Option<SocketAddr>,
    /// Where OTLP/gRPC is received.
    pub receives_grpc_on: Option<SocketAddr>,
    /// Where the API and pages are.
    pub web_on: Option<SocketAddr>,
    shared: Shared,
    drain_within: Duration,
    parts: JoinSet<()>,
}

impl Service {
    /// Opens the store and starts every role.
    ///
    /// # Errors
    /// What is wrong with the settings, or what could not be opened.
    pub async fn start(settings: &Settings, roles: &BTreeSet<Role>) -> Result<Self, StartError> {
        let evaluators = Arc::new(super::evaluators(settings, None)?);
        let clients = judge_clients(settings)?;
        let services = service_senders(&evaluators)?;
        let destinations = destinations(settings)?;
        let redaction = redaction(settings)?;
        let redactor = redaction.as_ref().map(|redaction| Arc::clone(&redaction.redactor));
        let receives = roles.contains(&Role::Receive);
        let http = Listening::bind("receive", "http", &settings.receive.http, receives).await?;
        let receives_grpc = receives && !settings.receive.grpc.is_empty();
        let grpc = Listening::bind("receive", "grpc", &settings.receive.grpc, receives_grpc).await?;
        let web = Listening::bind("web", "listen", &settings.web.listen, roles.contains(&Role::Web)).await?;
        let shared = Shared {
            store: open_store(settings).await?,
            clock: Arc::new(SystemClock),
            metrics: Arc::new(Metrics::default()),
            stop: CancellationToken::new(),
            worker: format!("{:016x}", fastrand::u64(..)).into(),
        };
        invariant::expose(&shared.metrics);
        shared.store.forget_leases().await?;
        note_settings(&shared, settings, roles).await?;
        refuse_exposed(&shared, [&http, &grpc, &web]).await?;
        let mut service = Self {
            receives_on: http.as_ref().map(|listening| listening.address),
            receives_grpc_on: grpc.as_ref().map(|listening| listening.address),
            web_on: web.as_ref().map(|listening| listening.address),
            shared: shared.clone(),
            drain_within: settings.service.drain,
            parts: JoinSet::new(),
        };
        let checks = service.take_in(settings, &shared, roles, (http, grpc), redaction)?;
        service.web(settings, &shared, roles, &evaluators, (web, checks, redactor));
        service.ask(settings, &shared, roles, &evaluators, services);
        service.work(settings, &shared, roles, evaluators, clients, destinations);
        if service.parts.is_empty() { Err(StartError::Idle) } else { Ok(service) }
    }

    /// What the parts work with.
    #[must_use]
    pub const fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Runs until `stop` is ready, then finishes what is under way.
    ///
    /// # Errors
    /// A part ended by itself.
    pub async fn run_until(mut self, stop: impl Future<Output = ()>) -> Result<(), PartFailed> {
        let failed = tokio::select! {
            () = stop => false,
            _ = self.parts.join_next() => true,
        };
        self.stop().await;
        if failed { Err(PartFailed) } else { Ok(()) }
    }

    async fn stop(mut self) {
        self.shared.stop.cancel();
        let all_ended = async { while self.parts.join_next().await.is_some() {} };
        if tokio::time::timeout(self.drain_within, all_ended).await.is_err() {
            tracing::warn!("some work did not finish in time; it will be done after the next start");
            // What goes on would hold its connections, and the store waits for each of them.
            self.parts.abort_all();
        }
        let released = tokio::time::timeout(PATIENCE, self.shared.store.release_leases(&self.shared.worker)).await;
        if !matches!(released, Ok(Ok(()))) {
            tracing::warn!("leases could not be given up; others wait until they run out");
        }
        // A statement that waits for a lock, or for a database that has gone silent, may never finish.
        if tokio::time::timeout(PATIENCE, self.shared.store.close()).await.is_err() {
            tracing::warn!("the store does not let go; what was not committed is undone");
        }
    }

    fn web(
        &mut self,
        settings: &Settings,
        shared: &Shared,
        roles: &BTreeSet<Role>,
        evaluators: &Arc<Evaluators>,
        (web, checks, redactor): (Option<Listening>, Checks, Option<Arc<Redactor>>),
    ) {
        let Some(web) = web else { return };
        let receiver = self.receives_on.map_or_else(|| settings.receive.http.clone(), |address| address.to_string());
        let state = WebState {
            store: shared.store.clone(),
            metrics: Arc::clone(&shared.metrics),
            clock: Arc::clone(&shared.clock),
            evaluators: Arc::clone(evaluators),
            names: Arc::new(settings.attributes.clone()),
            prices: Arc::new(settings.prices.clone()),
            baseline: settings.watch.baseline.clone(),
            segments: settings.alerts.segments.clone().into(),
            budget: Arc::new(budget_policy(settings)),
            agent_budgets: Arc::new(settings.budget.clone()),
            objectives: objectives(settings).into(),
            public_url: links(settings).web,
            trace_link: settings.links.trace.clone(),
            logs_link: settings.links.logs.clone(),
            receive_url: format!("http://{receiver}"),
            roles: roles.iter().map(|role| role.as_str().to_owned()).collect(),
            judge_configured: !settings.judge.models.is_empty(),
            is_loopback: web.is_loopback(),
            redactor,
            queue: broker_queue(settings),
            checks,
        };
        tracing::info!(address = %web.address, "serving API, metrics and pages");
        self.parts.spawn(web.serve(web::router(state), shared.stop.clone()));
    }

    /// Asks users' own services, in the role that asks judges.
    fn ask(
        &mut self,
        settings: &Settings,
        shared: &Shared,
        roles: &BTreeSet<Role>,
        evaluators: &Arc<Evaluators>,
        services: BTreeMap<String, HttpSender>,
    ) {
        if services.is_empty() || !roles.contains(&Role::Judge) {
            return;
        }
        let destinations = destinations(settings).unwrap_or_default();
        let scoring = Arc::new(scoring(settings, Arc::clone(evaluators), &destinations));
        for (evaluator, sender) in services {
            let asking = Asking { scoring: Arc::clone(&scoring), evaluator, sender };
            self.parts.spawn(ask_service(shared.clone(), asking));
        }
    }

    fn work(
        &mut self,
        settings: &Settings,
        shared: &Shared,
        roles: &BTreeSet<Role>,
        evaluators: Arc<Evaluators>,
        clients: BTreeMap<String, JudgeClient>,
        destinations: Vec<Destination>,
    ) {
        if shared.store.has_log() {
            self.parts.spawn(checkpoint(shared.clone()));
        }
        let judged_by = judged_by(settings, &evaluators);
        let reviewing = review_policy(settings, &evaluators);
        let scoring = Arc::new(scoring(settings, evaluators, &destinations));
        if roles.contains(&Role::Evaluate) {
            for _ in 0..evaluating_tasks() {
                self.parts.spawn(score(shared.clone(), Arc::clone(&scoring)));
            }
        }
        if clients.is_empty() {
            tracing::warn!("no judge model is configured ([judge.models.default]): traces are checked by rules alone");
        } else if roles.contains(&Role::Judge) {
            settings.doubts().iter().for_each(|doubt| tracing::warn!("{doubt}"));
            let judging = judging(settings, scoring, clients);
            self.parts.spawn(judge(shared.clone(), Arc::new(judging)));
        }
        if roles.contains(&Role::Deliver) {
            for destination in destinations {
                self.parts.spawn(deliver(shared.clone(), destination));
            }
        }
        if roles.contains(&Role::Watch) {
            self.parts.spawn(watch(shared.clone(), watching(settings)));
            self.parts.spawn(notify(shared.clone(), notifying(settings)));
            self.parts.spawn(notice_releases(shared.clone(), judged_by));
            self.parts.spawn(purge(shared.clone(), retention(settings)));
            self.parts.spawn(guard_budgets(shared.clone(), settings.budget.clone()));
            self.parts.spawn(offer_reviews(shared.clone(), reviewing));
            self.parts.spawn(sum_hours(shared.clone(), settings.attributes.clone()));
        }
    }
}

fn retention(settings: &Settings) -> Retention {
    Retention {
        verdicts: settings.judge.remember,
        ledger: settings.retention.judge_requests,
        alert_steps: settings.retention.alert_steps,
        archive: settings.archive.keep,
        bodies: settings.retention.traces.max(settings.complete.late_window),
        // What a day of judging has cost is summed up with the records of its traces.
        records: settings.retention.records.max(settings.retention.judge_requests),
    }
}

/// The store, with its archive.
async fn open_store(settings: &Settings) -> Result<Store, StoreError> {
    let store = Store::open_for_service(&settings.store.url, settings.store.connections).await?;
    Ok(store.with_archive(settings.archive()?))
}

/// The evaluating stage as the settings want it.
fn scoring(settings: &Settings, evaluators: Arc<Evaluators>, destinations: &[Destination]) -> Scoring {
    let is_written_back = |destination: &&Destination| destination.protocol.is_of_scores();
    Scoring {
        evaluators,
        sampling: settings.sampling.clone(),
        attributes: settings.attributes.clone(),
        prices: settings.prices.clone(),
        budgets: settings.budget.clone(),
        retention: BodyRetention { sampled: settings.retention.traces, late_window: settings.complete.late_window },
        max_age: settings.complete.max_age,
        destinations: destinations.iter().filter(is_written_back).map(|it| it.name.clone()).collect(),
        forward: destinations.iter().find(|it| it.protocol == Protocol::Forward).map(|it| it.name.clone()),
    }
}

/// What traces are judged and watched by: the evaluators' revisions, and a digest of each section of the settings that
/// decides what is sampled, watched or alarmed.
fn judged_by(settings: &Settings, evaluators: &Evaluators) -> Vec<Definition> {
    let sections = [
        ("sampling", format!("{:?}", settings.sampling)),
        ("watch", format!("{:?}", settings.watch)),
        (
            "alerts",
            format!("{:?}", (settings.alerts.budget_per_30_days, &settings.alerts.segments, rule_policy(settings))),
        ),
        ("prices", format!("{:?}", settings.prices)),
    ];
    let configured = sections.map(|(section, content)| {
        let digest = hex::encode(&digest(&SHA256, content.as_bytes()).as_ref()[..6]);
        (ChangeKind::Configuration, section.to_owned(), digest)
    });
    definitions(evaluators).into_iter().chain(configured).collect()
}

/// The judging stage as the settings want it.
fn judging(settings: &Settings, scoring: Arc<Scoring>, clients: BTreeMap<String, JudgeClient>) -> Judging {
    Judging {
        scoring,
        clients,
        patience: patience(settings),
        control_share: settings.judge.control_share,
        treasury: Treasury { policy: budget_policy(settings) },
        anchor_interval: settings.review.anchor_interval,
    }
}

/// How long a judgement is insisted on.
#[must_use]
pub fn patience(settings: &Settings) -> Patience {
    Patience { attempts: settings.judge.attempts, give_up_after: settings.judge.give_up_after }
}

/// What a day may cost.
#[must_use]
pub fn budget_policy(settings: &Settings) -> BudgetPolicy {
    let budget = &settings.judge.budget;
    let services = budget.services.iter().map(|(service, usd)| (service.clone(), *usd));
    let limits = services.chain([(ALL_SERVICES.to_owned(), budget.daily_usd)]);
    BudgetPolicy {
        daily: limits.filter(|(_, usd)| usd.is_finite()).map(|(scope, usd)| (scope, NanoUsd::from_usd(usd))).collect(),
        ladder: Ladder {
            full_rate_until: budget.full_rate_until,
            reserve: budget.reserve,
            floor_rate: budget.floor_rate,
        },
    }
}

/// The broker's queue, where there is a broker.
fn broker_queue(settings: &Settings) -> Option<BrokerQueue> {
    let queue = &settings.queue;
    (!queue.is_embedded()).then(|| BrokerQueue { url: queue.url.clone(), name: queue.name.clone() })
}

/// What people are asked about, as the settings want it.
pub(super) fn review_policy(settings: &Settings, evaluators: &Evaluators) -> ReviewPolicy {
    let review = &settings.review;
    ReviewPolicy {
        audit: AuditPolicy {
            rate: review.audit_rate,
            failing_rate: review.audit_failing_rate,
            seed: review.audit_seed,
        },
        flags: FlagPolicy::of(evaluators, review.flagged_per_day),
        window: review.window,
    }
}

/// The watching stage as the settings want it.
#[must_use]
pub fn watching(settings: &Settings) -> Watching {
    Watching {
        interval: settings.watch.interval,
        lateness: settings.watch.lateness,
        baseline: settings.watch.baseline.clone(),
        budget_per_30_days: settings.alerts.budget_per_30_days,
        segments: settings.alerts.segments.clone(),
        rules: rule_policy(settings),
        loaded: Arc::default(),
    }
}

/// What services promise as the settings want it; without any, that runs do not end in errors.
#[must_use]
pub fn objectives(settings: &Settings) -> Vec<Objective> {
    let objectives = settings.slo.clone();
    if objectives.is_empty() { vec![Objective::of_errors()] } else { objectives }
}

/// The limits of the rules as the settings want them.
fn rule_policy(settings: &Settings) -> RulePolicy {
    RulePolicy {
        objectives: objectives(settings),
        daily_cost_usd: settings.alerts.daily_cost_usd.clone(),
        tokens_per_second: settings.alerts.tokens_per_second,
    }
}

/// The telling of alerts as the settings want it.
#[must_use]
pub fn notifying(settings: &Settings) -> Notifying {
    Notifying {
        channels: channels(settings),
        no_data_after: settings.alerts.no_data_after,
        remind_after: settings.alerts.remind_after,
        links: links(settings),
    }
}

/// Evaluating is computing: more tasks than cores would only wait for each other.
fn evaluating_tasks() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| cores.get().min(8))
}

/// The way to the service of each evaluator that has one, by the evaluator's name.
///
/// # Errors
/// The first whose address or secret cannot be used.
pub fn service_senders(evaluators: &Evaluators) -> Result<BTreeMap<String, HttpSender>, StartError> {
    let mut senders = BTreeMap::new();
    for definition in evaluators.definitions() {
        let name = || definition.name.clone();
        let Behaviour::Service(service) = &definition.behaviour else { continue };
        let secret = service.header.as_ref().map(|(header, variable)| {
            let secret = std::env::var(variable).ok().filter(|secret| !secret.trim().is_empty());
            let unset = || StartError::ServiceSecret { name: name(), variable: variable.clone() };
            secret.map(|secret| (header.as_str(), secret)).ok_or_else(unset)
        });
        let secret = secret.transpose()?;
        let header = secret.as_ref().map(|(header, secret)| (*header, secret.trim()));
        let sender = HttpSender::with(&service.url, service.timeout, header);
        senders.insert(name(), sender.map_err(|source| StartError::Service { name: name(), source })?);
    }
    Ok(senders)
}

/// Judge models by name, each ready to be asked.
///
/// # Errors
/// The first that cannot be used as it is configured.
pub fn judge_clients(settings: &Settings) -> Result<BTreeMap<String, JudgeClient>, StartError> {
    let client = |(name, model): (&String, &crate::backends::judge::JudgeModelSettings)| {
        let client = JudgeClient::new(model.clone());
        client.map(|client| (name.clone(), client)).map_err(|source| StartError::Judge { name: name.clone(), source })
    };
    settings.judge.models.iter().map(client).collect()
}

/// Where scores and alerts go.
fn destinations(settings: &Settings) -> Result<Vec<Destination>, StartError> {
    let mut destinations = write_back::destinations(settings)?;
    destinations.extend(write_back::forward(settings)?);
    destinations.extend(channel_destinations(settings)?);
    Ok(destinations)
}
