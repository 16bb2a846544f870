//! `POST /api/v1/gate`, in the shapes that CI and canary controllers send and read.
//!
//! Argo Rollouts' web metric posts JSON of the user's own and reads `$.verdict` from an answer with status 200. Flagger's
//! webhook posts a body of its own, whose `metadata` the user fills, and reads nothing but the status.

use axum::Json;
use axum::extract::{FromRequest, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::Value;

use super::WebState;
use super::api::{Object, read};
use super::error::WebError;
use super::parameters::Parameters;
use crate::domain::report::{GateReport, GateVerdict};
use crate::queries::{self, QueryError};
use crate::watch::gate_policy::GatePolicy;

/// A gate as it is asked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct GateRequest {
    baseline: String,
    candidate: String,
    /// The text of `gate.toml`, or the same keys as JSON.
    policy: Value,
    /// Whether it will be asked again as traces arrive.
    #[serde(default)]
    sequential: bool,
}

/// What Flagger sends; further keys of its own are passed over.
#[derive(Debug, Deserialize)]
struct FlaggerRequest {
    phase: String,
    metadata: FlaggerMetadata,
}

#[derive(Debug, Deserialize)]
struct FlaggerMetadata {
    baseline: String,
    candidate: String,
    policy: String,
}

/// A question with what its answer's status depends on.
struct Asked {
    request: GateRequest,
    /// Flagger's phase of the rollout.
    phase: Option<String>,
}

/// JSON with both sources and the policy; or `gate.toml` itself, with the sources as parameters; or Flagger's body.
pub(super) async fn gate(
    State(state): State<WebState>,
    mut parameters: Parameters,
    request: Request,
) -> Result<Response, WebError> {
    let is_toml = request.headers().get(header::CONTENT_TYPE).is_some_and(|it| it.as_bytes() == b"application/toml");
    let asked = if is_toml { from_toml(&mut parameters, request).await? } else { from_json(request).await? };
    parameters.finish()?;
    let Asked { request: GateRequest { baseline, candidate, policy, sequential }, phase } = asked;
    let policy = GatePolicy::parse(&policy_text(policy)?).map_err(QueryError::from)?;
    let sources = (baseline.as_str(), candidate.as_str());
    let (names, now) = (&state.names, state.clock.now());
    let report = queries::compare::gate(&state.store, sources, &policy, sequential, names, now).await?;
    let status = phase.map_or(StatusCode::OK, |phase| flagger_status(&report, &phase));
    Ok((status, Json(report)).into_response())
}

async fn from_toml(parameters: &mut Parameters, request: Request) -> Result<Asked, WebError> {
    let (baseline, candidate) = (parameters.require("baseline")?, parameters.require("candidate")?);
    let sequential = parameters.parse("sequential", "true or false")?.unwrap_or(false);
    let unreadable = |rejection: axum::extract::rejection::StringRejection| {
        WebError::new(rejection.status(), rejection.body_text(), "send the text of gate.toml")
    };
    let policy = Value::String(String::from_request(request, &()).await.map_err(unreadable)?);
    Ok(Asked { request: GateRequest { baseline, candidate, policy, sequential }, phase: None })
}

async fn from_json(request: Request) -> Result<Asked, WebError> {
    let Json(body) = Json::<Object>::from_request(request, &()).await?;
    if !body.contains_key("metadata") {
        return Ok(Asked { request: read(Ok(Json(body)))?, phase: None });
    }
    let FlaggerRequest { phase, metadata } = read(Ok(Json(body)))?;
    let FlaggerMetadata { baseline, candidate, policy } = metadata;
    // Flagger asks at every step.
    let request = GateRequest { baseline, candidate, policy: Value::String(policy), sequential: true };
    Ok(Asked { request, phase: Some(phase) })
}

/// Flagger goes on at 200 and at nothing else: it counts another answer as a failed check while the canary progresses,
/// and waits while it confirms the promotion. So too little evidence lets a canary progress and does not promote it.
fn flagger_status(report: &GateReport, phase: &str) -> StatusCode {
    match report.verdict {
        GateVerdict::Pass => StatusCode::OK,
        GateVerdict::Fail => StatusCode::PRECONDITION_FAILED,
        GateVerdict::Inconclusive if phase == "Progressing" => StatusCode::OK,
        GateVerdict::Inconclusive => StatusCode::CONFLICT,
    }
}

fn policy_text(policy: Value) -> Result<String, WebError> {
    match policy {
        Value::String(text) => Ok(text),
        policy => toml::to_string(&policy).map_err(|error| {
            WebError::bad_request(format!("policy cannot be read: {error}"), "send the keys of gate.toml")
        }),
    }
}
