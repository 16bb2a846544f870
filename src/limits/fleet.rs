//! What all workers share about one judge model: slots, buckets, breaker, and a pause that the provider asked for.
//!
//! The state is one value in the store, read, changed and written back in one transaction a lease.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::breaker::{Allowed, Breaker, Evidence};
use super::bucket::{Bucket, HOLD, PerMinute};
use super::retry::LONGEST_ASKED;
use crate::domain::time::Timestamp;

/// How often a lease is renewed while there are calls: well within the time that it may be used.
pub const RENEWAL: Duration = Duration::from_secs(1);
/// How long slots are held without a sign of life.
pub const LEASE: Duration = Duration::from_secs(10);

/// What one judge model allows the whole fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Calls under way at once.
    pub concurrency: u32,
    /// Calls in any minute.
    pub requests: Option<PerMinute>,
    /// Tokens in any minute, of prompts and answers.
    pub tokens: Option<PerMinute>,
    /// Longest wait for an answer.
    pub timeout: Duration,
}

/// What a worker reports and wants when it renews its lease.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Asking {
    /// Whether it has calls to make; a worker that has none keeps only what is under way.
    pub is_active: bool,
    /// Its calls under way.
    pub in_flight: u32,
    /// How its calls ended since it last asked.
    pub evidence: Evidence,
    /// The provider asked for a pause until then.
    pub paused_until: Timestamp,
    /// Leased calls that were not made.
    pub unused_requests: u64,
    /// Leased tokens that were not used; below zero when calls took more than was thought.
    pub unused_tokens: i64,
    /// What the next call needs; a smaller lease of tokens is of no use.
    pub least_tokens: u64,
}

/// What a worker may do until its next lease.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Grant {
    /// Calls under way at once.
    pub slots: u32,
    /// Calls to start; `None` when they are not limited.
    pub requests: Option<u64>,
    /// Tokens to use; `None` when they are not limited.
    pub tokens: Option<u64>,
    /// No call is started before then.
    pub closed_until: Timestamp,
    /// Calls may be started until then.
    pub until: Timestamp,
    /// For so long another lease would bring no more, as far as is known.
    pub no_more_for: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Slots {
    held: u32,
    until: Timestamp,
}

/// Shared by all workers of one judge model.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct FleetState {
    workers: BTreeMap<String, Slots>,
    requests: Option<Bucket>,
    tokens: Option<Bucket>,
    /// Whether the provider may be asked.
    pub breaker: Breaker,
    paused_until: Timestamp,
}

impl FleetState {
    /// Renews a worker's lease.
    pub fn lease(&mut self, worker: &str, asking: &Asking, limits: &Limits, now: Timestamp) -> Grant {
        self.forget_the_dead(worker, now);
        self.breaker.observe(worker, asking.evidence, now);
        self.paused_until = self.paused_until.max(asking.paused_until).min(now.plus(LONGEST_ASKED));
        if !asking.is_active {
            self.refill(asking, limits, now);
            return self.rest(worker, asking.in_flight, now);
        }
        let share = self.share(worker, limits.concurrency, now);
        let (most, closed_until) = match self.breaker.allow(worker, share > 0, now, limits.timeout + LEASE) {
            Allowed::All => (limits.concurrency, self.paused_until),
            Allowed::Probe => (1, self.paused_until),
            Allowed::None(until) => (0, until.max(self.paused_until)),
        };
        let slots = share.min(most);
        // What is under way beyond the share stays held, but is not granted: it would be filled again before it is ever
        // given up.
        self.workers.insert(worker.to_owned(), Slots { held: slots.max(asking.in_flight), until: now.plus(LEASE) });
        let sharers = self.workers.len().max(1) as u64;
        let is_closed = closed_until > now || slots == 0;
        // Others make room when their calls end.
        let mut no_more_for = if is_closed { RENEWAL / 2 } else { Duration::ZERO };
        let mut take = |(bucket, limit): (&mut Bucket, PerMinute), least: u64| {
            if is_closed {
                return 0;
            }
            no_more_for = no_more_for.max(bucket.time_until(least.saturating_mul(sharers), limit));
            bucket.take_at_least(least, bucket_share(bucket, sharers), limit)
        };
        let (requests, tokens) = self.refill(asking, limits, now);
        Grant {
            slots,
            requests: requests.map(|requests| take(requests, 1)),
            tokens: tokens.map(|tokens| take(tokens, asking.least_tokens)),
            closed_until,
            until: now.plus(HOLD),
            no_more_for,
        }
    }

    /// The buckets, with what has flowed in and what comes back.
    fn refill(&mut self, asking: &Asking, limits: &Limits, now: Timestamp) -> (Refilled<'_>, Refilled<'_>) {
        let unused_requests = i64::try_from(asking.unused_requests).unwrap_or(i64::MAX);
        let requests = refill(&mut self.requests, limits.requests, unused_requests, now);
        (requests, refill(&mut self.tokens, limits.tokens, asking.unused_tokens, now))
    }

