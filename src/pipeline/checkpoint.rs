//! Keeps the log of an embedded store short, so that no commit has to.

use std::time::Duration;

use super::Shared;

/// A second's log is some thousand pages on a busy day: large enough to be moved in one go, small enough to be in memory.
const EVERY: Duration = Duration::from_secs(1);

/// Moves the store's log until the process is to end.
pub async fn checkpoint(shared: Shared) {
    while !shared.is_stopping() {
        let moved = shared.store.checkpoint().await.map(|()| false);
        shared.rest("checkpoint", EVERY, moved).await;
    }
}
