//! Who is let in to what: a token in the header of a program, or in the cookie of a browser that signed in.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};

use super::error::WebError;
use super::login::login_path;
use super::pages::error_for;
use crate::backends::access::{Access, Denied, bearer};
use crate::backends::store::acting_as;
use crate::domain::access::Role;

/// The cookie that holds a browser's token. Whoever revokes the token ends the session.
pub(super) const COOKIE: &str = "driftline_token";

/// What everyone may ask for: whether we live, how pages look, and to be let in.
const OPEN: [&str; 6] = ["/healthz", "/readyz", "/style.css", "/review.js", "/login", "/logout"];

/// Lets in who may come in, and does what they ask for in their name.
pub(super) async fn admitted(State(access): State<Arc<Access>>, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    if OPEN.contains(&path) {
        return next.run(request).await;
    }
    let (needed, is_scrape) = (needed(request.method(), path), path == "/metrics");
    let header = text(request.headers(), &header::AUTHORIZATION).and_then(bearer);
    let cookie = cookie(request.headers());
    let secret = header.or(cookie);
    let admitted = match access.admit(secret, needed).await {
        // Whoever measures us on this machine has to see that the store is away.
        Err(Denied::Store(_)) if is_scrape && access.is_loopback() => access.admit_as_last_known(secret, needed),
        admitted => admitted,
    };
    if header.is_none() && cookie.is_some() && is_forged(&request) {
        let remedy = "send the form from these pages, or a token in the header Authorization";
        return WebError::new(StatusCode::FORBIDDEN, "this was not sent from these pages", remedy).into_response();
    }
    match admitted {
        Ok(principal) => acting_as(principal.name, next.run(request)).await,
        Err(denied) => refused(denied, &request),
    }
}

/// What a request needs. What is not named here reads, if it only asks, and otherwise is for administrators.
fn needed(method: &Method, path: &str) -> Role {
    if matches!(*method, Method::GET | Method::HEAD) {
        return if matches!(path, "/api/v1/tokens" | "/api/v1/audit/log" | "/audit/log") {
            Role::Admin
        } else {
            Role::Read
        };
    }
    match path {
        "/api/v1/feedback" => Role::Ingest,
        "/api/v1/gate" => Role::Read,
        "/api/v1/labels" => Role::Review,
        path if path.starts_with("/api/v1/review") || path.starts_with("/review") => Role::Review,
        path if path.starts_with("/api/v1/alerts") || path.starts_with("/alerts") => Role::Review,
        _ => Role::Admin,
    }
}

/// Whether a browser sends its cookie with something that changes things, and does not say that our pages asked for it.
fn is_forged(request: &Request) -> bool {
    let headers = request.headers();
    let only_reads = matches!(*request.method(), Method::GET | Method::HEAD);
    let is_own = text(headers, &HeaderName::from_static("sec-fetch-site")) == Some("same-origin");
    let origin = text(headers, &header::ORIGIN).and_then(|origin| origin.split_once("://"));
    let is_own_origin = origin.is_some_and(|(_, host)| Some(host) == text(headers, &header::HOST));
    !(only_reads || is_own || is_own_origin)
}

/// Whether a person in a browser waits for the answer.
pub(super) fn is_browser(headers: &HeaderMap) -> bool {
    text(headers, &header::ACCEPT).is_some_and(|accept| accept.contains("text/html"))
}

fn refused(denied: Denied, request: &Request) -> Response {
    let may_sign_in = matches!(denied, Denied::NoToken | Denied::UnknownToken);
    if is_browser(request.headers()) && may_sign_in && *request.method() == Method::GET {
        let asked = request.uri().path_and_query().map_or("/", |asked| asked.as_str());
        return Redirect::to(&login_path(asked)).into_response();
    }
    if let Denied::Store(error) = &denied {
        tracing::warn!(error = error as &dyn std::error::Error, "tokens cannot be looked up; no one is let in");
    }
    let mut response = error_for(request.headers(), denied.into());
    if response.status() == StatusCode::UNAUTHORIZED {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

/// The token that a browser holds.
pub(super) fn cookie(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get_all(header::COOKIE).into_iter().filter_map(|value| value.to_str().ok());
    let mut pairs = cookies.flat_map(|cookies| cookies.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, _)| *name == COOKIE).map(|(_, value)| value)
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_named_reads_or_is_for_administrators() {
        for (method, path, role) in [
            (Method::GET, "/traces/{id}", Role::Read),
            (Method::GET, "/api/v1/tokens", Role::Admin),
            (Method::POST, "/api/v1/feedback", Role::Ingest),
            (Method::POST, "/api/v1/gate", Role::Read),
            (Method::POST, "/api/v1/alerts/{id}/ack", Role::Review),
            (Method::POST, "/api/v1/labels", Role::Review),
            (Method::POST, "/api/v1/erase", Role::Admin),
            (Method::DELETE, "/anything", Role::Admin),
        ] {
            assert_eq!(needed(&method, path), role, "{method} {path}");
        }
    }

    #[test]
    fn one_cookie_among_others_is_found_by_its_whole_name() {
        let headers = HeaderMap::from_iter([(
            header::COOKIE,
            HeaderValue::from_static("xdriftline_token=no; theme=dark; driftline_token=yes"),
        )]);
        assert_eq!(cookie(&headers), Some("yes"));
    }
}
