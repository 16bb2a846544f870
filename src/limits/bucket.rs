//! A limit a minute, as a bucket that fills steadily.
//!
//! The provider counts over some minute; which one is unknown, so the limit must hold over all of them. What is leased
//! may be used up to [`HOLD`] later. In any minute no more is used than was leased in that minute and the hold before
//! it, which is at most a full bucket and what flows in meanwhile: `burst + rate * (60 s + HOLD)`. The rate is chosen so
//! that this stays under the limit plus one. A call that needs more tokens than a full bucket holds is lent them, so that
//! a minute may see more by as much as the largest of them needs beyond it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::time::Timestamp;

/// How long leased calls may wait to be made.
pub const HOLD: Duration = Duration::from_secs(2);

/// A twentieth of the limit may come at once.
const BURST_SHARE: f64 = 0.05;

/// So many a minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PerMinute(pub u64);

impl PerMinute {
    /// The most that is in the bucket.
    fn burst(self) -> f64 {
        (self.0 as f64 * BURST_SHARE).max(1.0)
    }

    fn per_second(self) -> f64 {
        let window = 60.0 + HOLD.as_secs_f64();
        // A shade under, so that rounding cannot complete the one call too many.
        ((self.0 as f64 + 1.0 - self.burst()) / window * (1.0 - 1e-9)).max(0.0)
    }
}

/// What is left of a limit; below zero when calls took more than was thought.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Bucket {
    level: f64,
    filled_at: Timestamp,
}

impl Bucket {
    /// A full bucket.
    #[must_use]
    pub fn full(limit: PerMinute, now: Timestamp) -> Self {
        Self { level: limit.burst(), filled_at: now }
    }

    /// Lets flow in what time has brought. A clock that ran backwards brings nothing.
    pub fn fill(&mut self, limit: PerMinute, now: Timestamp) {
        let seconds = now.seconds_since(self.filled_at).max(0.0);
        self.level = (self.level + seconds * limit.per_second()).min(limit.burst());
        self.filled_at = self.filled_at.max(now);
    }

    /// Whole units that are there.
    #[must_use]
    pub fn whole(&self) -> u64 {
        self.level.max(0.0).floor() as u64
    }

    /// Takes whole units, as many as there are up to `wanted`, of which less than `least` is of no use. What is more than
    /// a full bucket is lent when the bucket is full: a call that is larger than the burst would otherwise never be made.
    pub fn take_at_least(&mut self, least: u64, wanted: u64, limit: PerMinute) -> u64 {
        let needed = (least as f64).min(limit.burst());
        if self.level < needed {
            return 0;
        }
        let taken = self.whole().min(wanted).max(least);
        self.level -= taken as f64;
        taken
    }

    /// How long it takes until there is enough for [`Bucket::take_at_least`] to give `least`.
    #[must_use]
    pub fn time_until(&self, least: u64, limit: PerMinute) -> Duration {
        let missing = (least as f64).min(limit.burst()) - self.level;
        Duration::try_from_secs_f64((missing / limit.per_second()).max(0.0)).unwrap_or(Duration::MAX)
    }

    /// Gives back what was leased and not used; a negative amount was used beyond the lease.
    pub fn give_back(&mut self, amount: i64, limit: PerMinute) {
        self.level = (self.level + amount as f64).min(limit.burst());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;

    /// The most that any minute sees when everything is taken as soon as it can be, and used at once.
    fn most_in_a_minute(limit: u64) -> u64 {
        let limit = PerMinute(limit);
        let mut bucket = Bucket::full(limit, Timestamp(0));
        let step = SECOND / 10;
        let taken: Vec<u64> = (0..3_000)
            .map(|tick| {
                bucket.fill(limit, Timestamp(tick * step));
                bucket.take_at_least(0, u64::MAX, limit)
            })
            .collect();
        taken.windows(620).map(|minute| minute.iter().sum()).max().unwrap()
    }

    #[test]
    fn no_minute_and_hold_together_see_more_than_the_limit() {
        for limit in [1, 2, 7, 60, 600, 10_000] {
            let most = most_in_a_minute(limit);
            assert!(most <= limit && most as f64 >= 0.9 * limit as f64, "{most} of {limit}");
        }
    }

    #[test]
    fn a_call_larger_than_the_bucket_is_made_when_the_bucket_is_full_and_paid_for_afterwards() {
        let limit = PerMinute(1_000);
        let mut bucket = Bucket::full(limit, Timestamp(0));
        assert_eq!(bucket.take_at_least(400, 400, limit), 400);
        assert_eq!(bucket.take_at_least(10, 10, limit), 0, "the bucket is in debt");
        let wait = bucket.time_until(10, limit).as_nanos() as i64;
        bucket.fill(limit, Timestamp(wait - SECOND / 100));
        assert_eq!(bucket.take_at_least(10, 10, limit), 0);
        bucket.fill(limit, Timestamp(wait + SECOND / 100));
        assert_eq!(bucket.take_at_least(10, 10, limit), 10);
    }

    #[test]
    fn what_comes_back_never_overfills_the_bucket_and_a_clock_that_runs_backwards_adds_nothing() {
        let limit = PerMinute(100);
        let mut bucket = Bucket::full(limit, Timestamp(10 * SECOND));
        bucket.give_back(50, limit);
        bucket.fill(limit, Timestamp(0));
        assert_eq!(bucket.take_at_least(0, u64::MAX, limit), 5);
        bucket.fill(limit, Timestamp(10 * SECOND));
        assert_eq!(bucket.take_at_least(0, u64::MAX, limit), 0);
    }
}
