//! Judges against people, and against questions whose answer is known.

use axum::extract::State;
use axum::response::Html;
use maud::{Markup, html};

use super::super::WebState;
use super::super::parameters::Parameters;
use super::PageError;
use super::figures::{percent, share};
use super::layout::{address, badge, page, trace_link};
use super::text::clipped;
use crate::domain::report::Estimate;
use crate::queries::QueryError;
use crate::queries::calibration::{DEFAULT_SINCE, JudgeCalibration, calibration};
use crate::queries::judges::{JudgeState, Judges, judges as controls};
use crate::queries::selection::instant;
use crate::watch::calibration::{Basis, Calibration};

/// Disagreements shown of one judge.
const DISAGREEMENTS: usize = 20;

pub(in crate::web) async fn judges(
    State(state): State<WebState>,
    mut parameters: Parameters,
) -> Result<Html<String>, PageError> {
    let now = state.clock.now();
    let since = parameters.take("since").unwrap_or_else(|| DEFAULT_SINCE.to_owned());
    parameters.finish()?;
    let from = instant("since", &since, now).map_err(QueryError::from)?;
    let report = calibration(&state.store, None, from).await?;
    let controls = controls(&state.store, &state.evaluators, now).await?;
    state.shown(&report.quoted(DISAGREEMENTS)).await?;
    Ok(page(
        "Judges",
        "/judges",
        &html! {
            h1 { "Judges" }
            p.muted { "How far each judge can be trusted: against what people answer in the " a href="/review" { "review" }
                ", and on control questions whose right answer is no. Judgements since " (clipped(&since, 40)) "." }
            @if report.judges.is_empty() { p { "No judge has scored anything yet." } }
            @for judge in &report.judges { (one(judge, caught(&controls, &judge.calibration))) }
            (unused(&controls, &report.judges.iter().map(|it| &it.calibration).collect::<Vec<_>>()))
        },
    ))
}

fn caught<'a>(controls: &'a Judges, of: &Calibration) -> Option<&'a JudgeState> {
    controls.judges.iter().find(|judge| judge.evaluator == of.evaluator && judge.revision == of.revision)
}

fn one(judge: &JudgeCalibration, control: Option<&JudgeState>) -> Markup {
    let of = &judge.calibration;
    html! {
        article.judge {
            h2 {
                (clipped(&of.evaluator, 60)) " "
                @if of.calibrated { (badge("good", "calibrated")) } @else { (badge("warn", "uncalibrated")) }
                " " code { (clipped(&of.revision, 16)) }
                @if control.is_some_and(|control| !control.current) { " " (badge("", "past")) }
            }
            p { (of.standing) }
            dl.facts {
                (fact("Pass rate, as it judges", Some(&of.raw)))
                @if let Some(corrected) = &of.corrected {
                    div {
                        dt { "Pass rate, corrected by people (" (corrected.method.as_str().replace('_', " ")) ")" }
                        dd { (share(&estimate(corrected.estimate, corrected.low, corrected.high, of.n))) }
                    }
                }
                (fact("Sensitivity: passes what people pass", of.sensitivity.as_ref()))
                (fact("Specificity: fails what people fail", of.specificity.as_ref()))
                (kappa(of))
                (catch_rate(control))
            }
            @if let Some(why) = &of.not_corrected { p.muted { "Not corrected: " (why) } }
            (confusion(of))
            @if let Some(drift) = &judge.anchors {
                p { "On its anchors: " (badge("", drift.verdict.as_str())) " over " (drift.rounds.len()) " rounds" }
            }
            (disagreements(of))
        }
    }
}

const fn estimate(estimate: f64, low: f64, high: f64, n: u64) -> Estimate {
    Estimate { n, estimate: Some(estimate), low: Some(low), high: Some(high), upstream_unknown: 0 }
}

fn fact(name: &str, of: Option<&Estimate>) -> Markup {
    html! { div { dt { (name) } dd { @match of { Some(of) => (share(of)), None => span.muted { "too few labels" } } } } }
}

fn kappa(of: &Calibration) -> Markup {
    html! {
        div {
            dt { "Cohen's kappa" }
            dd {
                @match &of.kappa {
                    Some(kappa) => { span.figure { (format!("{:.2}", kappa.value)) } " "
                        span.muted { (format!("{:.2} to {:.2}", kappa.low, kappa.high)) ", " (kappa.word) " (" (kappa.scale) ")" } }
                    None => span.muted { "cannot be told" },
                }
            }
        }
    }
}

fn catch_rate(control: Option<&JudgeState>) -> Markup {
    html! {
        @if let Some(control) = control {
            div {
                dt { "Control questions caught" }
                dd {
                    @match &control.catch_rate {
                        Some(rate) => { span.figure { (percent(rate.value)) } " " span.muted { (percent(rate.low)) " to " (percent(rate.high)) ", n = " (control.catches.caught + control.catches.missed) } }
                        None => span.muted { "none asked yet" },
                    }
                    @if control.in_doubt { " " (badge("page", "in doubt")) }
                }
            }
        }
    }
}

fn confusion(of: &Calibration) -> Markup {
    let counts = &of.confusion;
    let basis = match of.basis {
        Basis::Audit => "the audit sample",
        Basis::ImportedSample => "imported labels with probabilities",
        Basis::Imported => "imported labels",
    };
    let rows =
        [("judge passes", counts.true_pass, counts.false_pass), ("judge fails", counts.false_fail, counts.true_fail)];
    html! {
        @if of.n > 0 {
            div.scroll { table.confusion {
                thead { tr { th { (of.n) " labels of " (basis) } th.number { "people pass" } th.number { "people fail" } } }
                tbody { @for (name, pass, fail) in rows {
                    tr { td { (name) } td.number { (format!("{pass:.0}")) } td.number { (format!("{fail:.0}")) } }
                } }
            } }
        } @else {
            p { a href=(address("/review", &[("judge", &of.evaluator)])) { "Label cases of this judge" } }
        }
    }
}

fn disagreements(of: &Calibration) -> Markup {
    let left = of.disagreements.len().saturating_sub(DISAGREEMENTS);
    html! {
        @if !of.disagreements.is_empty() {
            details { summary { (of.disagreements.len()) " disagreements with people" }
                ul { @for one in of.disagreements.iter().take(DISAGREEMENTS) {
                    li {
                        (trace_link(one.trace_id)) " the judge: " (one.judge.as_str()) " "
                        span.muted { (clipped(one.reason.as_deref().unwrap_or_default(), 300)) }
                        " · " (clipped(&one.reviewer, 60)) ": " (one.person.as_str()) " "
                        span.muted { (clipped(one.note.as_deref().unwrap_or_default(), 300)) }
                    }
                } }
                @if left > 0 { p.muted { "and " (left) " more: driftline calibrate " (clipped(&of.evaluator, 60)) " --json" } }
            }
        }
    }
}

/// Judges that are loaded and have judged nothing yet.
fn unused(controls: &Judges, judged: &[&Calibration]) -> Markup {
    let is_unused = |judge: &&JudgeState| judge.current && judged.iter().all(|it| it.evaluator != judge.evaluator);
    let names: Vec<String> = controls.judges.iter().filter(is_unused).map(|it| clipped(&it.evaluator, 60)).collect();
    html! { @if !names.is_empty() { p.muted { "Loaded, and has judged nothing in this time: " (names.join(", ")) } } }
}
