//! One process's side of a judge model: whether a call may start now, out of what was leased.

use std::time::Duration;

use super::breaker::{Evidence, FAILURES};
use super::fleet::{Asking, Grant};
use crate::domain::time::Timestamp;

/// Calls of so long a time are in hand, where they are few: a claim of one job, and each commit on its way, costs us as much
/// as one of many. What is in hand waits for this process alone, so it is not long.
const AHEAD: Duration = Duration::from_secs(4);
/// So many calls ahead at most: each holds a trace.
const MOST_AHEAD: u32 = 64;
/// Answers that are being recorded at once, at most, for which others are to be in hand.
const BEING_RECORDED: u32 = 256;
/// Calls in hand while it is not known how many may be under way.
const FIRST: u32 = 8;
/// How much the last call counts for how long one takes.
const WEIGHT_OF_LAST: f64 = 0.1;

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
    /// How long it took.
    pub took: Duration,
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
    /// How long a call takes: a moving average in seconds.
    typical: Option<f64>,
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
        let slots = if self.grant.slots > 0 { self.grant.slots } else { concurrency.min(FIRST) };
        let calls = |typical| (f64::from(slots) * AHEAD.as_secs_f64() / typical) as u32;
        let ahead = self.typical.map_or(0, calls).min(MOST_AHEAD);
        (slots + ahead.max(slots + slots.min(BEING_RECORDED))) as usize
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
    pub fn end(&mut self, thought: u64, ended: Ended) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.evidence.add(ended.answered);
        let took = ended.took.as_secs_f64();
        self.typical = Some(self.typical.map_or(took, |typical| typical + WEIGHT_OF_LAST * (took - typical)));
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

    /// Takes a new lease.
    pub fn take(&mut self, grant: Grant) {
        self.grant = grant;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OK: Ended = Ended { answered: true, tokens: Some(10), paused_until: None, took: Duration::ZERO };

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
        lane.end(5, OK);
        assert_eq!(lane.start(5, Timestamp(1)), Start::Now);
    }

    #[test]
    fn what_is_left_of_a_lease_goes_back_with_the_tokens_that_a_call_did_not_take() {
        let mut lane = leased(Some(3), Some(100));
        lane.start(60, Timestamp(1));
        assert_eq!(lane.start(60, Timestamp(1)), Start::AfterLease);
        lane.end(60, OK);
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
        lane.end(5, OK);
        assert_eq!(lane.start(5, Timestamp(2)), Start::Now, "the one that was told of");
    }

    #[test]
    fn a_lease_that_is_over_starts_nothing_and_brings_nothing_back() {
        let mut lane = leased(Some(3), None);
        assert_eq!(lane.start(5, Timestamp(100)), Start::AfterLease);
        assert_eq!(lane.ask(true, Timestamp(100)).unused_requests, 0);
    }

    #[test]
    fn calls_of_some_seconds_are_in_hand_and_no_fewer_than_keep_the_slots_busy() {
        let in_hand = |milliseconds: &[u64]| {
            let mut lane = leased(None, None);
            for took in milliseconds {
                lane.end(5, Ended { took: Duration::from_millis(*took), ..OK });
            }
            lane.worth_in_hand(16, Timestamp(1))
        };
        assert_eq!(in_hand(&[]), 6, "two are asked, two are ready, two are recorded");
        assert_eq!(in_hand(&[500]), 2 + 16);
        assert_eq!(in_hand(&[500; 20]), 2 + 16);
        assert_eq!(in_hand(&[30_000]), 6);
        assert_eq!(in_hand(&[1]), 2 + 64);
        assert_eq!(Lane::default().worth_in_hand(16, Timestamp(1)), 24, "nothing is leased yet");
    }

    #[test]
    fn a_pause_and_a_row_of_failures_stop_this_process_at_once() {
        let mut lane = leased(None, None);
        lane.start(5, Timestamp(1));
        lane.end(5, Ended { paused_until: Some(Timestamp(50)), ..OK });
        assert_eq!(lane.start(5, Timestamp(2)), Start::At(Timestamp(50)));
        for _ in 0..FAILURES {
            lane.end(5, Ended { answered: false, tokens: None, ..OK });
        }
        assert_eq!(lane.start(5, Timestamp(60)), Start::AfterLease);
        assert_eq!(lane.ask(true, Timestamp(60)).evidence.failures, FAILURES);
    }
}
