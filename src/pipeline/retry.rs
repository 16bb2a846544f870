//! How long to wait before trying again.

use std::time::Duration;

use crate::limits::retry::LONGEST_ASKED;

const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_mins(5);

/// Doubles with each attempt up to five minutes, less up to a half at random so that many do not come back at once.
/// What the other side asked for is honoured up to an hour, and nothing shorter.
pub(super) fn delay(attempts: u32, retry_after: Option<Duration>, random: f64) -> Duration {
    let doubled = SHORTEST.saturating_mul(1_u32.checked_shl(attempts.saturating_sub(1)).unwrap_or(u32::MAX));
    let jittered = doubled.min(LONGEST).mul_f64(1.0 - random / 2.0);
    retry_after.map_or(jittered, |asked| asked.min(LONGEST_ASKED).max(jittered))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_five_minutes() {
        assert_eq!(delay(1, None, 0.0), Duration::from_secs(1));
        assert_eq!(delay(4, None, 0.0), Duration::from_secs(8));
        assert_eq!(delay(40, None, 0.0), LONGEST);
        assert_eq!(delay(4, None, 1.0), Duration::from_secs(4));
    }

    #[test]
    fn what_was_asked_for_is_honoured_within_reason() {
        assert_eq!(delay(1, Some(Duration::from_secs(30)), 0.5), Duration::from_secs(30));
        assert_eq!(delay(1, Some(Duration::MAX), 0.5), LONGEST_ASKED);
    }
}
