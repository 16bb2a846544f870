//! What every stage works with, and how it repeats.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::backends::clock::Clock;
use crate::backends::store::Store;
use crate::domain::time::Timestamp;
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
}

impl Shared {
    /// The present instant.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Repeats `step` until the process is to end: at once while there was work, after `idle` when there was none, and
    /// after a pause when it failed. A step under way is finished.
    pub async fn repeat<E: Display>(&self, stage: &str, idle: Duration, mut step: impl AsyncFnMut() -> Result<bool, E>) {
        while !self.stop.is_cancelled() {
            let pause = match step().await {
                Ok(true) => continue,
                Ok(false) => idle,
                Err(error) => {
                    tracing::warn!(stage, %error, "step failed and will be repeated");
                    PAUSE_AFTER_ERROR
                }
            };
            self.pause(pause).await;
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
