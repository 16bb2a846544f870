//! `/api/v1/readiness`: what the telemetry can answer.

use axum::Json;
use axum::extract::State;

use super::WebState;
use super::api::Answer;
use super::parameters::Parameters;
use crate::queries::readiness::{TelemetryReadiness, readiness as survey};

pub(super) async fn readiness(State(state): State<WebState>, parameters: Parameters) -> Answer<TelemetryReadiness> {
    let selection = state.selection(parameters)?;
    Ok(Json(survey(&state.store, &selection, &state.names, &state.prices).await?))
}
