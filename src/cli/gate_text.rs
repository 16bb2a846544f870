//! A gate's answer for a person, a CI server and a pull request.

use maud::{PreEscaped, html};

use super::table::{Table, number};
use crate::domain::report::{GateDesign, GateReport, GateSeries, GateVerdict, calibration_mark};
use crate::domain::text::printable;
use crate::watch::standings::uncalibrated_note;

const HEADINGS: [&str; 7] = ["series", "verdict", "bound", "difference", "interval", "n", "needed n"];

/// For a terminal.
pub(super) fn text(report: &GateReport) -> String {
    let mut table = Table::new(&HEADINGS);
    report.series.iter().for_each(|row| table.row(cells(row)));
    let reasons = report.series.iter().map(|row| format!("{}: {}", row.series, row.reason));
    let reasons: Vec<String> = reasons.chain(report.notes.iter().map(|note| format!("note: {note}"))).collect();
    format!(
        "{}, alpha {}, {}\n\n{table}\n\n{}",
        verdict(report.verdict),
        report.alpha,
        design(report),
        reasons.join("\n")
    )
}

/// What was compared with what, in words.
pub(super) fn design(report: &GateReport) -> String {
    let design = match report.design {
        GateDesign::Paired => "paired by task",
        GateDesign::Concurrent => "pairs of concurrent conversations",
        GateDesign::Independent => "independent traces",
    };
    let observational = if report.is_observational { ", observational" } else { "" };
    let sequential = if report.is_sequential { ", valid at every look" } else { "" };
    format!("{design}{observational}{sequential}")
}

/// What is still open, on one line.
pub(super) fn progress(report: &GateReport) -> String {
    let row = |row: &GateSeries| {
        let more = row.needed_n.map(|needed| needed.saturating_sub(row.n_candidate)).filter(|more| *more > 0);
        let more = more.map(|more| format!(", about {more} more")).unwrap_or_default();
        format!("{} {} at {}{more}", row.series, verdict(row.verdict).to_lowercase(), row.n_candidate)
    };
    format!("waiting: {}", report.series.iter().map(row).collect::<Vec<_>>().join("; "))
}

/// For a pull request.
pub(super) fn markdown(report: &GateReport) -> String {
    let line = |cells: &[String]| format!("| {} |", cells.join(" | "));
    let escape = |cell: String| {
        printable(&cell).replace('\n', " ").replace('\\', "\\\\").replace('|', "\\|").replace('<', "&lt;")
    };
    let mut lines = vec![
        format!("### Gate: {}", verdict(report.verdict)),
        String::new(),
        format!("alpha {}, {}", report.alpha, design(report)),
        String::new(),
        line(&HEADINGS.map(str::to_owned)),
        line(&HEADINGS.map(|_| "---".to_owned())),
    ];
    lines.extend(report.series.iter().map(|row| line(&cells(row).into_iter().map(escape).collect::<Vec<_>>())));
    lines.push(String::new());
    lines.extend(report.series.iter().map(|row| format!("- {}", escape(format!("{}: {}", row.series, row.reason)))));
    lines.extend(report.notes.iter().map(|note| format!("- {}", escape(format!("note: {note}")))));
    lines.join("\n")
}

/// For a CI server. A series that is not decided is an error, for a gate must not look passed when it is not.
pub(super) fn junit(report: &GateReport) -> String {
    let count = |verdict| report.series.iter().filter(|row| row.verdict == verdict).count();
    let suite = html! {
        testsuite name="driftline gate" tests=(report.series.len()) failures=(count(GateVerdict::Fail))
            errors=(count(GateVerdict::Inconclusive)) {
            @for row in &report.series {
                testcase classname="driftline.gate" name=(printable(&row.series)) {
                    @match row.verdict {
                        GateVerdict::Pass => {}
                        GateVerdict::Fail => { failure message="fail" { (printable(&row.reason)) } }
                        GateVerdict::Inconclusive => { error message="inconclusive" { (printable(&row.reason)) } }
                    }
                    @if row.calibrated == Some(false) { system-out { (printable(&uncalibrated_note(&row.series))) } }
                }
            }
        }
    };
    html! { (PreEscaped("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n")) (suite) }.into_string()
}

pub(super) const fn verdict(verdict: GateVerdict) -> &'static str {
    match verdict {
        GateVerdict::Pass => "PASS",
        GateVerdict::Fail => "FAIL",
        GateVerdict::Inconclusive => "INCONCLUSIVE",
    }
}

fn cells(row: &GateSeries) -> Vec<String> {
    let known = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), number);
    let interval = match (row.low, row.high) {
        (Some(low), Some(high)) => format!("{} to {}", number(low), number(high)),
        _ => "-".to_owned(),
    };
    vec![
        format!("{}{}", row.series, calibration_mark(row.calibrated)),
        verdict(row.verdict).to_owned(),
        number(row.margin),
        known(row.difference),
        interval,
        format!("{} and {}", row.n_baseline, row.n_candidate),
        needed(row),
    ]
}

/// `4200 (about 4100 more)`.
pub(super) fn needed(row: &GateSeries) -> String {
    let more = |needed: u64| format!("{needed} (about {} more)", needed.saturating_sub(row.n_candidate));
    row.needed_n.map_or_else(|| "-".to_owned(), more)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> GateReport {
        let row = |series: &str, verdict| GateSeries {
            series: series.to_owned(),
            calibrated: (series == "cost").then_some(false),
            verdict,
            margin: 0.02,
            difference: Some(-0.1),
            low: Some(-0.2),
            high: Some(-0.05),
            n_baseline: 100,
            n_candidate: 90,
            needed_n: Some(400),
            reason: "a < b | c\u{1b}".to_owned(),
        };
        let series = vec![
            row("success", GateVerdict::Pass),
            row("<x>|\"y\"", GateVerdict::Fail),
            row("cost", GateVerdict::Inconclusive),
        ];
        GateReport {
            verdict: GateVerdict::Fail,
            alpha: 0.05,
            design: GateDesign::Independent,
            is_observational: true,
            is_sequential: false,
            series,
            notes: Vec::new(),
        }
    }

    #[test]
    fn names_and_reasons_cannot_break_out_of_xml() {
        let xml = junit(&report());
        assert!(xml.starts_with("<?xml"));
        assert!(xml.contains(r#"tests="3" failures="1" errors="1""#), "{xml}");
        assert!(xml.contains(r#"name="&lt;x&gt;|&quot;y&quot;""#), "{xml}");
        assert!(!xml.contains('\u{1b}') && xml.contains("a &lt; b"), "{xml}");
    }

    #[test]
    fn an_uncalibrated_judge_is_marked_in_every_table() {
        assert!(text(&report()).contains("cost (uncalibrated)"));
        assert!(markdown(&report()).contains("| cost (uncalibrated) |"));
        assert!(!text(&report()).contains("success (uncalibrated)"));
        // A name with a mark would be another test to a CI server.
        let xml = junit(&report());
        assert!(xml.contains("name=\"cost\"") && xml.contains("<system-out>cost is an uncalibrated judge"), "{xml}");
        assert_eq!(xml.matches("uncalibrated").count(), 1, "{xml}");
    }

    #[test]
    fn names_and_reasons_cannot_break_out_of_a_markdown_table() {
        let text = markdown(&report());
        let row = text.lines().find(|line| line.contains("FAIL") && line.starts_with('|')).unwrap();
        assert_eq!(row.replace("\\|", "").matches('|').count(), HEADINGS.len() + 1, "{row}");
        assert!(!text.contains("<x>"), "{text}");
    }
}
