//! Instants as OpenTelemetry carries them: nanoseconds since the Unix epoch.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Nanoseconds since 1970-01-01T00:00:00Z. Holds until the year 2262.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// Nanoseconds in an hour, the width of a watched window.
    pub const NANOS_PER_HOUR: i64 = 3_600_000_000_000;

    /// Seconds from `earlier` to `self`; negative when the clock ran backwards.
    #[must_use]
    pub fn seconds_since(self, earlier: Self) -> f64 {
        (self.0.saturating_sub(earlier.0)) as f64 / 1e9
    }

    /// The start of the hour this instant lies in.
    #[must_use]
    pub const fn hour(self) -> Self {
        Self(self.0.div_euclid(Self::NANOS_PER_HOUR) * Self::NANOS_PER_HOUR)
    }

    /// The start of the period of this length that this instant lies in, counted from the epoch.
    #[must_use]
    pub fn floor(self, period: Duration) -> Self {
        let length = Self(0).plus(period).0.max(1);
        Self(self.0.div_euclid(length).saturating_mul(length))
    }

    /// This instant moved by a duration, saturating at the ends of the range.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)))
    }

    /// This instant moved back by a duration, saturating at the ends of the range.
    #[must_use]
    pub fn minus(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)))
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC, to the second; times before the epoch show as the epoch.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = u64::try_from(self.0).unwrap_or(0);
        let instant = std::time::UNIX_EPOCH + Duration::from_nanos(nanos);
        write!(formatter, "{}", humantime::format_rfc3339_seconds(instant))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_start_on_the_hour_on_both_sides_of_the_epoch() {
        assert_eq!(Timestamp(3_600_000_000_001).hour(), Timestamp(3_600_000_000_000));
        assert_eq!(Timestamp(-1).hour(), Timestamp(-3_600_000_000_000));
    }
}
