//! `/api/v1/alerts/…`: one alert with what is behind it, and what people do about alerts.

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;

use super::WebState;
use super::api::{Answer, Object, read};
use super::error::WebError;
use super::parameters::Parameters;
use crate::domain::alert::Alert;
use crate::domain::silence::Silence;
use crate::queries::affected::{self, Affected, AlertDetail, DEFAULT_AFFECTED};
use crate::queries::alerts::{self, Silences};

pub(super) async fn alert(
    State(state): State<WebState>,
    Path(id): Path<String>,
    parameters: Parameters,
) -> Answer<AlertDetail> {
    parameters.finish()?;
    let now = state.clock.now();
    Ok(Json(affected::alert_detail(&state.store, &id, &state.baseline, &state.public_url, now).await?))
}

pub(super) async fn affected(
    State(state): State<WebState>,
    Path(id): Path<String>,
    mut parameters: Parameters,
) -> Answer<Affected> {
    let limit = parameters.parse("limit", "a number of traces")?.unwrap_or(DEFAULT_AFFECTED);
    let after = parameters.take("after");
    parameters.finish()?;
    Ok(Json(affected::affected(&state.store, &id, after.as_deref(), limit).await?))
}

pub(super) async fn acknowledge(
    State(state): State<WebState>,
    Path(id): Path<String>,
    parameters: Parameters,
    asked: Result<Json<Object>, JsonRejection>,
) -> Answer<Alert> {
    parameters.finish()?;
    Ok(Json(alerts::acknowledge(&state.store, &id, read(asked)?, state.clock.now()).await?))
}

pub(super) async fn silences(State(state): State<WebState>, parameters: Parameters) -> Answer<Silences> {
    parameters.finish()?;
    Ok(Json(alerts::silences(&state.store, state.clock.now()).await?))
}

pub(super) async fn silence(
    State(state): State<WebState>,
    parameters: Parameters,
    asked: Result<Json<Object>, JsonRejection>,
) -> Result<(StatusCode, Json<Silence>), WebError> {
    parameters.finish()?;
    let silence = alerts::silence(&state.store, &read(asked)?, state.clock.now()).await?;
    Ok((StatusCode::CREATED, Json(silence)))
}

pub(super) async fn unsilence(
    State(state): State<WebState>,
    Path(id): Path<String>,
    parameters: Parameters,
    asked: Result<Json<Object>, JsonRejection>,
) -> Answer<Silence> {
    parameters.finish()?;
    Ok(Json(alerts::unsilence(&state.store, &id, &read(asked)?, state.clock.now()).await?))
}
