//! The one reader of wall time. Decisions take the time as an argument; only the edges hold a clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use crate::domain::time::Timestamp;

/// Tells the wall time. Waiting is done with `tokio::time`, which tests can pause.
pub trait Clock: Send + Sync {
    /// The present instant.
    fn now(&self) -> Timestamp;
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the wall clock")]
        let since_epoch = std::time::SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp(0).plus(since_epoch)
    }
}

/// A clock that stands still until it is moved; clones show the same time.
#[derive(Debug, Clone, Default)]
pub struct ManualClock {
    nanos: Arc<AtomicI64>,
}

impl ManualClock {
    /// A clock that shows `start`.
    #[must_use]
    pub fn new(start: Timestamp) -> Self {
        Self { nanos: Arc::new(AtomicI64::new(start.0)) }
    }

    /// Moves the clock forward.
    pub fn advance(&self, duration: Duration) {
        self.set(self.now().plus(duration));
    }

    /// Moves the clock to an instant, earlier or later.
    pub fn set(&self, now: Timestamp) {
        self.nanos.store(now.0, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.nanos.load(Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_of_a_manual_clock_show_the_same_time() {
        let clock = ManualClock::new(Timestamp(5));
        let clone = clock.clone();
        clock.advance(Duration::from_nanos(7));
        assert_eq!(clone.now(), Timestamp(12));
    }

    #[test]
    fn the_system_clock_shows_a_time_after_this_was_written() {
        assert!(SystemClock.now() > Timestamp(1_760_000_000_000_000_000));
    }
}
