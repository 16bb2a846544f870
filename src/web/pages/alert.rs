//! One alert: what moved, since when, how sure, what it affects, and its life so far.

use axum::extract::{Path, State};
use axum::response::Html;
use maud::{Markup, html};

use super::super::WebState;
use super::PageError;
use super::alert_forms::forms;
use super::alerts::{card, children};
use super::layout::{instant, page, trace_link};
use super::releases::line as change_line;
use super::text::clipped;
use crate::domain::alert::{AlertEvent, Transition};
use crate::domain::explanation::{Contribution, Evidence, Explanation};
use crate::domain::report::{Estimate, Transition as MovedShare};
use crate::queries::affected::{AffectedTrace, AlertDetail, alert_detail};

pub(in crate::web) async fn alert(
    State(state): State<WebState>,
    Path(id): Path<String>,
) -> Result<Html<String>, PageError> {
    let now = state.clock.now();
    let detail = alert_detail(&state.store, &id, &state.baseline, &state.public_url, now).await?;
    Ok(page(
        "Alert",
        "/alerts",
        &html! {
            h1 { "Alert " (detail.alert.fingerprint) }
            (card(&detail.alert))
            (known(&detail))
            (causes(&detail.alert.evidence))
            @if !detail.group.is_empty() {
                h2 { "Of the same cause (" (detail.group.len()) ")" }
                (children(&detail.group))
            }
            (hands(&detail))
            h2 { "Affected traces (" (detail.affected_traces) ")" }
            p.muted { "Affected since the onset is " (clipped(&detail.affected_are, 500)) "." }
            (affected(&detail))
            h2 { "History" }
            div.scroll { table {
                thead { tr { th { "At" } th { "What happened" } th { "Severity" } } }
                tbody { @for event in &detail.history { (step(event)) } }
            } }
        },
    ))
}

/// What moved, from what to what, since when, and what changed about then.
fn known(detail: &AlertDetail) -> Markup {
    let (alert, evidence) = (&detail.alert, &detail.alert.evidence);
    html! {
        dl.facts {
            @if let Some((first, last)) = evidence.onset_between.filter(|(first, last)| first < last) {
                div { dt { "Began between (95 %)" } dd { (instant(first)) " and " (instant(last)) } }
            }
            @if !evidence.measure.is_empty() { div { dt { "Measured" } dd { (clipped(&evidence.measure, 200)) } } }
            @if let Some(change) = &evidence.nearest_change {
                div { dt { "Nearest change" } dd { (change_line(change)) } }
            }
            @if let Some(parent) = &alert.parent {
                div { dt { "One cause with" } dd { a.id href={ "/alerts/" (parent) } { (parent) } } }
            }
        }
        @if detail.baseline_estimate.is_some() || detail.current_estimate.is_some() {
            p.muted { "Beside what was measured, the mean of all values of the series (of true and false, the share that is true):" }
            div.scroll { table {
                tr { th {} th.number { "traces" } th.number { "mean" } th { "95 % interval" } }
                (estimate("baseline", detail.baseline_estimate.as_ref()))
                (estimate("since the onset", detail.current_estimate.as_ref()))
            } }
        }
    }
}

/// Where the change comes from: segments by what they contribute to the change of `measure`.
pub(super) fn origin(explanation: &Explanation, measure: &str) -> Markup {
    html! {
        h2 { "Where it comes from" }
        p {
            @if !measure.is_empty() { "The numbers are of the " strong { (clipped(measure, 200)) } ". " }
            "By " (clipped(&explanation.dimension, 80)) ": " (signed(explanation.mix)) " of the change is another mix, "
            (signed(explanation.within)) " is within."
        }
        (segments(&explanation.segments))
        @if !explanation.new_versions.is_empty() {
            p { "New since the baseline: " (clipped(&explanation.new_versions.join(", "), 300)) }
        }
        @if !explanation.trace_ids.is_empty() {
            p { "Of the first segment: " @for id in &explanation.trace_ids { (trace_link(*id)) " " } }
        }
    }
}

/// Where the change comes from, and what moved inside the series.
fn causes(evidence: &Evidence) -> Markup {
    html! {
        @if let Some(explanation) = &evidence.explanation {
            (origin(explanation, &evidence.measure))
            p.muted { "As it was when the change was found; what is measured may have moved on since." }
        }
        @if !evidence.transitions.is_empty() {
            h2 { "What moved" }
            (transitions(&evidence.transitions))
        }
    }
}

