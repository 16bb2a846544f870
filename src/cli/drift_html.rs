//! A drift report, and a release compared, as one HTML file that needs nothing else.

use maud::{Markup, html};

use super::drift_text::{effect, estimate, is_worth_a_look, place, verdict};
use super::report_html::{changes, key, notes, page as whole_page};
use super::table::p_value;
use crate::domain::report::{DriftReport, DriftVerdict, SeriesReport, Transition, calibration_mark};
use crate::domain::text::printable;
use crate::queries::releases::{Headline, ReleaseComparison};
use crate::web::charts;
use crate::web::quantity::Quantity;

/// Values of a dimension that are shown.
const VALUES: usize = 8;
/// Least change of a share of the traffic that is shown.
const LEAST_SHIFT: f64 = 0.02;

/// The page; `baseline` and `current` say where the sides came from.
pub(super) fn page(report: &DriftReport, baseline: &str, current: &str) -> String {
    let content = html! {
        h1 class=(class(report.verdict, false)) { (verdict(report.verdict)) }
        p.muted {
            (report.traces.baseline) " traces of the baseline, " (report.traces.current) " now; false-discovery rate "
            (report.alpha) " over " (report.series.len()) " series."
        }
        (key(&format!("baseline: {baseline}"), &format!("current: {current}")))
        (body(report))
    };
    whole_page(&format!("Drift: {}", verdict(report.verdict)), &content)
}

/// A release compared, as a page.
pub(super) fn release_page(found: &ReleaseComparison) -> String {
    let ReleaseComparison { service, dimension, before, after, quality, cost, drift } = found;
    let title = format!("{service}: {dimension} {} → {}", before.value, after.value);
    let content = html! {
        h1 { (printable(&title)) }
        p.muted {
            (before.traces) " traces until " (before.until.to_string()) "; " (after.traces) " traces since "
            (after.since.to_string()) "."
        }
        (key(&before.value, &after.value))
        @for (name, rows) in [("Quality", quality), ("Cost, mean of a trace", cost)] {
            @if !rows.is_empty() {
                h2 { (name) }
                (headlines(rows))
            }
        }
        h2 class=(class(drift.verdict, false)) { "Every series: " (verdict(drift.verdict)) }
        (body(drift))
    };
    whole_page(&title, &content)
}

