//! Forgets bodies, and verdicts to known questions, whose time is over; scores and records stay.

use std::time::Duration;

use super::Shared;
use crate::backends::store::StoreError;

/// How often expired bodies are looked for.
const INTERVAL: Duration = Duration::from_mins(1);

/// How long bodies are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BodyRetention {
    /// Of traces that sampling chose.
    pub sampled: Duration,
    /// Of all others: as long as late spans may still come.
    pub late_window: Duration,
}

/// Purges expired bodies, and verdicts older than `remember`, until the process is to end.
pub async fn purge(shared: Shared, remember: Duration) {
    while !shared.is_stopping() {
        let step = step(&shared, remember).await;
        shared.rest("purge", INTERVAL, step).await;
    }
}

/// One batch of each; whether there may be more.
async fn step(shared: &Shared, remember: Duration) -> Result<bool, StoreError> {
    let now = shared.now();
    let has_more_verdicts = shared.store.purge_verdicts(now.minus(remember)).await?;
    Ok(shared.store.purge(now).await?.traces > 0 || has_more_verdicts)
}