fn segments(segments: &[Contribution]) -> Markup {
    html! {
        div.scroll {
            table {
                tr {
                    th { "segment" } th.number { "traces" } th.number { "baseline" } th.number { "now" }
                    th.number { "contributes" } th.number { "95 % interval" }
                }
                @for one in segments {
                    tr {
                        td { (clipped(&one.segment, 120)) }
                        td.number { (one.traces) }
                        td.number { (format!("{:.3}", one.baseline)) }
                        td.number { (format!("{:.3}", one.current)) }
                        td.number { (signed(one.contribution)) }
                        td.number { (signed(one.low)) " to " (signed(one.high)) }
                    }
                }
            }
        }
    }
}

pub(super) fn transitions(transitions: &[MovedShare]) -> Markup {
    let percent = |share: f64| format!("{:.1} %", share * 100.0);
    html! {
        div.scroll {
            table {
                tr {
                    th { "share of" } th.number { "baseline" } th.number { "now" }
                    th.number { "change, 95 % interval" }
                }
                @for one in transitions {
                    tr {
                        td { @if !one.from.is_empty() { (clipped(&one.from, 80)) " → " } (clipped(&one.to, 80)) }
                        td.number { (percent(one.baseline)) }
                        td.number { (percent(one.current)) }
                        @let (low, high) = one.points();
                        td.number { (format!("{low:+.1} to {high:+.1} points")) }
                    }
                }
            }
        }
    }
}

fn signed(number: f64) -> String {
    format!("{number:+.3}")
}

/// Who has it, who silenced it, and how to do either.
fn hands(detail: &AlertDetail) -> Markup {
    let alert = &detail.alert;
    html! {
        @if let Some(taken) = &alert.acknowledgement {
            p {
                "Acknowledged by " (clipped(&taken.by, 80)) " at " (instant(taken.at))
                @if let Some(note) = &taken.note { ": " (clipped(note, 500)) }
            }
        }
        @if let Some(since) = alert.no_data_since { p { "No detector has confirmed it since " (instant(since)) } }
        @for silence in &detail.silences {
            p { "Silenced by " (clipped(&silence.by, 80)) " until " (instant(silence.ends_at)) ": " (clipped(&silence.reason, 500)) }
        }
        @if alert.state.is_open() { (forms(alert)) }
    }
}

fn estimate(name: &str, estimate: Option<&Estimate>) -> Markup {
    let number = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.4}"));
    html! {
        @if let Some(Estimate { n, estimate, low, high, .. }) = estimate {
            tr {
                td { (name) }
                td.number { (n) }
                td.number { (number(*estimate)) }
                td { (number(*low)) " to " (number(*high)) }
            }
        }
    }
}

fn affected(detail: &AlertDetail) -> Markup {
    html! {
        @if !detail.affected.traces.is_empty() {
            div.scroll {
                table {
                    tr { @for heading in ["trace", "ended", "conversation", "user", "ids"] { th { (heading) } } }
                    @for trace in &detail.affected.traces { (row(trace)) }
                }
            }
        }
        @if let Some(next) = &detail.affected.next {
            p {
                a href={ "/api/v1/alerts/" (detail.alert.fingerprint) "/traces?limit=1000&after=" (next) } { "more, as JSON" }
                " · all: " code { "driftline alerts show " (detail.alert.fingerprint) " --all" }
            }
        }
    }
}

fn row(trace: &AffectedTrace) -> Markup {
    let ids = trace.attributes.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ");
    html! {
        tr {
            td { (trace_link(trace.trace_id)) }
            td.nowrap { (instant(trace.ended_at)) }
            td { (clipped(trace.conversation_id.as_deref().unwrap_or_default(), 40)) }
            td { (clipped(trace.user_id.as_deref().unwrap_or_default(), 40)) }
            td { (clipped(&ids, 200)) }
        }
    }
}

fn step(event: &AlertEvent) -> Markup {
    let by = event.alert.acknowledgement.as_ref().filter(|_| event.transition == Transition::Acknowledged);
    html! {
        tr {
            td { (instant(event.at)) }
            td { (event.transition.as_str()) @if let Some(taken) = by { " by " (clipped(&taken.by, 80)) } }
            td { (event.alert.severity.as_str()) }
        }
    }
}