fn headlines(rows: &[Headline]) -> Markup {
    html! {
        div.scroll {
            table {
                thead { tr { @for heading in ["series", "before", "after", "95 % intervals", "change", ""] { th { (heading) } } } }
                tbody {
                    @for row in rows {
                        tr {
                            td {
                                (printable(&row.series)) @if let Some(unit) = &row.unit { span.muted { " " (unit) } }
                                (calibration_mark(row.calibrated))
                            }
                            td.n { (estimate(&row.before)) }
                            td.n { (estimate(&row.after)) }
                            td { (charts::intervals(&row.before, &row.after)) }
                            td.n { @if let Some(change) = row.change { (format!("{:+.1} %", change * 100.0)) } }
                            td class=(class(row.verdict, row.notable)) {
                                @if row.notable { "notable" } @else { (verdict(row.verdict)) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn body(report: &DriftReport) -> Markup {
    html! {
        (table(report))
        (changes(&report.changes))
        @for row in report.series.iter().filter(|row| is_worth_a_look(row)) { (details(row, report)) }
        (mix(report))
        (notes(&report.notes))
    }
}

const fn class(verdict: DriftVerdict, is_notable: bool) -> &'static str {
    match verdict {
        _ if is_notable => "notable",
        DriftVerdict::Drift => "drift",
        DriftVerdict::NoDrift => "calm",
        DriftVerdict::InsufficientEvidence => "quiet",
    }
}

const HEADINGS: [&str; 8] = ["series", "verdict", "baseline", "current", "95 % intervals", "effect", "p", "adjusted p"];

fn table(report: &DriftReport) -> Markup {
    html! {
        div.scroll {
            table {
                thead { tr { @for heading in HEADINGS { th { (heading) } } } }
                tbody { @for row in &report.series { (table_row(row)) } }
            }
        }
    }
}

fn table_row(row: &SeriesReport) -> Markup {
    html! {
        tr {
            td { (printable(&place(row))) }
            td class=(class(row.verdict, row.notable)) {
                @if row.notable { "notable" } @else { (verdict(row.verdict)) }
            }
            td.n { (estimate(&row.baseline)) }
            td.n { (estimate(&row.current)) }
            td { (charts::intervals(&row.baseline, &row.current)) }
            td.n { (effect(row)) }
            td.n { (p_value(row.p_value)) }
            td.n { (p_value(row.adjusted_p_value)) }
        }
    }
}

fn details(row: &SeriesReport, report: &DriftReport) -> Markup {
    let history = charts::history(&row.history, &report.changes, Quantity::of(&row.series, row.kind));
    html! {
        section {
            h2 { (printable(&place(row))) }
            p.muted {
                "By " code { (printable(&row.test)) }
                @if let Some(pairs) = row.pairs { " over " (pairs) " pairs" }
                @if let Some(note) = &row.note { ". " (printable(note)) }
            }
            div.charts {
                @if !row.distribution.is_empty() {
                    div { h3 { "How the values are distributed" } (charts::distribution(row, true)) }
                }
                @if !history.0.is_empty() {
                    div { h3 { "Over time, with 95 % intervals" } (history) }
                }
            }
            (transitions(&row.transitions))
            @if !row.evidence.is_empty() {
                p.muted { "Traces: " @for trace in &row.evidence { code { (trace.to_string()) } " " } }
            }
        }
    }
}

/// What moved inside a sequence or among categories, each with the interval of its difference.
fn transitions(moved: &[Transition]) -> Markup {
    html! {
        @if !moved.is_empty() {
            h3 { "What moved" }
            div.scroll {
                table {
                    thead { tr { @for heading in ["from", "to", "old share", "new share", "difference, 95 % interval", "z"] { th { (heading) } } } }
                    tbody {
                        @for one in moved {
                            tr {
                                td { (printable(&one.from)) }
                                td { (printable(&one.to)) }
                                td.n { (percent(one.baseline)) }
                                td.n { (percent(one.current)) }
                                td.n { (difference(one)) }
                                td.n { (format!("{:+.1}", one.z)) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

/// The difference in points; its standard error is what made it `z`.
fn difference(moved: &Transition) -> String {
    let difference = (moved.current - moved.baseline) * 100.0;
    let half = 1.96 * (difference / moved.z).abs();
    if half.is_finite() {
        let (low, high) = ((difference - half).max(-100.0), (difference + half).min(100.0));
        format!("{difference:+.1} ({low:+.1} to {high:+.1}) points")
    } else {
        format!("{difference:+.1} points")
    }
}

/// Dimensions of which the traffic is another mix now: what moved with them may be no change of behaviour.
fn mix(report: &DriftReport) -> Markup {
    let has_shifted = |values: &std::collections::BTreeMap<String, (f64, f64)>| {
        values.len() > 1 && values.values().any(|(before, after)| (after - before).abs() >= LEAST_SHIFT)
    };
    let shifted: Vec<_> = report.mix.iter().filter(|(_, values)| has_shifted(values)).collect();
    html! {
        @if !shifted.is_empty() {
            h2 { "Another mix of traffic" }
            p.muted { "Compare with --by DIMENSION to tell what comes from the mix and what from within its segments." }
            div.scroll {
                table {
                    thead { tr { th { "dimension" } th { "value" } th { "baseline" } th { "current" } } }
                    tbody {
                        @for (dimension, values) in shifted {
                            @for (value, (before, after)) in largest(values) {
                                tr {
                                    td { (printable(dimension)) }
                                    td { (printable(value)) }
                                    td.n { (percent(*before)) }
                                    td.n { (percent(*after)) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// The values that moved most.
fn largest(values: &std::collections::BTreeMap<String, (f64, f64)>) -> Vec<(&String, &(f64, f64))> {
    let mut values: Vec<_> = values.iter().collect();
    let shift = |(_, (before, after)): &(&String, &(f64, f64))| (after - before).abs();
    values.sort_by(|a, b| shift(b).total_cmp(&shift(a)));
    values.truncate(VALUES);
    values
}
