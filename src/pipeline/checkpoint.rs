//! Keeps the log of an embedded store short, so that no commit has to.

use std::time::Duration;

use super::Shared;

/// Often: while commits follow each other without a pause, the log begins anew only when a commit finds it as long as it may
/// be, moves what is left of it and keeps everyone waiting. That must be little.
const EVERY: Duration = Duration::from_millis(100);

/// Moves the store's log until the process is to end.
pub async fn checkpoint(shared: Shared) {
    while !shared.is_stopping() {
        let moved = shared.store.checkpoint().await.map(|()| false);
        shared.rest("checkpoint", EVERY, moved).await;
    }
}
