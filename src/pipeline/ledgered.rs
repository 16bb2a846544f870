//! Puts questions to a judge model outside of the service: from the same money and into the same ledger as the service
//! where there is a store, else within the budget of one day for the whole run.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout};

use super::judging::longest_call;
use super::judgment::{Asker, JudgmentError};
use super::metered::{call_id, settled};
use crate::backends::clock::{Clock as _, SystemClock};
use crate::backends::judge::JudgeClient;
use crate::backends::store::{JudgeCall, Store, StoreError};
use crate::domain::judge::{JudgeAnswer, JudgeRequest};
use crate::domain::money::NanoUsd;
use crate::domain::trace::Trace;
use crate::evaluate::definition::EvaluatorDefinition;
use crate::limits::budget::{Account, Admission, BudgetPolicy};
use crate::telemetry::logs::causes;

/// How often money that others have under way is looked for. What this run settles is told at once.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// What judges are asked, and what that may cost.
#[derive(Debug)]
pub struct Ledger {
    store: Option<Store>,
    policy: BudgetPolicy,
    run: Mutex<Run>,
    /// A request of this run is settled.
    settled: Notify,
}

/// What a run has spent.
#[derive(Debug, Default)]
struct Run {
    requests: u64,
    charged: NanoUsd,
    /// The budgets, by scope.
    accounts: BTreeMap<String, Account>,
}

impl Ledger {
    /// The ledger of a store, open for writing; without one, a ledger of this run alone.
    #[must_use]
    pub fn new(store: Option<Store>, policy: BudgetPolicy) -> Self {
        Self { store, policy, run: Mutex::default(), settled: Notify::new() }
    }

    /// Where it is kept.
    #[must_use]
    pub const fn store(&self) -> Option<&Store> {
        self.store.as_ref()
    }

    /// What a day may cost.
    #[must_use]
    pub const fn policy(&self) -> &BudgetPolicy {
        &self.policy
    }

    /// Requests of this run that have ended, and what they are charged with.
    #[must_use]
    pub fn spent(&self) -> (u64, NanoUsd) {
        let run = self.run();
        (run.requests, run.charged)
    }

    fn run(&self) -> MutexGuard<'_, Run> {
        self.run.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reserves the money for a call. Where it may fit once others have settled it waits for them, as long as a call can
    /// be under way.
    async fn reserve(&self, call: &JudgeCall, longest: Duration) -> Result<(), JudgmentError> {
        let deadline = Instant::now() + longest;
        loop {
            // From here on a settlement is heard, also one between the look and the wait.
            let mut settled = pin!(self.settled.notified());
            settled.as_mut().enable();
            match self.admission(call, longest).await? {
                Admission::Admit => return Ok(()),
                Admission::Refuse => return Err(JudgmentError::Budget),
                Admission::Wait if Instant::now() >= deadline => return Err(JudgmentError::NoTurn),
                Admission::Wait => _ = timeout(LOOK_AGAIN, settled).await,
            }
        }
    }

    async fn admission(&self, call: &JudgeCall, longest: Duration) -> Result<Admission, JudgmentError> {
        let Some(store) = &self.store else { return Ok(self.run().reserve(call, &self.policy)) };
        let calls = std::slice::from_ref(call);
        let reserved = store.reserve_calls(calls, &self.policy, longest, call.reserved_at).await;
        reserved.map_err(|error| unentered(&error))?.admissions.first().copied().ok_or(JudgmentError::NoTurn)
    }

    async fn settle(&self, call: JudgeCall, charged: NanoUsd) {
        self.run().settle(&call, &self.policy, charged);
        if let Some(store) = &self.store
            && let Err(error) = store.settle_calls(&[call]).await
        {
            tracing::error!(error = causes(&error), "a judge call is not settled; it stays reserved in full");
        }
        self.settled.notify_waiters();
    }
}

impl Run {
    fn reserve(&mut self, call: &JudgeCall, policy: &BudgetPolicy) -> Admission {
        for (scope, limit) in policy.scopes(&call.service) {
            let unused = Account { limit, committed: NanoUsd::ZERO, under_way: NanoUsd::ZERO };
            self.accounts.entry(scope.to_owned()).or_insert(unused);
        }
        let admission = policy.admit(&self.accounts, &call.service, call.reserved);
        if admission == Admission::Admit {
            self.change(call, policy, call.reserved, call.reserved);
        }
        admission
    }

