//! Pages for people, without script. All text of traces goes through [`text`], which bounds it and takes its powers
//! away; escaping is maud's.

mod alert;
mod alert_forms;
mod alerts;
mod audit;
mod audit_log;
mod figures;
pub(super) mod layout;
mod overview;
mod readiness;
mod releases;
mod runbook;
mod span_tree;
mod text;
mod timeline;
mod trace;
mod traces;

pub(super) use alert::alert;
pub(super) use alert_forms::{acknowledge, silence};
pub(super) use alerts::alerts;
pub(super) use audit::audit;
pub use audit::audit_document;
pub(super) use audit_log::audit_log;
pub(super) use overview::overview;
pub(super) use readiness::readiness;
pub(super) use releases::releases;
pub(super) use runbook::runbook;
pub(super) use trace::trace;
pub(super) use traces::traces;

use axum::response::{IntoResponse, Response};
use maud::html;

use super::error::WebError;

/// An error as a page.
pub(super) struct PageError(WebError);

impl<E: Into<WebError>> From<E> for PageError {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for PageError {
    fn into_response(self) -> Response {
        let Self(WebError { status, error, remedy, .. }) = self;
        let page = layout::page(
            "Error",
            "",
            &html! {
                h1 { (status.canonical_reason().unwrap_or("Error")) }
                p { (text::printable(&error)) }
                p.muted { (remedy) }
            },
        );
        (status, page).into_response()
    }
}
