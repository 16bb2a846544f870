//! `/api/v1/system` and `/api/v1/objectives`: how the service itself is, and how well it keeps what it promises.

use axum::Json;
use axum::extract::State;
use serde::Serialize;

use super::WebState;
use super::api::Answer;
use super::health::{Dependency, dependencies};
use super::parameters::Parameters;
use crate::queries::objectives::{Objectives, objectives as error_budgets};
use crate::queries::system::{self, System};

/// This process, and what all of them share.
#[derive(Debug, Serialize)]
pub(super) struct SystemAnswer {
    version: &'static str,
    roles: Vec<String>,
    dependencies: Vec<Dependency>,
    #[serde(flatten)]
    system: System,
}

pub(super) async fn system(State(state): State<WebState>, parameters: Parameters) -> Answer<SystemAnswer> {
    parameters.finish()?;
    Ok(Json(SystemAnswer {
        version: env!("CARGO_PKG_VERSION"),
        roles: state.roles.to_vec(),
        dependencies: dependencies(&state).await,
        system: system::system(&state.store, state.queue.as_ref(), state.clock.now()).await?,
    }))
}

pub(super) async fn objectives(State(state): State<WebState>, parameters: Parameters) -> Answer<Objectives> {
    parameters.finish()?;
    Ok(Json(error_budgets(&state.store, &state.objectives, state.clock.now()).await?))
}
