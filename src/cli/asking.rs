//! Questions to users' own services in offline evaluation.

use std::collections::BTreeMap;

use fastrand::Rng;
use futures_util::future::join_all;

use super::failure::{Failure, chain};
use crate::app::service::service_senders;
use crate::backends::http::HttpSender;
use crate::domain::evaluation::Evaluation;
use crate::domain::trace::Trace;
use crate::evaluate::run::{Evaluators, ServiceTask};
use crate::pipeline::asking::ask_or_failure;

/// The services of the loaded evaluators.
pub(super) struct Services<'a> {
    senders: BTreeMap<String, HttpSender>,
    evaluators: &'a Evaluators,
}

impl<'a> Services<'a> {
    /// # Errors
    /// A service's address or secret cannot be used.
    pub(super) fn new(evaluators: &'a Evaluators) -> Result<Self, Failure> {
        let senders = service_senders(evaluators).map_err(|error| Failure::Usage(chain(&error)))?;
        Ok(Self { senders, evaluators })
    }

    /// A row for each service that is to be asked about a trace.
    pub(super) async fn rows(&self, trace: &Trace, tasks: &[ServiceTask]) -> Vec<Evaluation> {
        join_all(tasks.iter().map(|task| self.row(trace, task))).await.into_iter().flatten().collect()
    }

    /// `None` never happens here: tasks come from these same evaluators.
    async fn row(&self, trace: &Trace, task: &ServiceTask) -> Option<Evaluation> {
        let (definition, service) = self.evaluators.service(&task.evaluator, &task.revision)?;
        let sender = self.senders.get(&task.evaluator)?;
        let mut rng = Rng::with_seed(u64::from_be_bytes(*trace.root_span_id.as_bytes()));
        Some(ask_or_failure(sender, trace, definition, service, &mut rng).await)
    }
}
