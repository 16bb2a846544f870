//! Draws the audit sample from what judges have said: every judgement has its draw, and the probability of it is kept.

use std::time::Duration;

use super::Shared;
use super::crash_point::crash_point;
use super::leadership::Leadership;
use crate::backends::store::{StoreError, Undrawn};
use crate::domain::time::Timestamp;
use crate::watch::audit::AuditPolicy;

/// How often judgements without a draw are looked for.
const INTERVAL: Duration = Duration::from_secs(5);
/// Draws in one step.
const MOST: usize = 512;
/// What all workers share: everything before it has its draw.
const DRAWN_UNTIL: &str = "review_drawn_until";
/// How long a judgement's commit may take: what is stamped before the mark may become visible after it.
const LATE_COMMITS: Duration = Duration::from_mins(10);

/// Draws until the process is to end. What is drawn keeps its spans for this `window`, in which people label it.
pub async fn draw_audit(shared: Shared, policy: AuditPolicy, window: Duration) {
    let mut leadership = Leadership::of("review");
    while !shared.is_stopping() {
        let step = leadership.lead(&shared, step(&shared, &policy, window)).await;
        shared.rest("review", INTERVAL, step).await;
    }
}

/// Draws from everything that is judged by now.
///
/// # Errors
/// The store failed.
pub async fn draw_judged(shared: &Shared, policy: &AuditPolicy, window: Duration) -> Result<(), StoreError> {
    while step(shared, policy, window).await? {}
    Ok(())
}

/// One batch; whether there may be more. Two workers that draw the same draw alike.
async fn step(shared: &Shared, policy: &AuditPolicy, window: Duration) -> Result<bool, StoreError> {
    let now = shared.now();
    let drawn_until: Timestamp = shared.store.shared(DRAWN_UNTIL).await?;
    let undrawn = shared.store.undrawn(drawn_until.minus(LATE_COMMITS), MOST).await?;
    let has_more = undrawn.len() == MOST;
    let with_draw = |of: Undrawn| {
        let draw = policy.draw(of.trace_id, of.passed);
        (of, draw)
    };
    let draws: Vec<_> = undrawn.into_iter().map(with_draw).collect();
    if !draws.is_empty() {
        crash_point("review.draw");
    }
    shared.store.insert_draws(&draws, now, now.plus(window)).await?;
    if !draws.is_empty() {
        crash_point("review.drawn");
    }
    if !has_more {
        shared.store.change_shared(DRAWN_UNTIL, |until: &mut Timestamp| *until = (*until).max(now)).await?;
    }
    Ok(has_more)
}
