//! One judgment: a question to a judge model, and the row that its answer makes.

use std::time::Duration;

use fastrand::Rng;
use ring::rand::{SystemRandom, generate};

use super::retry::delay;
use crate::backends::judge::{JudgeClient, JudgeError};
use crate::domain::evaluation::{Evaluation, Outcome};
use crate::domain::judge::JudgeAnswer;
use crate::domain::trace::Trace;
use crate::evaluate::definition::EvaluatorDefinition;
use crate::evaluate::judge::{Prepared, VerdictError, parse_verdict};
use crate::evaluate::run::{judged, unscored};

/// Longest wait between two attempts while someone waits for the answer, also when the provider asks for more.
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

/// Asks a judge once; gives the row, and the answer with what it cost.
///
/// # Errors
/// See [`JudgmentError::is_transient`] for which may be asked again.
pub async fn judgment(
    client: &JudgeClient,
    trace: &Trace,
    definition: &EvaluatorDefinition,
    prepared: &Prepared<'_>,
) -> Result<(Evaluation, JudgeAnswer), JudgmentError> {
    let nonce = generate::<[u8; 8]>(&SystemRandom::new()).map_err(|_| JudgmentError::Random)?.expose();
    let answer = client.complete(&prepared.render(&hex::encode(nonce))).await?;
    let verdict = parse_verdict(&answer.text)?;
    Ok((judged(trace, definition, prepared, verdict), answer))
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
            Ok((evaluation, _answer)) => return evaluation,
            Err(error) if error.is_transient() && attempt < attempts => {
                let wait = delay(attempt, error.retry_after(), rng.f64()).min(LONGEST_WAIT);
                tokio::time::sleep(wait).await;
                attempt += 1;
            }
            Err(error) => {
                let explanation = format!("{error} (attempt {attempt} of {attempts})");
                return unscored(trace, definition, Outcome::Failed, explanation);
            }
        }
    }
}
