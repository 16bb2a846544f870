//! Judges against people, for a terminal.

use super::table::{Table, clip_to, number};
use crate::domain::label::Answer;
use crate::domain::report::Estimate;
use crate::queries::calibration::{CalibrationReport, JudgeCalibration};
use crate::watch::calibration::{Basis, Calibration, Disagreement};
use crate::watch::judge_drift::{JudgeDrift, Round};

/// Characters between 0 and 1 in a plot.
const PLOT_WIDTH: usize = 40;
/// Disagreements that are shown; JSON and HTML have all.
const SHOWN: usize = 10;
/// Characters of a reason that are shown.
const LONGEST_REASON: usize = 160;

pub(super) fn text(report: &CalibrationReport) -> String {
    if report.judges.is_empty() {
        return "no judge has scored anything here".to_owned();
    }
    report.judges.iter().map(judge).collect::<Vec<_>>().join("\n\n")
}

fn judge(of: &JudgeCalibration) -> String {
    let it = &of.calibration;
    let mut lines = vec![
        format!("{} ({}): {}", it.evaluator, it.revision, standing(it)),
        labels(it),
        confusion(it),
        agreement(it),
        shares(it),
    ];
    lines.extend(it.not_corrected.as_ref().map(|why| format!("not corrected: {why}")));
    lines.extend(of.anchors.as_ref().map(anchors));
    lines.extend(disagreements(&it.disagreements));
    lines.join("\n")
}

pub(super) fn standing(it: &Calibration) -> String {
    let word = if it.calibrated { "calibrated" } else { "uncalibrated" };
    format!("{word}: {}", it.standing)
}

pub(super) fn labels(it: &Calibration) -> String {
    let counts = &it.labels;
    let response = match it.response_rate {
        Some(rate) => format!("{} of {} drawn ({:.0} %)", counts.audit, counts.drawn, 100.0 * rate),
        None => "none drawn".to_owned(),
    };
    let basis = match it.basis {
        Basis::Audit => "the audit sample",
        Basis::ImportedSample => "imported labels with probabilities",
        Basis::Imported => "imported labels without probabilities",
    };
    let upstream = match it.raw.upstream_unknown {
        0 => String::new(),
        unknown => format!(" ({unknown} of them with unknown upstream sampling, taken as 1)"),
    };
    format!(
        "labels: audit {response}, imported {} with probabilities and {} without, flagged {} (never count), skipped {}; \
         n = {} from {basis}, {} judged{upstream}",
        counts.imported_sample, counts.imported, counts.flagged, counts.skipped, it.n, it.judged
    )
}

fn confusion(it: &Calibration) -> String {
    let mut table = Table::new(&["", "people pass", "people fail"]);
    let counts = &it.confusion;
    let rows =
        [("judge passes", counts.true_pass, counts.false_pass), ("judge fails", counts.false_fail, counts.true_fail)];
    for (name, pass, fail) in rows {
        table.row([name.to_owned(), format!("{pass:.0}"), format!("{fail:.0}")]);
    }
    table.to_string()
}

pub(super) fn agreement(it: &Calibration) -> String {
    let kappa = match &it.kappa {
        Some(kappa) => format!(
            "Cohen's kappa {} [{}, {}]: {} agreement ({})",
            number(kappa.value),
            number(kappa.low),
            number(kappa.high),
            kappa.word,
            kappa.scale
        ),
        None => "Cohen's kappa cannot be told: too few labels, or no one ever varies".to_owned(),
    };
    let matthews = it.matthews.map_or_else(String::new, |value| format!("; Matthews correlation {}", number(value)));
    format!("{kappa}{matthews}")
}

/// What is plotted: a name, an estimate and its interval.
pub(super) struct Plotted {
    pub(super) name: String,
    pub(super) estimate: f64,
    pub(super) low: f64,
    pub(super) high: f64,
    pub(super) n: Option<u64>,
}

