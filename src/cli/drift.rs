//! `driftline drift`: every series of two selections compared.

use std::path::PathBuf;

use super::Context;
use super::drift_html;
use super::drift_text;
use super::failure::{Exit, Failure};
use super::output::{Output, warn};
use super::output_file::{refuse_inputs, write_text};
use super::service::{Place, Service, answer};
use super::sources::{Side, Source, Sources, now};
use crate::domain::measurement::TraceRecord;
use crate::domain::report::{DriftReport, DriftVerdict};
use crate::queries::compare::{check_dimension, dimensions};
use crate::queries::source::StoredSource;
use crate::watch::baseline::Baseline;
use crate::watch::drift::{DriftOptions, drift};
use crate::watch::history::{Histories, add_history};
use crate::watch::paired::paired;
use crate::watch::summarize::Summarizer;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// What to compare with: file:PATH-OR-GLOB[?column=value], where:key=value[,...] or name:BASELINE.
    #[arg(long, value_name = "SOURCE")]
    baseline: String,
    /// What to compare, written in the same way.
    #[arg(long, value_name = "SOURCE")]
    current: String,
    /// Compare each value of this dimension too, for example model.
    #[arg(long, value_name = "DIMENSION")]
    by: Option<String>,
    /// Labels to join, JSON lines keyed by trace_id; repeat it for more.
    #[arg(long, value_name = "FILE")]
    labels_file: Vec<PathBuf>,
    /// Pair the traces of both sides by this column: the same task on each side.
    #[arg(long, value_name = "COLUMN")]
    pair_by: Option<String>,
    /// False-discovery rate over the whole report.
    #[arg(long, default_value_t = 0.05, value_parser = alpha)]
    alpha: f64,
    /// End with exit code 1 when there is drift.
    #[arg(long)]
    fail_on_drift: bool,
    /// Write the report as one HTML file too.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Seed of simulated null distributions.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    #[command(flatten)]
    place: Place,
}

impl Arguments {
    fn options(&self) -> DriftOptions {
        DriftOptions { alpha: self.alpha, by: self.by.clone(), seed: self.seed }
    }
}

fn alpha(text: &str) -> Result<f64, String> {
    let alpha: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if alpha > 0.0 && alpha < 1.0 { Ok(alpha) } else { Err("must lie between 0 and 1".to_owned()) }
}

pub(super) async fn run(arguments: Arguments, context: &Context) -> Result<Exit, Failure> {
    let report = report(&arguments, context).await?;
    if let Some(path) = &arguments.html {
        write_text(path, &drift_html::page(&report, &arguments.baseline, &arguments.current))?;
    }
    let mut output = Output::new();
    if context.json {
        output.json(&report)?;
    } else {
        output.line(&drift_text::text(&report))?;
    }
    output.finish()?;
    Ok(match report.verdict {
        DriftVerdict::Drift if arguments.fail_on_drift => Exit::Failed,
        DriftVerdict::Drift | DriftVerdict::NoDrift => Exit::Done,
        DriftVerdict::InsufficientEvidence => Exit::NotEnough,
    })
}

async fn report(arguments: &Arguments, context: &Context) -> Result<DriftReport, Failure> {
    match arguments.place.service()? {
        Some(service) => ask(&service, arguments).await,
        None => read_and_compare(arguments, context).await,
    }
}

/// Asks a running service, which knows neither this machine's files nor its labels.
async fn ask(service: &Service, arguments: &Arguments) -> Result<DriftReport, Failure> {
    let sides = [Source::parse(&arguments.baseline)?, Source::parse(&arguments.current)?];
    let [baseline, current] = [sides[0].for_service()?, sides[1].for_service()?];
    if !arguments.labels_file.is_empty() || arguments.pair_by.is_some() {
        return Err(Failure::Usage("--url: a service joins no labels and pairs nothing; leave out --url".to_owned()));
    }
    let parameter = |name: &str, value: String| (name.to_owned(), value);
    let mut parameters = vec![
        parameter("baseline", baseline),
        parameter("current", current),
        parameter("alpha", arguments.alpha.to_string()),
        parameter("seed", arguments.seed.to_string()),
    ];
    parameters.extend(arguments.by.iter().map(|by| parameter("by", by.clone())));
    service.get(&["api", "v1", "drift"], &parameters).await
}

