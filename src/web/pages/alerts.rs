//! Alerts, one sentence each, with the traces behind it.

use axum::extract::State;
use axum::response::Html;
use maud::{Markup, html};

use super::super::WebState;
use super::super::parameters::Parameters;
use super::PageError;
use super::figures::counted;
use super::layout::{badge, instant, page, trace_link, uncalibrated};
use super::series::path_of_alert;
use super::text::clipped;
use crate::backends::store::AlertFilter;
use crate::domain::alert::Alert;
use crate::queries;
use crate::queries::alerts::AlertGroup;

/// Evidence shown for one alert.
const EVIDENCE: usize = 8;

pub(in crate::web) async fn alerts(
    State(state): State<WebState>,
    mut parameters: Parameters,
) -> Result<Html<String>, PageError> {
    let filter = AlertFilter {
        open_only: parameters.parse("open", "true or false")?.unwrap_or(false),
        service: parameters.take("service"),
    };
    parameters.finish()?;
    let alerts = queries::alerts::alerts(&state.store, &filter).await?.groups();
    let (open, over): (Vec<_>, Vec<_>) = alerts.into_iter().partition(|group| group.parent.state.is_open());
    Ok(page(
        "Alerts",
        "/alerts",
        &html! {
            h1 { "Alerts" }
            h2 { "Open (" (extent(&open)) ")" }
            @for group in &open { (group_card(group)) }
            @if open.is_empty() { p.muted { "Nothing is alarming now." } }
            @if !filter.open_only {
                h2 { "Resolved (" (extent(&over)) ")" }
                @for group in &over { (group_card(group)) }
                @if over.is_empty() { p.muted { "No alert has been resolved yet." } }
            }
        },
    ))
}

/// How many causes, and how many alerts in all, which is what metrics and the command line count.
pub(super) fn extent(groups: &[AlertGroup]) -> String {
    let alerts: usize = groups.iter().map(|group| 1 + group.children.len()).sum();
    format!("{}, {}", counted(groups.len(), "cause"), counted(alerts, "alert"))
}

/// The alert that is told of a cause, and those that it speaks for.
pub(super) fn group_card(group: &AlertGroup) -> Markup {
    html! {
        (card(&group.parent))
        @if !group.children.is_empty() {
            details.group {
                summary { "and " (group.children.len()) " more series of the same cause" }
                (children(&group.children))
            }
        }
    }
}

/// Alerts of one cause, a line each.
pub(super) fn children(alerts: &[Alert]) -> Markup {
    html! {
        ul {
            @for alert in alerts {
                li {
                    (badge(alert.severity.as_str(), alert.severity.as_str())) " " (badge("", alert.state.as_str())) " "
                    (uncalibrated(alert.calibrated))
                    a href={ "/alerts/" (alert.fingerprint) } { (clipped(&alert.summary, 300)) }
                }
            }
        }
    }
}

/// One alert.
pub(super) fn card(alert: &Alert) -> Markup {
    let severity = alert.severity.as_str();
    // What moved comes first; where the change comes from is read by who goes on.
    let (what, why) = alert.summary.split_once("; ").unwrap_or((&alert.summary, ""));
    html! {
        article class={ "alert " (severity) } {
            p {
                (badge(severity, severity)) " " (badge("", alert.state.as_str())) " "
                @if alert.no_data_since.is_some() { (badge("", "no data")) " " }
                (uncalibrated(alert.calibrated))
                a href={ "/alerts/" (alert.fingerprint) } { strong { (clipped(what, 500)) } }
            }
            @if !why.is_empty() { p { (clipped(why, 500)) } }
            p.muted {
                (clipped(&alert.service, 80)) " · " a href=(path_of_alert(alert)) { (clipped(&alert.series, 80)) }
                @if alert.segment != "all" { " · " (clipped(&alert.segment, 80)) }
                " · since " (instant(alert.onset_at)) " · raised " (instant(alert.raised_at))
                @if let Some(at) = alert.resolved_at { " · resolved " (instant(at)) }
            }
            p.muted { "Guarantee " (clipped(&alert.guarantee, 300)) " · " (runbook_link(alert)) }
            @if !alert.trace_ids.is_empty() {
                p { "Traces, for example: " @for id in alert.trace_ids.iter().take(EVIDENCE) { (trace_link(*id)) " " } }
            }
        }
    }
}

/// A link to the alert's runbook.
pub(super) fn runbook_link(alert: &Alert) -> Markup {
    html! { a href={ "/runbooks/" (alert.runbook) } { "runbook " (clipped(&alert.runbook, 80)) } }
}
