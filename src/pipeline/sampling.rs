//! What sampling has to know of the traces before: how many fell under each limited policy.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Shared;
use crate::backends::store::StoreError;
use crate::domain::time::Timestamp;
use crate::evaluate::sampling::{SamplingPolicy, Window};

/// The sampling policy as it stands now.
#[derive(Debug)]
pub(super) struct CurrentPolicy {
    policy: Arc<SamplingPolicy>,
    /// For each window of a limit, the start of the one that the counts are for.
    counted: BTreeMap<Window, Timestamp>,
}

impl CurrentPolicy {
    pub(super) fn new(policy: &SamplingPolicy) -> Self {
        Self { policy: Arc::new(policy.clone()), counted: BTreeMap::new() }
    }

    /// The policy, with what the last whole windows held. Counting is once a window, whatever the traffic.
    ///
    /// # Errors
    /// The store failed.
    pub(super) async fn now(&mut self, shared: &Shared) -> Result<Arc<SamplingPolicy>, StoreError> {
        let now = shared.now();
        let windows: Vec<Window> = self.policy.limits().map(|(_, limit)| limit.window).collect();
        for window in windows {
            let start = now.floor(window.length());
            if self.counted.get(&window) != Some(&start) {
                self.count(shared, window, start).await?;
            }
        }
        Ok(Arc::clone(&self.policy))
    }

    async fn count(&mut self, shared: &Shared, window: Window, start: Timestamp) -> Result<(), StoreError> {
        let since = start.minus(window.length());
        let counts = shared.store.strata_recorded(since, start).await?;
        let of_window =
            |name: &str| self.policy.limits().any(|(policy, limit)| policy.name == name && limit.window == window);
        let fresh: BTreeMap<(String, String), u64> = counts
            .into_iter()
            .filter(|count| of_window(&count.stratum))
            .map(|count| ((count.stratum, count.service), count.traces))
            .collect();
        let mut policy = SamplingPolicy::clone(&self.policy);
        policy.before.retain(|(name, _), _| !of_window(name));
        policy.before.extend(fresh);
        self.policy = Arc::new(policy);
        self.counted.insert(window, start);
        Ok(())
    }
}
