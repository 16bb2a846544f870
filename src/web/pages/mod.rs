//! Pages for people, without script but for the keys of the review page. All text of traces goes through [`text`], which bounds it and takes its powers
//! away; escaping is maud's.

mod agent_costs;
mod alert;
mod alert_forms;
mod alerts;
mod audit;
mod audit_log;
mod costs;
mod evaluators;
mod figures;
mod judges;
pub(super) mod layout;
mod overview;
mod rankings;
mod readiness;
mod release_comparison;
mod releases;
mod review;
mod review_forms;
mod runbook;
mod series;
mod span_tree;
mod system;
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
pub(super) use costs::costs;
pub(super) use evaluators::evaluators;
pub(super) use judges::judges;
pub use layout::standalone;
pub(super) use overview::overview;
pub(super) use readiness::readiness;
pub(super) use release_comparison::release_comparison;
pub(super) use releases::releases;
pub(super) use review::review;
pub(super) use review_forms::{assign_cases, label, regression_case, remove_case, reviewer_agreement};
pub(super) use runbook::runbook;
pub(super) use series::{one_series, series, traces_of_series};
pub(super) use system::system;
pub(super) use trace::trace;
pub(super) use traces::traces;

use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use maud::html;

use super::access::is_browser;
use super::error::WebError;

/// An error as a page.
pub(super) struct PageError(WebError);

/// An error as who asked reads it.
pub(super) fn error_for(headers: &HeaderMap, error: WebError) -> Response {
    if is_browser(headers) { PageError(error).into_response() } else { error.into_response() }
}

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
