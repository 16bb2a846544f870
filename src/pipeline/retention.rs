//! Forgets bodies, verdicts to known questions, single requests to judges, steps of alerts and, after months, what was
//! recorded of single traces; and gives up what waits to be sent for longer than bodies are kept. What hours, days and
//! alerts came to stays.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Shared;
use super::asking::{QUEUE, give_up_expired};
use super::crash_point::crash_point;
use super::leadership::Leadership;
use crate::backends::store::StoreError;
use crate::domain::time::Timestamp;
use crate::telemetry::metrics::CallLabels;

/// So long a destination may be away however short bodies are kept.
const LEAST_WAIT: Duration = Duration::from_hours(24);
/// How often expired bodies are looked for.
const INTERVAL: Duration = Duration::from_mins(1);
/// How often the archive is looked through: its files are kept by the day, and a bucket bills each look.
const ARCHIVE_INTERVAL: Duration = Duration::from_hours(1);
/// How often scores are looked for whose traces never came: each look passes over all old ones whose traces are kept.
const SCORES_INTERVAL: Duration = Duration::from_hours(1);

/// How long bodies are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BodyRetention {
    /// Of traces that sampling chose.
    pub sampled: Duration,
    /// Of all others: as long as late spans may still come.
    pub late_window: Duration,
}

/// How long it is remembered what traces did, what judges said and cost, and how alerts went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Verdicts to known questions.
    pub verdicts: Duration,
    /// Single requests in the ledger; of older ones the sums of each day stay.
    pub ledger: Duration,
    /// Steps of alerts that are over; what each alert came to stays.
    pub alert_steps: Duration,
    /// Archived traces.
    pub archive: Duration,
    /// Bodies, but for those that something else keeps longer, and what waits to be sent.
    pub bodies: Duration,
    /// Records and scores of traces that have no body any more, and others' scores of traces that never came.
    pub records: Duration,
}

/// When that is due which is not done in each step.
#[derive(Default)]
struct Due {
    archive: Timestamp,
    scores: Timestamp,
}

/// Purges what has expired until the process is to end.
pub async fn purge(shared: Shared, retention: Retention) {
    let mut leadership = Leadership::of("purge");
    let mut due = Due::default();
    while !shared.is_stopping() {
        let step = leadership.lead(&shared, step(&shared, retention, &mut due)).await;
        shared.rest("purge", INTERVAL, step).await;
    }
}

/// One batch of each; whether there may be more. What an archive that is away could hold up comes last.
async fn step(shared: &Shared, retention: Retention, due: &mut Due) -> Result<bool, StoreError> {
    let (store, now) = (&shared.store, shared.now());
    let has_more_verdicts = store.purge_verdicts(now.minus(retention.verdicts)).await?;
    let has_more_requests = store.sum_up_ledger(now.minus(retention.ledger)).await?;
    let has_more_steps = store.purge_alert_events(now.minus(retention.alert_steps)).await?;
    let has_more_records = store.purge_records(now.minus(retention.records)).await?;
    let has_more_scores = due.scores <= now && store.purge_waiting_scores(now.minus(retention.records)).await?;
    if due.scores <= now && !has_more_scores {
        due.scores = now.plus(SCORES_INTERVAL);
    }
    store.turn_days(now, retention.bodies).await?;
    crash_point("purge.commit");
    let has_more_bodies = store.purge(now).await?.traces > 0;
    crash_point("purge.committed");
    let has_more_items = give_up_waiting(shared, now.minus(retention.bodies.max(LEAST_WAIT))).await?;
    if due.archive <= now {
        store.purge_archive(now.minus(retention.archive), now).await?;
        due.archive = now.plus(ARCHIVE_INTERVAL);
    }
    Ok(has_more_bodies
        || has_more_records
        || has_more_scores
        || has_more_items
        || has_more_verdicts
        || has_more_requests
        || has_more_steps)
}

/// Gives up what waits to be sent since before `before`: it holds texts of traces, and a destination that was taken out
/// of the settings, or is away for good, never takes it. Whether there may be more.
async fn give_up_waiting(shared: &Shared, before: Timestamp) -> Result<bool, StoreError> {
    let items = shared.store.expired_outbox(before, QUEUE).await?;
    let (mut ids, mut given_up) = (Vec::new(), BTreeMap::<&str, u64>::new());
    for item in &items {
        if !give_up_expired(shared, item).await? {
            ids.push(item.id);
        }
        *given_up.entry(&item.destination).or_default() += 1;
    }
    shared.store.delivered(&ids).await?;
    for (destination, items) in given_up {
        let labels = CallLabels { to: destination.to_owned(), result: "failed".to_owned() };
        shared.metrics.deliveries.get_or_create(&labels).inc_by(items);
        tracing::warn!(
            destination,
            items,
            "deliveries are given up: they waited for longer than whole traces are kept"
        );
    }
    Ok(!items.is_empty())
}
