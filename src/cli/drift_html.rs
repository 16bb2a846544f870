//! A drift report as one HTML file that needs nothing else: no script, no font, no request.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::drift_text::{effect, estimate, is_worth_a_look, place, transition, verdict};
use super::table::p_value;
use crate::domain::report::{DriftReport, DriftVerdict, Estimate, SeriesReport};
use crate::domain::text::printable;

pub(super) const STYLE: &str = "body{font:14px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:76rem;padding:0 1rem;color:#222}\
    table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.25rem .6rem;border-bottom:1px solid #ddd;\
    vertical-align:top}td.n{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}\
    .drift{color:#b00020;font-weight:600}.notable{color:#8a5a00}.quiet{color:#666}code{font-size:12px}";
/// Width of an interval plot, in pixels.
const PLOT_WIDTH: f64 = 160.0;

/// The page; `baseline` and `current` say where the sides came from.
pub(super) fn page(report: &DriftReport, baseline: &str, current: &str) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                title { "Drift: " (verdict(report.verdict)) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                h1 class=(class(report.verdict, false)) { (verdict(report.verdict)) }
                p {
                    "Baseline " code { (printable(baseline)) } ", " (report.traces.baseline) " traces; current "
                    code { (printable(current)) } ", " (report.traces.current) " traces; false-discovery rate "
                    (report.alpha) " over " (report.series.len()) " series."
                }
                (table(report))
                @for row in report.series.iter().filter(|row| is_worth_a_look(row)) { (details(row)) }
                @if !report.notes.is_empty() {
                    h2 { "Notes" }
                    ul { @for note in &report.notes { li { (printable(note)) } } }
                }
            }
        }
    };
    page.into_string()
}

const fn class(verdict: DriftVerdict, is_notable: bool) -> &'static str {
    match verdict {
        _ if is_notable => "notable",
        DriftVerdict::Drift => "drift",
        DriftVerdict::NoDrift => "calm",
        DriftVerdict::InsufficientEvidence => "quiet",
    }
}

fn table(report: &DriftReport) -> Markup {
    html! {
        table {
            thead {
                tr {
                    @for heading in ["series", "verdict", "baseline", "current", "95 % intervals", "effect", "p", "adjusted p"] {
                        th { (heading) }
                    }
                }
            }
            tbody {
                @for row in &report.series {
                    tr {
                        td { (printable(&place(row))) }
                        td class=(class(row.verdict, row.notable)) {
                            @if row.notable { "notable" } @else { (verdict(row.verdict)) }
                        }
                        td class="n" { (estimate(&row.baseline)) }
                        td class="n" { (estimate(&row.current)) }
                        td { (plot(row)) }
                        td class="n" { (effect(row)) }
                        td class="n" { (p_value(row.p_value)) }
                        td class="n" { (p_value(row.adjusted_p_value)) }
                    }
                }
            }
        }
    }
}

/// Both intervals on one scale, the baseline above.
fn plot(row: &SeriesReport) -> Markup {
    let ends = [row.baseline.low, row.baseline.high, row.current.low, row.current.high];
    let known: Vec<f64> = ends.into_iter().flatten().collect();
    let (low, high) =
        known.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), end| (low.min(*end), high.max(*end)));
    if known.len() < ends.len() || high <= low {
        return html! {};
    }
    let x = |value: f64| format!("{:.1}", 4.0 + (value - low) / (high - low) * (PLOT_WIDTH - 8.0));
    let interval = |side: &Estimate, y: &str, colour: &str| {
        let (Some(low), Some(value), Some(high)) = (side.low, side.estimate, side.high) else { return html! {} };
        html! {
            line x1=(x(low)) x2=(x(high)) y1=(y) y2=(y) stroke=(colour) stroke-width="2" {}
            circle cx=(x(value)) cy=(y) r="3" fill=(colour) {}
        }
    };
    html! {
        svg width=(PLOT_WIDTH) height="22" role="img" aria-label="intervals" {
            (interval(&row.baseline, "7", "#888"))
            (interval(&row.current, "16", "#0b62c4"))
        }
    }
}

fn details(row: &SeriesReport) -> Markup {
    html! {
        h2 { (printable(&place(row))) }
        p {
            "By " code { (printable(&row.test)) }
            @if let Some(pairs) = row.pairs { " over " (pairs) " pairs" }
            @if let Some(note) = &row.note { ". " (printable(note)) }
        }
        @if !row.transitions.is_empty() {
            ul { @for moved in &row.transitions { li { (transition(moved)) } } }
        }
        @if !row.evidence.is_empty() {
            p { "Traces: " @for trace in &row.evidence { code { (trace.to_string()) } " " } }
        }
    }
}
