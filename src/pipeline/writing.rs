//! Whether what is received can be written: how the last commits went, for who asks whether the process is ready.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// A commit that takes longer than this has senders wait in vain, and commits that have failed for as long are no blip.
const SLOW: Duration = Duration::from_secs(5);
/// So long the last failure tells how it stands: whoever was refused comes back in this time. A small write that succeeds
/// meanwhile tells less, as a full disk may still have room for that.
const RECENT: Duration = Duration::from_secs(15);

/// How the last commits went.
#[derive(Debug, Default)]
pub(super) struct Writing(Mutex<Commits>);

#[derive(Debug, Clone, Copy, Default)]
struct Commits {
    /// Since when the commit that is under way is, if one is.
    under_way: Option<Instant>,
    failing: Option<Failing>,
}

/// Commits that failed, with none between them that did not.
#[derive(Debug, Clone, Copy)]
struct Failing {
    first: Instant,
    last: Instant,
}

/// What the last commits say of the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writable {
    /// It will be done in time.
    Yes,
    /// It waits for one that takes longer than senders wait.
    Slow,
    /// It will fail, as the last ones have.
    No,
    /// The last ones failed, and none was tried since: only another write can tell.
    Unknown,
}

impl Writing {
    pub(super) fn begin(&self) {
        self.change(|commits| commits.under_way = Some(Instant::now()));
    }

    pub(super) fn end(&self) {
        self.change(|commits| commits.under_way = None);
    }

    pub(super) fn succeeded(&self) {
        self.change(Commits::succeed);
    }

    pub(super) fn failed(&self) {
        self.change(|commits| commits.fail(Instant::now()));
    }

    pub(super) fn is_writable(&self) -> Writable {
        let commits = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        commits.is_writable(Instant::now())
    }

    fn change(&self, change: impl FnOnce(&mut Commits)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Commits {
    fn succeed(&mut self) {
        self.failing = None;
    }

    fn fail(&mut self, now: Instant) {
        // One that was long ago has nothing to do with this one.
        let before = self.failing.filter(|failing| now.duration_since(failing.last) < RECENT);
        let first = before.map_or(now, |failing| failing.first);
        self.failing = Some(Failing { first, last: now });
    }

    fn is_writable(&self, now: Instant) -> Writable {
        if self.under_way.is_some_and(|since| now.duration_since(since) >= SLOW) {
            return Writable::Slow;
        }
        let Some(Failing { first, last }) = self.failing else { return Writable::Yes };
        if now.duration_since(first) < SLOW {
            Writable::Yes
        } else if last.duration_since(first) >= SLOW && now.duration_since(last) < RECENT {
            Writable::No
        } else {
            Writable::Unknown
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What commits that failed at these seconds, with none between them that did not, say at another.
    fn after_failures_at(seconds: &[u64], asked_at: u64) -> Writable {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut commits = Commits::default();
        seconds.iter().for_each(|failed_at| commits.fail(at(*failed_at)));
        commits.is_writable(at(asked_at))
    }

    #[test]
    fn commits_that_go_on_failing_for_more_than_a_blip_say_that_nothing_can_be_written() {
        assert_eq!(after_failures_at(&[], 9), Writable::Yes);
        assert_eq!(after_failures_at(&[0, 1, 2], 3), Writable::Yes);
        assert_eq!(after_failures_at(&[0, 3, 6], 6), Writable::No);
        assert_eq!(after_failures_at(&[0, 3, 6], 20), Writable::No);
    }

    #[test]
    fn a_single_failure_and_one_that_was_long_ago_say_too_little() {
        assert_eq!(after_failures_at(&[0], 6), Writable::Unknown);
        assert_eq!(after_failures_at(&[0, 3, 6], 21), Writable::Unknown);
        assert_eq!(after_failures_at(&[0, 3, 6, 900], 900), Writable::Yes);
        assert_eq!(after_failures_at(&[0, 3, 6, 900, 906], 906), Writable::No);
    }

    #[test]
    fn a_commit_that_takes_long_says_so_until_it_ends() {
        let (started, commits) = (Instant::now(), Commits::default());
        let commits = Commits { under_way: Some(started), ..commits };
        assert_eq!(commits.is_writable(started), Writable::Yes);
        assert_eq!(commits.is_writable(started + SLOW), Writable::Slow);
    }

    #[test]
    fn one_commit_that_succeeds_ends_what_failed_before_it() {
        let (start, mut commits) = (Instant::now(), Commits::default());
        commits.fail(start);
        commits.fail(start + SLOW);
        assert_eq!(commits.is_writable(start + SLOW), Writable::No);
        commits.succeed();
        assert_eq!(commits.is_writable(start + SLOW), Writable::Yes);
        commits.fail(start + SLOW);
        assert_eq!(commits.is_writable(start + SLOW), Writable::Yes, "it begins anew");
    }
}
