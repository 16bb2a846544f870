//! Alive, ready, and metrics.

use std::iter;
use std::time::Duration;

use async_trait::async_trait;
use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use futures_util::future::join_all;
use serde::{Deserialize, Serialize};

use super::{WebState, estimates};
use crate::backends::store::{AlertFilter, StoreError};
use crate::domain::alert::Severity;
use crate::telemetry::metrics::{CONTENT_TYPE, Metrics, QueueLabels, SeverityLabels};

/// A dependency that does not answer within this is not there.
const PATIENCE: Duration = Duration::from_secs(2);

const STORE: &str = "store";
/// The name of the check whether what is received can be stored.
pub const STORE_WRITE: &str = "store (write)";

/// Something that the service cannot work without.
#[async_trait]
pub trait ReadinessCheck: Send + Sync {
    /// Its name, for example `queue`.
    fn name(&self) -> &str;

    /// Asks it for an answer; the error says what is wrong, for a person.
    async fn check(&self) -> Result<(), String>;

    /// Whether what this process is sent waits here while the store is away.
    fn stands_before_store(&self) -> bool {
        false
    }
}

/// Whether the service can work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Readiness {
    /// Whether the process can take what it is sent: every dependency answers, but for a store that a broker stands before.
    pub ready: bool,
    /// Each dependency.
    pub dependencies: Vec<Dependency>,
}

/// Whether one dependency answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dependency {
    /// Its name.
    pub name: String,
    /// Whether it answers.
    pub ready: bool,
    /// What is wrong with it.
    pub error: Option<String>,
}

/// The process answers, whatever its dependencies do.
pub(super) async fn alive() -> &'static str {
    "alive\n"
}

/// Whether each dependency answers, the store first. They are asked together: who asks us does not wait long.
pub(super) async fn dependencies(state: &WebState) -> Vec<Dependency> {
    let ping = async { state.store.ping().await.map_err(|error| error.to_string()) };
    let others = join_all(state.checks.iter().map(|check| dependency(check.name(), check.check())));
    let (store, others) = tokio::join!(dependency(STORE, ping), others);
    iter::once(store).chain(others).collect()
}

pub(super) async fn ready(State(state): State<WebState>) -> impl IntoResponse {
    let dependencies = dependencies(&state).await;
    let waits_elsewhere = state.checks.iter().any(|check| check.stands_before_store());
    let may_be_away = |name: &str| waits_elsewhere && [STORE, STORE_WRITE].contains(&name);
    let ready = dependencies.iter().all(|it| it.ready || may_be_away(&it.name));
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(Readiness { ready, dependencies }))
}

async fn dependency(name: &str, check: impl Future<Output = Result<(), String>>) -> Dependency {
    let late = |_| Err(format!("no answer within {} seconds", PATIENCE.as_secs()));
    let error = tokio::time::timeout(PATIENCE, check).await.unwrap_or_else(late).err();
    Dependency { name: name.to_owned(), ready: error.is_none(), error }
}

pub(super) async fn metrics(State(state): State<WebState>) -> impl IntoResponse {
    // Counters are worth having most of all when the store is down, and a scrape does not wait for it.
    match tokio::time::timeout(PATIENCE, read_gauges(&state)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(error = &error as &dyn std::error::Error, "gauges could not be read"),
        Err(_) => tracing::warn!("gauges could not be read within {} seconds", PATIENCE.as_secs()),
    }
    // What comes too late is found by the next one.
    let _in_time = tokio::time::timeout(PATIENCE, estimates::refresh(&state)).await;
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], state.metrics.encode())
}

async fn read_gauges(state: &WebState) -> Result<(), StoreError> {
    let depths = state.store.queue_depths(state.clock.now()).await?;
    let open = state.store.alerts(&AlertFilter { open_only: true, service: None }).await?;
    let queues =
        [("pending", depths.pending), ("due", depths.due), ("judge", depths.judge_jobs), ("outbox", depths.outbox)];
    for (queue, depth) in queues {
        set_queue(&state.metrics, queue, depth);
    }
    for (severity, name) in [(Severity::Info, "info"), (Severity::Warn, "warn"), (Severity::Page, "page")] {
        let labels = SeverityLabels { severity: name.to_owned() };
        let count = open.iter().filter(|alert| alert.severity == severity).count();
        state.metrics.alerts_open.get_or_create(&labels).set(i64::try_from(count).unwrap_or(i64::MAX));
    }
    Ok(())
}

fn set_queue(metrics: &Metrics, queue: &str, depth: u64) {
    let labels = QueueLabels { queue: queue.to_owned() };
    metrics.queue_depth.get_or_create(&labels).set(i64::try_from(depth).unwrap_or(i64::MAX));
}
