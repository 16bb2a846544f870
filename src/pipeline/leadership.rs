//! One process at a time does what is done for all: it holds a lease in the store, and another takes it when it has died.
//!
//! What is done twice all the same, because a clock jumped or a process slept, does no harm: each commit sees for itself
//! whether it is the first.

use std::time::Duration;

use tokio::time::Instant;

use super::Shared;
use crate::backends::store::StoreError;

/// How long a lease holds: so long nobody does the work when its holder is killed.
const LEASE: Duration = Duration::from_secs(20);
/// How often its holder takes it for longer, and others look whether it is free.
const RENEWAL: Duration = Duration::from_secs(5);

/// The lease of one piece of work, as this process knows it.
#[derive(Debug)]
pub(super) struct Leadership {
    work: &'static str,
    /// When it was last asked for, and whether it was had.
    known: Option<(Instant, bool)>,
}

impl Leadership {
    pub(super) const fn of(work: &'static str) -> Self {
        Self { work, known: None }
    }

    /// Waits until it is this process that does the work, and takes a step of it; whether there was something to do.
    pub(super) async fn lead(
        &mut self,
        shared: &Shared,
        step: impl Future<Output = Result<bool, StoreError>>,
    ) -> Result<bool, StoreError> {
        while !self.is_ours(shared).await? {
            shared.pause(RENEWAL).await;
            if shared.is_stopping() {
                return Ok(false);
            }
        }
        step.await
    }

    async fn is_ours(&mut self, shared: &Shared) -> Result<bool, StoreError> {
        if let Some((asked_at, is_ours)) = self.known
            && asked_at.elapsed() < RENEWAL
        {
            return Ok(is_ours);
        }
        let asked_at = Instant::now();
        let is_ours = shared.store.hold_lease(self.work, &shared.worker, shared.now(), LEASE).await?;
        if self.known.is_none_or(|(_, was_ours)| was_ours != is_ours) {
            tracing::info!(work = self.work, is_ours, "who does this work for all is settled");
        }
        self.known = Some((asked_at, is_ours));
        Ok(is_ours)
    }
}
