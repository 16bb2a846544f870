//! `/api/v1`: each handler reads its parameters, asks one question, and answers with its shape.

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::WebState;
use super::error::WebError;
use super::parameters::Parameters;
use crate::backends::store::{AlertFilter, Selection};
use crate::domain::ids::TraceId;
use crate::domain::report::DriftReport;
use crate::normalize::Inspection;
use crate::queries::alerts::Alerts;
use crate::queries::audit::shown;
use crate::queries::backfill::{BackfillRequest, Planned};
use crate::queries::baselines::{Baselines, CreatedBaseline};
use crate::queries::calibration::CalibrationReport;
use crate::queries::explain::Explanation;
use crate::queries::feedback::KeptFeedback;
use crate::queries::judges::Judges;
use crate::queries::review::{AnchorRequest, Anchors, GivenLabels, KeptLabels, Labels, Next, NextRequest};
use crate::queries::reviewing::check_judge;
use crate::queries::scores::Scores;
use crate::queries::search::DEFAULT_LIMIT;
use crate::queries::selection::{check_window, instant, parse, selection};
use crate::queries::series::{SeriesDetail, Watched, WatchedSeries};
use crate::queries::series_page::SeriesTraces;
use crate::queries::top::{Answered, Ranking, answered};
use crate::queries::trace::TraceView;
use crate::queries::{self, QueryError};
use crate::watch::baseline::Baseline;
use crate::watch::drift::DriftOptions;
use crate::watch::key::SeriesKey;

pub(super) type Answer<T> = Result<Json<T>, WebError>;

/// A body as it is sent. Read in two steps: structs also take arrays, of which errors would tell in our own words.
pub(super) type Object = serde_json::Map<String, serde_json::Value>;

pub(super) fn read<T: DeserializeOwned>(body: Result<Json<Object>, JsonRejection>) -> Result<T, WebError> {
    let Json(object) = body?;
    let wrong = |error: serde_json::Error| {
        WebError::new(StatusCode::UNPROCESSABLE_ENTITY, error.to_string(), "send the documented keys")
    };
    serde_json::from_value(serde_json::Value::Object(object)).map_err(wrong)
}

impl WebState {
    /// What is watched, and against what.
    pub(super) fn watched(&self) -> Watched<'_> {
        Watched { baseline: &self.baseline, segments: &self.segments }
    }

    /// The selection that the rest of the parameters mean.
    pub(super) fn selection(&self, parameters: Parameters) -> Result<Selection, WebError> {
        Ok(selection(&parameters.rest(), &self.names, self.clock.now()).map_err(QueryError::from)?)
    }

    /// Notes that text of these traces is about to be shown.
    pub(super) async fn shown(&self, trace_ids: &[TraceId]) -> Result<(), WebError> {
        Ok(shown(&self.store, trace_ids, self.clock.now()).await?)
    }
}

/// The API itself, as OpenAPI 3.1; `tests/it/web/contract.rs` holds every answer against it.
pub(super) async fn description() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], include_str!("openapi.json"))
}

pub(super) async fn traces(State(state): State<WebState>, mut parameters: Parameters) -> Answer<Answered> {
    let limit = parameters.parse("limit", "a number of traces")?.unwrap_or(DEFAULT_LIMIT);
    let ranking: Option<Ranking> = parameters.parse("top", "tools, conversations or failures")?;
    let asked_at = (&*state.names, state.clock.now());
    Ok(Json(answered(&state.store, ranking, &parameters.rest(), limit, asked_at).await?))
}

pub(super) async fn trace(
    State(state): State<WebState>,
    Path(id): Path<String>,
    parameters: Parameters,
) -> Answer<TraceView> {
    parameters.finish()?;
    let trace_id: TraceId = id.parse()?;
    let found = queries::trace::trace(&state.store, trace_id).await?;
    state.shown(&[trace_id]).await?;
    Ok(Json(found))
}

pub(super) async fn explain(
    State(state): State<WebState>,
    Path(id): Path<String>,
    parameters: Parameters,
) -> Answer<Explanation> {
    parameters.finish()?;
    let trace_id: TraceId = id.parse()?;
    let found = queries::explain::explain(&state.store, trace_id, &state.evaluators, state.clock.now()).await?;
    state.shown(&[trace_id]).await?;
    Ok(Json(found))
}

