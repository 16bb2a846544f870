//! A gate's answer as one HTML file that needs nothing else.

use maud::{Markup, html};

use super::gate_text::{design, needed, verdict};
use super::report_html::{notes, page as whole_page};
use super::table::number;
use crate::domain::report::{GateReport, GateSeries, GateVerdict, calibration_mark};
use crate::domain::text::printable;
use crate::web::charts;

const HEADINGS: [&str; 7] = ["series", "verdict", "bound", "difference, positive is better", "", "n", "needed n"];

/// The page; `baseline` and `candidate` say where the sides came from.
pub(super) fn page(report: &GateReport, baseline: &str, candidate: &str) -> String {
    let content = html! {
        h1 class=(class(report.verdict)) { (verdict(report.verdict)) }
        p.muted {
            "May " code { (printable(candidate)) } " replace " code { (printable(baseline)) } "? Alpha " (report.alpha) ", "
            (design(report)) "."
        }
        div.scroll {
            table {
                thead { tr { @for heading in HEADINGS { th { (heading) } } } }
                tbody { @for row in &report.series { (table_row(row)) } }
            }
        }
        p.muted { "The dashed line is what the whole interval must exceed; the thin line is no difference." }
        @for row in &report.series {
            section {
                h2 { (printable(&row.series)) ": " span class=(class(row.verdict)) { (verdict(row.verdict)) } }
                p { (printable(&row.reason)) }
            }
        }
        (notes(&report.notes))
    };
    whole_page(&format!("Gate: {}", verdict(report.verdict)), &content)
}

fn table_row(row: &GateSeries) -> Markup {
    html! {
        tr {
            td { (printable(&row.series)) (calibration_mark(row.calibrated)) }
            td class=(class(row.verdict)) { (verdict(row.verdict)) }
            td.n { (number(row.margin)) }
            @if let (Some(difference), Some(low), Some(high)) = (row.difference, row.low, row.high) {
                td.n { (number(difference)) " (" (number(low)) " to " (number(high)) ")" }
                td { (charts::against(low, difference, high, bound(row))) }
            } @else {
                td { "-" }
                td {}
            }
            td.n { (row.n_baseline) " and " (row.n_candidate) }
            td.n { (needed(row)) }
        }
    }
}

/// What the difference must exceed: minus the margin; or zero without a baseline, where the bound is in the difference.
fn bound(row: &GateSeries) -> f64 {
    if row.n_baseline > 0 { -row.margin } else { 0.0 }
}

const fn class(verdict: GateVerdict) -> &'static str {
    match verdict {
        GateVerdict::Pass => "pass",
        GateVerdict::Fail => "fail",
        GateVerdict::Inconclusive => "inconclusive",
    }
}
