//! One process's side of a judge model: whether a call may start now, out of what was leased.

use std::time::Duration;

use super::breaker::{Evidence, FAILURES};
use super::fleet::{Asking, Grant};
use crate::domain::time::Timestamp;

/// About as many calls as ended in so long are in hand: a claim of one job, and each commit on its way, costs us as much as
/// one of many. What is in hand waits for this process alone, so it is not long.
const AHEAD: Duration = Duration::from_secs(4);
/// So many calls ahead at most: each holds a trace.
const MOST_AHEAD: u32 = 32;
/// Answers that are being recorded at once, at most, for which others are to be in hand.
const BEING_RECORDED: u32 = 256;
/// Calls in hand while it is not known how many may be under way.
const FIRST: u32 = 8;

/// Whether a call may start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// It has started.
    Now,
    /// When a call under way has ended.
    AfterAnother,
    /// When a new lease has come.
    AfterLease,
    /// Not before then.
    At(Timestamp),
}

/// How a call ended, as far as the limits are concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// Whether the provider was there: it was, also when it refused.
    pub answered: bool,
    /// Tokens it took, where they are known.
    pub tokens: Option<u64>,
    /// The provider asked for a pause until then.
    pub paused_until: Option<Timestamp>,
}

/// A judge model as this process uses it.
#[derive(Debug, Clone, Default)]
pub struct Lane {
    grant: Grant,
    in_flight: u32,
    evidence: Evidence,
    paused_until: Timestamp,
    /// Tokens used beyond what was leased for them, or, below zero, not used.
    overdrawn: i64,
    least_tokens: u64,
    /// Calls that were answered until `counted_at`; each counts less the longer ago it was.
    answered: f64,
    counted_at: Timestamp,
}

impl Lane {
    /// Calls under way.
    #[must_use]
    pub const fn in_flight(&self) -> u32 {
        self.in_flight
    }

    /// Until when no call may start, as far as is known.
    #[must_use]
    pub fn closed_until(&self) -> Timestamp {
        self.grant.closed_until.max(self.paused_until)
    }

    /// How many jobs are worth having in hand: those that are asked, those that are read and paid for, so that the next is
    /// ready when a call ends, and those whose answers are being recorded.
    #[must_use]
    pub fn worth_in_hand(&self, concurrency: u32, now: Timestamp) -> usize {
        if self.closed_until() > now {
            return 0;
        }
        // Before the first lease, and after a rest, a few jobs find out how many slots there are.
        let slots = match self.grant.slots {
            0 if now < self.grant.until => 1,
            0 => concurrency.min(FIRST),
            slots => slots,
        };
        let ahead = (self.answered_lately(now) as u32).min(MOST_AHEAD);
        (slots + ahead.max(slots + slots.min(BEING_RECORDED))) as usize
    }

    /// At a steady rate, as many as are answered in [`AHEAD`].
    fn answered_lately(&self, now: Timestamp) -> f64 {
        self.answered * (-now.seconds_since(self.counted_at).max(0.0) / AHEAD.as_secs_f64()).exp()
    }

    /// Starts a call that takes about so many tokens, or says what it has to wait for.
    pub fn start(&mut self, tokens: u64, now: Timestamp) -> Start {
        let closed_until = self.closed_until();
        if now >= self.grant.until || self.evidence.failures >= FAILURES {
            return Start::AfterLease;
        }
        if now < closed_until {
            return Start::At(closed_until);
        }
        if self.in_flight >= self.grant.slots {
            return if self.in_flight > 0 { Start::AfterAnother } else { Start::AfterLease };
        }
        let is_short = self.grant.tokens.is_some_and(|left| left < tokens);
        if is_short || self.grant.requests == Some(0) {
            self.least_tokens = tokens;
            return Start::AfterLease;
        }
        self.grant.requests = self.grant.requests.map(|left| left - 1);
        self.grant.tokens = self.grant.tokens.map(|left| left - tokens);
        self.in_flight += 1;
        Start::Now
    }

