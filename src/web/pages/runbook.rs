//! Runbooks, as they stand in `deploy/runbooks`.

use axum::extract::Path;
use axum::response::Html;
use maud::html;

use super::PageError;
use super::layout::page;
use crate::queries::runbooks;
use crate::web::error::WebError;

pub(in crate::web) async fn runbook(Path(name): Path<String>) -> Result<Html<String>, PageError> {
    let text = runbooks::text(&name).ok_or_else(WebError::no_such_path)?;
    Ok(page("Runbook", "/alerts", &html! { pre { (text) } }))
}