    fn settle(&mut self, call: &JudgeCall, policy: &BudgetPolicy, charged: NanoUsd) {
        (self.requests, self.charged) = (self.requests + 1, self.charged + charged);
        self.change(call, policy, charged - call.reserved, NanoUsd::ZERO - call.reserved);
    }

    /// Adds to the accounts that a call counts towards.
    fn change(&mut self, call: &JudgeCall, policy: &BudgetPolicy, committed: NanoUsd, under_way: NanoUsd) {
        for (scope, _) in policy.scopes(&call.service) {
            let Some(account) = self.accounts.get_mut(scope) else { continue };
            account.committed = account.committed + committed;
            account.under_way = account.under_way + under_way;
        }
    }
}

/// The way to a model, with a bound on the calls under way.
#[derive(Debug)]
pub struct BoundedClient {
    client: JudgeClient,
    turns: Semaphore,
}

impl BoundedClient {
    /// A way that keeps to the model's concurrency.
    #[must_use]
    pub fn new(client: JudgeClient) -> Self {
        let turns = Semaphore::new(client.settings().concurrency as usize);
        Self { client, turns }
    }

    /// Calls under way at once.
    #[must_use]
    pub const fn concurrency(&self) -> u32 {
        self.client.settings().concurrency
    }

    /// Waits for a turn, which lasts until it is dropped.
    async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        // The semaphore is never closed, so a refused turn cannot happen; without one the call goes ahead.
        self.turns.acquire().await.ok()
    }
}

/// Asks about one trace. Each request is reserved before it leaves, and settled when its answer is there.
#[derive(Debug)]
pub struct LedgeredAsker<'a> {
    /// Where requests are entered.
    pub ledger: &'a Ledger,
    /// The way to the model.
    pub way: &'a BoundedClient,
    /// The judge model, by its name in the settings.
    pub lane: &'a str,
    /// The judge.
    pub definition: &'a EvaluatorDefinition,
    /// What it judges.
    pub trace: &'a Trace,
}

impl LedgeredAsker<'_> {
    fn call(&self, request: &JudgeRequest) -> Result<JudgeCall, JudgmentError> {
        Ok(JudgeCall {
            id: call_id()?,
            reserved_at: SystemClock.now(),
            lane: self.lane.to_owned(),
            evaluator: self.definition.name.clone(),
            revision: self.definition.revision.clone(),
            service: self.trace.service.clone(),
            trace_id: self.trace.trace_id,
            reserved: self.client().most_it_can_cost(request).unwrap_or_default(),
            settled: None,
        })
    }

    const fn client(&self) -> &JudgeClient {
        &self.way.client
    }
}

impl Asker for LedgeredAsker<'_> {
    fn model(&self) -> &str {
        &self.client().settings().model
    }

    async fn ask(&self, request: &JudgeRequest) -> Result<JudgeAnswer, JudgmentError> {
        let _turn = self.way.turn().await;
        let call = self.call(request)?;
        self.ledger.reserve(&call, longest_call(self.client().settings().timeout)).await?;
        let sent_at = SystemClock.now();
        let asked = self.client().complete(request).await;
        let end = settled(self.client(), call.reserved, (sent_at, SystemClock.now()), &asked);
        let charged = end.charged;
        self.ledger.settle(JudgeCall { settled: Some(end), ..call }, charged).await;
        Ok(asked?)
    }
}

