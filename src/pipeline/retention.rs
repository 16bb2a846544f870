//! Forgets bodies whose time is over; scores and records stay.

use std::time::Duration;

use super::Shared;

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

/// Purges expired bodies until the process is to end.
pub async fn purge(shared: Shared) {
    while !shared.is_stopping() {
        let step = shared.store.purge(shared.now()).await.map(|report| report.traces > 0);
        shared.rest("purge", INTERVAL, step).await;
    }
}
