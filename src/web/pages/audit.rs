//! A decision rebuilt: as a page, and as one file that needs nothing else.

use axum::extract::State;
use axum::response::Html;
use maud::{Markup, html};

use super::super::WebState;
use super::super::assets::STYLE;
use super::super::parameters::Parameters;
use super::PageError;
use super::figures::{duration, percent};
use super::layout::{badge, instant, page, standalone, whose};
use super::text::{Budget, clipped};
use crate::queries::account::{Account, AccountStep, OperationTime};
use crate::queries::audit::{Audit, AuditState, AuditedRun};
use crate::queries::scores::ScoreRow;

/// Characters shown of one text.
const CHARACTERS: usize = 20_000;
/// Characters of texts on one page.
const PAGE_CHARACTERS: usize = 1_000_000;
/// Steps shown of one run.
const STEPS: usize = 500;
/// Attributes shown of one run.
const ATTRIBUTES: usize = 60;

pub(in crate::web) async fn audit(
    State(state): State<WebState>,
    parameters: Parameters,
) -> Result<Html<String>, PageError> {
    let found = state.audit(parameters).await?;
    Ok(page(
        "Audit",
        "/audit",
        &html! {
            h1 { "Audit" }
            form method="get" action="/audit" {
                p {
                    label for="id" { "Trace, conversation, user or business id " }
                    input id="id" name="id" required;
                    " " button { "Rebuild" }
                }
            }
            p.muted { "Showing texts of a run is noted in the " a href="/audit/log" { "audit log" } "." }
            @if let Some(found) = &found { (content(found)) }
        },
    ))
}

/// The answer as an HTML file without any reference to elsewhere.
#[must_use]
pub fn audit_document(audit: &Audit) -> String {
    let title = format!("Audit: {}", audit.found_by);
    standalone(&title, STYLE, &html! { main { h1 { "Audit" } (content(audit)) } })
}

fn content(audit: &Audit) -> Markup {
    let mut budget = Budget::new(PAGE_CHARACTERS);
    html! {
        @if audit.runs.is_empty() {
            p.notice {
                "Nothing is known of " strong { (clipped(&audit.found_by, 200)) } ". Records are found by trace, \
                 conversation, user and business id as they were sent; a run that was just sent shows once it is evaluated."
            }
        } @else {
            p { (audit.runs.len()) @if audit.runs.len() == 1 { " run" } @else { " runs" } " by "
                strong { (clipped(&audit.found_by, 200)) } ", as of " (instant(audit.at)) "." }
            @if audit.has_more { p.notice { "There are earlier runs: ask for more with limit, or for a time with until." } }
            @for run in &audit.runs { (one(run, &mut budget)) }
        }
    }
}

fn one(run: &AuditedRun, budget: &mut Budget) -> Markup {
    html! {
        article {
            h2 { "Trace " code { (run.trace.trace_id) } }
            (identity(run))
            p class=[(run.state != AuditState::Whole).then_some("notice")] {
                (run.state.sentence()) " Its spans leave the store after " (instant(run.kept_until)) "."
            }
            @if let Some(account) = &run.account { (account_of(account, budget)) }
            (scores(run))
            (labels(run))
            (around(run))
        }
    }
}

fn identity(run: &AuditedRun) -> Markup {
    let trace = &run.trace;
    html! {
        p {
            @if trace.failing { (badge("page", "flagged")) } @else { (badge("good", "not flagged")) }
            @if trace.error { " " (badge("warn", "error")) }
            @if let Some(class) = trace.failure_class { " " (badge("warn", class.as_str())) }
        }
        dl.facts {
            @for (name, value) in whose(trace) { (fact(name, &clipped(value, 200))) }
            @for (name, value) in trace.attributes.iter().take(ATTRIBUTES) { (fact(&clipped(name, 60), &clipped(value, 200))) }
            div { dt { "Started" } dd { (instant(trace.started_at)) } }
            div { dt { "Ended" } dd { (instant(trace.ended_at)) } }
            (fact("Duration", &trace.latency_seconds.map_or_else(|| "not measured".to_owned(), duration)))
        }
        @if let Some(sampling) = &run.sampling { p.muted { (sampling) } }
        @for note in &run.notes { p.muted { (clipped(note, 400)) "." } }
    }
}

fn fact(name: &str, value: &str) -> Markup {
    html! { div { dt { (name) } dd { (value) } } }
}

fn account_of(account: &Account, budget: &mut Budget) -> Markup {
    html! {
        h3 { "What was asked" }
        (said(account.input.as_deref(), budget))
        (decision(account, budget))
        h3 { "What was answered" }
        (said(account.output.as_deref(), budget))
        @if let Some(error) = &account.error { p { (badge("warn", "error")) " " (budget.clip(error, CHARACTERS)) } }
        (figures(account))
        (operations(account))
        h3 { "What it did" }
        @if account.steps.is_empty() { p.muted { "No step is recorded." } }
        @for step in account.steps.iter().take(STEPS) { (step_of(step, budget)) }
        @if account.steps.len() > STEPS { p.muted { (account.steps.len() - STEPS) " more steps are in the JSON." } }
        @if let Some(system) = &account.system_instructions {
            details { summary { "System prompt" } pre { (budget.clip(system, CHARACTERS)) } }
        }
        @if !account.missing.is_empty() { p.muted { "Not recorded: " (clipped(&account.missing.join(", "), 1_000)) "." } }
    }
}

fn said(text: Option<&str>, budget: &mut Budget) -> Markup {
    html! { @if let Some(text) = text { pre { (budget.clip(text, CHARACTERS)) } } @else { p.muted { "not recorded" } } }
}

