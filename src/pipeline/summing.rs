//! Sums up hours that are over: of what judges said, and of what agents used.

use std::time::Duration;

use super::Shared;
use super::leadership::Leadership;
use crate::backends::store::{AgentDimension, Store, StoreError};
use crate::domain::time::Timestamp;
use crate::normalize::AttributeMapping;

/// How often hours are looked for that are not summed up as they are now.
const INTERVAL: Duration = Duration::from_secs(5);
/// How long what belongs to an hour may take to be committed after its end; what takes longer marks the hour.
const LATE_COMMITS: Duration = Duration::from_mins(10);

/// Sums up hours until the process is to end. What agents used is also told apart by these names.
pub async fn sum_hours(shared: Shared, names: AttributeMapping) {
    // What every run is told apart by anyhow goes by its own name.
    let is_own = |name: &str| AgentDimension::OWN.iter().any(|(own, _)| *own == name);
    let names: Vec<&str> = names.iter().map(|(name, _)| name).filter(|name| !is_own(name)).collect();
    let mut leadership = Leadership::of("sums");
    while !shared.is_stopping() {
        let step = leadership.lead(&shared, step(&shared, &names)).await;
        shared.rest("sums", INTERVAL, step).await;
    }
}

/// Whether there may be more hours that were never summed up. Marked ones are summed up when there are none, and only once
/// a step, so that a stream of runs of long ago does not have one hour summed up without pause.
async fn step(shared: &Shared, names: &[&str]) -> Result<bool, StoreError> {
    let (store, over) = (&shared.store, shared.now().minus(LATE_COMMITS));
    let (judged, used) = (store.next_judged_hour(over).await?, store.next_used_hour(over).await?);
    if judged.is_none() && used.is_none() {
        sum_up(store, store.marked_judged_hours().await?, store.marked_used_hours().await?, names).await?;
        return Ok(false);
    }
    sum_up(store, judged, used, names).await?;
    Ok(true)
}

async fn sum_up(
    store: &Store,
    judged: impl IntoIterator<Item = Timestamp>,
    used: impl IntoIterator<Item = Timestamp>,
    names: &[&str],
) -> Result<(), StoreError> {
    for hour in judged {
        store.sum_judged_hour(hour).await?;
    }
    for hour in used {
        store.sum_used_hour(hour, names).await?;
    }
    Ok(())
}