async fn read_and_compare(arguments: &Arguments, context: &Context) -> Result<DriftReport, Failure> {
    let (baseline, current) = (Source::parse(&arguments.baseline)?, Source::parse(&arguments.current)?);
    let pair_by = arguments.pair_by.as_deref();
    refuse_unpaired(pair_by, &[&baseline, &current])?;
    let inputs =
        [&baseline.files()?[..], &current.files()?, &arguments.labels_file, context.config.as_slice()].concat();
    refuse_inputs(&arguments.html, &inputs)?;
    let mut sources = Sources::new(context.settings()?, &arguments.labels_file, pair_by, &[&baseline, &current])?;
    let (mut report, summaries) = match pair_by {
        Some(column) => compare_pairs(arguments, &mut sources, column, [&baseline, &current]).await?,
        None => compare_summaries(arguments, &mut sources, [&baseline, &current]).await?,
    };
    let standings = sources.standings([&baseline, &current]).await?;
    standings.mark_drift(&mut report, [&summaries[0], &summaries[1]]);
    let sides = [("baseline", report.traces.baseline), ("current", report.traces.current)];
    let empty = sides.iter().filter(|(_, traces)| *traces == 0);
    report.notes.extend(empty.map(|(side, _)| format!("no trace is selected on the {side} side")));
    sources.problems.report();
    if !sources.problems.is_empty() {
        let note = format!("{} with the input; what could not be read is not compared", sources.problems.counted());
        report.notes.push(note);
    }
    Ok(report)
}

/// Tasks that ran on both sides, from their traces.
async fn compare_pairs(
    arguments: &Arguments,
    sources: &mut Sources,
    column: &str,
    [baseline, current]: [&Source; 2],
) -> Result<(DriftReport, [Baseline; 2]), Failure> {
    let sides = [sources.load(baseline).await?, sources.load(current).await?];
    let [before, after] = sides.each_ref().map(|side| side.records().unwrap_or_default());
    check_pairing(sources, column, before, after)?;
    let dimensions = before.iter().chain(after).flat_map(|record| record.segments.keys().cloned());
    answer(check_dimension(arguments.by.as_deref(), dimensions.collect()))?;
    let mut report = paired(before, after, |record| sources.value(record, column), &arguments.options());
    add_history(&mut report, before, after);
    let summary = |side: &Side, name, text| side.summary(name, text, now()).into_owned();
    let [before, after] = &sides;
    Ok((report, [summary(before, "baseline", &arguments.baseline), summary(after, "current", &arguments.current)]))
}

/// Everything else, from summaries: of each trace no more is held than its numbers.
async fn compare_summaries(
    arguments: &Arguments,
    sources: &mut Sources,
    [baseline, current]: [&Source; 2],
) -> Result<(DriftReport, [Baseline; 2]), Failure> {
    let mut histories = Histories::default();
    let sides = [
        summarized(sources, baseline, ("baseline", &arguments.baseline), |one| histories.add(false, one)).await?,
        summarized(sources, current, ("current", &arguments.current), |one| histories.add(true, one)).await?,
    ];
    let is_stored = |source: &&Source| matches!(source, Source::Stored(StoredSource::Name(_)));
    if !arguments.labels_file.is_empty() && [baseline, current].iter().any(is_stored) {
        warn("labels are not joined to a stored baseline, which keeps summaries and no traces");
    }
    answer(check_dimension(arguments.by.as_deref(), dimensions(sides.each_ref())))?;
    let mut report = drift(&sides[0], &sides[1], &arguments.options());
    histories.finish(&mut report);
    Ok((report, sides))
}

/// The summary of a side, whose traces are shown to `see`; of a stored baseline there are none.
async fn summarized(
    sources: &mut Sources,
    source: &Source,
    (name, text): (&str, &str),
    mut see: impl FnMut(&TraceRecord),
) -> Result<Baseline, Failure> {
    if let Source::Stored(StoredSource::Name(_)) = source {
        return Ok(sources.load(source).await?.summary(name, text, now()).into_owned());
    }
    let mut summarizer = Summarizer::default();
    let take = |record: TraceRecord| {
        see(&record);
        summarizer.add(record);
    };
    let revisions = sources.visit(source, take).await?;
    Ok(summarizer.finish(name, now(), text).with_revisions(revisions))
}

/// Refuses to pair what cannot be paired.
///
/// # Errors
/// A stored baseline is to be paired, which keeps summaries and no traces.
pub(super) fn refuse_unpaired(pair_by: Option<&str>, sources: &[&Source]) -> Result<(), Failure> {
    let name = sources.iter().find_map(|source| match source {
        Source::Stored(StoredSource::Name(name)) => Some(name),
        Source::Stored(StoredSource::Where(_)) | Source::Files { .. } => None,
    });
    match (pair_by, name) {
        (Some(column), Some(name)) => Err(Failure::Usage(format!(
            "cannot pair by {column}: the baseline {name:?} keeps summaries and no traces; give file: or where: sources, \
             or do not pair"
        ))),
        _ => Ok(()),
    }
}

/// # Errors
/// A side has no column of this name.
pub(super) fn check_pairing(
    sources: &Sources,
    column: &str,
    before: &[TraceRecord],
    after: &[TraceRecord],
) -> Result<(), Failure> {
    sources.check_column(column, before)?;
    sources.check_column(column, after)
}