    /// Takes note of the end of a call that was thought to take so many tokens.
    pub fn end(&mut self, thought: u64, ended: Ended, now: Timestamp) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.evidence.add(ended.answered);
        self.answered = self.answered_lately(now) + f64::from(u8::from(ended.answered));
        self.counted_at = now;
        self.paused_until = self.paused_until.max(ended.paused_until.unwrap_or_default());
        if self.grant.tokens.is_some() {
            let signed = |tokens: u64| i64::try_from(tokens).unwrap_or(i64::MAX);
            self.overdrawn = self.overdrawn.saturating_add(signed(ended.tokens.unwrap_or(thought)) - signed(thought));
        }
    }

    /// What to ask the fleet for. What is left of the lease is handed back with it; until the answer as many calls may be
    /// under way as are now, for others may be granted the rest meanwhile.
    pub fn ask(&mut self, is_active: bool, now: Timestamp) -> Asking {
        // What was not used in time is lost: the minute it was meant for is over.
        let is_valid = now < self.grant.until;
        let unused = |left: &mut Option<u64>| left.as_mut().map(std::mem::take).filter(|_| is_valid).unwrap_or(0);
        let (requests, tokens) = (unused(&mut self.grant.requests), unused(&mut self.grant.tokens));
        self.grant.slots = self.grant.slots.min(self.in_flight);
        Asking {
            is_active,
            in_flight: self.in_flight,
            evidence: std::mem::take(&mut self.evidence),
            paused_until: self.paused_until,
            unused_requests: requests,
            unused_tokens: i64::try_from(tokens).unwrap_or(i64::MAX) - std::mem::take(&mut self.overdrawn),
            least_tokens: std::mem::take(&mut self.least_tokens),
        }
    }

    /// Takes back what was asked for and may not have been heard: what was spent and has failed, not what was left.
    pub fn was_not_heard(&mut self, asking: &Asking) {
        self.overdrawn = self.overdrawn.saturating_sub(asking.unused_tokens.min(0));
        if !self.evidence.answered {
            let failures = self.evidence.failures + asking.evidence.failures;
            self.evidence = Evidence { answered: asking.evidence.answered, failures };
        }
    }

    /// Takes a new lease.
    pub fn take(&mut self, grant: Grant) {
        self.grant = grant;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OK: Ended = Ended { answered: true, tokens: Some(10), paused_until: None };

    fn leased(requests: Option<u64>, tokens: Option<u64>) -> Lane {
        let mut lane = Lane::default();
        lane.take(Grant { slots: 2, requests, tokens, until: Timestamp(100), ..Grant::default() });
        lane
    }

    #[test]
    fn no_more_calls_start_than_there_are_slots_and_each_end_makes_room() {
        let mut lane = leased(None, None);
        assert_eq!([lane.start(5, Timestamp(1)), lane.start(5, Timestamp(1))], [Start::Now; 2]);
        assert_eq!(lane.start(5, Timestamp(1)), Start::AfterAnother);
        lane.end(5, OK, Timestamp(1));
        assert_eq!(lane.start(5, Timestamp(1)), Start::Now);
    }

    #[test]
    fn what_is_left_of_a_lease_goes_back_with_the_tokens_that_a_call_did_not_take() {
        let mut lane = leased(Some(3), Some(100));
        lane.start(60, Timestamp(1));
        assert_eq!(lane.start(60, Timestamp(1)), Start::AfterLease);
        lane.end(60, OK, Timestamp(1));
        let asking = lane.ask(true, Timestamp(2));
        assert_eq!((asking.unused_requests, asking.unused_tokens, asking.least_tokens), (2, 40 + 50, 60));
        assert_eq!(lane.start(1, Timestamp(2)), Start::AfterLease, "it is handed back, not used twice");
    }

    #[test]
    fn while_it_asks_for_a_new_lease_it_fills_no_slots_that_others_may_be_granted() {
        let mut lane = leased(None, None);
        lane.start(5, Timestamp(1));
        assert_eq!(lane.ask(true, Timestamp(2)).in_flight, 1);
        assert_eq!(lane.start(5, Timestamp(2)), Start::AfterAnother);
        lane.end(5, OK, Timestamp(1));
        assert_eq!(lane.start(5, Timestamp(2)), Start::Now, "the one that was told of");
    }

    #[test]
    fn a_lease_that_is_over_starts_nothing_and_brings_nothing_back() {
        let mut lane = leased(Some(3), None);
        assert_eq!(lane.start(5, Timestamp(100)), Start::AfterLease);
        assert_eq!(lane.ask(true, Timestamp(100)).unused_requests, 0);
    }

    #[test]
    fn as_many_calls_are_in_hand_as_end_in_some_seconds_and_no_fewer_than_keep_the_slots_busy() {
        let in_hand = |calls_a_second: i64, answered: bool| {
            let mut lane = leased(None, None);
            let mut now = Timestamp(0);
            for call in 0..60 * calls_a_second {
                now = Timestamp(call * 1_000_000_000 / calls_a_second);
                lane.end(5, Ended { answered, ..OK }, now);
            }
            lane.worth_in_hand(16, now)
        };
        assert_eq!(in_hand(0, true), 6, "two are asked, two are ready, two are recorded");
        assert_eq!(in_hand(1, true), 2 + 4);
        assert_eq!(in_hand(5, true), 2 + 20);
        assert_eq!(in_hand(100, true), 2 + 32);
        assert_eq!(in_hand(8, false), 6, "failures come fast");
    }

    #[test]
    fn before_its_first_lease_a_worker_has_some_in_hand_and_without_a_slot_hardly_any() {
        let mut lane = Lane::default();
        assert_eq!(lane.worth_in_hand(16, Timestamp(1)), 24);
        lane.take(Grant { until: Timestamp(100), ..Grant::default() });
        assert_eq!(lane.worth_in_hand(16, Timestamp(1)), 3);
        assert_eq!(lane.worth_in_hand(16, Timestamp(100)), 24, "it asks anew");
    }

    #[test]
    fn what_was_not_heard_is_told_again_but_for_what_was_left() {
        let mut lane = leased(Some(3), Some(100));
        lane.start(60, Timestamp(1));
        lane.end(60, Ended { answered: false, tokens: Some(260), ..OK }, Timestamp(1));
        let asking = lane.ask(true, Timestamp(2));
        assert_eq!((asking.unused_requests, asking.unused_tokens), (2, 40 - 200));
        lane.was_not_heard(&asking);
        let again = lane.ask(true, Timestamp(2));
        assert_eq!((again.unused_requests, again.unused_tokens, again.evidence.failures), (0, -160, 1));
    }

    #[test]
    fn a_pause_and_a_row_of_failures_stop_this_process_at_once() {
        let mut lane = leased(None, None);
        lane.start(5, Timestamp(1));
        lane.end(5, Ended { paused_until: Some(Timestamp(50)), ..OK }, Timestamp(1));
        assert_eq!(lane.start(5, Timestamp(2)), Start::At(Timestamp(50)));
        for _ in 0..FAILURES {
            lane.end(5, Ended { answered: false, tokens: None, ..OK }, Timestamp(1));
        }
        assert_eq!(lane.start(5, Timestamp(60)), Start::AfterLease);
        assert_eq!(lane.ask(true, Timestamp(60)).evidence.failures, FAILURES);
    }
}
