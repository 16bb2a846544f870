//! Work that keeps a core busy, on a thread where it holds up nobody.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Plain protobuf that is read in so short a time, two milliseconds or so, that other requests can wait for it: to change
/// threads and back costs more.
const SMALL_BYTES: usize = 640 * 1024;
/// How many times the work of plain protobuf it is taken to be to read JSON, or to look for what must not be kept.
pub(super) const HEAVY: usize = 5;

/// Runs work that is as much as to read so many bytes of plain protobuf, and waits for its result; `None` when it panicked.
pub(super) async fn work_on<T: Send + 'static>(bytes: usize, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    if bytes <= SMALL_BYTES {
        return catch_unwind(AssertUnwindSafe(work)).ok();
    }
    tokio::task::spawn_blocking(work).await.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn large_work_leaves_the_thread_that_small_work_stays_on_and_a_panic_ends_neither() {
        let here = std::thread::current().id();
        let thread = || std::thread::current().id();
        assert_eq!(work_on(SMALL_BYTES, thread).await, Some(here));
        assert_ne!(work_on(SMALL_BYTES + 1, thread).await, Some(here));
        for bytes in [0, usize::MAX] {
            assert_eq!(work_on(bytes, || -> u8 { panic!("as it should") }).await, None);
        }
    }
}
