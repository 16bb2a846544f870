//! A drift report for a person at a terminal.

use super::table::{Table, clip, number, p_value};
use crate::domain::report::{DriftReport, DriftVerdict, Estimate, SeriesReport, Transition, calibration_mark};

/// Traces that are named as evidence; `--json` has all.
const EVIDENCE: usize = 3;

/// The whole report.
pub(super) fn text(report: &DriftReport) -> String {
    let mut parts = vec![heading(report), table(report).to_string()];
    parts.extend(report.series.iter().filter(|row| is_worth_a_look(row)).map(details));
    let others = report.series.iter().filter(|row| !is_worth_a_look(row));
    let mut notes: Vec<String> =
        others.filter_map(|row| row.note.as_ref().map(|note| format!("{}: {note}", place(row)))).collect();
    notes.extend(report.notes.iter().cloned());
    if !notes.is_empty() {
        parts.push(format!("notes\n  {}", notes.join("\n  ")));
    }
    parts.join("\n\n")
}

fn heading(report: &DriftReport) -> String {
    let count = |verdict| report.series.iter().filter(|row| row.verdict == verdict).count();
    format!(
        "{}: {} of {} series drift, {} could not be judged; baseline {} traces, current {} traces; false-discovery rate {}",
        verdict(report.verdict),
        count(DriftVerdict::Drift),
        report.series.len(),
        count(DriftVerdict::InsufficientEvidence),
        report.traces.baseline,
        report.traces.current,
        report.alpha
    )
}

pub(super) const fn verdict(verdict: DriftVerdict) -> &'static str {
    match verdict {
        DriftVerdict::Drift => "DRIFT",
        DriftVerdict::NoDrift => "no drift",
        DriftVerdict::InsufficientEvidence => "insufficient evidence",
    }
}

fn table(report: &DriftReport) -> Table {
    let mut table = Table::new(&["series", "verdict", "baseline", "current", "effect", "p", "adjusted p"]);
    for row in &report.series {
        let verdict = if row.notable { "notable" } else { verdict(row.verdict) };
        table.row(vec![
            place(row),
            verdict.to_owned(),
            estimate(&row.baseline),
            estimate(&row.current),
            effect(row),
            p_value(row.p_value),
            p_value(row.adjusted_p_value),
        ]);
    }
    table
}

/// The series, and its segment when it is not all traces.
pub(super) fn place(row: &SeriesReport) -> String {
    let segment = if row.segment == "all" { String::new() } else { format!(" [{}]", row.segment) };
    format!("{}{segment}{}", row.series, calibration_mark(row.calibrated))
}

/// `0.581 (0.49 to 0.67)`.
pub(super) fn estimate(estimate: &Estimate) -> String {
    match (estimate.estimate, estimate.low, estimate.high) {
        (Some(value), Some(low), Some(high)) => format!("{} ({} to {})", number(value), number(low), number(high)),
        (Some(value), _, _) => number(value),
        (None, _, _) => "-".to_owned(),
    }
}

pub(super) fn effect(row: &SeriesReport) -> String {
    let Some(value) = row.effect.value else { return "-".to_owned() };
    match row.effect.name.as_str() {
        "ratio_of_means" => format!("x {}", number(value)),
        "jensen_shannon_distance" => format!("JS {}", number(value)),
        _ if value > 0.0 => format!("+{}", number(value)),
        _ => number(value),
    }
}

pub(super) fn is_worth_a_look(row: &SeriesReport) -> bool {
    row.verdict == DriftVerdict::Drift || row.notable
}

fn details(row: &SeriesReport) -> String {
    let pairs = row.pairs.map_or_else(String::new, |pairs| format!(" over {pairs} pairs"));
    let mut lines = vec![format!("{} by {}{pairs}", place(row), row.test)];
    lines.extend(row.transitions.iter().map(transition));
    if !row.evidence.is_empty() {
        let traces: Vec<String> = row.evidence.iter().take(EVIDENCE).map(ToString::to_string).collect();
        lines.push(format!("see traces {}", traces.join(", ")));
    }
    lines.extend(row.note.clone());
    lines.join("\n  ")
}

/// A category has no `from`.
pub(super) fn transition(transition: &Transition) -> String {
    let Transition { from, to, baseline, current, z, .. } = transition;
    let (low, high) = transition.points();
    let name = if from.is_empty() { clip(to) } else { format!("{} -> {}", clip(from), clip(to)) };
    let change = format!("{low:+.1} to {high:+.1} points");
    format!("{name}: {} -> {} ({change}, z {z:+.1})", percent(*baseline), percent(*current))
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}
