//! One judgment: questions to a judge model until there is a verdict, or a reason why there is none.
//!
//! How a question is put is the asker's: offline it is entered in a ledger first; in the service it is paid for and let
//! through.

use std::collections::BTreeSet;
use std::time::Duration;

use fastrand::Rng;
use ring::digest::{Context, SHA256};
use ring::rand::{SystemRandom, generate};
use serde::{Deserialize, Serialize};

use crate::backends::judge::JudgeError;
use crate::domain::evaluation::{Evaluation, Outcome};
use crate::domain::judge::{JudgeAnswer, JudgeModelIdentity, JudgeRequest};
use crate::domain::time::Timestamp;
use crate::domain::trace::Trace;
use crate::evaluate::definition::EvaluatorDefinition;
use crate::evaluate::judge::{Prepared, Verdict, VerdictError, parse_verdict};
use crate::evaluate::revision::resolved;
use crate::evaluate::run::{judged, unscored};
use crate::limits::retry::{Failed, Patience, next_attempt};

/// Longest wait between two attempts while someone waits for the answer, also when the provider asks for more.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// Parameters that a server can turn out not to take.
const ADAPTATIONS: usize = 3;
/// Stands in for the nonce where a question is compared with another.
const NO_NONCE: &str = "0000000000000000";

/// Why an attempt gave no verdict.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JudgmentError {
    /// The system gave no random bytes, without which the untrusted texts cannot be fenced.
    #[error("the system has no random bytes to fence the trace's texts with")]
    Random,
    /// The model gave no answer.
    #[error(transparent)]
    Judge(#[from] JudgeError),
    /// The answer holds no verdict, also when it was asked for once more.
    #[error(transparent)]
    Verdict(#[from] VerdictError),
    /// The day's budget does not allow it.
    #[error("the day's judge budget is spent")]
    Budget,
    /// It was not its turn before its time was up, or the process is to end.
    #[error("the judgement had no turn")]
    NoTurn,
}

impl JudgmentError {
    /// Whether another attempt may succeed.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        match self {
            Self::Random | Self::Verdict(_) | Self::Budget => false,
            Self::Judge(error) => error.is_transient(),
            Self::NoTurn => true,
        }
    }

    /// The failed attempt, as what is decided on.
    #[must_use]
    pub fn failed(&self, attempts: u32, first_at: Timestamp) -> Failed {
        let retry_after = match self {
            Self::Judge(error) => error.retry_after(),
            Self::Random | Self::Verdict(_) | Self::Budget | Self::NoTurn => None,
        };
        let turned_away = matches!(self, Self::Judge(JudgeError::RateLimited { .. }));
        Failed { attempts, first_at, turned_away, retry_after }
    }
}

/// Puts one question.
pub trait Asker {
    /// The model that is asked for.
    fn model(&self) -> &str;

    /// Puts it once.
    fn ask(&self, request: &JudgeRequest) -> impl Future<Output = Result<JudgeAnswer, JudgmentError>> + Send;
}

/// What was decided, and by how many of the answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decided {
    is_yes: bool,
    reason: String,
    votes: u32,
    samples: u32,
    /// The models that answered, where they are not the one that was asked for.
    #[serde(default)]
    model: Option<String>,
}

impl Decided {
    /// Whether most said YES.
    #[must_use]
    pub const fn is_yes(&self) -> bool {
        self.is_yes
    }

    /// The models that answered, joined by `+`; `None` for the one that was asked for.
    #[must_use]
    pub fn model(&self) -> Option<&str> {
        self.model.as_deref()
    }

    /// The row, of the revision that the model which answered makes.
    #[must_use]
    pub fn evaluation(&self, trace: &Trace, definition: &EvaluatorDefinition, prepared: &Prepared<'_>) -> Evaluation {
        let split = self.votes != self.samples;
        let votes = if split { format!(" ({} of {} samples)", self.votes, self.samples) } else { String::new() };
        let verdict = Verdict { is_yes: self.is_yes, reason: format!("{}{votes}", self.reason) };
        let revision = resolved(&definition.revision, self.model());
        Evaluation { revision, split, ..judged(trace, definition, prepared, verdict) }
    }
}

