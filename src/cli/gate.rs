//! `driftline gate`: may the candidate replace the baseline?

use std::path::{Path, PathBuf};

use super::Context;
use super::drift::{check_pairing, refuse_unpaired};
use super::failure::{Exit, Failure};
use super::gate_text;
use super::output::Output;
use super::output_file::{refuse_inputs, write_text};
use super::sources::{Side, Source, Sources, now};
use crate::domain::measurement::TraceRecord;
use crate::domain::report::{GateReport, GateVerdict};
use crate::domain::time::Timestamp;
use crate::watch::baseline::Baseline;
use crate::watch::gate::{Tasks, gate};
use crate::watch::gate_policy::GatePolicy;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// What the candidate is compared with: file:PATH-OR-GLOB[?column=value], where:key=value[,...] or name:BASELINE.
    #[arg(long, value_name = "SOURCE")]
    baseline: String,
    /// The candidate, written in the same way.
    #[arg(long, value_name = "SOURCE")]
    candidate: String,
    /// What the candidate must show.
    #[arg(long, value_name = "gate.toml")]
    policy: PathBuf,
    /// Labels to join, JSON lines keyed by trace_id; repeat it for more.
    #[arg(long, value_name = "FILE")]
    labels_file: Vec<PathBuf>,
    /// Write the answer as JUnit XML too.
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Write the answer as Markdown too.
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
}

pub(super) async fn run(arguments: Arguments, context: &Context) -> Result<Exit, Failure> {
    let policy = read_policy(&arguments.policy)?;
    let report = report(&arguments, &policy, context).await?;
    if let Some(path) = &arguments.junit {
        write_text(path, &gate_text::junit(&report))?;
    }
    if let Some(path) = &arguments.markdown {
        write_text(path, &gate_text::markdown(&report))?;
    }
    let mut output = Output::new();
    if context.json {
        output.json(&report)?;
    } else {
        output.line(&gate_text::text(&report))?;
    }
    output.finish()?;
    Ok(match report.verdict {
        GateVerdict::Pass => Exit::Done,
        GateVerdict::Fail => Exit::Failed,
        GateVerdict::Inconclusive => Exit::NotEnough,
    })
}

fn read_policy(path: &Path) -> Result<GatePolicy, Failure> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::Usage(format!("cannot read {}: {error}; check --policy", path.display())))?;
    GatePolicy::parse(&text).map_err(|error| Failure::Usage(format!("{}: {error}", path.display())))
}

async fn report(arguments: &Arguments, policy: &GatePolicy, context: &Context) -> Result<GateReport, Failure> {
    let now = now();
    let (baseline, candidate) = (Source::parse(&arguments.baseline)?, Source::parse(&arguments.candidate)?);
    let pair_by = policy.pair_by.as_deref();
    refuse_unpaired(pair_by, &[&baseline, &candidate])?;
    let mut inputs = [&baseline.files()?[..], &candidate.files()?, &arguments.labels_file].concat();
    inputs.extend(context.config.iter().chain([&arguments.policy]).cloned());
    refuse_inputs(arguments.junit.iter().chain(&arguments.markdown), &inputs)?;
    let mut sources = Sources::new(context.settings()?, &arguments.labels_file, pair_by, &[&baseline, &candidate])?;
    let (baseline, candidate) = (sources.load(&baseline).await?, sources.load(&candidate).await?);
    sources.problems.report();
    if !sources.problems.is_empty() {
        let message =
            format!("{} with the input; a gate decides on all of it or not at all", sources.problems.counted());
        return Err(Failure::CouldNot(message));
    }
    decide(arguments, policy, &sources, baseline, candidate, now)
}

fn decide(
    arguments: &Arguments,
    policy: &GatePolicy,
    sources: &Sources,
    baseline: Side,
    candidate: Side,
    now: Timestamp,
) -> Result<GateReport, Failure> {
    let (Some(column), Side::Records(before), Side::Records(after)) = (&policy.pair_by, &baseline, &candidate) else {
        let before = baseline.summary("baseline", &arguments.baseline, now);
        let after = candidate.summary("candidate", &arguments.candidate, now);
        return Ok(gate(policy, &before, &after, None));
    };
    check_pairing(sources, column, before, after)?;
    let task = |record: &TraceRecord| sources.value(record, column);
    let tasks = Tasks { baseline: before, candidate: after, task: &task };
    let before = Baseline::from_records("baseline", now, &arguments.baseline, before);
    let after = Baseline::from_records("candidate", now, &arguments.candidate, after);
    Ok(gate(policy, &before, &after, Some(&tasks)))
}
