//! Finds what people are to be asked about: the audit sample of what judges have said, each draw with its probability, and
//! what is flagged, the most severe of each day.

use std::time::Duration;

use super::Shared;
use super::crash_point::crash_point;
use super::invariant::{Invariant, is_offered_once};
use super::leadership::Leadership;
use crate::backends::store::{Flag, Offered, StoreError, Undrawn, Unflagged};
use crate::domain::label::Draw;
use crate::domain::time::Timestamp;
use crate::evaluate::flagging::FlagPolicy;
use crate::watch::audit::AuditPolicy;

/// How often evaluations are looked for of which nothing is decided.
const INTERVAL: Duration = Duration::from_secs(5);
/// Draws, and flags, in one step.
const MOST: usize = 512;
/// What all workers share: everything before it has its draw.
const DRAWN_UNTIL: &str = "review_drawn_until";
/// How long an evaluation's commit may take: what is stamped before the mark may become visible after it.
const LATE_COMMITS: Duration = Duration::from_mins(10);
const DAY: Duration = Duration::from_hours(24);

/// What people are asked about.
#[derive(Debug, Clone)]
pub struct ReviewPolicy {
    /// The random sample.
    pub audit: AuditPolicy,
    /// What is flagged.
    pub flags: FlagPolicy,
    /// How long what is drawn keeps its spans, and what is flagged waits.
    pub window: Duration,
}

/// Finds what is to be reviewed until the process is to end.
pub async fn offer_reviews(shared: Shared, policy: ReviewPolicy) {
    let mut leadership = Leadership::of("review");
    while !shared.is_stopping() {
        let step = leadership.lead(&shared, step(&shared, &policy)).await;
        shared.rest("review", INTERVAL, step).await;
    }
}

/// Finds it in everything that is evaluated by now.
///
/// # Errors
/// The store failed.
pub async fn offer_evaluated(shared: &Shared, policy: &ReviewPolicy) -> Result<(), StoreError> {
    while step(shared, policy).await? {}
    Ok(())
}

/// One batch; whether there may be more. Two workers that draw and flag the same do it alike.
async fn step(shared: &Shared, policy: &ReviewPolicy) -> Result<bool, StoreError> {
    let now = shared.now();
    let drawn_until: Timestamp = shared.store.shared(DRAWN_UNTIL).await?;
    let since = drawn_until.minus(LATE_COMMITS);
    let evaluators: Vec<&str> = policy.flags.evaluators.keys().map(String::as_str).collect();
    let undrawn = shared.store.undrawn(since, MOST).await?;
    let unflagged = shared.store.unflagged(since.max(now.minus(policy.window)), &evaluators, MOST).await?;
    let (has_more, has_some) = (undrawn.len().max(unflagged.len()) == MOST, undrawn.len() + unflagged.len() > 0);
    if has_some {
        crash_point("review.draw");
        let draws: Vec<(Undrawn, Draw)> = undrawn.into_iter().map(|of| with_draw(&policy.audit, of)).collect();
        let flags: Vec<Flag> = unflagged.into_iter().map(|of| flag(&policy.flags, of)).collect();
        let offered = Offered {
            draws: &draws,
            keep_until: now.plus(policy.window),
            flags: &flags,
            flags_a_day: policy.flags.a_day,
            flags_since: now.minus(policy.window).floor(DAY),
        };
        shared.store.offer(offered, now).await?;
        Invariant::ReviewsAreOfferedOnce.check(&shared.metrics, is_offered_once(&draws, &flags));
    }
    if !has_more {
        shared.store.change_shared(DRAWN_UNTIL, |until: &mut Timestamp| *until = (*until).max(now)).await?;
    }
    Ok(has_more)
}

fn with_draw(policy: &AuditPolicy, of: Undrawn) -> (Undrawn, Draw) {
    let draw = policy.draw(of.trace_id, of.passed);
    (of, draw)
}

fn flag(policy: &FlagPolicy, of: Unflagged) -> Flag {
    let severity = policy.severity(&of.evaluator, of.fails, of.failures);
    Flag { day: of.evaluated_at.floor(DAY), severity, of }
}
