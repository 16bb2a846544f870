//! Files that pages need.

use axum::http::header;
use axum::response::IntoResponse;

/// How pages look.
pub(super) const STYLE: &str = include_str!("style.css");

pub(super) async fn style() -> impl IntoResponse {
    let headers = [(header::CONTENT_TYPE, "text/css; charset=utf-8"), (header::CACHE_CONTROL, "max-age=300")];
    (headers, STYLE)
}
