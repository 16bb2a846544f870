//! OpenTelemetry's general conventions, which every other falls back on, and the resource a span came from.

use super::attributes::Attributes;
use super::convention::{Convention, FactNames, NO_NAMES, SAYS_NOTHING};

/// The convention that every span is written in.
pub(super) const CONVENTION: Convention = Convention {
    names: FactNames {
        environment: &["deployment.environment.name", "deployment.environment"],
        conversation: &["session.id"],
        user: &[USER, "enduser.id"],
        http_status: &["http.response.status_code", "http.status_code"],
        error: &["error.type"],
        ..NO_NAMES
    },
    ..SAYS_NOTHING
};

pub(super) const SERVICE_NAME: &str = "service.name";
pub(super) const SERVICE_VERSION: &str = "service.version";
pub(super) const USER: &str = "user.id";

/// What `service.name` is when nobody set it (OpenTelemetry resource specification).
pub(super) const UNKNOWN_SERVICE: &str = "unknown_service";

/// `service.name`.
pub(super) fn service(resource: Attributes<'_>) -> Option<String> {
    resource.text(&[SERVICE_NAME]).map(Into::into)
}

/// `service.version`.
pub(super) fn service_version(resource: Attributes<'_>) -> Option<String> {
    resource.text(&[SERVICE_VERSION]).map(Into::into)
}

/// `deployment.environment.name` of a resource.
pub(super) fn environment(resource: Attributes<'_>) -> Option<String> {
    resource.text(CONVENTION.names.environment).map(Into::into)
}

/// False when the resource says that its timestamps are invented.
pub(super) fn clock_is_real(resource: Attributes<'_>) -> bool {
    resource.text(&["dataset.timestamps"]).is_none_or(|timestamps| timestamps != "synthetic")
}

/// Text of the exception that an event of the span recorded.
pub(super) fn exception(event: Attributes<'_>) -> Option<String> {
    event.text(&["exception.message", "exception.type"]).map(Into::into)
}