/// What is not in the ledger is not sent.
fn unentered(error: &StoreError) -> JudgmentError {
    tracing::error!(error = causes(error), "money could not be reserved; the judge is not asked");
    JudgmentError::NoTurn
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::backends::judge::{JudgeModelSettings, Provider};
    use crate::backends::store::{CostDimension, CostSelection, Settled};
    use crate::domain::judge::TokenUsage;
    use crate::evaluate::cases::trace_of;
    use crate::evaluate::definition::JudgeModels;
    use crate::evaluate::run::Evaluators;
    use crate::limits::budget::{ALL_SERVICES, Ladder};

    /// Asks a server that is not there, with this limit for the trace's service; the error, and requests in the ledger
    /// with what of them is charged.
    async fn ask(limit: Option<NanoUsd>, is_stored: bool) -> (JudgmentError, Vec<(u64, NanoUsd)>) {
        let _installed_before = rustls::crypto::ring::default_provider().install_default();
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&format!("sqlite://{}/store.db", folder.path().display()), false).await.unwrap();
        let evaluators = Evaluators::load(None, JudgeModels::new()).unwrap();
        let trace = trace_of(&serde_json::from_value(json!({ "output": "fine" })).unwrap());
        let daily = limit.map(|limit| (trace.service.clone(), limit)).into_iter().collect();
        let ladder = Ladder { full_rate_until: 0.5, reserve: 0.1, floor_rate: 0.1 };
        let ledger = Ledger::new(is_stored.then_some(store), BudgetPolicy { daily, ladder });
        let price = Some(1.0);
        let model = JudgeModelSettings::new(Provider::Openai, "http://127.0.0.1:1/v1".to_owned(), "m");
        let model = JudgeModelSettings { input_usd_per_mtok: price, output_usd_per_mtok: price, ..model };
        let way = BoundedClient::new(JudgeClient::new(model).unwrap());
        let definition = evaluators.get("groundedness").unwrap();
        let asker = LedgeredAsker { ledger: &ledger, way: &way, lane: "default", definition, trace: &trace };
        let request = JudgeRequest {
            system: "s".to_owned(),
            user: "u".to_owned(),
            schema: &serde_json::Value::Null,
            max_tokens: 9,
        };
        let error = asker.ask(&request).await.unwrap_err();
        let Some(store) = ledger.store() else {
            let (requests, charged) = ledger.spent();
            return (error, if requests > 0 { vec![(requests, charged)] } else { Vec::new() });
        };
        let rows = store.costs(CostDimension::Outcome, &CostSelection::default()).await.unwrap();
        assert!(rows.iter().all(|row| row.unsettled == NanoUsd::ZERO), "{rows:?}");
        (error, rows.iter().map(|row| (row.requests, row.charged)).collect())
    }

    #[tokio::test]
    async fn what_the_budget_does_not_allow_is_not_sent_and_what_never_arrived_is_settled_for_nothing() {
        for is_stored in [true, false] {
            assert_eq!(ask(Some(NanoUsd(1)), is_stored).await, (JudgmentError::Budget, Vec::new()));
            let (error, rows) = ask(None, is_stored).await;
            assert!(matches!(error, JudgmentError::Judge(_)), "{error}");
            assert_eq!(rows, [(1, NanoUsd::ZERO)]);
        }
    }

    fn call(reserved: i64) -> JudgeCall {
        let trace = trace_of(&serde_json::from_value(json!({ "output": "fine" })).unwrap());
        JudgeCall {
            id: call_id().unwrap(),
            reserved_at: SystemClock.now(),
            lane: "default".to_owned(),
            evaluator: "tone".to_owned(),
            revision: "r1".to_owned(),
            service: trace.service.clone(),
            trace_id: trace.trace_id,
            reserved: NanoUsd(reserved),
            settled: None,
        }
    }

    fn ended(call: JudgeCall, charged: NanoUsd) -> JudgeCall {
        let settled = Settled {
            charged,
            outcome: "answered".to_owned(),
            response_model: None,
            usage: TokenUsage::default(),
            sent_at: call.reserved_at,
            at: call.reserved_at,
        };
        JudgeCall { settled: Some(settled), ..call }
    }

    #[tokio::test]
    async fn a_call_waits_for_money_under_way_and_for_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&format!("sqlite://{}/store.db", folder.path().display()), false).await.unwrap();
        let (long, charged) = (Duration::from_secs(60), NanoUsd(10));
        for store in [Some(store), None] {
            let daily = [(ALL_SERVICES.to_owned(), NanoUsd(100))].into();
            let ladder = Ladder { full_rate_until: 0.5, reserve: 0.1, floor_rate: 0.1 };
            let ledger = Ledger::new(store, BudgetPolicy { daily, ladder });
            let (first, second) = (call(60), call(50));
            assert_eq!(ledger.reserve(&first, long).await, Ok(()));
            let soon = timeout(Duration::from_millis(50), ledger.reserve(&second, long)).await;
            assert!(soon.is_err(), "{soon:?}");
            let settling = ledger.settle(ended(first, charged), charged);
            let (waited, ()) = tokio::join!(ledger.reserve(&second, long), settling);
            assert_eq!(waited, Ok(()));
            assert_eq!(ledger.reserve(&call(91), long).await, Err(JudgmentError::Budget));
        }
    }
}
