//! Two releases beside each other: quality, what it costs, and every series that moved.

use axum::extract::State;
use axum::response::Html;
use maud::{Markup, html};

use super::super::WebState;
use super::super::charts;
use super::super::parameters::Parameters;
use super::super::releases::comparison_request;
use super::PageError;
use super::layout::{badge, instant, page, trace_link, uncalibrated};
use super::text::clipped;
use crate::domain::report::{DriftVerdict, Estimate, SeriesReport};
use crate::domain::text::{number, p_value};
use crate::queries::releases::{Headline, ReleaseComparison, ReleaseSide, compare};

/// Notes shown.
const NOTES: usize = 20;

pub(in crate::web) async fn release_comparison(
    State(state): State<WebState>,
    mut parameters: Parameters,
) -> Result<Html<String>, PageError> {
    let request = comparison_request(&mut parameters)?;
    parameters.finish()?;
    let found = compare(&state.store, &request).await?;
    Ok(page("Releases compared", "/releases", &content(&found)))
}

fn content(found: &ReleaseComparison) -> Markup {
    let ReleaseComparison { service, dimension, before, after, quality, cost, drift } = found;
    let moved: Vec<&SeriesReport> = drift.series.iter().filter(|row| is_worth_a_look(row)).collect();
    html! {
        h1 { (clipped(service, 80)) ": " (clipped(&before.value, 80)) " → " (clipped(&after.value, 80)) }
        dl.facts {
            div { dt { "Compared by" } dd { (clipped(dimension, 40)) } }
            (side("Before", before))
            (side("After", after))
        }
        @for (name, rows) in [("Quality", quality), ("Cost, mean of a trace", cost)] {
            @if !rows.is_empty() { h2 { (name) } (headlines(rows)) }
        }
        h2 { "What moved (" (moved.len()) " of " (drift.series.len()) " series)" }
        p { (verdict(drift.verdict, false)) " " span.muted { "over all series, false-discovery rate " (drift.alpha) } }
        (series(&moved))
        @if !drift.notes.is_empty() { ul { @for note in drift.notes.iter().take(NOTES) { li.muted { (clipped(note, 500)) } } } }
    }
}

const fn is_worth_a_look(row: &SeriesReport) -> bool {
    row.notable || matches!(row.verdict, DriftVerdict::Drift)
}

fn side(name: &str, side: &ReleaseSide) -> Markup {
    html! { div { dt { (name) } dd {
        strong { (clipped(&side.value, 80)) } ", " (side.traces) " traces, " (instant(side.since)) " to " (instant(side.until))
    } } }
}

fn headlines(rows: &[Headline]) -> Markup {
    html! {
        div.scroll { table {
            thead { tr { th { "Series" } th.number { "Before" } th.number { "After" } th { "95 % intervals" } th.number { "Change" } th {} } }
            tbody { @for row in rows { tr {
                td { (clipped(&row.series, 80)) " " (uncalibrated(row.calibrated)) @if let Some(unit) = &row.unit { span.muted { (unit) } } }
                td.number { (estimate(&row.before)) }
                td.number { (estimate(&row.after)) }
                td { span.charts { (charts::intervals(&row.before, &row.after)) } }
                td.number { @if let Some(change) = row.change { (format!("{:+.1} %", change * 100.0)) } }
                td { (verdict(row.verdict, row.notable)) }
            } } }
        } }
    }
}

fn series(rows: &[&SeriesReport]) -> Markup {
    html! {
        @if !rows.is_empty() {
            div.scroll { table {
                thead { tr { th { "Series" } th { "Segment" } th.number { "Before" } th.number { "After" } th.number { "p" } th {} th { "Traces" } } }
                tbody { @for row in rows { tr {
                    td { (clipped(&row.series, 80)) " " (uncalibrated(row.calibrated)) }
                    td { (clipped(&row.segment, 80)) }
                    td.number { (estimate(&row.baseline)) }
                    td.number { (estimate(&row.current)) }
                    td.number { @if let Some(p) = row.p_value { (p_value(p)) } }
                    td { (verdict(row.verdict, row.notable)) }
                    td { @for id in row.evidence.iter().take(3) { (trace_link(*id)) " " } }
                } } }
            } }
        }
    }
}

fn estimate(estimate: &Estimate) -> Markup {
    let Some(value) = estimate.estimate else { return html! { span.muted { "no data" } } };
    html! {
        (number(value))
        @if let (Some(low), Some(high)) = (estimate.low, estimate.high) { " " span.muted.nowrap { (number(low)) " to " (number(high)) } }
    }
}

fn verdict(verdict: DriftVerdict, notable: bool) -> Markup {
    match verdict {
        DriftVerdict::Drift => badge("page", "moved"),
        _ if notable => badge("warn", "notable"),
        DriftVerdict::NoDrift => badge("good", "no difference shown"),
        DriftVerdict::InsufficientEvidence => badge("", "too little to tell"),
    }
}
