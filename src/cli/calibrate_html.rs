//! Judges against people as one page that needs nothing else.

use maud::{Markup, html};

use super::calibrate_text::{Plotted, agreed, agreement, labels, moved, plotted, standing};
use super::report_html::page as whole_page;
use super::table::number;
use crate::domain::text::printable;
use crate::queries::calibration::{CalibrationReport, JudgeCalibration};
use crate::watch::calibration::Calibration;
use crate::watch::judge_drift::JudgeDrift;

/// Width of a plot, in pixels.
const PLOT_WIDTH: f64 = 320.0;
/// Height of the plot of rounds, in pixels.
const ROUNDS_HEIGHT: f64 = 90.0;

/// The page.
pub(super) fn page(report: &CalibrationReport) -> String {
    let content = html! {
        h1 { "Judges against people" }
        @if report.judges.is_empty() { p { "No judge has scored anything here." } }
        @for judge in &report.judges { (section(judge)) }
    };
    whole_page("Judges against people", &content)
}

fn section(of: &JudgeCalibration) -> Markup {
    let it = &of.calibration;
    html! {
        h2 { (printable(&it.evaluator)) " " code { (printable(&it.revision)) } }
        p class=(if it.calibrated { "calm" } else { "notable" }) { (standing(it)) }
        p { (labels(it)) }
        (confusion(it))
        p { (agreement(it)) }
        (shares(it))
        @if let Some(why) = &it.not_corrected { p.notable { "Not corrected: " (why) } }
        @if let Some(drift) = &of.anchors { (rounds(drift)) }
        (disagreements(it))
    }
}

fn confusion(it: &Calibration) -> Markup {
    let counts = &it.confusion;
    let rows =
        [("judge passes", counts.true_pass, counts.false_pass), ("judge fails", counts.false_fail, counts.true_fail)];
    html! {
        table {
            thead { tr { th {} th { "people pass" } th { "people fail" } } }
            tbody {
                @for (name, pass, fail) in rows {
                    tr { td { (name) } td class="n" { (format!("{pass:.0}")) } td class="n" { (format!("{fail:.0}")) } }
                }
            }
        }
    }
}

fn shares(it: &Calibration) -> Markup {
    html! {
        table {
            thead { tr { th {} th { "estimate" } th { "95 %" } th { "0 to 1" } } }
            tbody {
                @for of in plotted(it) {
                    tr {
                        td { (of.name) @if let Some(n) = of.n { ", n = " (n) } }
                        td class="n" { (number(of.estimate)) }
                        td class="n" { (number(of.low)) " to " (number(of.high)) }
                        td { (interval(&of)) }
                    }
                }
            }
        }
    }
}

fn interval(of: &Plotted) -> Markup {
    let x = |share: f64| format!("{:.1}", 4.0 + share.clamp(0.0, 1.0) * (PLOT_WIDTH - 8.0));
    html! {
        svg width=(PLOT_WIDTH) height="14" role="img" aria-label="interval" {
            line x1=(x(0.0)) x2=(x(1.0)) y1="7" y2="7" stroke="#ddd" {}
            line x1=(x(of.low)) x2=(x(of.high)) y1="7" y2="7" stroke="#0b62c4" stroke-width="3" {}
            circle cx=(x(of.estimate)) cy="7" r="4" fill="#0b62c4" {}
        }
    }
}

/// Agreement on the anchors and the traffic's pass rate, round by round.
fn rounds(drift: &JudgeDrift) -> Markup {
    let last = (drift.rounds.len().saturating_sub(1) as f64).max(1.0);
    let points = |values: &dyn Fn(usize) -> Option<f64>| {
        let point = |at: usize| {
            let x = 4.0 + at as f64 / last * (PLOT_WIDTH - 8.0);
            Some(format!("{x:.1},{:.1}", 4.0 + (1.0 - values(at)?) * (ROUNDS_HEIGHT - 8.0)))
        };
        (0..drift.rounds.len()).filter_map(point).collect::<Vec<_>>().join(" ")
    };
    html! {
        h3 { "Anchors: " (moved(drift)) }
        p { "Agreement with people on the anchors (blue) and pass rate of the traffic (grey) over "
            (drift.rounds.len()) " rounds, from 0 below to 1 above." }
        svg width=(PLOT_WIDTH) height=(ROUNDS_HEIGHT) role="img" aria-label="rounds" {
            polyline points=(points(&|at| drift.rounds[at].traffic)) fill="none" stroke="#888" stroke-width="2" {}
            polyline points=(points(&|at| Some(agreed(&drift.rounds[at])))) fill="none" stroke="#0b62c4" stroke-width="2" {}
        }
    }
}

fn disagreements(it: &Calibration) -> Markup {
    html! {
        @if !it.disagreements.is_empty() {
            h3 { (it.disagreements.len()) " disagreements" }
            table {
                thead { tr { th { "trace" } th { "judge" } th { "people" } } }
                tbody {
                    @for one in &it.disagreements {
                        tr {
                            td { code { (one.trace_id.to_string()) } }
                            td { (one.judge.as_str()) ": " (printable(one.reason.as_deref().unwrap_or("no reason given"))) }
                            td {
                                (one.person.as_str()) " (" (printable(&one.reviewer)) ")"
                                @if let Some(note) = &one.note { ": " (printable(note)) }
                            }
                        }
                    }
                }
            }
        }
    }
}
