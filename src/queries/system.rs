//! How the service itself is: what waits, and how far it lags.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::QueryError;
use crate::backends::rabbitmq::{BrokerQueue, QueueCounts};
use crate::backends::store::{Lag, Selection, Store};
use crate::domain::time::Timestamp;
use crate::telemetry::logs::causes;

/// How far back watched hours are looked for.
const LOOKED_BACK: Duration = Duration::from_hours(24 * 7);
/// A broker that does not answer within this cannot be asked.
const PATIENCE: Duration = Duration::from_secs(2);

/// How the service is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct System {
    /// Work of the store that waits: `pending`, `due`, `judge`, `outbox`.
    pub queues: Vec<QueueLag>,
    /// The broker's queue; `None` where the queue is the store's own.
    pub broker: Option<BrokerState>,
    /// How far watching has come, by service.
    pub services: Vec<ServiceLag>,
}

/// Work of one kind, and what of it waits longest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueLag {
    /// Its name, as in the metrics.
    pub queue: String,
    /// How much waits.
    pub waiting: u64,
    /// Since when what waits longest is due.
    pub due_at: Option<Timestamp>,
    /// How often that was tried.
    pub attempts: u64,
    /// Why its last attempt failed.
    pub error: Option<String>,
}

/// What waits in the broker's queue, or why that is not known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BrokerState {
    /// The queue's name.
    pub queue: String,
    /// What waits; `None` where the broker could not be asked.
    pub counts: Option<QueueCounts>,
    /// Why it could not be asked.
    pub error: Option<String>,
}

/// How far watching of one service has come.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceLag {
    /// The service.
    pub service: String,
    /// The last hour that was watched.
    pub watched: Option<Timestamp>,
    /// Past hours that were not.
    pub waiting: u64,
    /// The first of them.
    pub oldest: Option<Timestamp>,
}

/// How the service is at `now`, with the broker's queue where there is one.
///
/// # Errors
/// The store failed. A broker that cannot be asked is part of the answer.
pub async fn system(store: &Store, queue: Option<&BrokerQueue>, now: Timestamp) -> Result<System, QueryError> {
    let depths = store.queue_depths(now).await?;
    let broker = match queue {
        Some(queue) => Some(broker(queue).await),
        None => None,
    };
    Ok(System {
        queues: vec![
            lag("pending", depths.pending, None),
            lag("due", depths.due, store.trace_lag(now).await?),
            lag("judge", depths.judge_jobs, store.judge_lag(now).await?),
            lag("outbox", depths.outbox, store.delivery_lag(now).await?),
        ],
        broker,
        services: services(store, now).await?,
    })
}

fn lag(queue: &str, waiting: u64, lag: Option<Lag>) -> QueueLag {
    QueueLag {
        queue: queue.to_owned(),
        waiting,
        due_at: lag.as_ref().map(|lag| lag.due_at),
        attempts: lag.as_ref().map_or(0, |lag| lag.attempts),
        error: lag.and_then(|lag| lag.error),
    }
}

async fn broker(queue: &BrokerQueue) -> BrokerState {
    let (counts, error) = match tokio::time::timeout(PATIENCE, queue.counts()).await {
        Ok(Ok(counts)) => (Some(counts), None),
        Ok(Err(error)) => (None, Some(causes(&error))),
        Err(_late) => (None, Some(format!("no answer within {} seconds", PATIENCE.as_secs()))),
    };
    BrokerState { queue: queue.name.clone(), counts, error }
}

async fn services(store: &Store, now: Timestamp) -> Result<Vec<ServiceLag>, QueryError> {
    let mut services: BTreeMap<String, ServiceLag> = BTreeMap::new();
    let newest = store.search(&Selection::default(), 1).await?;
    let since = newest.first().map_or(now, |trace| trace.ended_at).minus(LOOKED_BACK);
    for service in store.watched_services().await? {
        let watched = store.watched_hours(&service, since).await?.last().map(|hour| hour.hour);
        services.insert(service.clone(), ServiceLag { service, watched, ..ServiceLag::default() });
    }
    for (service, hour) in store.unwatched_hours(now).await? {
        let lag = services.entry(service.clone()).or_insert_with(|| ServiceLag { service, ..ServiceLag::default() });
        lag.waiting += 1;
        lag.oldest = lag.oldest.or(Some(hour));
    }
    Ok(services.into_values().collect())
}
