//! Puts questions to a judge model in the service: each is paid for, waits for its turn, and is in the ledger.

use std::sync::Mutex;
use std::time::Duration;

use ring::rand::{SystemRandom, generate};
use tokio::time::Instant;

use super::Shared;
use super::bookkeeping::Books;
use super::crash_point::crash_point;
use super::gate::Gate;
use super::judgment::{Asker, JudgmentError};
use crate::backends::judge::{JudgeClient, JudgeError};
use crate::backends::store::{JudgeCall, JudgeJob, NOT_SENT, Settled};
use crate::domain::judge::{JudgeAnswer, JudgeRequest, TokenUsage};
use crate::domain::money::NanoUsd;
use crate::domain::time::Timestamp;
use crate::limits::budget::Admission;
use crate::limits::lane::Ended;
use crate::limits::retry::LONGEST_ASKED;
use crate::telemetry::metrics::{CallLabels, TokenLabels};

/// How long a model that limits our calls is left alone when it does not say.
const UNSAID_PAUSE: Duration = Duration::from_secs(1);

/// Asks for one job.
pub(super) struct MeteredAsker<'a> {
    pub(super) shared: &'a Shared,
    pub(super) books: &'a Books,
    pub(super) gate: &'a Gate,
    pub(super) client: &'a JudgeClient,
    /// The judge model, by its name in the settings.
    pub(super) lane: &'a str,
    pub(super) job: &'a JudgeJob,
    /// A question that has no turn by then is not put.
    pub(super) deadline: Timestamp,
    /// What was sent so far.
    pub(super) calls: Mutex<Vec<JudgeCall>>,
}

impl MeteredAsker<'_> {
    /// The requests of the job, settled.
    pub(super) fn into_calls(self) -> Vec<JudgeCall> {
        self.calls.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn call(&self, request: &JudgeRequest) -> Result<JudgeCall, JudgmentError> {
        Ok(JudgeCall {
            id: call_id()?,
            reserved_at: self.shared.now(),
            lane: self.lane.to_owned(),
            evaluator: self.job.evaluator.clone(),
            revision: self.job.revision.clone(),
            service: self.job.service.clone(),
            trace_id: self.job.trace_id,
            reserved: self.client.most_it_can_cost(request).unwrap_or_default(),
            settled: None,
        })
    }

    async fn reserve(&self, call: &JudgeCall) -> Result<(), JudgmentError> {
        match self.books.reserve(call.clone()).await {
            Some(Admission::Admit) => Ok(()),
            Some(Admission::Refuse) => Err(JudgmentError::Budget),
            Some(Admission::Wait) | None => Err(JudgmentError::NoTurn),
        }
    }

    /// Sends the request, which has its turn, and tells the gate how it went.
    async fn send(&self, request: &JudgeRequest, thought: u64) -> Result<JudgeAnswer, JudgeError> {
        let started = Instant::now();
        let asked = self.client.complete(request).await;
        self.shared.metrics.judge_seconds.observe(started.elapsed().as_secs_f64());
        let tokens = usage(&asked).map(|usage| usage.input.saturating_add(usage.output));
        let ended = Ended {
            answered: asked.as_ref().map_or_else(JudgeError::has_answered, |_| true),
            tokens,
            paused_until: pause(&asked).map(|pause| self.shared.now().plus(pause)),
        };
        self.gate.leave(thought, ended, self.shared.now());
        asked
    }

    fn count(&self, settled: &Settled, asked: &Result<JudgeAnswer, JudgeError>) {
        let metrics = &self.shared.metrics;
        let result = match asked {
            Ok(_) => "ok",
            Err(error) if error.is_transient() => "retry",
            Err(_) => "failed",
        };
        let to = || self.lane.to_owned();
        metrics.judge_calls.get_or_create(&CallLabels { to: to(), result: result.to_owned() }).inc();
        metrics.judge_usd.inc_by(settled.charged.usd());
        for (direction, tokens) in [("input", settled.usage.input), ("output", settled.usage.output)] {
            let labels = TokenLabels { to: to(), direction: direction.to_owned() };
            metrics.judge_tokens.get_or_create(&labels).inc_by(tokens);
        }
    }

    fn note(&self, call: JudgeCall, settled: Settled) {
        let mut calls = self.calls.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        calls.push(JudgeCall { settled: Some(settled), ..call });
    }
}

