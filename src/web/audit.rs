//! `/api/v1/audit`, `/api/v1/erase` and `/api/v1/tokens`: decisions rebuilt, who did what, and who may.

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;

use super::WebState;
use super::api::{Answer, Object, read};
use super::error::WebError;
use super::parameters::Parameters;
use crate::queries::QueryError;
use crate::queries::audit::{self, Audit, AuditLog, AuditOf, DEFAULT_RUNS, Reading};
use crate::queries::erasure::{self, Erasure};
use crate::queries::selection::instant;
use crate::queries::tokens::{self, GivenToken, Tokens};

/// How far the log goes back when nothing else is asked for.
const DEFAULT_SINCE: &str = "30d";

pub(super) async fn audit(State(state): State<WebState>, parameters: Parameters) -> Answer<Audit> {
    Ok(Json(state.audit(parameters).await?.ok_or_else(|| {
        WebError::bad_request("nothing says what is to be audited", "give id=… or key=value, such as conversation=…")
    })?))
}

impl WebState {
    /// What is audited; `None` when nothing says what is meant.
    pub(super) async fn audit(&self, mut parameters: Parameters) -> Result<Option<Audit>, WebError> {
        let limit = parameters.parse("limit", "a number of runs")?.unwrap_or(DEFAULT_RUNS);
        let id = parameters.take("id").filter(|id| !id.trim().is_empty());
        let of = match id {
            Some(id) => {
                parameters.finish()?;
                AuditOf::Id(id.trim().to_owned())
            }
            None => match parameters.rest() {
                conditions if conditions.is_empty() => return Ok(None),
                conditions => AuditOf::Conditions(conditions),
            },
        };
        let reading = Reading { names: &self.names, prices: &self.prices, now: self.clock.now() };
        Ok(Some(audit::audit(&self.store, &of, limit, reading).await?))
    }

    /// The log since an instant or age.
    pub(super) async fn log(&self, mut parameters: Parameters) -> Result<AuditLog, WebError> {
        let since = parameters.take("since").unwrap_or_else(|| DEFAULT_SINCE.to_owned());
        parameters.finish()?;
        let since = instant("since", &since, self.clock.now()).map_err(QueryError::from)?;
        Ok(audit::log(&self.store, since).await?)
    }
}

pub(super) async fn log(State(state): State<WebState>, parameters: Parameters) -> Answer<AuditLog> {
    Ok(Json(state.log(parameters).await?))
}

pub(super) async fn erase(
    State(state): State<WebState>,
    parameters: Parameters,
    asked: Result<Json<Object>, JsonRejection>,
) -> Answer<Erasure> {
    parameters.finish()?;
    Ok(Json(erasure::erase(&state.store, &read(asked)?, &state.names, state.clock.now()).await?))
}

pub(super) async fn tokens(State(state): State<WebState>, parameters: Parameters) -> Answer<Tokens> {
    parameters.finish()?;
    Ok(Json(tokens::list(&state.store).await?))
}

pub(super) async fn create_token(
    State(state): State<WebState>,
    parameters: Parameters,
    asked: Result<Json<Object>, JsonRejection>,
) -> Result<(StatusCode, Json<GivenToken>), WebError> {
    parameters.finish()?;
    let given = tokens::create(&state.store, &read(asked)?, state.clock.now()).await?;
    Ok((StatusCode::CREATED, Json(given)))
}

pub(super) async fn revoke_token(
    State(state): State<WebState>,
    Path(id): Path<String>,
    parameters: Parameters,
) -> Answer<Tokens> {
    parameters.finish()?;
    Ok(Json(tokens::revoke(&state.store, &id, state.clock.now()).await?))
}
