//! Files that pages need.

use axum::http::header;
use axum::response::IntoResponse;

/// How pages look.
pub(super) const STYLE: &str = include_str!("style.css");

pub(super) async fn style() -> impl IntoResponse {
    asset("text/css; charset=utf-8", STYLE)
}

/// The keys of the review page.
pub(super) async fn review_keys() -> impl IntoResponse {
    asset("text/javascript; charset=utf-8", include_str!("review.js"))
}

fn asset(content_type: &'static str, text: &'static str) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, content_type), (header::CACHE_CONTROL, "max-age=300")], text)
}
