//! Signing in: a browser trades a token for a cookie that no script and no other site can use.

use axum::extract::{Query, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{Html, IntoResponse, Redirect, Response};
use maud::html;
use serde::Deserialize;

use super::WebState;
use super::access::{COOKIE, cookie};
use super::pages::layout;
use crate::backends::access::{Access, Denied};
use crate::domain::access::Role;

/// How long a browser stays signed in, in seconds: half a day.
const SESSION_SECONDS: u32 = 12 * 60 * 60;
/// Largest form.
const LARGEST_FORM: usize = 4_096;

#[derive(Deserialize)]
pub(super) struct Asked {
    #[serde(default)]
    next: String,
}

#[derive(Deserialize)]
struct Form {
    token: String,
    #[serde(default)]
    next: String,
}

/// The way to the form, and from there to where someone wanted to go.
pub(super) fn login_path(next: &str) -> String {
    let escaped: String = next.bytes().map(escaped).collect();
    format!("/login?next={escaped}")
}

fn escaped(byte: u8) -> String {
    match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'_' | b'.' => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    }
}

pub(super) async fn page(headers: HeaderMap, Query(asked): Query<Asked>) -> Html<String> {
    form(local(&asked.next), None, cookie(&headers).is_some())
}

pub(super) async fn sign_in(State(state): State<WebState>, request: Request) -> Response {
    let is_secure = request.headers().get("x-forwarded-proto").is_some_and(|proto| proto == "https");
    let Some(Form { token, next }) = read(request).await else {
        return (StatusCode::BAD_REQUEST, form("/", Some("The form cannot be read."), false)).into_response();
    };
    let access = Access::new(state.store.clone(), state.clock, state.is_loopback);
    match access.admit(Some(token.trim()), Role::Read).await {
        Ok(_) => signed_in(token.trim(), local(&next), is_secure),
        Err(denied @ Denied::Store(_)) => {
            (StatusCode::SERVICE_UNAVAILABLE, form(local(&next), Some(&denied.to_string()), false)).into_response()
        }
        Err(denied) => (StatusCode::UNAUTHORIZED, form(local(&next), Some(&denied.to_string()), false)).into_response(),
    }
}

pub(super) async fn sign_out() -> Response {
    let cookie = HeaderValue::from_str(&format!("{COOKIE}=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0"));
    with_cookie(Redirect::to("/login").into_response(), cookie.ok())
}

fn signed_in(token: &str, next: &str, is_secure: bool) -> Response {
    let secure = if is_secure { "; Secure" } else { "" };
    let cookie = format!("{COOKIE}={token}; Path=/; HttpOnly; SameSite=Strict; Max-Age={SESSION_SECONDS}{secure}");
    with_cookie(Redirect::to(next).into_response(), HeaderValue::from_str(&cookie).ok())
}

fn with_cookie(mut response: Response, cookie: Option<HeaderValue>) -> Response {
    if let Some(cookie) = cookie {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    response
}

/// A form is written as the query of an address is.
async fn read(request: Request) -> Option<Form> {
    let body = axum::body::to_bytes(request.into_body(), LARGEST_FORM).await.ok()?;
    let uri = Uri::try_from(format!("/?{}", str::from_utf8(&body).ok()?)).ok()?;
    Query::<Form>::try_from_uri(&uri).ok().map(|Query(form)| form)
}

/// A path of ours; anything else is the front page, so that no one is sent elsewhere.
fn local(next: &str) -> &str {
    let is_local = next.starts_with('/') && !next.starts_with("//") && !next.contains(['\\', '\r', '\n']);
    if is_local { next } else { "/" }
}

fn form(next: &str, problem: Option<&str>, is_signed_in: bool) -> Html<String> {
    layout::page(
        "Sign in",
        "",
        &html! {
            h1 { "Sign in" }
            @if let Some(problem) = problem { p.notice role="alert" { (problem) } }
            form method="post" action="/login" {
                input type="hidden" name="next" value=(next);
                p {
                    label for="token" { "Token " }
                    input id="token" type="password" name="token" required autofocus autocomplete="current-password";
                    " " button { "Sign in" }
                }
            }
            p.muted { "Tokens are made by " code { "driftline tokens create --role read" } "." }
            @if is_signed_in {
                form method="post" action="/logout" { p { button { "Sign out" } } }
            }
        },
    )
}

#[cfg(test)]
mod tests {
    use super::{local, login_path};

    #[test]
    fn no_one_is_sent_to_another_site() {
        assert_eq!(local("/traces?a=b"), "/traces?a=b");
        for elsewhere in ["//evil.example", "https://evil.example", "/\\evil.example", "", "/a\r\nx"] {
            assert_eq!(local(elsewhere), "/", "{elsewhere:?}");
        }
        assert_eq!(login_path("/traces?a=b&c"), "/login?next=/traces%3Fa%3Db%26c");
    }
}