fn decision(account: &Account, budget: &mut Budget) -> Markup {
    let Some(decision) = &account.decision else { return html! {} };
    html! {
        h3 { "What it decided" }
        dl.facts {
            @if let Some(result) = &decision.result { (fact("Decision", &budget.clip(result, CHARACTERS))) }
            @if let Some(confidence) = decision.confidence { (fact("Confidence", &confidence.to_string())) }
            @if !decision.sources.is_empty() { (fact("Sources", &budget.clip(&decision.sources.join(", "), CHARACTERS))) }
        }
        @if let Some(rationale) = &decision.rationale { pre { (budget.clip(rationale, CHARACTERS)) } }
    }
}

fn figures(account: &Account) -> Markup {
    let count = |tokens: Option<u64>| tokens.map(|tokens| tokens.to_string());
    let figures = [
        ("Prompt tokens", count(account.input_tokens)),
        ("Completion tokens", count(account.output_tokens)),
        ("Reasoning tokens", count(account.reasoning_tokens)),
        ("Cost", account.cost_usd.map(|cost| format!("{cost:.6} US dollars"))),
    ];
    html! { dl.facts { @for (name, figure) in figures { (fact(name, figure.as_deref().unwrap_or("not recorded"))) } } }
}

fn operations(account: &Account) -> Markup {
    let row = |operation: &OperationTime| {
        html! {
            tr {
                td { (operation.kind) } td { (clipped(&operation.name, 80)) }
                td.number { (operation.count) } td.number { (duration(operation.seconds)) }
                td.number { (duration(operation.longest_seconds)) } td.number { (percent(operation.share)) }
            }
        }
    };
    html! {
        @if !account.operations.is_empty() {
            h3 { "Where its time went" }
            div.scroll { table {
                thead { tr { th { "Kind" } th { "Operation" } th.number { "Calls" } th.number { "Time" }
                             th.number { "Longest" } th.number { "Of the run" } } }
                tbody { @for operation in &account.operations { (row(operation)) } }
            } }
            @if let Some(seconds) = account.between_steps_seconds { p.muted { (duration(seconds)) " between steps." } }
        }
    }
}

fn step_of(step: &AccountStep, budget: &mut Budget) -> Markup {
    html! {
        details.step {
            summary {
                span { (step.kind) " " strong { (clipped(&step.name, 80)) } }
                span { (step.seconds.map(duration).unwrap_or_default()) }
                span { (step.status.as_deref().map(|status| clipped(status, 80)).unwrap_or_default()) }
            }
            p.muted {
                (instant(step.started_at))
                @if let Some(tokens) = step.input_tokens { " · " (tokens) " tokens in" }
                @if let Some(tokens) = step.output_tokens { " · " (tokens) " tokens out" }
                @if let Some(cost) = step.cost_usd { " · " (format!("{cost:.6}")) " US dollars" }
            }
            @if let Some(error) = &step.error { p { (badge("warn", "error")) " " (budget.clip(error, CHARACTERS)) } }
            @if let Some(input) = &step.input { p.muted { "In" } pre { (budget.clip(input, CHARACTERS)) } }
            @for output in &step.outputs { p.muted { "Out" } pre { (budget.clip(output, CHARACTERS)) } }
        }
    }
}

fn scores(run: &AuditedRun) -> Markup {
    html! {
        h3 { "What it was worth" }
        @if run.scores.is_empty() { p.muted { "No evaluator has looked at it." } }
        @else {
            div.scroll { table {
                thead { tr { th { "Evaluator" } th { "Verdict" } th { "Why" } th { "By" } } }
                tbody { @for row in &run.scores { (score(row)) } }
            } }
        }
    }
}

fn score(row: &ScoreRow) -> Markup {
    let score = &row.evaluation;
    let word = score.label.clone().unwrap_or_else(|| score.outcome.as_str().replace('_', " "));
    let by = row.source.as_deref().unwrap_or(&score.revision);
    html! {
        tr {
            td { (clipped(&score.evaluator, 80)) }
            td.nowrap { (clipped(&word, 60)) @if let Some(value) = score.value { " " span.muted { (format!("{value:.2}")) } } }
            td { @if let Some(why) = &score.explanation { (clipped(why, 2_000)) } }
            td { (score.annotator_kind.as_str()) " " code { (clipped(by, 40)) } }
        }
    }
}

fn labels(run: &AuditedRun) -> Markup {
    html! {
        h3 { "Who labelled it" }
        @if run.labels.is_empty() { p.muted { "No one has." } }
        @else {
            ul {
                @for label in &run.labels {
                    li {
                        (instant(label.labelled_at)) ": " (clipped(&label.reviewer, 80)) " said "
                        strong { (label.label.as_str()) } " to " (clipped(&label.evaluator, 80))
                        @if let Some(note) = &label.note { ": " (clipped(note, 1_000)) }
                    }
                }
            }
        }
    }
}

fn around(run: &AuditedRun) -> Markup {
    html! {
        h3 { "What else was going on" }
        @if run.alerts.is_empty() && run.releases.is_empty() { p.muted { "It falls into no alert and no noticed release." } }
        ul {
            @for alert in &run.alerts {
                li { "Alert " code { (alert.fingerprint) } " since " (instant(alert.onset_at)) ": " (clipped(&alert.summary, 400)) }
            }
            @for release in &run.releases {
                li { (release.dimension) " " strong { (clipped(&release.value, 120)) } ", seen from "
                     (instant(release.first_seen_at)) " to " (instant(release.last_seen_at)) }
            }
        }
    }
}
