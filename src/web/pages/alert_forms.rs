//! What people do about an alert from its page: take it in hand, silence it. The guard before every route refuses what
//! pages of others send.

use axum::extract::{Path, Query, RawForm, State};
use axum::response::Redirect;
use maud::{Markup, html};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::super::WebState;
use super::super::error::WebError;
use super::PageError;
use crate::domain::alert::Alert;
use crate::queries::alerts::{AckRequest, SilenceRequest, acknowledge as take, alert as find, silence as quiet};

/// The forms of an open alert.
pub(super) fn forms(alert: &Alert) -> Markup {
    html! {
        h2 { "Take it in hand" }
        form method="post" action={ "/alerts/" (alert.fingerprint) "/ack" } {
            label { "Your name" input name="by" required maxlength="200"; }
            label { "What others should know" input name="note" maxlength="500"; }
            button { "Acknowledge" }
        }
        form method="post" action={ "/alerts/" (alert.fingerprint) "/silence" } {
            label { "Your name" input name="by" required maxlength="200"; }
            label { "Why" input name="reason" required maxlength="500"; }
            label { "For" input name="for" value="2h" required maxlength="20"; }
            button { "Silence" }
        }
    }
}

/// A silence as the form asks for it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SilenceForm {
    by: String,
    reason: String,
    #[serde(rename = "for")]
    duration: String,
}

pub(in crate::web) async fn acknowledge(
    State(state): State<WebState>,
    Path(id): Path<String>,
    RawForm(body): RawForm,
) -> Result<Redirect, PageError> {
    let asked: AckRequest = read(&body)?;
    // A field that was left empty is sent all the same.
    let note = asked.note.filter(|note| !note.trim().is_empty());
    let alert = take(&state.store, &id, AckRequest { note, ..asked }, state.clock.now()).await?;
    Ok(to_page(&alert))
}

pub(in crate::web) async fn silence(
    State(state): State<WebState>,
    Path(id): Path<String>,
    RawForm(body): RawForm,
) -> Result<Redirect, PageError> {
    let SilenceForm { by, reason, duration } = read(&body)?;
    let alert = find(&state.store, &id).await?;
    let matcher = format!("fingerprint={}", alert.fingerprint);
    quiet(&state.store, &SilenceRequest { matcher, duration, by, reason }, state.clock.now()).await?;
    Ok(to_page(&alert))
}

fn to_page(alert: &Alert) -> Redirect {
    Redirect::to(&format!("/alerts/{}", alert.fingerprint))
}

/// A form's fields, which are written as a query is.
pub(super) fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, WebError> {
    let unreadable = || WebError::bad_request("the form cannot be read", "fill in the form of its page");
    let query = str::from_utf8(body).map_err(|_| unreadable())?;
    let uri = format!("/?{query}").parse().map_err(|_| unreadable())?;
    let Query(fields) = Query::try_from_uri(&uri)?;
    Ok(fields)
}
