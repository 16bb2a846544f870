//! `driftline gate`: may the candidate replace the baseline?

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;

use super::Context;
use super::drift::{check_pairing, refuse_unpaired};
use super::duration;
use super::failure::{Exit, Failure};
use super::gate_html;
use super::gate_text;
use super::output::{Output, warn};
use super::output_file::{refuse_inputs, write_text};
use super::service::{Place, Service};
use super::sources::{Side, Source, Sources, now};
use crate::domain::measurement::TraceRecord;
use crate::domain::report::{GateReport, GateVerdict};
use crate::domain::time::Timestamp;
use crate::watch::baseline::Baseline;
use crate::watch::gate::{Traces, gate, gate_sequentially};
use crate::watch::gate_policy::GatePolicy;

/// `--markdown -`.
const STANDARD_OUTPUT: &str = "-";
/// How often evidence is looked at while waiting for it.
const LOOKS_EVERY: Duration = Duration::from_secs(10);

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
    /// Look again as traces arrive, for at most this long, and stop as soon as there is an answer, for example 30m. The
    /// answer holds however often it is looked at. Without one in time it is inconclusive.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    wait: Option<Duration>,
    /// Write the answer as JUnit XML too.
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Write the answer as Markdown too; - prints it in place of the table.
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Write the answer as one HTML file too.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    #[command(flatten)]
    place: Place,
}

pub(super) async fn run(arguments: Arguments, context: &Context) -> Result<Exit, Failure> {
    let policy = Policy::read(&arguments.policy)?;
    let prints_markdown = arguments.markdown.as_deref() == Some(Path::new(STANDARD_OUTPUT));
    if prints_markdown && context.json {
        return Err(Failure::Usage(
            "--markdown - and --json both want standard output; give --markdown a file".to_owned(),
        ));
    }
    let report = Question::new(&arguments, &policy)?.answer(context).await?;
    write_files(&arguments, &report)?;
    let mut output = Output::new();
    match () {
        () if context.json => output.json(&report)?,
        () if prints_markdown => output.line(&gate_text::markdown(&report))?,
        () => output.line(&gate_text::text(&report))?,
    }
    output.finish()?;
    Ok(match report.verdict {
        GateVerdict::Pass => Exit::Done,
        GateVerdict::Fail => Exit::Failed,
        GateVerdict::Inconclusive => Exit::NotEnough,
    })
}

fn write_files(arguments: &Arguments, report: &GateReport) -> Result<(), Failure> {
    if let Some(path) = &arguments.junit {
        write_text(path, &gate_text::junit(report))?;
    }
    if let Some(path) = arguments.markdown.as_deref().filter(|path| *path != Path::new(STANDARD_OUTPUT)) {
        write_text(path, &gate_text::markdown(report))?;
    }
    if let Some(path) = &arguments.html {
        write_text(path, &gate_html::page(report, &arguments.baseline, &arguments.candidate))?;
    }
    Ok(())
}

/// A policy with the text it was read from, which a service reads again.
struct Policy {
    policy: GatePolicy,
    text: String,
}

impl Policy {
    fn read(path: &Path) -> Result<Self, Failure> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| Failure::Usage(format!("cannot read {}: {error}; check --policy", path.display())))?;
        let policy =
            GatePolicy::parse(&text).map_err(|error| Failure::Usage(format!("{}: {error}", path.display())))?;
        Ok(Self { policy, text })
    }
}

/// What is asked, with ages counted from the moment it was asked first.
struct Question<'a> {
    arguments: &'a Arguments,
    policy: &'a Policy,
    baseline: Source,
    candidate: Source,
    asked_at: Timestamp,
}

impl<'a> Question<'a> {
    fn new(arguments: &'a Arguments, policy: &'a Policy) -> Result<Self, Failure> {
        let asked_at = now();
        let baseline = Source::parse(&arguments.baseline)?.fixed(asked_at)?;
        let candidate = Source::parse(&arguments.candidate)?.fixed(asked_at)?;
        if arguments.wait.is_some() && matches!(candidate, Source::Files { .. }) {
            return Err(Failure::Usage(
                "--wait: no traces arrive in a file; give the candidate as where:key=value, or do not wait".to_owned(),
            ));
        }
        refuse_unpaired(policy.policy.pair_by.as_deref(), &[&baseline, &candidate])?;
        Ok(Self { arguments, policy, baseline, candidate, asked_at })
    }