    /// A worker with nothing to do keeps what is under way, and is forgotten when that is nothing.
    fn rest(&mut self, worker: &str, in_flight: u32, now: Timestamp) -> Grant {
        if in_flight == 0 {
            self.workers.remove(worker);
        } else {
            self.workers.insert(worker.to_owned(), Slots { held: in_flight, until: now.plus(LEASE) });
        }
        Grant { slots: in_flight, requests: Some(0), tokens: Some(0), until: now, ..Grant::default() }
    }

    /// Takes back the slots of workers that gave no sign of life in time. A worker that could give none itself has been cut
    /// off from the store, and so may the others have been: they are given time to say what they have under way.
    fn forget_the_dead(&mut self, worker: &str, now: Timestamp) {
        if self.workers.get(worker).is_some_and(|slots| slots.until <= now) {
            self.workers.values_mut().for_each(|slots| slots.until = slots.until.max(now.plus(LEASE)));
        }
        self.workers.retain(|_, slots| slots.until > now);
    }

    /// An equal share of the slots for every active worker, as far as the others have made room.
    fn share(&mut self, worker: &str, concurrency: u32, now: Timestamp) -> u32 {
        self.workers.entry(worker.to_owned()).or_insert(Slots { held: 0, until: now.plus(LEASE) });
        let count = u32::try_from(self.workers.len()).unwrap_or(u32::MAX);
        let place = self.workers.keys().position(|name| name == worker).unwrap_or_default();
        let has_one_more = u32::try_from(place).is_ok_and(|place| place < concurrency % count);
        let fair = concurrency / count + u32::from(has_one_more);
        let by_others: u32 = self.workers.iter().filter(|(name, _)| *name != worker).map(|(_, slots)| slots.held).sum();
        fair.min(concurrency.saturating_sub(by_others))
    }
}

/// A bucket and its limit, where there is one.
type Refilled<'a> = Option<(&'a mut Bucket, PerMinute)>;

fn refill(bucket: &mut Option<Bucket>, limit: Option<PerMinute>, unused: i64, now: Timestamp) -> Refilled<'_> {
    let limit = limit?;
    let bucket = bucket.get_or_insert_with(|| Bucket::full(limit, now));
    bucket.fill(limit, now);
    bucket.give_back(unused, limit);
    Some((bucket, limit))
}

