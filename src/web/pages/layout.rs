//! What all pages share.

use axum::response::Html;
use maud::{DOCTYPE, Markup, html};

use crate::domain::ids::TraceId;
use crate::domain::time::Timestamp;

const PLACES: [(&str, &str); 6] = [
    ("/", "Overview"),
    ("/traces", "Traces"),
    ("/alerts", "Alerts"),
    ("/releases", "Releases"),
    ("/audit", "Audit"),
    ("/readiness", "Readiness"),
];

/// A whole page; `place` is the path of the entry to mark in the navigation.
pub(in crate::web) fn page(title: &str, place: &str, content: &Markup) -> Html<String> {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) " · driftline" }
                link rel="stylesheet" href="/style.css";
                link rel="icon" href="data:,";
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
    };
    Html(page.into_string())
}

/// A link to a trace's page, by the first digits of its id.
pub(super) fn trace_link(trace_id: TraceId) -> Markup {
    let id = trace_id.to_string();
    html! { a.id href={ "/traces/" (id) } title=(id) { (&id[..8]) } }
}

/// An instant, to the second.
pub(super) fn instant(at: Timestamp) -> Markup {
    let text = at.to_string();
    html! { time datetime=(text) { (text.replace('T', " ").trim_end_matches('Z')) " UTC" } }
}

/// A word with a colour that repeats what it says.
pub(super) fn badge(class: &str, word: &str) -> Markup {
    html! { span class={ "badge " (class) } { (word) } }
}
