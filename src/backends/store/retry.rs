//! Repeats a transaction that failed for a reason that passes: a deadlock, a lost connection, a busy file.

use std::io;
use std::time::Duration;

use tokio::time::timeout;

use super::error::{StoreError, is_transient};
use crate::backends::crash_point::crash_point;

const ATTEMPTS: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(20);

/// How long an attempt may take. A database that went silent and left its connections open never answers, and nothing else
/// tells; one that works may need minutes to read ten million scores.
const LIMIT: Duration = Duration::from_mins(10);
/// The same for what every worker does again and again, and cannot go on without: it touches few rows, by their keys.
const PROMPT_LIMIT: Duration = Duration::from_mins(1);

/// Runs `attempt` until it succeeds, fails for good, or has failed [`ATTEMPTS`] times.
pub(super) async fn retried<T, A: Future<Output = Result<T, sqlx::Error>>>(
    operation: &'static str,
    attempt: impl Fn() -> A,
) -> Result<T, StoreError> {
    retried_within(LIMIT, operation, attempt).await
}

/// The same for what takes seconds at most.
pub(super) async fn promptly<T, A: Future<Output = Result<T, sqlx::Error>>>(
    operation: &'static str,
    attempt: impl Fn() -> A,
) -> Result<T, StoreError> {
    retried_within(PROMPT_LIMIT, operation, attempt).await
}

async fn retried_within<T, A: Future<Output = Result<T, sqlx::Error>>>(
    limit: Duration,
    operation: &'static str,
    attempt: impl Fn() -> A,
) -> Result<T, StoreError> {
    let attempt = async || {
        let result = timeout(limit, attempt()).await.unwrap_or_else(|_| Err(silent()));
        result.inspect(|_| crash_point(operation))
    };
    let mut pause = FIRST_PAUSE;
    for _ in 1..ATTEMPTS {
        match attempt().await {
            Err(error) if is_transient(&error) => tracing::warn!(operation, %error, "store will try again"),
            result => return result.map_err(|source| StoreError::Database { operation, source }),
        }
        tokio::time::sleep(pause).await;
        pause *= 2;
    }
    attempt().await.map_err(|source| StoreError::Database { operation, source })
}

/// The database did not answer in time.
pub(super) fn silent() -> sqlx::Error {
    sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, "the database has gone silent"))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test]
    async fn a_passing_failure_is_tried_again_and_a_lasting_one_is_not() {
        let calls = AtomicU32::new(0);
        let result = retried("count", || async {
            match calls.fetch_add(1, Ordering::SeqCst) {
                0 | 1 => Err(sqlx::Error::PoolTimedOut),
                n => Ok(n),
            }
        });
        assert_eq!(result.await.unwrap(), 2);

        calls.store(0, Ordering::SeqCst);
        let result = retried::<(), _>("count", || async {
            calls.fetch_add(1, Ordering::SeqCst);
            Err(sqlx::Error::RowNotFound)
        });
        assert_eq!(result.await.unwrap_err().to_string(), "the store could not count");
        assert_eq!(calls.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn an_attempt_that_never_ends_is_given_up_and_tried_again() {
        let calls = AtomicU32::new(0);
        let result = retried_within(FIRST_PAUSE, "count", || async {
            match calls.fetch_add(1, Ordering::SeqCst) {
                0 => std::future::pending().await,
                n => Ok(n),
            }
        });
        assert_eq!(result.await.unwrap(), 1);
    }

    #[tokio::test]
    async fn a_failure_that_does_not_pass_is_given_up_after_five_attempts() {
        let calls = AtomicU32::new(0);
        let result = retried::<(), _>("count", || async {
            calls.fetch_add(1, Ordering::SeqCst);
            Err(sqlx::Error::PoolTimedOut)
        });
        assert!(result.await.unwrap_err().is_transient());
        assert_eq!(calls.load(Ordering::SeqCst), 5);
    }
}
