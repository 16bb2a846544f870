//! Forgets bodies, verdicts to known questions and single requests to judges whose time is over; scores, records and
//! what each day of judging has cost stay.

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

/// How long it is remembered what judges said and cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JudgingRetention {
    /// Verdicts to known questions.
    pub verdicts: Duration,
    /// Single requests in the ledger; of older ones the sums of each day stay.
    pub ledger: Duration,
}

/// Purges what has expired until the process is to end; `archive` is how long archived traces are kept.
pub async fn purge(shared: Shared, judging: JudgingRetention, archive: Duration) {
    while !shared.is_stopping() {
        let step = step(&shared, judging, archive).await;
        shared.rest("purge", INTERVAL, step).await;
    }
}

/// One batch of each; whether there may be more.
async fn step(shared: &Shared, judging: JudgingRetention, archive: Duration) -> Result<bool, StoreError> {
    let now = shared.now();
    let has_more_verdicts = shared.store.purge_verdicts(now.minus(judging.verdicts)).await?;
    let has_more_requests = shared.store.sum_up_ledger(now.minus(judging.ledger)).await?;
    shared.store.purge_archive(now.minus(archive), now).await?;
    Ok(shared.store.purge(now).await?.traces > 0 || has_more_verdicts || has_more_requests)
}
