//! The judge's books: money is reserved before a request leaves, and a job's end is recorded with what its requests
//! came to. Both are committed in groups.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::Shared;
use super::budget_alert::{budget_alert, over};
use super::crash_point::crash_point;
use super::grouped::{Entries, Grouped, grouped};
use super::invariant::{Invariant, is_covered, is_within};
use crate::backends::store::{AlertFilter, FinishedJob, JudgeCall, StoreError};
use crate::domain::money::NanoUsd;
use crate::domain::time::Timestamp;
use crate::limits::budget::{Admission, BudgetPolicy, JudgingRates, day_of};
use crate::telemetry::logs::causes;

/// How old what is known of a budget may be when its judging rate is asked for.
const FRESH: Duration = Duration::from_secs(1);

/// How money is kept.
#[derive(Debug, Clone)]
pub struct Treasury {
    /// What a day may cost.
    pub policy: BudgetPolicy,
}

/// Hands in reservations and ends of jobs.
#[derive(Debug)]
pub(super) struct Books {
    treasury: Treasury,
    reservations: Grouped<JudgeCall, Admission>,
    ends: Grouped<FinishedJob, bool>,
    known: Arc<Mutex<Known>>,
}

/// What this process knows of the day's budgets.
#[derive(Debug, Default)]
struct Known {
    day: i64,
    read_at: Timestamp,
    committed: BTreeMap<String, NanoUsd>,
    alerted: BTreeSet<String>,
}

/// The other end of [`Books`].
pub(super) struct Bookkeeping {
    treasury: Treasury,
    longest_call: Duration,
    reservations: Entries<JudgeCall, Admission>,
    ends: Entries<FinishedJob, bool>,
    known: Arc<Mutex<Known>>,
}

impl Books {
    /// The books, and what keeps them. A reservation that is older than `longest_call` is taken for lost.
    pub(super) fn new(treasury: Treasury, longest_call: Duration) -> (Self, Bookkeeping) {
        let (reservations, reserving) = grouped();
        let (ends, ending) = grouped();
        let known = Arc::<Mutex<Known>>::default();
        let bookkeeping = Bookkeeping {
            treasury: treasury.clone(),
            longest_call,
            reservations: reserving,
            ends: ending,
            known: Arc::clone(&known),
        };
        (Self { treasury, reservations, ends, known }, bookkeeping)
    }

    /// Reserves money for a call and writes it into the ledger; `None` when the store failed, and nothing may be sent.
    pub(super) async fn reserve(&self, call: JudgeCall) -> Option<Admission> {
        self.reservations.submit(call).await
    }

    /// Ends a job; whether it was recorded. `None` when the store failed: then the job comes due again.
    pub(super) async fn finish(&self, finished: FinishedJob) -> Option<bool> {
        self.ends.submit(finished).await
    }

    /// The judging rates at this moment.
    pub(super) async fn rates(&self, shared: &Shared) -> Result<JudgingRates, StoreError> {
        let (now, policy) = (shared.now(), &self.treasury.policy);
        if policy.daily.is_empty() {
            return Ok(JudgingRates::full());
        }
        let day = day_of(now);
        let (is_fresh, is_new_day) = {
            let known = lock(&self.known);
            (known.day == day && now < known.read_at.plus(FRESH), known.day != day)
        };
        if is_new_day {
            resolve_past(shared, day).await?;
        }
        if !is_fresh {
            let budgets = shared.store.budget_day(day).await?;
            let committed = budgets.into_iter().map(|budget| (budget.scope, budget.committed));
            lock(&self.known).learn(day, now, committed);
        }
        Ok(policy.rates(&lock(&self.known).committed, now))
    }
}

impl Known {
    fn learn(&mut self, day: i64, now: Timestamp, committed: impl IntoIterator<Item = (String, NanoUsd)>) {
        if self.day != day {
            *self = Self { day, ..Self::default() };
        }
        self.read_at = now;
        self.committed.extend(committed);
    }
}

impl Bookkeeping {
    /// Keeps the books until all that is handed in is done.
    pub(super) async fn keep(self, shared: &Shared) {
        let Self { treasury, longest_call, mut reservations, mut ends, known } = self;
        let reserving = async {
            while let Some((calls, waiting)) = reservations.next().await {
                let reserved = reserve(shared, &treasury, longest_call, &known, &calls).await;
                waiting.answer(reserved.unwrap_or_else(|error| failed("money could not be reserved", &error)));
            }
        };
        let ending = async {
            while let Some((jobs, waiting)) = ends.next().await {
                crash_point("judge.record");
                let recorded = finish(shared, &jobs).await;
                waiting.answer(recorded);
            }
        };
        tokio::join!(reserving, ending);
    }
}

async fn reserve(
    shared: &Shared,
    treasury: &Treasury,
    longest_call: Duration,
    known: &Mutex<Known>,
    calls: &[JudgeCall],
) -> Result<Vec<Admission>, StoreError> {
    let now = shared.now();
    let reservations = shared.store.reserve_calls(calls, &treasury.policy, longest_call, now).await?;
    let holds = is_within(calls, &reservations, &treasury.policy.daily);
    Invariant::BudgetIsKept.check(&shared.metrics, holds);
    lock(known).learn(day_of(now), now, reservations.committed.clone());
    for scope in reservations.refused {
        if lock(known).alerted.insert(scope.clone()) {
            let committed = reservations.committed.get(&scope).copied().unwrap_or_default();
            let limit = treasury.policy.daily.get(&scope).copied().unwrap_or_default();
            let alert = budget_alert(&scope, limit, committed, now);
            tracing::warn!(service = scope, %limit, "the day's judge budget is spent; judgements are left out");
            shared.store.put_alert(&alert, now).await?;
        }
    }
    Ok(reservations.admissions)
}

/// Records all at once; when that fails for good, one by one, so that none is held up by another.
async fn finish(shared: &Shared, jobs: &[FinishedJob]) -> Vec<bool> {
    for call in jobs.iter().flat_map(|job| &job.calls) {
        Invariant::ReservedCoversCharged.check(&shared.metrics, is_covered(call));
    }
    match shared.store.finish_judge_jobs(jobs, shared.now()).await {
        Ok(recorded) => return recorded,
        Err(error) if error.is_transient() || jobs.len() == 1 => {
            return failed("judgements could not be recorded", &error);
        }
        Err(error) => tracing::warn!(error = causes(&error), "judgements are recorded one by one"),
    }
    let mut recorded = Vec::with_capacity(jobs.len());
    for job in jobs {
        let alone = shared.store.finish_judge_jobs(std::slice::from_ref(job), shared.now()).await;
        recorded.push(alone.unwrap_or_else(|error| failed("a judgement could not be recorded", &error)));
    }
    recorded.into_iter().map(|alone| alone.first().copied().unwrap_or(false)).collect()
}

fn failed<A>(what: &str, error: &StoreError) -> Vec<A> {
    tracing::error!(error = causes(error), "{what}; they come due again");
    Vec::new()
}

/// Resolves alerts about budgets of days that are over.
async fn resolve_past(shared: &Shared, day: i64) -> Result<(), StoreError> {
    let now = shared.now();
    for alert in shared.store.alerts(&AlertFilter { open_only: true, service: None }).await? {
        if let Some(resolved) = over(&alert, day, now) {
            shared.store.put_alert(&resolved, now).await?;
        }
    }
    Ok(())
}

fn lock(known: &Mutex<Known>) -> std::sync::MutexGuard<'_, Known> {
    known.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
