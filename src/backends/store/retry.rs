//! Repeats a transaction that failed for a reason that passes: a deadlock, a lost connection, a busy file.

use std::time::Duration;

use super::error::{StoreError, is_transient};

const ATTEMPTS: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(20);

/// Runs `attempt` until it succeeds, fails for good, or has failed [`ATTEMPTS`] times.
pub(super) async fn retried<T, A: Future<Output = Result<T, sqlx::Error>>>(
    operation: &'static str,
    attempt: impl Fn() -> A,
) -> Result<T, StoreError> {
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