/// The shares of a calibration.
pub(super) fn plotted(it: &Calibration) -> Vec<Plotted> {
    let share = |name: &str, of: &Estimate| {
        Some(Plotted { name: name.to_owned(), estimate: of.estimate?, low: of.low?, high: of.high?, n: Some(of.n) })
    };
    let sensitivity = it.sensitivity.as_ref().and_then(|of| share("sensitivity", of));
    let specificity = it.specificity.as_ref().and_then(|of| share("specificity", of));
    let corrected = it.corrected.map(|of| Plotted {
        name: format!("corrected pass rate ({})", of.method.as_str()),
        estimate: of.estimate,
        low: of.low,
        high: of.high,
        n: None,
    });
    [sensitivity, specificity, share("raw pass rate", &it.raw), corrected].into_iter().flatten().collect()
}

fn shares(it: &Calibration) -> String {
    let mut table = Table::new(&["", "estimate", "95 %", "n", &format!("0{:>width$}", 1, width = PLOT_WIDTH - 1)]);
    for of in plotted(it) {
        table.row([
            of.name.clone(),
            number(of.estimate),
            format!("[{}, {}]", number(of.low), number(of.high)),
            of.n.map_or_else(|| " ".to_owned(), |n| n.to_string()),
            plot(&of),
        ]);
    }
    table.to_string()
}

/// An interval between 0 and 1, the estimate marked.
fn plot(of: &Plotted) -> String {
    let at = |share: f64| (share.clamp(0.0, 1.0) * (PLOT_WIDTH - 1) as f64).round() as usize;
    let (low, mark, high) = (at(of.low), at(of.estimate), at(of.high));
    let cell = |place: usize| match place {
        place if place == mark => '●',
        place if (low..=high).contains(&place) => '━',
        _ => '·',
    };
    (0..PLOT_WIDTH).map(cell).collect()
}

/// The verdict on the rounds, and the agreement of each with people.
fn anchors(drift: &JudgeDrift) -> String {
    let mut table = Table::new(&["round", "anchors", "agreement", "turned", "traffic passes"]);
    for round in &drift.rounds {
        table.row([
            round.at.to_string(),
            round.anchors.to_string(),
            number(agreed(round)),
            (round.turned_to_pass + round.turned_to_fail).to_string(),
            round.traffic.map_or_else(|| "-".to_owned(), number),
        ]);
    }
    format!("anchors: {}\n{table}", moved(drift))
}

pub(super) fn moved(drift: &JudgeDrift) -> String {
    let since = drift.since.map_or_else(String::new, |at| format!(" since about {at}"));
    format!("{}{since}", drift.verdict.as_str())
}

/// Share of a round's anchors on which judge and people agree.
pub(super) fn agreed(round: &Round) -> f64 {
    round.agreed as f64 / (round.anchors as f64).max(1.0)
}

fn disagreements(all: &[Disagreement]) -> Option<String> {
    let shown = all.iter().take(SHOWN).map(|one| {
        let reason = clip_to(one.reason.as_deref().unwrap_or("no reason given"), LONGEST_REASON);
        let note = one.note.as_deref().map_or_else(String::new, |note| format!(": {}", clip_to(note, LONGEST_REASON)));
        format!(
            "{}\n  judge  {}: {reason}\n  {}  {}{note}",
            one.trace_id,
            word(one.judge),
            one.reviewer,
            word(one.person)
        )
    });
    let shown: Vec<String> = shown.collect();
    let rest = all.len().saturating_sub(SHOWN);
    let more = if rest > 0 { format!("\nand {rest} more; --json has them all") } else { String::new() };
    (!all.is_empty()).then(|| format!("{} disagreements:\n{}{more}", all.len(), shown.join("\n")))
}

const fn word(answer: Answer) -> &'static str {
    answer.as_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plot_marks_the_estimate_within_its_interval() {
        let of = Plotted { name: String::new(), estimate: 0.5, low: 0.25, high: 1.0, n: None };
        let plot = plot(&of);
        assert_eq!(plot.chars().count(), PLOT_WIDTH);
        assert_eq!((plot.chars().position(|c| c == '━'), plot.chars().position(|c| c == '●')), (Some(10), Some(20)));
        assert!(plot.ends_with('━'));
    }
}