    /// The answer: at once, or as soon as there is one.
    async fn answer(&self, context: &Context) -> Result<GateReport, Failure> {
        let service = self.arguments.place.service()?;
        let wait = self.arguments.wait.unwrap_or_default();
        let until = self.asked_at.plus(wait);
        let mut told = String::new();
        loop {
            let report = match &service {
                Some(service) => self.ask(service).await?,
                None => self.read(context).await?,
            };
            let left = until.seconds_since(now());
            if report.verdict != GateVerdict::Inconclusive || left <= 0.0 {
                return Ok(report);
            }
            let news = gate_text::progress(&report);
            if news != told {
                warn(&news);
                told = news;
            }
            tokio::time::sleep(LOOKS_EVERY.min(Duration::from_secs_f64(left))).await;
        }
    }

    /// Asks a running service, which knows neither this machine's files nor its labels.
    async fn ask(&self, service: &Service) -> Result<GateReport, Failure> {
        if !self.arguments.labels_file.is_empty() {
            return Err(Failure::Usage("--url: a service joins no labels; leave out --url".to_owned()));
        }
        let body = json!({
            "baseline": self.baseline.for_service()?,
            "candidate": self.candidate.for_service()?,
            "policy": self.policy.text,
            "sequential": self.arguments.wait.is_some(),
        });
        service.post(&["api", "v1", "gate"], &body).await
    }

    async fn read(&self, context: &Context) -> Result<GateReport, Failure> {
        let Arguments { labels_file, policy, junit, markdown, html, .. } = self.arguments;
        let pair_by = self.policy.policy.pair_by.as_deref();
        let mut inputs = [&self.baseline.files()?[..], &self.candidate.files()?, labels_file].concat();
        inputs.extend(context.config.iter().chain([policy]).cloned());
        refuse_inputs(junit.iter().chain(markdown).chain(html), &inputs)?;
        let mut sources = Sources::new(context.settings()?, labels_file, pair_by, &[&self.baseline, &self.candidate])?;
        let (baseline, candidate) = (sources.load(&self.baseline).await?, sources.load(&self.candidate).await?);
        sources.problems.report();
        if !sources.problems.is_empty() {
            let message =
                format!("{} with the input; a gate decides on all of it or not at all", sources.problems.counted());
            return Err(Failure::CouldNot(message));
        }
        let before = baseline.summary("baseline", &self.arguments.baseline, self.asked_at);
        let after = candidate.summary("candidate", &self.arguments.candidate, self.asked_at);
        let mut report = self.decide(&sources, [&baseline, &candidate], [&before, &after])?;
        sources.standings([&self.baseline, &self.candidate]).await?.mark_gate(&mut report, [&before, &after]);
        Ok(report)
    }

    fn decide(
        &self,
        sources: &Sources,
        [baseline, candidate]: [&Side; 2],
        [before, after]: [&Baseline; 2],
    ) -> Result<GateReport, Failure> {
        let policy = &self.policy.policy;
        let column = policy.pair_by.as_deref();
        if let (Some(column), Some(before), Some(after)) = (column, baseline.records(), candidate.records()) {
            check_pairing(sources, column, before, after)?;
        }
        let task = |record: &TraceRecord| sources.value(record, column?);
        let Side::Traces(traces) = candidate else {
            if self.arguments.wait.is_some() {
                return Err(Failure::Usage(
                    "--wait: no traces arrive in a stored baseline; give where:key=value".to_owned(),
                ));
            }
            return Ok(gate(policy, before, after, None));
        };
        let traces = Traces {
            baseline: baseline.records(),
            candidate: &traces.records,
            task: column.is_some().then_some(&task),
            is_production: traces.is_production,
        };
        Ok(match self.arguments.wait {
            Some(_) => gate_sequentially(policy, before, after, &traces),
            None => gate(policy, before, after, Some(&traces)),
        })
    }
}
