//! Judge calls of offline evaluation.

use std::collections::BTreeMap;

use fastrand::Rng;
use futures_util::future::join_all;

use super::failure::{Failure, chain};
use crate::app::service::{budget_policy, judge_clients, patience};
use crate::app::settings::Settings;
use crate::backends::store::{Store, StoreError};
use crate::domain::evaluation::{Evaluation, Outcome};
use crate::domain::trace::Trace;
use crate::evaluate::kinds::Behaviour;
use crate::evaluate::run::{EvaluatedTrace, Evaluators, JudgeTask, unscored};
use crate::limits::retry::Patience;
use crate::pipeline::judgment::judgment_or_failure;
use crate::pipeline::ledgered::{BoundedClient, Ledger, LedgeredAsker};

/// The configured judge models, ready to be asked by the loaded evaluators.
pub(super) struct Judges<'a> {
    askers: BTreeMap<String, BoundedClient>,
    evaluators: &'a Evaluators,
    patience: Patience,
    ledger: &'a Ledger,
}

/// The ledger of the configured store; of this run alone, where there is no store.
pub(super) async fn ledger(settings: &Settings) -> Result<Ledger, Failure> {
    let (url, policy) = (&settings.store.url, budget_policy(settings));
    if let Err(StoreError::Missing { .. }) = Store::open(url, true).await {
        return Ok(Ledger::new(None, policy));
    }
    let remedy = "what judges are asked has to be entered in its ledger; stop driftline serve first, or keep the store in \
                  PostgreSQL, which both can use at once";
    let store = Store::open(url, false).await.map_err(|error| match error {
        StoreError::InUse { path } => {
            Failure::CouldNot(format!("the store at {} is in use, and {remedy}", path.display()))
        }
        error => Failure::CouldNot(chain(&error)),
    })?;
    Ok(Ledger::new(Some(store), policy))
}

impl<'a> Judges<'a> {
    /// Every request is entered in the ledger, and none leaves that its budget does not allow.
    ///
    /// # Errors
    /// A judge model's settings cannot work.
    pub(super) fn new(settings: &Settings, evaluators: &'a Evaluators, ledger: &'a Ledger) -> Result<Self, Failure> {
        let clients = judge_clients(settings).map_err(|error| Failure::Usage(chain(&error)))?;
        let askers = clients.into_iter().map(|(name, client)| (name, BoundedClient::new(client))).collect();
        Ok(Self { askers, evaluators, patience: patience(settings), ledger })
    }

    /// Calls that may be under way at once, over all models; never zero.
    pub(super) fn concurrency(&self) -> usize {
        self.askers.values().map(|asker| asker.concurrency() as usize).sum::<usize>().clamp(1, 1024)
    }

    /// Judge models that loaded evaluators name and no one configured.
    pub(super) fn unconfigured(&self) -> Vec<&'a str> {
        let model = |behaviour: &'a Behaviour| match behaviour {
            Behaviour::Judge(judge) => Some(judge.model.as_str()),
            Behaviour::Rule(_) | Behaviour::Service(_) => None,
        };
        let models = self.evaluators.definitions().iter().filter_map(|definition| model(&definition.behaviour));
        let mut models: Vec<&str> = models.filter(|model| !self.askers.contains_key(*model)).collect();
        models.sort_unstable();
        models.dedup();
        models
    }

    /// Every row of a trace, sorted by evaluator, once its judges have answered.
    pub(super) async fn rows(&self, trace: Trace, evaluated: EvaluatedTrace) -> Vec<Evaluation> {
        let mut rows = evaluated.evaluations;
        if !evaluated.judge.is_empty() {
            rows.extend(
                join_all(evaluated.judge.iter().map(|task| self.row(&trace, task))).await.into_iter().flatten(),
            );
            rows.sort_by(|left, right| left.evaluator.cmp(&right.evaluator));
        }
        rows
    }

    /// `None` never happens here: tasks come from these same evaluators.
    async fn row(&self, trace: &Trace, task: &JudgeTask) -> Option<Evaluation> {
        let (definition, judge) = self.evaluators.judge(&task.evaluator, &task.revision)?;
        let failed = |explanation: String| unscored(trace, definition, Outcome::Failed, explanation);
        let Some(way) = self.askers.get(&judge.model) else {
            return Some(failed(format!("no judge model is configured ([judge.models.{}])", judge.model)));
        };
        let Ok(prepared) = judge.prepare(trace) else {
            return Some(failed("the judge's input cannot be prepared".to_owned()));
        };
        let mut rng = Rng::with_seed(u64::from_be_bytes(*trace.root_span_id.as_bytes()));
        let asker = LedgeredAsker { ledger: self.ledger, way, lane: &judge.model, definition, trace };
        Some(judgment_or_failure(&asker, trace, definition, &prepared, &self.patience, &mut rng).await)
    }
}
