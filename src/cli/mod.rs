//! The command line: one file a command, each turning arguments into a call and an answer into text.
//!
//! Exit codes: 0 done or pass, 1 the checked thing failed, 2 usage or configuration, 3 not enough evidence, 4 could
//! not do it (input, output, network, or there is no such thing).

mod alert_hands;
mod alert_show;
mod alerts;
mod asking;
mod audit;
mod audit_text;
mod backfill;
mod baseline;
mod calibrate;
mod calibrate_html;
mod calibrate_text;
mod costs;
mod dead_letters;
mod demo;
mod doctor;
mod drift;
mod drift_html;
mod drift_text;
mod erase;
mod evaluate;
mod evaluators;
mod evaluators_bridge;
mod evaluators_learn;
mod evaluators_preview;
mod evaluators_report;
mod explain;
mod failure;
mod gate;
mod gate_html;
mod gate_text;
mod inspect;
mod judges;
mod judging;
mod label_files;
mod labels;
mod migrate;
mod objectives;
mod output;
mod output_file;
mod plan;
mod plot;
mod problems;
mod progress;
mod readiness;
mod releases;
mod releases_text;
mod replay;
mod report_html;
mod review;
mod review_queue;
mod runs;
mod serve;
mod service;
mod simulate;
mod sources;
mod table;
mod tokens;
mod trace_files;
mod trace_window;
mod traces;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};

use crate::app::settings::{self, Settings};
use crate::backends::store::acting_as;
use failure::{Exit, Failure};

/// How long work on threads of its own, such as reading a file, is waited for when the answer is there: it may hang.
const LEAVE: Duration = Duration::from_secs(1);

/// Watches AI agents in production: scores traces, detects drift, gates deployments.
#[derive(Debug, Parser)]
#[command(name = "driftline", version, about, max_term_width = 100)]
struct Arguments {
    #[command(flatten)]
    context: Context,
    #[command(subcommand)]
    command: Command,
}

/// What every command is given.
#[derive(Debug, clap::Args)]
struct Context {
    /// Settings file; without it driftline.toml in the working directory, if it is there.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Answer as JSON.
    #[arg(long, global = true)]
    json: bool,
}

impl Context {
    fn settings(&self) -> Result<Settings, Failure> {
        settings::load(self.config.as_deref()).map_err(|error| Failure::Usage(error.to_string()))
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// See the whole product at work on simulated agents with planted, known faults.
    Demo(demo::Arguments),
    /// Make seeded agent traffic as OTLP, with its ground truth beside it.
    Simulate(simulate::Arguments),
    /// Run the service.
    Serve(serve::Arguments),
    /// Score traces from files: one line a (trace, evaluator).
    Evaluate(evaluate::Arguments),
    /// Look at evaluators: what is loaded, whether files are right and cases hold, what they would do, how well.
    Evaluators(evaluators::Arguments),
    /// Take and look at baselines: immutable snapshots of every series.
    Baseline(baseline::Arguments),
    /// Compare every series of two selections of traces.
    Drift(drift::Arguments),
    /// Decide by a policy whether a candidate is good enough.
    Gate(gate::Arguments),
    /// Tell what watching would find and a gate would show, before anything is switched on.
    Plan(plan::Arguments),
    /// Show traces as driftline understands them.
    Inspect(inspect::Arguments),
    /// Tell whether telemetry can answer what people will ask of it, and what its sender would have to add.
    Readiness(readiness::Arguments),
    /// Search evaluated traces.
    Traces(traces::Arguments),
    /// Tell what happened to one trace, and why.
    Explain(explain::Arguments),
    /// Rebuild decisions whole: by trace, conversation, user or business id; or show who changed or read what.
    Audit(audit::Arguments),
    /// List alerts, look at one with all that it affects, take it in hand, silence it.
    Alerts(alerts::Arguments),
    /// See which versions ran since when, and what each changed.
    Releases(releases::Arguments),
    /// Add up what judging costs, or what the watched agents cost, and show how much of budgets is left.
    Costs(costs::Arguments),
    /// Check everything that the settings name: store, queue, judge models, destinations, disk, clock.
    Doctor(doctor::Arguments),
    /// Look at messages of the queue that could not be read, and put them back.
    DeadLetters(dead_letters::Arguments),
    /// Bring the schema of the configured store up to date; serve does so too.
    Migrate,
    /// Label traces that were drawn at random or flagged: the next one, a label, labels out and in, anchors.
    Review(review::Arguments),
    /// Hold judges against people: error rates, agreement, corrected estimates, and whether judge or agent moved.
    Calibrate(calibrate::Arguments),
    /// Make, list and revoke access tokens.
    Tokens(tokens::Arguments),
    /// Remove what a user, a conversation or a business id left behind; what was counted stays.
    Erase(erase::Arguments),
    /// Send recorded traces to a receiver.
    Replay(replay::Arguments),
}

/// A duration as people write it.
fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|_| format!("{text:?} is no duration; write one such as 30m, 24h or 7d"))
}

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(arguments) {
        Ok(exit) => exit.into(),
        Err(failure) => failure.report(),
    }
}

fn run(arguments: Arguments) -> Result<Exit, Failure> {
    // Two providers could be compiled in by dependencies: say which, once.
    let _already_installed = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Runtime::new().map_err(|error| Failure::could_not("start the runtime", &error))?;
    let work = dispatch(arguments.command, &arguments.context);
    let user = std::env::var("USER").unwrap_or_else(|_| "unknown".to_owned());
    let exit = runtime.block_on(acting_as(format!("user {user}").into(), work));
    runtime.shutdown_timeout(LEAVE);
    exit
}

async fn dispatch(command: Command, context: &Context) -> Result<Exit, Failure> {
    match command {
        Command::Demo(arguments) => demo::run(arguments, context).await,
        Command::Simulate(arguments) => simulate::run(arguments, context).await,
        Command::Serve(arguments) => serve::run(arguments, context).await,
        Command::Evaluate(arguments) => evaluate::run(arguments, context).await,
        Command::Evaluators(arguments) => evaluators::run(arguments, context).await,
        Command::Baseline(arguments) => baseline::run(arguments, context).await,
        Command::Drift(arguments) => drift::run(arguments, context).await,
        Command::Gate(arguments) => gate::run(arguments, context).await,
        Command::Plan(arguments) => plan::run(arguments, context).await,
        Command::Inspect(arguments) => inspect::run(arguments, context).await,
        Command::Readiness(arguments) => readiness::run(arguments, context).await,
        Command::Traces(arguments) => traces::run(arguments, context).await,
        Command::Explain(arguments) => explain::run(arguments, context).await,
        Command::Audit(arguments) => audit::run(arguments, context).await,
        Command::Alerts(arguments) => alerts::run(arguments, context).await,
        Command::Releases(arguments) => releases::run(arguments, context).await,
        Command::Costs(arguments) => costs::run(arguments, context).await,
        Command::Doctor(arguments) => doctor::run(arguments, context).await,
        Command::DeadLetters(arguments) => dead_letters::run(arguments, context).await,
        Command::Migrate => migrate::run(context).await,
        Command::Review(arguments) => review::run(arguments, context).await,
        Command::Calibrate(arguments) => calibrate::run(arguments, context).await,
        Command::Tokens(arguments) => tokens::run(arguments, context).await,
        Command::Erase(arguments) => erase::run(arguments, context).await,
        Command::Replay(arguments) => replay::run(arguments, context).await,
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::Arguments;

    #[test]
    fn the_command_line_is_well_formed() {
        Arguments::command().debug_assert();
    }
}
