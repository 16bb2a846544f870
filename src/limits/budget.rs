//! Money: what a day may cost, whether one more call fits, and how the judging rate falls before it no longer does.
//!
//! A call reserves the most that it can cost before it leaves, and is settled to what it did cost. `committed` is the
//! sum of what was charged and what is reserved, so it is never below the true bill, and a reservation is only made
//! while `committed` stays within the limit. A worker that dies settles nothing: what it had reserved stays committed,
//! in full.

use std::collections::BTreeMap;

use ring::digest::{SHA256, digest};

use crate::domain::ids::TraceId;
use crate::domain::money::NanoUsd;
use crate::domain::time::Timestamp;

/// Nanoseconds in a day.
pub const NANOS_PER_DAY: i64 = 24 * Timestamp::NANOS_PER_HOUR;
/// The scope of all services together.
pub const ALL_SERVICES: &str = "";
/// The detector that tells of what agents have spent.
pub const AGENT_BUDGET: &str = "agent_budget";

/// Days since the Unix epoch, in UTC: a budget's day.
#[must_use]
pub const fn day_of(now: Timestamp) -> i64 {
    now.0.div_euclid(NANOS_PER_DAY)
}

/// What identifies the alert about a scope's budget of a day: a detector raises one.
#[must_use]
pub fn alert_fingerprint(detector: &str, scope: &str, day: i64) -> String {
    let identity = digest(&SHA256, format!("{detector}:{scope}:{day}").as_bytes());
    hex::encode(&identity.as_ref()[..8])
}

/// What a day may cost, and how it is spent.
#[derive(Debug, Clone, PartialEq)]
pub struct BudgetPolicy {
    /// Limits by scope: [`ALL_SERVICES`], or a service. A scope that is not here has no limit.
    pub daily: BTreeMap<String, NanoUsd>,
    /// How the judging rate falls.
    pub ladder: Ladder,
}

/// The scopes that a call for a service counts towards, whether they have a limit or not, in order.
pub fn scopes_of(service: &str) -> impl Iterator<Item = &str> {
    std::iter::once(ALL_SERVICES).chain((service != ALL_SERVICES).then_some(service))
}

impl BudgetPolicy {
    /// The scopes that a call for a service counts towards and that have a limit, in order.
    pub fn scopes<'a>(&'a self, service: &'a str) -> impl Iterator<Item = (&'a str, NanoUsd)> {
        scopes_of(service).filter_map(|scope| self.daily.get(scope).map(|limit| (scope, *limit)))
    }

    /// Whether a call for a service that costs at most `worst` fits the accounts of all its scopes.
    #[must_use]
    pub fn admit(&self, accounts: &BTreeMap<String, Account>, service: &str, worst: NanoUsd) -> Admission {
        let of_scope = |(scope, _)| accounts.get(scope).map_or(Admission::Admit, |account| account.admit(worst));
        self.scopes(service).map(of_scope).max().unwrap_or(Admission::Admit)
    }

    /// Judging rates by what is committed of each scope's budget.
    #[must_use]
    pub fn rates(&self, committed: &BTreeMap<String, NanoUsd>, now: Timestamp) -> JudgingRates {
        let of_day = now.0.rem_euclid(NANOS_PER_DAY) as f64 / NANOS_PER_DAY as f64;
        let rate = |(scope, limit): (&String, &NanoUsd)| {
            let committed = committed.get(scope).copied().unwrap_or_default();
            let share = if limit.0 > 0 { committed.0 as f64 / limit.0 as f64 } else { 1.0 };
            (scope.clone(), self.ladder.rate(share, of_day))
        };
        let mut rates: BTreeMap<String, f64> = self.daily.iter().map(rate).collect();
        JudgingRates { overall: rates.remove(ALL_SERVICES).unwrap_or(1.0), services: rates }
    }
}

/// Probabilities with which a judgement that sampling planned is made.
#[derive(Debug, Clone, PartialEq)]
pub struct JudgingRates {
    /// For services without a budget of their own.
    pub overall: f64,
    /// For services with one, which counts beside that of all.
    pub services: BTreeMap<String, f64>,
}

impl JudgingRates {
    /// Every judgement is made.
    #[must_use]
    pub const fn full() -> Self {
        Self { overall: 1.0, services: BTreeMap::new() }
    }

    /// The rate for a service: the lower of its own and the overall one.
    #[must_use]
    pub fn of(&self, service: &str) -> f64 {
        self.services.get(service).copied().unwrap_or(1.0).min(self.overall)
    }
}

/// How the judging rate falls as money is spent faster than the day passes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ladder {
    /// Share of the budget that may be spent at the full rate whatever the time of day.
    pub full_rate_until: f64,
    /// Share at the end that is spent at the floor alone.
    pub reserve: f64,
    /// The lowest rate, above zero.
    pub floor_rate: f64,
}

impl Ladder {
    /// The rate when a share of the budget is committed at a share of the day. Full while spending is on pace; then it
    /// halves in steps, so that neighbouring traces mostly share one probability; the floor in the reserve.
    #[must_use]
    pub fn rate(&self, committed: f64, of_day: f64) -> f64 {
        let reserve_at = 1.0 - self.reserve;
        let on_pace = (self.full_rate_until + (reserve_at - self.full_rate_until) * of_day).min(reserve_at);
        if committed <= on_pace {
            return 1.0;
        }
        if committed >= reserve_at {
            return self.floor_rate;
        }
        let steps = -self.floor_rate.log2();
        let step = ((committed - on_pace) / (reserve_at - on_pace) * steps).ceil();
        (-step).exp2().max(self.floor_rate)
    }
}

