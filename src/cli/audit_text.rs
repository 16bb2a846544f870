//! A decision rebuilt, as text for a terminal.

use super::failure::Failure;
use super::output::Output;
use super::table::{Table, clip, clip_to, number};
use crate::queries::account::{Account, AccountStep};
use crate::queries::audit::{Audit, AuditLog, AuditedRun};
use crate::queries::scores::ScoreRow;

/// Longest text of a trace that is shown, in characters; `--json` and `--html` show more.
const LONGEST_TEXT: usize = 2_000;

/// That there is no run, and how one is found.
pub(super) fn nothing(found: &Audit) -> String {
    format!(
        "nothing is known of {}; records are found by trace, conversation, user and business id as they were sent",
        clip(&found.found_by)
    )
}

pub(super) fn print(found: &Audit, output: &mut Output) -> Result<(), Failure> {
    output.line(&format!("{} by {}, as of {}", runs(found.runs.len()), clip(&found.found_by), found.at))?;
    if found.has_more {
        output.line("there are earlier runs: ask for more with --limit, or for a time with until=")?;
    }
    found.runs.iter().try_for_each(|run| print_run(run, output))
}

fn runs(count: usize) -> String {
    if count == 1 { "1 run".to_owned() } else { format!("{count} runs") }
}

fn print_run(run: &AuditedRun, output: &mut Output) -> Result<(), Failure> {
    let trace = &run.trace;
    output.line("")?;
    output.line(&format!("trace {}", trace.trace_id))?;
    output.line(&format!("  {}", run.state.sentence()))?;
    let text = |text: &Option<String>| text.as_deref().map(clip);
    let facts = [
        ("service", Some(clip(&trace.service))),
        ("release", text(&trace.release)),
        ("model", text(&trace.model)),
        ("conversation", text(&trace.conversation_id)),
        ("user", text(&trace.user_id)),
        ("started", Some(trace.started_at.to_string())),
        ("ended", Some(trace.ended_at.to_string())),
        ("seconds", trace.latency_seconds.map(number)),
    ];
    print_facts(facts, output)?;
    for (name, value) in &trace.attributes {
        output.line(&format!("  {:<14} {}", clip_to(name, 40), clip(value)))?;
    }
    if let Some(sampling) = &run.sampling {
        output.line(&format!("  {sampling}"))?;
    }
    if let Some(account) = &run.account {
        print_account(account, output)?;
    }
    run.scores.iter().try_for_each(|row| print_score(row, output))?;
    print_around(run, output)
}

fn print_facts<const N: usize>(facts: [(&str, Option<String>); N], output: &mut Output) -> Result<(), Failure> {
    let known = facts.into_iter().filter_map(|(name, value)| Some((name, value?)));
    known.into_iter().try_for_each(|(name, value)| output.line(&format!("  {name:<14} {value}")))
}

fn print_account(account: &Account, output: &mut Output) -> Result<(), Failure> {
    let text = |text: &Option<String>| text.as_deref().map(|text| clip_to(text, LONGEST_TEXT));
    let decision = account.decision.as_ref();
    let facts = [
        ("asked", text(&account.input)),
        ("answered", text(&account.output)),
        ("error", text(&account.error)),
        ("decided", decision.and_then(|decision| text(&decision.result))),
        ("confidence", decision.and_then(|decision| decision.confidence).map(number)),
        ("because", decision.and_then(|decision| text(&decision.rationale))),
        ("tokens in", account.input_tokens.map(|tokens| tokens.to_string())),
        ("tokens out", account.output_tokens.map(|tokens| tokens.to_string())),
        ("cost", account.cost_usd.map(|cost| format!("{} US dollars", number(cost)))),
    ];
    print_facts(facts, output)?;
    for operation in &account.operations {
        let share = operation.share * 100.0;
        let (kind, name, count) = (&operation.kind, clip(&operation.name), operation.count);
        output.line(&format!(
            "  {kind:<10} {name}: {count} ×, {} s, {share:.0} % of the run",
            number(operation.seconds)
        ))?;
    }
    account.steps.iter().try_for_each(|step| print_step(step, output))
}

fn print_step(step: &AccountStep, output: &mut Output) -> Result<(), Failure> {
    let seconds = step.seconds.map(|seconds| format!(" {} s", number(seconds))).unwrap_or_default();
    let status = step.status.as_deref().map(|status| format!(" {}", clip(status))).unwrap_or_default();
    output.line(&format!("  - {} {}{seconds}{status}", step.kind, clip(&step.name)))?;
    let said = |name: &str, text: &str| format!("      {name:<6} {}", clip_to(text, LONGEST_TEXT));
    let inputs = step.input.iter().map(|text| said("in", text));
    let outputs = step.outputs.iter().map(|text| said("out", text));
    let errors = step.error.iter().map(|text| said("error", text));
    inputs.chain(outputs).chain(errors).try_for_each(|line| output.line(&line))
}

fn print_score(row: &ScoreRow, output: &mut Output) -> Result<(), Failure> {
    let score = &row.evaluation;
    let verdict = score.label.as_deref().unwrap_or_else(|| score.outcome.as_str());
    let value = score.value.map(|value| format!(" ({})", number(value))).unwrap_or_default();
    let why = score.explanation.as_deref().map(|why| format!(": {}", clip_to(why, LONGEST_TEXT))).unwrap_or_default();
    let by = score.annotator_kind.as_str();
    output.line(&format!("  {} [{by}] {}{value}{why}", clip(&score.evaluator), clip(verdict)))
}

fn print_around(run: &AuditedRun, output: &mut Output) -> Result<(), Failure> {
    for label in &run.labels {
        let note = label.note.as_deref().map(|note| format!(": {}", clip(note))).unwrap_or_default();
        let (who, said, of) = (clip(&label.reviewer), label.label.as_str(), clip(&label.evaluator));
        output.line(&format!("  labelled {} by {who}: {said} of {of}{note}", label.labelled_at))?;
    }
    for alert in &run.alerts {
        output.line(&format!("  alert {} since {}: {}", alert.fingerprint, alert.onset_at, clip(&alert.summary)))?;
    }
    for release in &run.releases {
        let (from, to) = (release.first_seen_at, release.last_seen_at);
        output.line(&format!("  {} {}, seen from {from} to {to}", release.dimension, clip(&release.value)))?;
    }
    Ok(())
}

pub(super) fn print_log(log: &AuditLog, output: &mut Output) -> Result<(), Failure> {
    if log.entries.is_empty() {
        return output.line("nothing was changed or read in this time");
    }
    let mut table = Table::new(&["when", "who", "did", "what", ""]);
    for entry in &log.entries {
        let did = serde_json::to_value(entry.action).ok().and_then(|word| word.as_str().map(str::to_owned));
        let cells = [entry.at.to_string(), clip(&entry.actor), did.unwrap_or_default(), clip(&entry.subject)];
        table.row(cells.into_iter().chain([clip(&entry.detail)]));
    }
    output.line(table.to_string().trim_end())?;
    if log.has_more { output.line("there are earlier lines: ask for a shorter time with --since") } else { Ok(()) }
}
