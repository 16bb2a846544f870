//! `driftline inspect`: a trace as driftline understands it.

use super::Context;
use super::failure::{Exit, Failure};
use super::output::Output;
use super::service::{answer, shown};
use super::sources::open;
use super::table::{clip_to, number};
use super::trace_files::{TraceFiles, expand};
use crate::domain::ids::TraceId;
use crate::normalize::{InspectedTool, Inspection};
use crate::queries::inspection::inspection;

/// Longest text of a trace that is shown to a person, in characters; `--json` shows all of it.
const LONGEST_TEXT: usize = 400;
/// Tool calls that are shown to a person.
const TOOLS: usize = 40;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Files or glob patterns of traces (- is standard input), or the 32 hexadecimal digits of a stored trace's id.
    #[arg(required = true, value_name = "FILE|TRACE_ID")]
    traces: Vec<String>,
}

pub(super) async fn run(arguments: Arguments, context: &Context) -> Result<Exit, Failure> {
    if let [only] = arguments.traces.as_slice()
        && let Ok(trace_id) = only.parse::<TraceId>()
    {
        return stored(trace_id, context).await;
    }
    let settings = context.settings()?;
    let mut files = TraceFiles::new(expand(&arguments.traces)?, &settings);
    let mut output = Output::new();
    for trace in &mut files {
        let upstream_probability = settings.sampling.upstream_probability(&trace);
        show(&Inspection { upstream_probability, ..Inspection::from(&trace) }, context.json, &mut output)?;
    }
    output.finish()?;
    let (_, problems) = files.finish()?;
    problems.report();
    if problems.is_empty() {
        return Ok(Exit::Done);
    }
    Err(Failure::CouldNot(format!("{} with the input; everything else is shown", problems.counted())))
}

/// Shows a trace of the configured store.
async fn stored(trace_id: TraceId, context: &Context) -> Result<Exit, Failure> {
    let settings = context.settings()?;
    let archive = settings.archive().map_err(|error| Failure::could_not("read the archive", &error))?;
    let store = open(&settings, true).await?.with_archive(archive);
    let mut output = Output::new();
    let found = answer(inspection(&store, trace_id, &settings.attributes, &settings.prices).await)?;
    shown(&store, &[trace_id]).await?;
    show(&found, context.json, &mut output)?;
    output.finish()?;
    Ok(Exit::Done)
}

fn show(inspection: &Inspection, as_json: bool, output: &mut Output) -> Result<(), Failure> {
    if as_json {
        return output.json(inspection);
    }
    output.line(&format!("trace {}", inspection.trace_id))?;
    for (name, value) in facts(inspection) {
        output.line(&format!("  {name:<14} {value}"))?;
    }
    if !inspection.tools.is_empty() {
        output.line("  tools")?;
    }
    for (index, tool) in inspection.tools.iter().take(TOOLS).enumerate() {
        output.line(&format!("    {index:>3}  {}", described(tool)))?;
    }
    if let Some(hidden) = inspection.tools.len().checked_sub(TOOLS).filter(|hidden| *hidden > 0) {
        output.line(&format!("         and {hidden} more; --json shows all"))?;
    }
    output.line("")
}

/// What is known of the trace, line by line; what is unknown is left out, but for what `missing` names.
fn facts(inspection: &Inspection) -> Vec<(&'static str, String)> {
    let text = |text: &Option<String>| text.as_deref().map(|text| clip_to(text, LONGEST_TEXT));
    let list = |list: &[String]| (!list.is_empty()).then(|| clip_to(&list.join(", "), LONGEST_TEXT));
    let count = |count: Option<u64>| count.map(|count| count.to_string());
    let upstream = inspection.upstream_probability.as_ref().map_or_else(
        || "not known with what probability".to_owned(),
        |upstream| format!("with probability {} ({})", upstream.probability, clip_to(&upstream.source, LONGEST_TEXT)),
    );
    let missing = (!inspection.missing.is_empty()).then(|| inspection.missing.join(", "));
    let facts = [
        ("convention", Some(inspection.convention.to_owned())),
        ("service", Some(clip_to(&inspection.service, LONGEST_TEXT))),
        ("release", text(&inspection.release)),
        ("models", list(&inspection.models)),
        ("conversation", text(&inspection.conversation_id)),
        ("user", text(&inspection.user_id)),
        ("model calls", Some(inspection.model_calls.to_string())),
        ("retrieved", Some(inspection.retrieved.to_string()).filter(|_| inspection.retrieved > 0)),
        ("tokens in", count(inspection.input_tokens)),
        ("tokens out", count(inspection.output_tokens)),
        ("reasoning", count(inspection.reasoning_tokens)),
        ("cost", inspection.cost_usd.map(|cost| format!("{} US dollars", number(cost)))),
        ("finish reasons", list(&inspection.finish_reasons)),
        ("error", text(&inspection.error)),
        ("kept upstream", Some(upstream)),
        ("input", text(&inspection.input)),
        ("output", text(&inspection.output)),
        ("missing", missing),
    ];
    facts.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

fn described(tool: &InspectedTool) -> String {
    let empty = if tool.result_empty == Some(true) { ", empty result" } else { "" };
    let repeat = tool.repeat_of.map_or_else(String::new, |first| format!(", repeats {first}"));
    format!("{}  {}{empty}{repeat}", clip_to(&tool.name, LONGEST_TEXT), tool.status.as_str())
}
