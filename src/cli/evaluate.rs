//! `driftline evaluate`: score traces from files, one line a (trace, evaluator).

use std::collections::BTreeMap;
use std::path::PathBuf;

use futures_util::{StreamExt, stream};

use super::Context;
use super::asking::Services;
use super::failure::{Exit, Failure};
use super::judging::{Judges, ledger};
use super::output::{Output, counted, json_line, warn};
use super::output_file::{OutputFile, refuse_inputs};
use super::table::Table;
use super::trace_files::{TraceFiles, expand};
use crate::app;
use crate::app::settings::Settings;
use crate::domain::evaluation::{Evaluation, Outcome};
use crate::domain::trace::Trace;
use crate::evaluate::kinds::Behaviour;
use crate::evaluate::run::{EvaluatedTrace, Evaluators, evaluate};
use crate::evaluate::sampling::SamplingPolicy;
use crate::pipeline::ledgered::Ledger;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Files or glob patterns of OTLP/JSON lines or OTLP protobuf, plain, .gz or .zst; - is standard input.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<String>,
    /// Folder of evaluators that adds to the shipped ones or overrides them by name.
    #[arg(long, value_name = "DIR")]
    evaluators: Option<PathBuf>,
    /// Run this evaluator only; repeat it for more.
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Write the rows here instead of to standard output; .gz and .zst are compressed.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

pub(super) async fn run(arguments: Arguments, context: &Context) -> Result<Exit, Failure> {
    let settings = context.settings()?;
    // Who is named is meant, switched off or not.
    let load = if arguments.only.is_empty() { app::evaluators } else { app::every_evaluator };
    let evaluators = load(&settings, arguments.evaluators.as_deref());
    let evaluators = only(evaluators.map_err(|error| Failure::Usage(error.to_string()))?, &arguments.only)?;
    let ledger = if asks_judges(&settings, &evaluators) {
        ledger(&settings).await?
    } else {
        Ledger::new(None, app::service::budget_policy(&settings))
    };
    let (judges, services) = (Judges::new(&settings, &evaluators, &ledger)?, Services::new(&evaluators)?);
    let files = expand(&arguments.files)?;
    refuse_inputs(&arguments.output, &[&files[..], context.config.as_slice()].concat())?;
    let mut files = TraceFiles::new(files, &settings);
    let mut sink = Sink::create(arguments.output)?;
    say_unconfigured(&judges);

    // Everything is judged: sampling exists to spare a running service money, not a person who asks for these files.
    let policy = SamplingPolicy {
        healthy_rate: 1.0,
        services: BTreeMap::new(),
        policies: Vec::new(),
        ..settings.sampling.clone()
    };
    let rows_of = |trace: Trace| {
        let evaluated = evaluate(&trace, &evaluators, &policy);
        all_rows(trace, evaluated, &services, &judges)
    };
    let mut summary = Summary::default();
    let mut traces = stream::iter(&mut files).map(rows_of).buffered(judges.concurrency());
    while let Some(rows) = traces.next().await {
        for row in &rows {
            summary.count(row);
            sink.row(row)?;
        }
    }
    drop(traces);
    let (traces, problems) = files.finish()?;
    sink.finish()?;
    summary.report(traces);
    say_spent(&ledger);
    problems.report();
    if problems.is_empty() {
        return Ok(Exit::Done);
    }
    Err(Failure::CouldNot(format!("{} with the input; everything else is evaluated", problems.counted())))
}

/// Every row of a trace, sorted by evaluator, once its services and judges have answered.
async fn all_rows(
    trace: Trace,
    evaluated: EvaluatedTrace,
    services: &Services<'_>,
    judges: &Judges<'_>,
) -> Vec<Evaluation> {
    let answered = services.rows(&trace, &evaluated.services).await;
    let mut rows = judges.rows(trace, evaluated).await;
    if !answered.is_empty() {
        rows.extend(answered);
        rows.sort_by(|left, right| left.evaluator.cmp(&right.evaluator));
    }
    rows
}

fn only(evaluators: Evaluators, names: &[String]) -> Result<Evaluators, Failure> {
    if names.is_empty() {
        return Ok(evaluators);
    }
    let known: Vec<String> = evaluators.definitions().iter().map(|definition| definition.name.clone()).collect();
    evaluators.only(names).map_err(|unknown| {
        Failure::Usage(format!("--only: there is no evaluator {}; known: {}", unknown.join(", "), known.join(", ")))
    })
}

/// Whether a judge among the evaluators has a model to ask.
fn asks_judges(settings: &Settings, evaluators: &Evaluators) -> bool {
    evaluators.definitions().iter().any(|definition| match &definition.behaviour {
        Behaviour::Judge(judge) => settings.judge.models.contains_key(&judge.model),
        Behaviour::Rule(_) | Behaviour::Service(_) => false,
    })
}

fn say_spent(ledger: &Ledger) {
    let (requests, charged) = ledger.spent();
    if requests > 0 {
        let kept = if ledger.store().is_some() { "" } else { ", in no ledger for there is no store" };
        warn(&format!("judges: {}, {charged}{kept}", counted(requests, "request")));
    }
}

fn say_unconfigured(judges: &Judges<'_>) {
    for model in judges.unconfigured() {
        warn(&format!("no judge is configured: rows of its evaluators say not_evaluable; set [judge.models.{model}]"));
    }
}

/// Where rows go.
enum Sink {
    Standard(Output),
    File(Box<OutputFile>),
}

impl Sink {
    fn create(path: Option<PathBuf>) -> Result<Self, Failure> {
        match path {
            Some(path) => Ok(Self::File(Box::new(OutputFile::create(&path)?))),
            None => Ok(Self::Standard(Output::new())),
        }
    }

    fn row(&mut self, row: &Evaluation) -> Result<(), Failure> {
        match self {
            Self::Standard(output) => output.json(row),
            Self::File(file) => file.line(json_line(row)?.as_bytes()),
        }
    }

    fn finish(self) -> Result<(), Failure> {
        match self {
            Self::Standard(output) => output.finish(),
            Self::File(file) => file.finish(),
        }
    }
}

/// How many rows there are, by evaluator and outcome.
#[derive(Default)]
struct Summary {
    evaluators: BTreeMap<String, Counts>,
}

#[derive(Default)]
struct Counts {
    failing: u64,
    outcomes: BTreeMap<Outcome, u64>,
}

impl Summary {
    fn count(&mut self, row: &Evaluation) {
        let counts = self.evaluators.entry(row.evaluator.clone()).or_default();
        counts.failing += u64::from(row.is_failing());
        *counts.outcomes.entry(row.outcome).or_default() += 1;
    }

    fn report(&self, traces: u64) {
        let of_outcome =
            |outcome: &Outcome| self.evaluators.values().filter_map(|counts| counts.outcomes.get(outcome)).sum::<u64>();
        let used: Vec<Outcome> = Outcome::ALL.into_iter().filter(|outcome| of_outcome(outcome) > 0).collect();
        let mut headings = vec!["evaluator"];
        headings.extend(used.iter().map(|outcome| outcome.as_str()));
        headings.push("of them failing");
        let mut table = Table::new(&headings);
        for (name, counts) in &self.evaluators {
            let mut cells = vec![name.clone()];
            cells.extend(used.iter().map(|outcome| counts.outcomes.get(outcome).unwrap_or(&0).to_string()));
            cells.push(counts.failing.to_string());
            table.row(cells);
        }
        let rows: u64 = used.iter().map(of_outcome).sum();
        warn(&format!("{}, {}\n{table}", counted(traces, "trace"), counted(rows, "row")));
    }
}