/// How long a model wants to be left alone, by everyone.
fn pause(asked: &Result<JudgeAnswer, JudgeError>) -> Option<Duration> {
    match asked {
        Err(JudgeError::RateLimited { retry_after }) => Some(retry_after.unwrap_or(UNSAID_PAUSE).min(LONGEST_ASKED)),
        _ => None,
    }
}

impl Asker for MeteredAsker<'_> {
    fn model(&self) -> &str {
        &self.client.settings().model
    }

    async fn ask(&self, request: &JudgeRequest) -> Result<JudgeAnswer, JudgmentError> {
        let call = self.call(request)?;
        crash_point("judge.reserve");
        self.reserve(&call).await?;
        let thought = self.client.tokens_it_takes(request);
        if !self.gate.enter(self.shared, thought, self.deadline).await {
            let now = self.shared.now();
            self.note(call, not_sent(now));
            return Err(JudgmentError::NoTurn);
        }
        let sent_at = self.shared.now();
        crash_point("judge.send");
        let asked = self.send(request, thought).await;
        crash_point("judge.answer");
        let settled = settled(self.client, call.reserved, (sent_at, self.shared.now()), &asked);
        self.count(&settled, &asked);
        self.note(call, settled);
        Ok(asked?)
    }
}

/// A name for a request that no other has.
pub(super) fn call_id() -> Result<[u8; 16], JudgmentError> {
    Ok(generate(&SystemRandom::new()).map_err(|_| JudgmentError::Random)?.expose())
}

/// How a request ended that was sent and answered, or given up, at these instants.
pub(super) fn settled(
    client: &JudgeClient,
    reserved: NanoUsd,
    (sent_at, at): (Timestamp, Timestamp),
    asked: &Result<JudgeAnswer, JudgeError>,
) -> Settled {
    Settled {
        charged: charge(client, reserved, asked),
        outcome: asked.as_ref().map_or_else(JudgeError::as_str, |_| "answered").to_owned(),
        response_model: asked.as_ref().ok().and_then(|answer| answer.model.clone()),
        usage: usage(asked).unwrap_or_default(),
        sent_at,
        at,
    }
}

/// What a request is charged with: its price where the tokens are known, the most it can cost where it may be on the
/// bill, and nothing where it never left or was turned away.
fn charge(client: &JudgeClient, reserved: NanoUsd, asked: &Result<JudgeAnswer, JudgeError>) -> NanoUsd {
    match (usage(asked), asked) {
        (Some(usage), _) => client.settings().cost(usage.input, usage.output).unwrap_or_default(),
        (None, Err(error)) if !error.may_be_billed() => NanoUsd::ZERO,
        (None, _) => reserved,
    }
}

fn usage(asked: &Result<JudgeAnswer, JudgeError>) -> Option<TokenUsage> {
    match asked {
        Ok(answer) => answer.usage,
        Err(JudgeError::Declined { usage }) => *usage,
        Err(_) => None,
    }
}

fn not_sent(now: Timestamp) -> Settled {
    Settled {
        charged: NanoUsd::ZERO,
        outcome: NOT_SENT.to_owned(),
        response_model: None,
        usage: TokenUsage::default(),
        sent_at: now,
        at: now,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_left_alone_for_as_long_as_it_asks_and_for_no_more_than_an_hour() {
        let limited = |retry_after| pause(&Err(JudgeError::RateLimited { retry_after }));
        assert_eq!(limited(None), Some(UNSAID_PAUSE));
        assert_eq!(limited(Some(Duration::from_secs(30))), Some(Duration::from_secs(30)));
        assert_eq!(limited(Some(Duration::from_secs(31_536_000))), Some(Duration::from_hours(1)));
    }
}