/// An equal part of what is there, so that the first to ask leaves something to the others.
fn bucket_share(bucket: &Bucket, sharers: u64) -> u64 {
    bucket.whole().div_ceil(sharers)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { concurrency: 8, requests: None, tokens: None, timeout: Duration::from_secs(60) };
    const ACTIVE: Asking = Asking {
        is_active: true,
        in_flight: 0,
        evidence: Evidence { answered: false, failures: 0 },
        paused_until: Timestamp(0),
        unused_requests: 0,
        unused_tokens: 0,
        least_tokens: 0,
    };

    fn at(seconds: i64) -> Timestamp {
        Timestamp(seconds * 1_000_000_000)
    }

    #[test]
    fn one_worker_has_all_slots_and_makes_room_for_a_second_as_its_calls_end() {
        let mut fleet = FleetState::default();
        assert_eq!(fleet.lease("a", &ACTIVE, &LIMITS, at(0)).slots, 8);
        assert_eq!(fleet.lease("b", &ACTIVE, &LIMITS, at(1)).slots, 0);
        let busy = Asking { in_flight: 6, ..ACTIVE };
        assert_eq!(fleet.lease("a", &busy, &LIMITS, at(1)).slots, 4, "what ends is not begun anew");
        assert_eq!(fleet.lease("b", &ACTIVE, &LIMITS, at(1)).slots, 2);
        assert_eq!(fleet.lease("a", &ACTIVE, &LIMITS, at(2)).slots, 4);
        assert_eq!(fleet.lease("b", &ACTIVE, &LIMITS, at(2)).slots, 4);
    }

    #[test]
    fn the_slots_of_a_worker_that_died_or_rests_are_free_again() {
        let mut fleet = FleetState::default();
        fleet.lease("a", &ACTIVE, &LIMITS, at(0));
        assert_eq!(fleet.lease("b", &ACTIVE, &LIMITS, at(11)).slots, 8);
        fleet.lease("b", &Asking::default(), &LIMITS, at(12));
        assert_eq!(fleet.lease("a", &ACTIVE, &LIMITS, at(12)).slots, 8);
    }

    #[test]
    fn fewer_slots_than_workers_are_still_all_used() {
        let mut fleet = FleetState::default();
        let one = Limits { concurrency: 2, ..LIMITS };
        let names = ["a", "b", "c"];
        for name in names {
            fleet.lease(name, &ACTIVE, &one, at(0));
        }
        let slots: u32 = names.iter().map(|name| fleet.lease(name, &ACTIVE, &one, at(1)).slots).sum();
        assert_eq!(slots, 2);
    }

    #[test]
    fn a_pause_that_one_worker_was_asked_for_holds_for_all() {
        let mut fleet = FleetState::default();
        fleet.lease("a", &Asking { paused_until: at(30), ..ACTIVE }, &LIMITS, at(0));
        assert_eq!(fleet.lease("b", &ACTIVE, &LIMITS, at(1)).closed_until, at(30));
    }

    #[test]
    fn a_pause_is_over_after_an_hour_whoever_asked_for_a_longer_one() {
        let mut fleet = FleetState { paused_until: at(31_536_000), ..FleetState::default() };
        assert_eq!(fleet.lease("a", &ACTIVE, &LIMITS, at(0)).closed_until, at(3_600), "as an older program wrote it");
        assert_eq!(fleet.lease("a", &ACTIVE, &LIMITS, at(3_600)).closed_until, at(3_600));
    }

    #[test]
    fn workers_share_a_bucket_and_give_back_what_they_did_not_use() {
        let mut fleet = FleetState::default();
        let limits = Limits { requests: Some(PerMinute(400)), ..LIMITS };
        fleet.lease("b", &Asking { in_flight: 1, ..Asking::default() }, &limits, at(0));
        let first = fleet.lease("a", &ACTIVE, &limits, at(0)).requests.unwrap();
        assert_eq!(first, 10, "half of a burst of twenty");
        let again = Asking { unused_requests: 4, ..ACTIVE };
        assert_eq!(fleet.lease("a", &again, &limits, at(0)).requests, Some(7));
    }

    #[test]
    fn after_the_store_was_away_nobody_gets_the_slots_of_calls_that_are_still_under_way() {
        let mut fleet = FleetState::default();
        let busy = Asking { in_flight: 4, ..ACTIVE };
        fleet.lease("a", &ACTIVE, &LIMITS, at(0));
        fleet.lease("b", &ACTIVE, &LIMITS, at(0));
        assert_eq!(fleet.lease("a", &busy, &LIMITS, at(1)).slots, 4);
        assert_eq!(fleet.lease("b", &ACTIVE, &LIMITS, at(1)).slots, 4);
        assert_eq!(
            fleet.lease("a", &busy, &LIMITS, at(31)).slots,
            4,
            "the first that is back leaves the other its own"
        );
        assert_eq!(fleet.lease("b", &busy, &LIMITS, at(32)).slots, 4);
        assert_eq!(fleet.lease("a", &ACTIVE, &LIMITS, at(40)).slots, 4);
        assert_eq!(fleet.lease("a", &ACTIVE, &LIMITS, at(42)).slots, 8, "b has died since");
    }

    #[test]
    fn who_would_get_no_more_is_told_for_how_long() {
        let mut fleet = FleetState::default();
        let all = ["a", "b"].map(|name| fleet.lease(name, &ACTIVE, &LIMITS, at(0)).no_more_for);
        assert_eq!(all, [Duration::ZERO, RENEWAL / 2], "a makes room for b");

        let mut fleet = FleetState::default();
        let seldom = Limits { requests: Some(PerMinute(10)), ..LIMITS };
        let first = fleet.lease("a", &ACTIVE, &seldom, at(0));
        assert_eq!((first.requests, first.no_more_for), (Some(1), Duration::ZERO));
        let second = fleet.lease("a", &ACTIVE, &seldom, at(0));
        assert_eq!(second.requests, Some(0));
        let there = Timestamp(0).plus(second.no_more_for + Duration::from_millis(1));
        assert_eq!(fleet.lease("a", &ACTIVE, &seldom, there).requests, Some(1));
    }

    #[test]
    fn a_worker_without_a_slot_leaves_the_probe_to_one_that_has_one() {
        let mut fleet = FleetState::default();
        let one = Limits { concurrency: 1, ..LIMITS };
        fleet.lease("a", &ACTIVE, &one, at(0));
        fleet.lease("b", &ACTIVE, &one, at(0));
        fleet.lease("a", &Asking { evidence: Evidence { answered: false, failures: 5 }, ..ACTIVE }, &one, at(1));
        assert_eq!(fleet.lease("b", &ACTIVE, &one, at(6)).slots, 0);
        assert_eq!(fleet.lease("a", &ACTIVE, &one, at(6)).slots, 1);
    }

    #[test]
    fn while_the_breaker_is_open_nothing_is_leased_and_then_one_slot_to_one_worker() {
        let mut fleet = FleetState::default();
        let failing = Asking { evidence: Evidence { answered: false, failures: 5 }, ..ACTIVE };
        assert_eq!(fleet.lease("a", &failing, &LIMITS, at(0)).slots, 0);
        assert_eq!(fleet.lease("b", &ACTIVE, &LIMITS, at(1)).closed_until, at(5));
        assert_eq!(fleet.lease("b", &ACTIVE, &LIMITS, at(5)).slots, 1);
        assert_eq!(fleet.lease("a", &ACTIVE, &LIMITS, at(5)).slots, 0);
    }

    #[test]
    fn the_state_survives_the_store_also_when_it_was_written_by_an_older_program() {
        let mut fleet = FleetState::default();
        fleet.lease("a", &ACTIVE, &Limits { tokens: Some(PerMinute(9)), ..LIMITS }, at(0));
        let text = serde_json::to_string(&fleet).unwrap();
        assert_eq!(serde_json::from_str::<FleetState>(&text).unwrap(), fleet);
        assert_eq!(serde_json::from_str::<FleetState>("{}").unwrap(), FleetState::default());
    }
}
