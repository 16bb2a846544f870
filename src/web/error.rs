//! What goes wrong, as a status and `{"error", "remedy"}`.

use axum::Json;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::backends::access::Denied;
use crate::backends::store::StoreError;
use crate::domain::ids::InvalidId;
use crate::queries::QueryError;
use crate::watch::key::InvalidSeriesKey;

/// An answer that is none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct WebError {
    #[serde(skip)]
    pub(super) status: StatusCode,
    /// What went wrong, with which input.
    pub(super) error: String,
    /// What to do about it.
    pub(super) remedy: String,
    /// The member of the request that is wrong, where it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) field: Option<String>,
}

impl WebError {
    pub(super) fn new(status: StatusCode, error: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { status, error: error.into(), remedy: remedy.into(), field: None }
    }

    pub(super) fn bad_request(error: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error, remedy)
    }

    pub(super) fn no_such_path() -> Self {
        Self::new(StatusCode::NOT_FOUND, "there is nothing at this path", "the API is under /api/v1, the pages under /")
    }

    pub(super) fn no_such_method() -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "this path has no such method", "read with GET, send with POST")
    }
}

impl IntoResponse for WebError {
    fn into_response(self) -> Response {
        (self.status, Json(self)).into_response()
    }
}

impl From<QueryError> for WebError {
    fn from(error: QueryError) -> Self {
        let status = status(&error);
        if status.is_server_error() {
            tracing::warn!(error = &error as &dyn std::error::Error, "a question could not be answered");
        }
        let field = match &error {
            QueryError::Feedback(invalid) => Some(invalid.field.clone()),
            _ => None,
        };
        Self { field, ..Self::new(status, error.to_string(), error.remedy()) }
    }
}

const fn status(error: &QueryError) -> StatusCode {
    match error {
        error if error.is_usage() => StatusCode::BAD_REQUEST,
        QueryError::UnknownTrace { .. }
        | QueryError::PendingTrace { .. }
        | QueryError::BodyGone { .. }
        | QueryError::UnknownBaseline { .. }
        | QueryError::UnknownAlert { .. }
        | QueryError::UnknownSilence { .. }
        | QueryError::UnknownRelease { .. }
        | QueryError::UnknownToken { .. }
        | QueryError::UnknownScope { .. }
        | QueryError::UnknownService { .. }
        | QueryError::UnknownJudge { .. }
        | QueryError::UnknownSeries { .. } => StatusCode::NOT_FOUND,
        QueryError::Store(StoreError::BaselineExists { .. }) => StatusCode::CONFLICT,
        QueryError::Store(_) => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

impl From<StoreError> for WebError {
    fn from(error: StoreError) -> Self {
        QueryError::from(error).into()
    }
}

impl From<Denied> for WebError {
    fn from(denied: Denied) -> Self {
        let (status, remedy) = match &denied {
            Denied::NoToken | Denied::UnknownToken => {
                (StatusCode::UNAUTHORIZED, "send Authorization: Bearer TOKEN, or sign in at /login")
            }
            Denied::Role { .. } => (StatusCode::FORBIDDEN, "ask an administrator for driftline tokens create"),
            Denied::Store(_) => (StatusCode::SERVICE_UNAVAILABLE, "ask again in a moment; /readyz says what is away"),
        };
        Self::new(status, denied.to_string(), remedy)
    }
}

impl From<InvalidId> for WebError {
    fn from(error: InvalidId) -> Self {
        Self::bad_request(error.to_string(), "give 32 hexadecimal digits")
    }
}

impl From<InvalidSeriesKey> for WebError {
    fn from(error: InvalidSeriesKey) -> Self {
        Self::bad_request(error.to_string(), "take a key from /api/v1/series")
    }
}

impl From<QueryRejection> for WebError {
    fn from(rejection: QueryRejection) -> Self {
        Self::new(rejection.status(), rejection.body_text(), "write ?name=value&name=value")
    }
}

impl From<JsonRejection> for WebError {
    fn from(rejection: JsonRejection) -> Self {
        let remedy = "send the documented JSON object with Content-Type: application/json";
        let error = match &rejection {
            JsonRejection::JsonDataError(_) => "the body is JSON and no object".to_owned(),
            JsonRejection::JsonSyntaxError(_) => "the body is not JSON".to_owned(),
            rejection => rejection.body_text(),
        };
        Self::new(rejection.status(), error, remedy)
    }
}