pub(super) async fn scores(
    State(state): State<WebState>,
    Path(id): Path<String>,
    parameters: Parameters,
) -> Answer<Scores> {
    parameters.finish()?;
    let trace_id: TraceId = id.parse()?;
    let found = queries::scores::scores(&state.store, trace_id).await?;
    state.shown(&[trace_id]).await?;
    Ok(Json(found))
}

pub(super) async fn feedback(
    State(state): State<WebState>,
    parameters: Parameters,
    sent: Result<Json<Object>, JsonRejection>,
) -> Answer<KeptFeedback> {
    parameters.finish()?;
    let Json(object) = sent?;
    let kept = queries::feedback::feedback(&state.store, &object, state.redactor.as_deref(), state.clock.now()).await?;
    state.metrics.external_scores.inc();
    Ok(Json(kept))
}

pub(super) async fn inspect(
    State(state): State<WebState>,
    Path(id): Path<String>,
    parameters: Parameters,
) -> Answer<Inspection> {
    parameters.finish()?;
    let trace_id: TraceId = id.parse()?;
    let found = queries::inspection::inspection(&state.store, trace_id, &state.names, &state.prices).await?;
    state.shown(&[trace_id]).await?;
    Ok(Json(found))
}

pub(super) async fn series(State(state): State<WebState>, parameters: Parameters) -> Answer<WatchedSeries> {
    let selection = state.selection(parameters)?;
    Ok(Json(queries::series::series(&state.store, state.watched(), &selection).await?))
}

pub(super) async fn one_series(
    State(state): State<WebState>,
    Path(key): Path<String>,
    parameters: Parameters,
) -> Answer<SeriesDetail> {
    let key: SeriesKey = key.parse()?;
    let selection = state.selection(parameters)?;
    Ok(Json(queries::series::one_series(&state.store, state.watched(), &key, &selection).await?))
}

pub(super) async fn series_traces(
    State(state): State<WebState>,
    Path(key): Path<String>,
    mut parameters: Parameters,
) -> Answer<SeriesTraces> {
    let key: SeriesKey = key.parse()?;
    let bin = parameters.take("bin");
    let limit = parameters.parse("limit", "a number of traces")?.unwrap_or(DEFAULT_LIMIT);
    let (from, to) = (parameters.take("from"), parameters.take("to"));
    let now = state.clock.now();
    let time = |key, text: Option<String>| text.map(|text| instant(key, &text, now)).transpose();
    let (from, to) = (time("from", from).map_err(QueryError::from)?, time("to", to).map_err(QueryError::from)?);
    let selection = state.selection(parameters)?;
    let selection = Selection { since: from.or(selection.since), until: to.or(selection.until), ..selection };
    check_window(selection.since, selection.until).map_err(QueryError::from)?;
    let asked = (bin, limit);
    Ok(Json(queries::series_page::series_traces(&state.store, state.watched(), &key, &selection, asked).await?))
}

pub(super) async fn drift(State(state): State<WebState>, mut parameters: Parameters) -> Answer<DriftReport> {
    let defaults = DriftOptions::default();
    let (baseline, current) = (parameters.require("baseline")?, parameters.require("current")?);
    let options = DriftOptions {
        alpha: parameters.parse("alpha", "a number")?.unwrap_or(defaults.alpha),
        by: parameters.take("by"),
        seed: parameters.parse("seed", "a whole number")?.unwrap_or(defaults.seed),
    };
    parameters.finish()?;
    let sources = (baseline.as_str(), current.as_str());
    Ok(Json(queries::compare::drift(&state.store, sources, &options, &state.names, state.clock.now()).await?))
}

pub(super) async fn alerts(State(state): State<WebState>, mut parameters: Parameters) -> Answer<Alerts> {
    let filter = AlertFilter {
        open_only: parameters.parse("open", "true or false")?.unwrap_or(false),
        service: parameters.take("service"),
    };
    parameters.finish()?;
    Ok(Json(queries::alerts::alerts(&state.store, &filter).await?))
}

