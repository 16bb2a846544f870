//! Lets calls to one judge model through, as fast as the fleet's limits allow and no faster.
//!
//! What may start is decided in `limits::lane` out of a lease; the lease is renewed from the store while there is
//! anything to do.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use super::Shared;
use crate::backends::store::StoreError;
use crate::domain::time::Timestamp;
use crate::limits::bucket::HOLD;
use crate::limits::fleet::{FleetState, Limits, RENEWAL};
use crate::limits::lane::{Ended, Lane, Start};
use crate::telemetry::metrics::JudgeModelLabels;

/// How often a lease is renewed when calls wait for more, and more may be had.
const SOONEST_RENEWAL: Duration = Duration::from_millis(100);
/// How long a closed lane is slept on before it is looked at again.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// The gate of one judge model in this process.
#[derive(Debug, Default)]
pub(super) struct Gate {
    lane: Mutex<Lane>,
    /// A call may be able to start.
    turn: Notify,
    /// The lease does not do.
    renewal: Notify,
    waiting: AtomicUsize,
}

/// Name of what the fleet shares about a judge model.
#[must_use]
pub fn fleet_name(model: &str) -> String {
    format!("judge:{model}")
}

impl Gate {
    /// Waits for a turn to make a call that takes about so many tokens; false when there was none before `deadline`,
    /// or the process is to end.
    pub(super) async fn enter(&self, shared: &Shared, tokens: u64, deadline: Timestamp) -> bool {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let has_turn = tokio::select! {
            // No call may start when the lease is no longer kept.
            biased;
            () = shared.stop.cancelled() => false,
            has_turn = self.turn(shared, tokens, deadline) => has_turn,
        };
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        has_turn
    }

    async fn turn(&self, shared: &Shared, tokens: u64, deadline: Timestamp) -> bool {
        loop {
            let now = shared.now();
            let left = Duration::from_secs_f64(deadline.seconds_since(now).max(0.0));
            if left.is_zero() {
                return false;
            }
            let turn = self.turn.notified();
            let start = self.lane().start(tokens, now);
            match start {
                Start::Now => {
                    // There may be room for one more.
                    self.turn.notify_one();
                    return true;
                }
                Start::At(at) => {
                    let wait = Duration::from_secs_f64(at.seconds_since(now).max(0.0));
                    self.renewal.notify_one();
                    tokio::time::sleep(wait.min(LOOK_AGAIN).min(left)).await;
                }
                Start::AfterLease => {
                    self.renewal.notify_one();
                    let _in_time = tokio::time::timeout(left, turn).await;
                }
                Start::AfterAnother => {
                    let _in_time = tokio::time::timeout(left, turn).await;
                }
            }
        }
    }

    /// Ends a call that was let through.
    pub(super) fn leave(&self, thought: u64, ended: Ended, now: Timestamp) {
        self.lane().end(thought, ended, now);
        self.turn.notify_one();
    }

    /// How many jobs are worth having in hand.
    pub(super) fn room(&self, limits: &Limits, now: Timestamp) -> usize {
        self.lane().worth_in_hand(limits.concurrency, now)
    }

    /// Keeps the lease for as long as the process runs or calls are under way.
    pub(super) async fn keep_leased(&self, shared: &Shared, worker: &str, model: &str, limits: &Limits) {
        let (mut last, mut rest, mut holds) = (Instant::now(), SOONEST_RENEWAL, false);
        while !shared.is_stopping() || self.lane().in_flight() > 0 {
            tokio::select! {
                () = self.renewal.notified() => {}
                () = tokio::time::sleep(RENEWAL) => {}
            }
            let is_active = self.waiting.load(Ordering::Relaxed) > 0 || self.lane().in_flight() > 0;
            if is_active || holds {
                tokio::time::sleep_until(last + rest).await;
                rest = self.renew(shared, worker, model, limits, is_active).await.clamp(SOONEST_RENEWAL, RENEWAL);
                last = Instant::now();
                holds = is_active;
            }
        }
        if holds {
            self.renew(shared, worker, model, limits, false).await;
        }
    }

    /// Renews the lease; for how long another would bring no more.
    async fn renew(&self, shared: &Shared, worker: &str, model: &str, limits: &Limits, is_active: bool) -> Duration {
        let now = shared.now();
        let asking = self.lane().ask(is_active, now);
        let name = fleet_name(model);
        // Not tried again by itself: what was left of the last lease would be handed back twice.
        let leased = shared.store.try_change_shared(&name, |fleet: &mut FleetState| {
            let grant = fleet.lease(worker, &asking, limits, now);
            (grant, fleet.breaker.as_str())
        });
        // A lease that takes longer is over when it comes.
        let leased = timeout(HOLD, leased).await.unwrap_or(Err(StoreError::Late { seconds: HOLD.as_secs() }));
        match leased {
            Ok((grant, breaker)) => {
                self.lane().take(grant);
                self.turn.notify_one();
                let labels = JudgeModelLabels { to: model.to_owned() };
                shared.metrics.judge_breaker_open.get_or_create(&labels).set(i64::from(breaker != "closed"));
                grant.no_more_for
            }
            Err(error) => {
                self.lane().was_not_heard(&asking);
                tracing::warn!(model, %error, "judge calls wait until their limits can be read");
                RENEWAL
            }
        }
    }

    fn lane(&self) -> std::sync::MutexGuard<'_, Lane> {
        self.lane.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
