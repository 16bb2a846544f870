//! How the service itself is: what waits, and how far it lags.

use std::collections::BTreeMap;
use std::time::Duration;

use super::QueryError;
pub use crate::backends::store::Lag;
use crate::backends::store::{QueueDepths, Selection, Store};
use crate::domain::time::Timestamp;

/// How far back watched hours are looked for.
const LOOKED_BACK: Duration = Duration::from_hours(24 * 7);

/// How the service is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct System {
    /// Work that waits.
    pub depths: QueueDepths,
    /// The complete trace that waits longest for a worker.
    pub due: Option<Lag>,
    /// The judgement that waits longest.
    pub judge_jobs: Option<Lag>,
    /// The delivery that waits longest.
    pub outbox: Option<Lag>,
    /// How far watching has come, by service.
    pub services: Vec<ServiceLag>,
}

/// How far watching of one service has come.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
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

/// How the service is at `now`.
///
/// # Errors
/// The store failed.
pub async fn system(store: &Store, now: Timestamp) -> Result<System, QueryError> {
    Ok(System {
        depths: store.queue_depths(now).await?,
        due: store.trace_lag(now).await?,
        judge_jobs: store.judge_lag(now).await?,
        outbox: store.delivery_lag(now).await?,
        services: services(store, now).await?,
    })
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
