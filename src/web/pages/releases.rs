//! Releases: which versions came when, what share of the traffic they have, and what else changed.

use axum::extract::State;
use axum::response::Html;
use maud::{Markup, html};

use super::super::WebState;
use super::super::parameters::Parameters;
use super::PageError;
use super::layout::{address, badge, instant, page};
use super::text::clipped;
use crate::domain::release::{ChangeEvent, ChangeKind, Release, ReleaseStatus};
use crate::queries::releases::{ReleaseFilter, releases as ask};

/// Changes shown; the last ones.
const CHANGES: usize = 50;
/// How long before and after a release is compared: beyond a night without traffic.
const WINDOW: &str = "48h";

pub(in crate::web) async fn releases(
    State(state): State<WebState>,
    mut parameters: Parameters,
) -> Result<Html<String>, PageError> {
    let filter = ReleaseFilter {
        service: parameters.take("service"),
        unsettled: parameters.parse("unsettled", "true or false")?.unwrap_or(false),
    };
    parameters.finish()?;
    let found = ask(&state.store, &filter).await?;
    let is_other = |change: &&ChangeEvent| change.kind != ChangeKind::Release;
    let others: Vec<&ChangeEvent> = found.changes.iter().rev().filter(is_other).take(CHANGES).collect();
    Ok(page(
        "Releases",
        "/releases",
        &html! {
            h1 { "Releases" }
            @if found.releases.is_empty() {
                p.muted { "No version has been noticed yet. Traces tell theirs by service.version, model and prompt_version." }
            } @else {
                (table(&found.releases))
            }
            @if !filter.unsettled {
                p { a href="/releases?unsettled=true" { "Versions too that few traces carry" } }
            }
            p.muted { "A comparison as a file: " code { "driftline releases compare SERVICE VERSION --html FILE" } }
            @if !others.is_empty() {
                h2 { "What else changed" }
                ul { @for change in others { li { (line(change)) } } }
            }
        },
    ))
}

fn table(releases: &[Release]) -> Markup {
    html! {
        div.scroll {
            table {
                thead { tr {
                    @for heading in ["Service", "Kind", "Version", "Before", "First seen"] { th { (heading) } }
                    @for heading in ["Traces", "Share now"] { th.number { (heading) } }
                    th { "Status" }
                } }
                tbody { @for release in releases { (row(release)) } }
            }
        }
    }
}

fn row(release: &Release) -> Markup {
    html! {
        tr {
            td { (clipped(&release.service, 80)) }
            td.muted { (clipped(&release.dimension.replace('_', " "), 40)) }
            td { strong { (clipped(&release.value, 80)) } }
            td { @if let Some(previous) = &release.previous {
                (clipped(previous, 80)) " · " a href=(comparison(release)) { "compare" }
            } }
            td.nowrap { (instant(release.first_seen_at)) }
            td.number { (release.traces) }
            td.number { (format!("{:.1} %", release.recent_share * 100.0)) }
            td { (status(release.status)) }
        }
    }
}

/// The page that compares a release with the one before it.
fn comparison(release: &Release) -> String {
    let Release { service, dimension, value, .. } = release;
    let named = [("service", service.as_str()), ("dimension", dimension), ("to", value), ("window", WINDOW)];
    address("/releases/compare", &named)
}

fn status(status: ReleaseStatus) -> Markup {
    match status {
        ReleaseStatus::Main => badge("good", "main"),
        ReleaseStatus::Concurrent => badge("info", "concurrent"),
        ReleaseStatus::Gone => badge("", "gone"),
        ReleaseStatus::Unsettled => badge("warn", "unsettled"),
    }
}

/// A change on one line.
pub(super) fn line(change: &ChangeEvent) -> Markup {
    html! {
        (instant(change.at)) " " (badge("", change.kind.as_str())) " "
        @if let Some(service) = &change.service { (clipped(service, 80)) " " }
        (clipped(&change.subject, 80)) ": "
        (clipped(change.from.as_deref().unwrap_or("nothing"), 80)) " → " strong { (clipped(&change.to, 80)) }
    }
}