/// Whether a judgement at this rate is made for a trace. The draw follows from the id, so that a repeat decides alike
/// and what a low rate keeps a higher one keeps too; its salt is its own, so that it is independent of sampling.
#[must_use]
pub fn is_drawn(trace_id: TraceId, rate: f64) -> bool {
    let salted = [b"driftline.judging.".as_slice(), trace_id.as_bytes()].concat();
    let hash = digest(&SHA256, &salted);
    let bits = hash.as_ref().iter().take(8).fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte));
    // 53 bits are what a double holds exactly.
    ((bits >> 11) as f64 / (1_u64 << 53) as f64) < rate
}

/// One scope's budget as it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Account {
    /// The most that may be committed.
    pub limit: NanoUsd,
    /// What was charged and what is reserved.
    pub committed: NanoUsd,
    /// Of that, what calls under way have reserved and may give back.
    pub under_way: NanoUsd,
}

/// Whether a call may be paid for; what is harder comes later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Admission {
    /// It fits.
    Admit,
    /// It may fit when calls under way have settled.
    Wait,
    /// It does not fit any more.
    Refuse,
}

impl Account {
    /// Whether a call that costs at most `worst` fits.
    #[must_use]
    pub fn admit(&self, worst: NanoUsd) -> Admission {
        if self.committed + worst <= self.limit {
            Admission::Admit
        } else if self.committed - self.under_way + worst <= self.limit {
            Admission::Wait
        } else {
            Admission::Refuse
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LADDER: Ladder = Ladder { full_rate_until: 0.5, reserve: 0.1, floor_rate: 0.05 };

    #[test]
    fn the_rate_is_full_on_pace_falls_in_steps_and_never_below_the_floor() {
        for (committed, of_day, expected) in [
            (0.0, 0.0, 1.0),
            (0.5, 0.0, 1.0),
            (0.55, 0.0, 0.5),
            (0.65, 0.0, 0.25),
            (0.65, 0.5, 1.0),
            (0.89, 0.0, 0.05),
            (0.95, 0.0, 0.05),
            (0.95, 1.0, 0.05),
            (0.9, 1.0, 1.0),
            (2.0, 0.5, 0.05),
        ] {
            assert_eq!(LADDER.rate(committed, of_day), expected, "{committed} at {of_day}");
        }
    }

    #[test]
    fn the_rate_never_rises_with_what_is_spent() {
        for of_day in [0.0, 0.3, 0.9] {
            let rates: Vec<f64> = (0..=200).map(|step| LADDER.rate(f64::from(step) / 150.0, of_day)).collect();
            assert!(rates.is_sorted_by(|left, right| left >= right), "{rates:?}");
        }
    }

    #[test]
    fn a_service_is_held_by_its_own_budget_and_by_that_of_all() {
        let policy = BudgetPolicy {
            daily: [("".to_owned(), NanoUsd(100)), ("chat".to_owned(), NanoUsd(10))].into(),
            ladder: LADDER,
        };
        let committed = [("".to_owned(), NanoUsd(55)), ("chat".to_owned(), NanoUsd(10))].into();
        let rates = policy.rates(&committed, Timestamp(0));
        assert_eq!((rates.of("chat"), rates.of("mail")), (0.05, 0.5));
        assert_eq!(policy.scopes("mail").map(|(scope, _)| scope).collect::<Vec<_>>(), [""]);
        assert_eq!(policy.scopes("chat").count(), 2);
    }

    #[test]
    fn a_call_waits_for_money_that_may_come_back_and_for_no_other() {
        let account = Account { limit: NanoUsd(100), committed: NanoUsd(95), under_way: NanoUsd(20) };
        assert_eq!(account.admit(NanoUsd(5)), Admission::Admit);
        assert_eq!(account.admit(NanoUsd(6)), Admission::Wait);
        assert_eq!(account.admit(NanoUsd(26)), Admission::Refuse);
    }

    #[test]
    fn draws_follow_the_rate_and_what_a_low_rate_keeps_a_higher_one_keeps() {
        let ids: Vec<TraceId> = (1..=20_000_u128).map(|id| TraceId::from_bytes(&id.to_be_bytes()).unwrap()).collect();
        let share = |rate| ids.iter().filter(|id| is_drawn(**id, rate)).count() as f64 / 20_000.0;
        // Four standard deviations of a binomial share at this size.
        assert!((share(0.25) - 0.25).abs() < 4.0 * (0.25 * 0.75 / 20_000.0_f64).sqrt());
        assert_eq!((share(1.0), share(0.0)), (1.0, 0.0));
        assert!(ids.iter().all(|id| is_drawn(*id, 0.5) || !is_drawn(*id, 0.25)));
    }

    #[test]
    fn days_begin_at_midnight_utc() {
        assert_eq!((day_of(Timestamp(0)), day_of(Timestamp(-1)), day_of(Timestamp(NANOS_PER_DAY))), (0, -1, 1));
    }
}
