//! What every request passes and every answer carries.

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};

use super::error::WebError;

/// The one page that is worked by keys has one script, of our own; the rest holds there too.
pub(super) const POLICY_WITH_SCRIPT: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
                                             img-src 'self' data:; base-uri 'none'; form-action 'self'; \
                                             frame-ancestors 'none'";

/// No script at all, and nothing from elsewhere.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; style-src 'self'; img-src 'self' data:; base-uri 'none'; \
                                       form-action 'self'; frame-ancestors 'none'";

const HEADERS: [(HeaderName, &str); 4] = [
    (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_FRAME_OPTIONS, "DENY"),
];

/// Puts the guards before every route.
pub(super) fn guarded(router: Router, is_loopback: bool) -> Router {
    router.layer(from_fn(move |request: Request, next: Next| async move {
        let mut response = match refusal(&request, is_loopback) {
            Some(refusal) => refusal.into_response(),
            None => next.run(request).await,
        };
        add_headers(&mut response);
        response
    }))
}

fn add_headers(response: &mut Response) {
    for (name, value) in HEADERS {
        // A page that needs more than others has said so.
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
}

/// A listener on the loopback interface needs no token, so a page from elsewhere must not reach it: neither under a
/// name that it had resolve to this machine, nor by a form.
fn refusal(request: &Request, is_loopback: bool) -> Option<WebError> {
    let text = |name: HeaderName| request.headers().get(name).and_then(|value| value.to_str().ok());
    if is_loopback && !text(header::HOST).is_some_and(is_own_name) {
        let error = "this listener answers to localhost, 127.0.0.1 and [::1] only";
        return Some(WebError::new(StatusCode::FORBIDDEN, error, "use http://localhost and the port in the address"));
    }
    let site = text(HeaderName::from_static("sec-fetch-site"));
    let only_reads = matches!(*request.method(), Method::GET | Method::HEAD);
    let is_foreign = match site {
        Some(site) => !matches!(site, "same-origin" | "none"),
        // Browsers that do not say it that way say it this way.
        None => text(header::ORIGIN).is_some_and(|origin| !is_origin_of(origin, text(header::HOST))),
    };
    if !only_reads && is_foreign {
        let error = "a page of another site may not change anything here";
        return Some(WebError::new(
            StatusCode::FORBIDDEN,
            error,
            "send the request from a program, or from these pages",
        ));
    }
    None
}

/// Whether an origin such as `https://host:port` is that of the host that was asked.
fn is_origin_of(origin: &str, host: Option<&str>) -> bool {
    let named = origin.split_once("://").map(|(_, named)| named);
    named.zip(host).is_some_and(|(named, host)| named.eq_ignore_ascii_case(host))
}

fn is_own_name(host: &str) -> bool {
    let port = |port: &str| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    let name = host.rsplit_once(':').filter(|(_, after)| port(after)).map_or(host, |(name, _)| name);
    ["localhost", "127.0.0.1", "[::1]"].iter().any(|own| name.eq_ignore_ascii_case(own))
}

#[cfg(test)]
mod tests {
    use super::{is_origin_of, is_own_name};

    #[test]
    fn an_origin_is_that_of_the_host_by_name_and_port() {
        assert!(is_origin_of("http://127.0.0.1:8080", Some("127.0.0.1:8080")));
        assert!(is_origin_of("https://Drift.example", Some("drift.example")));
        for origin in ["null", "", "http://evil.example", "http://127.0.0.1:8081", "http://127.0.0.1:8080.evil.example"]
        {
            assert!(!is_origin_of(origin, Some("127.0.0.1:8080")), "{origin}");
        }
        assert!(!is_origin_of("http://a", None));
    }

    #[test]
    fn only_names_of_this_machine_are_its_own() {
        for host in ["localhost", "LOCALHOST:8080", "127.0.0.1:8080", "127.0.0.1", "[::1]", "[::1]:8080"] {
            assert!(is_own_name(host), "{host}");
        }
        for host in ["", "evil.example", "localhost.evil.example:8080", "127.0.0.1.evil.example", "localhost:", "[::1"]
        {
            assert!(!is_own_name(host), "{host}");
        }
    }
}
