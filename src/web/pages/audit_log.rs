//! Who changed or read what.

use axum::extract::State;
use axum::response::Html;
use maud::html;

use super::super::WebState;
use super::super::parameters::Parameters;
use super::PageError;
use super::layout::{instant, page};
use super::text::clipped;
use crate::domain::access::Action;

pub(in crate::web) async fn audit_log(
    State(state): State<WebState>,
    parameters: Parameters,
) -> Result<Html<String>, PageError> {
    let log = state.log(parameters).await?;
    Ok(page(
        "Audit log",
        "/audit",
        &html! {
            h1 { "Audit log" }
            p.muted { "Every label, acknowledgement, silence, change of settings and tokens, erasure, and every time that \
                       text of a trace was shown. Lines are only ever added." }
            @if log.entries.is_empty() { p.notice { "Nothing was changed or read in this time." } }
            @else {
                div.scroll { table {
                    thead { tr { @for heading in ["When", "Who", "Did", "What", ""] { th { (heading) } } } }
                    tbody {
                        @for entry in &log.entries {
                            tr {
                                td.nowrap { (instant(entry.at)) }
                                td { (clipped(&entry.actor, 80)) }
                                td { (word(entry.action)) }
                                td { code { (clipped(&entry.subject, 120)) } }
                                td { (clipped(&entry.detail, 400)) }
                            }
                        }
                    }
                } }
            }
            @if log.has_more { p.muted { "There are earlier lines: ask for a shorter time with ?since=." } }
        },
    ))
}

const fn word(action: Action) -> &'static str {
    match action {
        Action::Read => "read",
        Action::Label => "labelled",
        Action::Acknowledge => "acknowledged",
        Action::Silence => "silenced",
        Action::Unsilence => "ended a silence",
        Action::Configure => "changed settings",
        Action::CreateToken => "made a token",
        Action::RevokeToken => "revoked a token",
        Action::Erase => "erased",
    }
}
