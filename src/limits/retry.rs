//! Whether and when a judgement is tried again.

use std::time::Duration;

use crate::domain::time::Timestamp;

const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_mins(5);
/// Longest wait that anyone may ask everyone else for: a slip there must not shelve work for a year.
pub const LONGEST_ASKED: Duration = Duration::from_hours(1);

/// How long a judgement is insisted on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// Attempts that failed before it is given up; being told to come back later is not one.
    pub attempts: u32,
    /// Time from the start of the first attempt after which it is given up.
    pub give_up_after: Duration,
}

/// A failed attempt.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Failed {
    /// Attempts so far, this one included.
    pub attempts: u32,
    /// When the first attempt began.
    pub first_at: Timestamp,
    /// Whether the provider asked to come back later, instead of trying and failing.
    pub turned_away: bool,
    /// How long it asked to wait.
    pub retry_after: Option<Duration>,
}

/// When to try again; `None` to give up. The wait doubles with each attempt up to five minutes, less up to a half at
/// `random` so that many do not come back at once, and is never shorter than what was asked for. Whatever was asked
/// for, one more attempt is made before the time is up: a long wait must not turn into no retry at all.
#[must_use]
pub fn next_attempt(failed: &Failed, patience: &Patience, now: Timestamp, random: f64) -> Option<Timestamp> {
    let over_at = failed.first_at.plus(patience.give_up_after);
    let is_spent = failed.attempts >= patience.attempts && !failed.turned_away;
    if is_spent || now >= over_at {
        return None;
    }
    let doubled = SHORTEST.saturating_mul(1_u32.checked_shl(failed.attempts.saturating_sub(1)).unwrap_or(u32::MAX));
    let jittered = doubled.min(LONGEST).mul_f64(1.0 - random / 2.0);
    let wait = failed.retry_after.map_or(jittered, |asked| asked.max(jittered));
    Some(now.plus(wait).min(over_at))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience = Patience { attempts: 4, give_up_after: Duration::from_hours(2) };
    const FIRST: Failed = Failed { attempts: 1, first_at: Timestamp(0), turned_away: false, retry_after: None };

    fn at(seconds: i64) -> Timestamp {
        Timestamp(seconds * 1_000_000_000)
    }

    #[test]
    fn waits_double_up_to_five_minutes_and_are_shortened_at_random() {
        let patience = Patience { attempts: u32::MAX, ..PATIENCE };
        let wait = |attempts, random| next_attempt(&Failed { attempts, ..FIRST }, &patience, at(0), random);
        assert_eq!([wait(1, 0.0), wait(4, 0.0), wait(40, 0.0)], [Some(at(1)), Some(at(8)), Some(at(300))]);
        assert_eq!(wait(4, 1.0), Some(at(4)));
    }

    #[test]
    fn attempts_are_spent_and_being_turned_away_is_none() {
        let fourth = Failed { attempts: 4, ..FIRST };
        assert_eq!(next_attempt(&fourth, &PATIENCE, at(10), 0.0), None);
        assert!(next_attempt(&Failed { turned_away: true, ..fourth }, &PATIENCE, at(10), 0.0).is_some());
    }

    #[test]
    fn the_clock_runs_from_the_first_attempt_and_a_long_wait_is_cut_to_one_last_attempt() {
        let asked = Failed { turned_away: true, retry_after: Some(Duration::from_hours(9)), ..FIRST };
        assert_eq!(next_attempt(&asked, &PATIENCE, at(60), 0.0), Some(at(7_200)));
        assert_eq!(next_attempt(&asked, &PATIENCE, at(7_200), 0.0), None);
    }

    #[test]
    fn what_was_asked_for_is_never_undercut() {
        let asked = Failed { retry_after: Some(Duration::from_secs(30)), ..FIRST };
        assert_eq!(next_attempt(&asked, &PATIENCE, at(0), 1.0), Some(at(30)));
    }
}