/// Asks until most of the judge's samples agree: no more are taken than that needs.
///
/// # Errors
/// The first sample without a verdict.
pub async fn judgment<A: Asker + Sync>(asker: &A, prepared: &Prepared<'_>) -> Result<Decided, JudgmentError> {
    let most = prepared.samples() / 2 + 1;
    let (mut yes, mut no, mut models) = (Vec::new(), Vec::new(), BTreeSet::new());
    loop {
        let nonce = generate::<[u8; 8]>(&SystemRandom::new()).map_err(|_| JudgmentError::Random)?.expose();
        let (Verdict { is_yes, reason }, model) = verdict(asker, &prepared.render(&hex::encode(nonce))).await?;
        models.insert(model.unwrap_or_else(|| asker.model().to_owned()));
        let side = if is_yes { &mut yes } else { &mut no };
        side.push(reason);
        if side.len() >= most as usize {
            let votes = most;
            let reason = side.swap_remove(0);
            let samples = votes + u32::try_from(if is_yes { no.len() } else { yes.len() }).unwrap_or(u32::MAX);
            let models = models.into_iter().collect::<Vec<_>>().join("+");
            let model = Some(models).filter(|models| models != asker.model());
            return Ok(Decided { is_yes, reason, votes, samples, model });
        }
    }
}

/// One verdict, and the model that gave it: an answer that cannot be read is asked for once more.
async fn verdict<A: Asker + Sync>(
    asker: &A,
    request: &JudgeRequest,
) -> Result<(Verdict, Option<String>), JudgmentError> {
    let answer = ask(asker, request).await?;
    if let Ok(verdict) = parse_verdict(&answer.text, &request.user) {
        return Ok((verdict, answer.model));
    }
    // Another question may take the turn in between: what is bounded are calls under way, and this one leans on no other,
    // for it brings all of its material again.
    let repaired = ask(asker, &request.repaired()).await?;
    Ok((parse_verdict(&repaired.text, &request.user)?, repaired.model))
}

/// Asks, and again at once when the server turned out not to take a parameter.
async fn ask<A: Asker + Sync>(asker: &A, request: &JudgeRequest) -> Result<JudgeAnswer, JudgmentError> {
    for _ in 0..ADAPTATIONS {
        match asker.ask(request).await {
            Err(JudgmentError::Judge(JudgeError::Adapted)) => {}
            asked => return asked,
        }
    }
    asker.ask(request).await
}

/// What is the same for the same question to the same judge, whenever it is asked.
#[must_use]
pub fn question_hash(
    prepared: &Prepared<'_>,
    definition: &EvaluatorDefinition,
    identity: &JudgeModelIdentity,
) -> [u8; 32] {
    let JudgeRequest { system, user, schema, max_tokens } = prepared.render(NO_NONCE);
    let rest = serde_json::to_string(&(identity, schema, max_tokens)).unwrap_or_default();
    let mut context = Context::new(&SHA256);
    for part in [&definition.name, &definition.revision, &rest, &system, &user] {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part.as_bytes());
    }
    let mut hash = [0; 32];
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

/// Asks a judge until it answers, or until patience is at its end: then the row says `failed`, and why.
pub async fn judgment_or_failure<A: Asker + Sync>(
    asker: &A,
    trace: &Trace,
    definition: &EvaluatorDefinition,
    prepared: &Prepared<'_>,
    patience: &Patience,
    rng: &mut Rng,
) -> Evaluation {
    let (began, mut attempts) = (tokio::time::Instant::now(), 1);
    loop {
        let error = match judgment(asker, prepared).await {
            Ok(decided) => return decided.evaluation(trace, definition, prepared),
            Err(error) => error,
        };
        let now = Timestamp(0).plus(began.elapsed());
        let failed = error.failed(attempts, Timestamp(0));
        let next = next_attempt(&failed, patience, now, rng.f64()).filter(|_| error.is_transient());
        let Some(next) = next else {
            let explanation = format!("{error} (attempt {attempts} of {})", patience.attempts);
            let outcome = if error == JudgmentError::Budget { Outcome::SkippedBudget } else { Outcome::Failed };
            return unscored(trace, definition, outcome, explanation);
        };
        let wait = Duration::from_secs_f64(next.seconds_since(now).max(0.0));
        tokio::time::sleep(wait.min(LONGEST_WAIT)).await;
        attempts += u32::from(!failed.turned_away);
    }
}

#[cfg(test)]
mod tests;
