//! Stops asking a provider that does not answer, and finds out with one call whether it does again.
//!
//! ```text
//!            5 failures without a success between            time is up, one worker probes
//!   closed ─────────────────────────────────────► open ───────────────────────────────────► probing
//!      ▲                                            ▲                                          │ │
//!      │                                            └──────────── it failed: twice as long ────┘ │
//!      └───────────────────────────────────────────────────────────────────────── it answered ───┘
//! ```

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::time::Timestamp;

/// Failures in a row that open the breaker.
pub const FAILURES: u32 = 5;
const FIRST_OPEN: Duration = Duration::from_secs(5);
const LONGEST_OPEN: Duration = Duration::from_mins(2);

/// How calls ended since the last report.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Evidence {
    /// Whether any call was answered.
    pub answered: bool,
    /// Failures after the last answer: no connection, no answer in time, or an answer that the provider is in trouble.
    pub failures: u32,
}

impl Evidence {
    /// Adds the end of one call.
    pub fn add(&mut self, answered: bool) {
        if answered {
            *self = Self { answered: true, failures: 0 };
        } else {
            self.failures += 1;
        }
    }
}

/// Whether a provider may be asked; shared by the whole fleet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Breaker {
    /// It answers; so many failures in a row so far.
    Closed {
        /// Failures since the last answer.
        failures: u32,
    },
    /// No one asks it.
    Open {
        /// Until then.
        until: Timestamp,
        /// How often it has opened since the last answer.
        times: u32,
    },
    /// One worker asks it once.
    Probing {
        /// The worker.
        worker: String,
        /// Then the worker is taken for dead.
        until: Timestamp,
        /// As in [`Breaker::Open`].
        times: u32,
    },
}

impl Default for Breaker {
    fn default() -> Self {
        Self::Closed { failures: 0 }
    }
}

/// What the breaker allows a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Allowed {
    /// Any call.
    All,
    /// One call, to see.
    Probe,
    /// None until then.
    None(Timestamp),
}

impl Breaker {
    /// Takes a worker's evidence into account.
    pub fn observe(&mut self, worker: &str, evidence: Evidence, now: Timestamp) {
        if evidence == Evidence::default() {
            return;
        }
        match self {
            Self::Closed { failures } => {
                let failures = if evidence.answered { evidence.failures } else { *failures + evidence.failures };
                *self = if failures >= FAILURES { open(1, now) } else { Self::Closed { failures } };
            }
            // Calls that were under way when it opened; an answer among them shows that it was hasty.
            Self::Open { .. } if evidence.answered && evidence.failures == 0 => *self = Self::default(),
            Self::Probing { worker: probing, times, .. } if probing == worker => {
                *self = if evidence.answered { Self::default() } else { open(*times + 1, now) };
            }
            Self::Open { .. } | Self::Probing { .. } => {}
        }
    }

    /// What a worker with calls to make may do. `patience` is how long a probe may take; one that has no slot for it
    /// leaves it to another.
    pub fn allow(&mut self, worker: &str, has_slot: bool, now: Timestamp, patience: Duration) -> Allowed {
        match self {
            Self::Closed { .. } => Allowed::All,
            Self::Probing { worker: probing, until, .. } if probing == worker && now < *until => Allowed::Probe,
            Self::Open { until, .. } | Self::Probing { until, .. } if now < *until => Allowed::None(*until),
            Self::Open { .. } | Self::Probing { .. } if !has_slot => Allowed::None(now),
            Self::Open { times, .. } | Self::Probing { times, .. } => {
                *self = Self::Probing { worker: worker.to_owned(), until: now.plus(patience), times: *times };
                Allowed::Probe
            }
        }
    }

    /// `closed`, `open` or `probing`.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Closed { .. } => "closed",
            Self::Open { .. } => "open",
            Self::Probing { .. } => "probing",
        }
    }
}

fn open(times: u32, now: Timestamp) -> Breaker {
    let doubled = FIRST_OPEN.saturating_mul(1_u32.checked_shl(times - 1).unwrap_or(u32::MAX));
    Breaker::Open { until: now.plus(doubled.min(LONGEST_OPEN)), times }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);
    const FAILED: Evidence = Evidence { answered: false, failures: 1 };
    const ANSWERED: Evidence = Evidence { answered: true, failures: 0 };

    fn at(seconds: i64) -> Timestamp {
        Timestamp(seconds * 1_000_000_000)
    }

    fn opened() -> Breaker {
        let mut breaker = Breaker::default();
        (0..FAILURES).for_each(|_| breaker.observe("a", FAILED, at(0)));
        breaker
    }

    #[test]
    fn failures_of_the_whole_fleet_open_it_and_an_answer_between_them_does_not_count_towards_it() {
        let mut breaker = Breaker::default();
        for worker in ["a", "b", "a", "b"] {
            breaker.observe(worker, FAILED, at(0));
        }
        assert_eq!(breaker.allow("c", true, at(0), PATIENCE), Allowed::All);
        breaker.observe("c", ANSWERED, at(0));
        breaker.observe("c", Evidence { answered: false, failures: 4 }, at(0));
        assert_eq!(breaker.allow("c", true, at(0), PATIENCE), Allowed::All);
        breaker.observe("a", FAILED, at(1));
        assert_eq!(breaker.allow("c", true, at(1), PATIENCE), Allowed::None(at(6)));
    }

    #[test]
    fn one_worker_probes_and_the_others_wait_for_it() {
        let mut breaker = opened();
        assert_eq!(breaker.allow("a", true, at(4), PATIENCE), Allowed::None(at(5)));
        assert_eq!(breaker.allow("c", false, at(5), PATIENCE), Allowed::None(at(5)), "it could not");
        assert_eq!(breaker.allow("a", true, at(5), PATIENCE), Allowed::Probe);
        assert_eq!(breaker.allow("b", true, at(5), PATIENCE), Allowed::None(at(65)));
        breaker.observe("b", FAILED, at(6));
        breaker.observe("a", ANSWERED, at(7));
        assert_eq!(breaker.allow("b", true, at(7), PATIENCE), Allowed::All);
    }

    #[test]
    fn each_failed_probe_doubles_the_wait_up_to_two_minutes() {
        let (mut breaker, mut now) = (opened(), at(0));
        for wait in [5, 10, 20, 40, 80, 120, 120] {
            let Breaker::Open { until, .. } = breaker else { panic!("{breaker:?}") };
            assert_eq!(until, now.plus(Duration::from_secs(wait)));
            now = until;
            assert_eq!(breaker.allow("a", true, now, PATIENCE), Allowed::Probe);
            breaker.observe("a", FAILED, now);
        }
    }

    #[test]
    fn a_prober_that_died_is_replaced() {
        let mut breaker = opened();
        assert_eq!(breaker.allow("a", true, at(5), PATIENCE), Allowed::Probe);
        assert_eq!(breaker.allow("b", true, at(66), PATIENCE), Allowed::Probe);
        breaker.observe("a", FAILED, at(67));
        assert_eq!(breaker.as_str(), "probing", "the one that was given up no longer decides");
    }
}
