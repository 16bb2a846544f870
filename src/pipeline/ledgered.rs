//! Puts questions to a judge model outside of the service, from the same money and into the same ledger as the service.

use super::judging::longest_call;
use super::judgment::{Asker, DirectAsker, JudgmentError};
use super::metered::{call_id, settled};
use crate::backends::clock::{Clock as _, SystemClock};
use crate::backends::judge::JudgeClient;
use crate::backends::store::{JudgeCall, Store, StoreError};
use crate::domain::judge::{JudgeAnswer, JudgeRequest};
use crate::domain::trace::Trace;
use crate::evaluate::definition::EvaluatorDefinition;
use crate::limits::budget::{Admission, BudgetPolicy};
use crate::telemetry::logs::causes;

/// The spend ledger of a store, and what a day may cost.
#[derive(Debug)]
pub struct Ledger {
    /// Where it is kept; open for writing.
    pub store: Store,
    /// What a day may cost.
    pub policy: BudgetPolicy,
}

/// Asks about one trace. Each request is reserved before it leaves, and settled when its answer is there.
#[derive(Debug)]
pub struct LedgeredAsker<'a> {
    /// Where requests are entered.
    pub ledger: &'a Ledger,
    /// The way to the model.
    pub direct: &'a DirectAsker,
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

    async fn reserve(&self, call: &JudgeCall) -> Result<(), JudgmentError> {
        let Ledger { store, policy } = self.ledger;
        let longest = longest_call(self.client().settings().timeout);
        let reserved = store.reserve_calls(std::slice::from_ref(call), policy, longest, call.reserved_at).await;
        match reserved.map(|reserved| reserved.admissions.first().copied()) {
            Ok(Some(Admission::Admit)) => Ok(()),
            Ok(Some(Admission::Refuse)) => Err(JudgmentError::Budget),
            Ok(Some(Admission::Wait) | None) => Err(JudgmentError::NoTurn),
            Err(error) => Err(unentered(&error)),
        }
    }

    const fn client(&self) -> &JudgeClient {
        self.direct.client()
    }
}

impl Asker for LedgeredAsker<'_> {
    fn model(&self) -> &str {
        self.direct.model()
    }

    async fn ask(&self, request: &JudgeRequest) -> Result<JudgeAnswer, JudgmentError> {
        let _turn = self.direct.turn().await;
        let call = self.call(request)?;
        self.reserve(&call).await?;
        let sent_at = SystemClock.now();
        let asked = self.client().complete(request).await;
        let end = settled(self.client(), call.reserved, (sent_at, SystemClock.now()), &asked);
        let call = JudgeCall { settled: Some(end), ..call };
        if let Err(error) = self.ledger.store.settle_calls(&[call]).await {
            tracing::error!(error = causes(&error), "a judge call is not settled; it stays reserved in full");
        }
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
    use crate::backends::store::{CostDimension, CostSelection};
    use crate::domain::money::NanoUsd;
    use crate::evaluate::cases::trace_of;
    use crate::evaluate::definition::JudgeModels;
    use crate::evaluate::run::Evaluators;
    use crate::limits::budget::Ladder;

    /// Asks a server that is not there, with this limit for the trace's service; the error, and requests in the ledger
    /// with what of them is charged.
    async fn ask(limit: Option<NanoUsd>) -> (JudgmentError, Vec<(u64, NanoUsd)>) {
        let _installed_before = rustls::crypto::ring::default_provider().install_default();
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&format!("sqlite://{}/store.db", folder.path().display()), false).await.unwrap();
        let evaluators = Evaluators::load(None, JudgeModels::new()).unwrap();
        let trace = trace_of(&serde_json::from_value(json!({ "output": "fine" })).unwrap());
        let daily = limit.map(|limit| (trace.service.clone(), limit)).into_iter().collect();
        let ladder = Ladder { full_rate_until: 0.5, reserve: 0.1, floor_rate: 0.1 };
        let ledger = Ledger { store, policy: BudgetPolicy { daily, ladder } };
        let price = Some(1.0);
        let model = JudgeModelSettings::new(Provider::Openai, "http://127.0.0.1:1/v1".to_owned(), "m");
        let model = JudgeModelSettings { input_usd_per_mtok: price, output_usd_per_mtok: price, ..model };
        let direct = DirectAsker::new(JudgeClient::new(model).unwrap());
        let definition = evaluators.get("groundedness").unwrap();
        let asker = LedgeredAsker { ledger: &ledger, direct: &direct, lane: "default", definition, trace: &trace };
        let request = JudgeRequest { system: "s".to_owned(), user: "u".to_owned(), schema: json!({}), max_tokens: 9 };
        let error = asker.ask(&request).await.unwrap_err();
        let rows = ledger.store.costs(CostDimension::Outcome, &CostSelection::default()).await.unwrap();
        assert!(rows.iter().all(|row| row.unsettled == NanoUsd::ZERO), "{rows:?}");
        (error, rows.iter().map(|row| (row.requests, row.charged)).collect())
    }

    #[tokio::test]
    async fn what_the_budget_does_not_allow_is_not_sent_and_what_never_arrived_is_settled_for_nothing() {
        assert_eq!(ask(Some(NanoUsd(1))).await, (JudgmentError::Budget, Vec::new()));
        let (error, rows) = ask(None).await;
        assert!(matches!(error, JudgmentError::Judge(_)), "{error}");
        assert_eq!(rows, [(1, NanoUsd::ZERO)]);
    }
}
