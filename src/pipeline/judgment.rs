//! One judgment: a question to a judge model, and the row that its answer makes.

use std::time::Duration;

use fastrand::Rng;
use ring::rand::{SystemRandom, generate};

use crate::backends::judge::{JudgeClient, JudgeError};
use crate::domain::evaluation::{Evaluation, Outcome};
use crate::domain::trace::Trace;
use crate::evaluate::definition::EvaluatorDefinition;
use crate::evaluate::judge::{Prepared, VerdictError, parse_verdict};
use crate::evaluate::run::{judged, unscored};

/// Wait before the second attempt; it doubles with each further one.
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// Longest wait between two attempts, also when the provider asks for more.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// Why an attempt gave no verdict.
#[derive(Debug, thiserror::Error)]
pub enum JudgmentError {
    /// The system gave no random bytes, without which the untrusted texts cannot be fenced.
    #[error("the system has no random bytes to fence the trace's texts with")]
    Random,
    /// The model gave no answer.
    #[error(transparent)]
    Judge(#[from] JudgeError),
    /// The answer holds no verdict.
    #[error(transparent)]
    Verdict(#[from] VerdictError),
}

impl JudgmentError {
    /// Whether another attempt may succeed; a model that wrote no verdict may write one next time.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        match self {
            Self::Random => false,
            Self::Judge(error) => error.is_transient(),
            Self::Verdict(_) => true,
        }
    }

    /// How long the provider asks to wait.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Judge(error) => error.retry_after(),
            Self::Random | Self::Verdict(_) => None,
        }
    }
}

/// Asks a judge once.
///
/// # Errors
/// See [`JudgmentError::is_transient`] for which may be asked again.
pub async fn judgment(
    client: &JudgeClient,
    trace: &Trace,
    definition: &EvaluatorDefinition,
    prepared: &Prepared<'_>,
) -> Result<Evaluation, JudgmentError> {
    let nonce = generate::<[u8; 8]>(&SystemRandom::new()).map_err(|_| JudgmentError::Random)?.expose();
    let answer = client.complete(&prepared.render(&hex::encode(nonce))).await?;
    let verdict = parse_verdict(&answer.text)?;
    Ok(judged(trace, definition, prepared, verdict))
}

/// Asks a judge until it answers, or until its attempts are spent: then the row says `failed`, and why.
pub async fn judgment_or_failure(
    client: &JudgeClient,
    trace: &Trace,
    definition: &EvaluatorDefinition,
    prepared: &Prepared<'_>,
    attempts: u32,
    rng: &mut Rng,
) -> Evaluation {
    let mut attempt = 1;
    loop {
        match judgment(client, trace, definition, prepared).await {
            Ok(evaluation) => return evaluation,
            Err(error) if error.is_transient() && attempt < attempts => {
                tokio::time::sleep(wait(attempt, error.retry_after(), rng)).await;
                attempt += 1;
            }
            Err(error) => {
                let explanation = format!("{error} (attempt {attempt} of {attempts})");
                return unscored(trace, definition, Outcome::Failed, explanation);
            }
        }
    }
}

/// What the provider asks for, else a doubling wait; spread out, so that callers do not return all at once.
pub(crate) fn wait(attempt: u32, retry_after: Option<Duration>, rng: &mut Rng) -> Duration {
    let doubled = FIRST_WAIT.saturating_mul(2_u32.saturating_pow(attempt.saturating_sub(1)));
    let wait = retry_after.unwrap_or(doubled).min(LONGEST_WAIT);
    wait.mul_f64(1.0 + 0.5 * rng.f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_minute_and_the_provider_may_ask_for_less() {
        let mut rng = Rng::with_seed(1);
        let mut seconds = |attempt, retry_after| wait(attempt, retry_after, &mut rng).as_secs_f64();
        assert!((0.5..=0.75).contains(&seconds(1, None)));
        assert!((2.0..=3.0).contains(&seconds(3, None)));
        assert!((60.0..=90.0).contains(&seconds(40, None)));
        assert!((7.0..=10.5).contains(&seconds(1, Some(Duration::from_secs(7)))));
        assert!((60.0..=90.0).contains(&seconds(1, Some(Duration::from_hours(9)))));
    }
}
