//! What all pages share.

use axum::http::header;
use axum::response::{Html, IntoResponse};
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::super::guard::POLICY_WITH_SCRIPT;
use crate::domain::ids::TraceId;
use crate::domain::text::printable;
use crate::domain::time::Timestamp;
use crate::queries::search::FoundTrace;

const PLACES: [(&str, &str); 12] = [
    ("/", "Overview"),
    ("/traces", "Traces"),
    ("/series", "Series"),
    ("/alerts", "Alerts"),
    ("/releases", "Releases"),
    ("/review", "Review"),
    ("/judges", "Judges"),
    ("/evaluators", "Evaluators"),
    ("/costs", "Costs"),
    ("/audit", "Audit"),
    ("/readiness", "Readiness"),
    ("/system", "System"),
];

/// A whole page; `place` is the path of the entry to mark in the navigation.
pub(in crate::web) fn page(title: &str, place: &str, content: &Markup) -> Html<String> {
    Html(document(title, place, None, content).into_string())
}

/// A page that works by hand, and by keys with a script of ours, which its policy lets in.
pub(super) fn page_with_keys(title: &str, place: &str, content: &Markup) -> impl IntoResponse + use<> {
    let page = document(title, place, Some("/review.js"), content);
    ([(header::CONTENT_SECURITY_POLICY, POLICY_WITH_SCRIPT)], Html(page.into_string()))
}

fn document(title: &str, place: &str, script: Option<&str>, content: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) " · driftline" }
                link rel="stylesheet" href="/style.css";
                link rel="icon" href="data:,";
                @if let Some(script) = script { script src=(script) defer {} }
            }
            body {
                header {
                    a.brand href="/" { "driftline" }
                    nav {
                        @for (path, name) in PLACES {
                            a href=(path) aria-current=[(path == place).then_some("page")] { (name) }
                        }
                    }
                }
                main { (content) }
            }
        }
    }
}

/// A whole page as one file that asks for nothing from elsewhere; texts in `content` are escaped already.
#[must_use]
pub fn standalone(title: &str, style: &str, content: &Markup) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'";
                title { (printable(title)) }
                style { (PreEscaped(style)) }
            }
            body { (content) }
        }
    };
    page.into_string()
}

/// A link to a trace's page, by the first digits of its id.
pub(super) fn trace_link(trace_id: TraceId) -> Markup {
    let id = trace_id.to_string();
    html! { a.id href={ "/traces/" (id) } title=(id) { (&id[..8]) } }
}

/// Whose run it was, by name: what is known of it.
pub(super) fn whose(trace: &FoundTrace) -> impl Iterator<Item = (&'static str, &str)> {
    let facts = [
        ("Service", Some(&trace.service)),
        ("Release", trace.release.as_ref()),
        ("Model", trace.model.as_ref()),
        ("Environment", trace.environment.as_ref()),
        ("Conversation", trace.conversation_id.as_ref()),
        ("User", trace.user_id.as_ref()),
    ];
    facts.into_iter().filter_map(|(name, value)| Some((name, value?.as_str())))
}

/// An instant, to the second.
pub(super) fn instant(at: Timestamp) -> Markup {
    let text = at.to_string();
    html! { time datetime=(text) { (text.replace('T', " ").trim_end_matches('Z')) " UTC" } }
}

/// The mark of what a judge scored that is not calibrated.
pub(super) fn uncalibrated(calibrated: Option<bool>) -> Markup {
    html! { @if calibrated == Some(false) { (badge("warn", "uncalibrated")) " " } }
}

/// A word with a colour that repeats what it says.
pub(super) fn badge(class: &str, word: &str) -> Markup {
    html! { span class={ "badge " (class) } { (word) } }
}

/// A place in another system, whose template names what is looked for; only web addresses become links, and none where
/// the template asks for something else.
pub(super) fn elsewhere(template: &str, name: &str, value: &str) -> Option<String> {
    let is_web = template.starts_with("https://") || template.starts_with("http://");
    let mark = format!("{{{name}}}");
    (is_web && template.contains(&mark)).then(|| template.replace(&mark, &escaped(value)))
}

/// A path with parameters, whatever characters they hold.
pub(super) fn address(path: &str, parameters: &[(&str, &str)]) -> String {
    let mut url = String::from(path);
    for (index, (name, value)) in parameters.iter().enumerate() {
        url.push(if index == 0 { '?' } else { '&' });
        url.push_str(name);
        url.push('=');
        url.push_str(&escaped(value));
    }
    url
}

/// A value as one part of an address.
fn escaped(value: &str) -> String {
    let mut url = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            url.push(char::from(byte));
        } else {
            url.push_str(&format!("%{byte:02X}"));
        }
    }
    url
}

#[cfg(test)]
mod tests {
    use super::address;

    #[test]
    fn a_hostile_name_stays_one_parameter() {
        let url = address("/traces", &[("service", "a&b=c#\"é"), ("failing", "true")]);
        assert_eq!(url, "/traces?service=a%26b%3Dc%23%22%C3%A9&failing=true");
    }
}
