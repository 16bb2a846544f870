//! `/api/v1/review/…`: who is asked about what, what is not asked about any more, and how far people agree.

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;

use super::WebState;
use super::api::{Answer, Object, read};
use super::parameters::Parameters;
use crate::queries::reviewing::{self, Assigned, RemoveRequest, Removed};
use crate::watch::reviewers::Reviewers;

pub(super) async fn assign(
    State(state): State<WebState>,
    parameters: Parameters,
    asked: Result<Json<Object>, JsonRejection>,
) -> Answer<Assigned> {
    parameters.finish()?;
    Ok(Json(reviewing::assign(&state.store, &read(asked)?, state.clock.now()).await?))
}

pub(super) async fn remove(
    State(state): State<WebState>,
    parameters: Parameters,
    asked: Result<Json<Object>, JsonRejection>,
) -> Answer<Removed> {
    parameters.finish()?;
    let asked: RemoveRequest = read(asked)?;
    Ok(Json(reviewing::remove(&state.store, &asked, state.clock.now()).await?))
}

pub(super) async fn agreement(State(state): State<WebState>, parameters: Parameters) -> Answer<Reviewers> {
    parameters.finish()?;
    Ok(Json(reviewing::agreement(&state.store).await?))
}
