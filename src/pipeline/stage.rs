//! What every stage works with, and how it repeats.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::backends::clock::Clock;
use crate::backends::store::Store;
use crate::domain::time::Timestamp;
use crate::telemetry::logs::causes;
use crate::telemetry::metrics::Metrics;

/// Pause after a step that failed: long enough not to flood the log, short enough to be back soon.
const PAUSE_AFTER_ERROR: Duration = Duration::from_secs(1);

/// What every stage works with; clones share it.
#[derive(Clone)]
pub struct Shared {
    /// Where work comes from and results go.
    pub store: Store,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Cancelled when the process is to end.
    pub stop: CancellationToken,
    /// Name of this process among all that work on the store, new at each start.
    pub worker: Arc<str>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Shared").finish_non_exhaustive()
    }
}

impl Shared {
    /// The present instant.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Whether the process is to end.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Rests after a step: not at all when there was work, for `idle` when there was none, and a moment when it failed.
    pub(super) async fn rest<E: Error>(&self, stage: &str, idle: Duration, step: Result<bool, E>) {
        match step {
            Ok(true) => {}
            Ok(false) => self.pause(idle).await,
            Err(error) => {
                tracing::warn!(stage, error = causes(&error), "step failed and will be repeated");
                self.pause(PAUSE_AFTER_ERROR).await;
            }
        }
    }

    /// Waits, but no longer than the process runs.
    pub(super) async fn pause(&self, pause: Duration) {
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = self.stop.cancelled() => {}
        }
    }
}
