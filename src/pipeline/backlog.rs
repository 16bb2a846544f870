//! Bounds what waits to be evaluated where it waits in the store itself: beyond that senders are told to come back, as they
//! are when the broker's queue is full.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::Shared;

/// How often is looked; what comes meanwhile is taken in.
const INTERVAL: Duration = Duration::from_secs(5);

/// Whether as much waits as may wait; clones know the same.
#[derive(Debug, Clone, Default)]
pub struct Backlog {
    is_full: Arc<AtomicBool>,
}

impl Backlog {
    pub(super) fn is_full(&self) -> bool {
        self.is_full.load(Ordering::Relaxed)
    }

    /// Looks whether more than `most` traces wait, until the process is to end.
    pub async fn watch(self, shared: Shared, most: u32) {
        while !shared.is_stopping() {
            let step = shared.store.has_more_pending_than(most).await.map(|is_full| {
                if self.is_full.swap(is_full, Ordering::Relaxed) != is_full {
                    tracing::warn!(
                        most,
                        is_full,
                        "traces wait to be evaluated; while it is full, senders are turned away"
                    );
                }
                false
            });
            shared.rest("backlog", INTERVAL, step).await;
        }
    }
}
