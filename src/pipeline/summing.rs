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
        // The lead may be long in coming.
        let step = async { step(&shared.store, shared.now().minus(LATE_COMMITS), &names).await };
        let step = leadership.lead(&shared, step).await;
        shared.rest("sums", INTERVAL, step).await;
    }
}

/// Whether there may be more hours that ended before `over`, were never summed up and can be now. Marked ones are summed
/// up when there are none, and only once a step, so that a stream of runs of long ago does not have one hour summed up
/// without pause.
async fn step(store: &Store, over: Timestamp, names: &[&str]) -> Result<bool, StoreError> {
    let (judged, used) = (store.next_judged_hour(over).await?, store.next_used_hour(over).await?);
    if judged.is_none() && used.is_none() {
        sum_up(store, store.marked_judged_hours().await?, store.marked_used_hours().await?, names).await?;
        return Ok(false);
    }
    sum_up(store, judged, used, names).await
}

/// Sums up hours, of either kind until one cannot be begun; whether all could.
async fn sum_up(
    store: &Store,
    judged: impl IntoIterator<Item = Timestamp>,
    used: impl IntoIterator<Item = Timestamp>,
    names: &[&str],
) -> Result<bool, StoreError> {
    let mut is_begun = [true; 2];
    for hour in judged {
        is_begun[0] = is_begun[0] && store.sum_judged_hour(hour).await?;
    }
    for hour in used {
        is_begun[1] = is_begun[1] && store.sum_used_hour(hour, names).await?;
    }
    Ok(is_begun == [true; 2])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::samples::run;

    fn hour(hour: i64) -> Timestamp {
        Timestamp((480_000 + hour) * Timestamp::NANOS_PER_HOUR)
    }

    #[tokio::test]
    async fn new_hours_come_without_rest_and_marked_ones_after_them_once_a_step() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", folder.path().join("store.db").display());
        let store = Store::open(&url, false).await.unwrap();
        let step = async || step(&store, hour(9), &[]).await.unwrap();
        let marked = async || store.marked_used_hours().await.unwrap();
        store.record_traces(&[run(1, 1, hour(0)), run(2, 1, hour(2))], hour(3)).await.unwrap();
        assert_eq!((step().await, step().await, step().await), (true, true, false));
        store.record_traces(&[run(1, 2, hour(0)), run(3, 1, hour(4))], hour(5)).await.unwrap();
        assert_eq!((step().await, marked().await), (true, vec![hour(0)]));
        assert_eq!((step().await, marked().await), (false, vec![]));
    }
}