pub(super) async fn judges(State(state): State<WebState>, parameters: Parameters) -> Answer<Judges> {
    parameters.finish()?;
    Ok(Json(queries::judges::judges(&state.store, &state.evaluators, state.clock.now()).await?))
}

pub(super) async fn backfill(
    State(state): State<WebState>,
    parameters: Parameters,
    asked: Result<Json<Object>, JsonRejection>,
) -> Answer<Planned> {
    parameters.finish()?;
    let asked: BackfillRequest = read(asked)?;
    let now = state.clock.now();
    let selection = parse(&asked.selection, &state.names, now).map_err(QueryError::from)?;
    Ok(Json(queries::backfill::backfill(&state.store, &state.evaluators, &asked, &selection, now).await?))
}

pub(super) async fn next_review(State(state): State<WebState>, mut parameters: Parameters) -> Answer<Next> {
    let asked = NextRequest {
        judge: parameters.take("judge"),
        flagged: parameters.parse("flagged", "true or false")?.unwrap_or(false),
        show_verdict: parameters.parse("show_verdict", "true or false")?.unwrap_or(false),
        reviewer: parameters.take("reviewer"),
    };
    parameters.finish()?;
    let next = queries::review::next(&state.store, &asked, &state.names, &state.prices).await?;
    if next.task.is_none() {
        check_judge(&state.store, &state.evaluators, asked.judge.as_deref()).await?;
    }
    let trace_ids: Vec<TraceId> = next.task.iter().map(|task| task.trace_id).collect();
    state.shown(&trace_ids).await?;
    Ok(Json(next))
}

pub(super) async fn labels(State(state): State<WebState>, mut parameters: Parameters) -> Answer<Labels> {
    let judge = parameters.take("judge");
    parameters.finish()?;
    Ok(Json(queries::review::labels(&state.store, judge.as_deref()).await?))
}

pub(super) async fn add_labels(
    State(state): State<WebState>,
    parameters: Parameters,
    given: Result<Json<Object>, JsonRejection>,
) -> Answer<KeptLabels> {
    parameters.finish()?;
    let given: GivenLabels = read(given)?;
    Ok(Json(queries::review::add_labels(&state.store, given, state.clock.now()).await?))
}

pub(super) async fn add_anchors(
    State(state): State<WebState>,
    parameters: Parameters,
    asked: Result<Json<Object>, JsonRejection>,
) -> Answer<Anchors> {
    parameters.finish()?;
    let asked: AnchorRequest = read(asked)?;
    Ok(Json(queries::review::add_anchors(&state.store, &asked, state.clock.now()).await?))
}

pub(super) async fn calibration(
    State(state): State<WebState>,
    mut parameters: Parameters,
) -> Answer<CalibrationReport> {
    let (judge, since) = (parameters.take("judge"), parameters.take("since"));
    parameters.finish()?;
    let since = since.unwrap_or_else(|| queries::calibration::DEFAULT_SINCE.to_owned());
    let since = instant("since", &since, state.clock.now()).map_err(QueryError::from)?;
    let found = queries::calibration::calibration(&state.store, judge.as_deref(), since).await?;
    state.shown(&found.quoted(usize::MAX)).await?;
    Ok(Json(found))
}

pub(super) async fn baselines(State(state): State<WebState>, parameters: Parameters) -> Answer<Baselines> {
    parameters.finish()?;
    Ok(Json(queries::baselines::baselines(&state.store).await?))
}

pub(super) async fn baseline(
    State(state): State<WebState>,
    Path(name): Path<String>,
    parameters: Parameters,
) -> Answer<Baseline> {
    parameters.finish()?;
    Ok(Json(queries::baselines::baseline(&state.store, &name).await?))
}

/// A baseline as it is asked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct BaselineRequest {
    name: String,
    from: String,
}

pub(super) async fn create_baseline(
    State(state): State<WebState>,
    parameters: Parameters,
    asked: Result<Json<Object>, JsonRejection>,
) -> Result<(StatusCode, Json<CreatedBaseline>), WebError> {
    parameters.finish()?;
    let BaselineRequest { name, from } = read(asked)?;
    let now = state.clock.now();
    let created = queries::baselines::create_baseline(&state.store, &name, &from, &state.names, now).await?;
    Ok((StatusCode::CREATED, Json(created)))
}
