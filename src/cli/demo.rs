//! `driftline demo`.

use std::pin::pin;
use std::time::Duration;

use indicatif::ProgressBar;

use super::Context;
use super::failure::{Exit, Failure, chain};
use super::output::Output;
use super::serve::{self, stop_signal};
use crate::app::demo::{DemoError, DemoPlan, DemoReport, DemoStep, FaultReport, demo};
use crate::domain::report::{GateSeries, GateVerdict};
use crate::telemetry::logs;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Port of the API and pages on 127.0.0.1.
    #[arg(long, default_value_t = 8080)]
    port: u16,
    /// Stop after the verdicts.
    #[arg(long)]
    exit: bool,
    /// Everything random comes from this.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Traces to send, half before the release and half after it.
    #[arg(long, default_value_t = 3500, value_parser = clap::value_parser!(u32).range(100..=100_000))]
    traces: u32,
}

pub(super) async fn run(arguments: Arguments, context: &Context) -> Result<Exit, Failure> {
    logs::start("error");
    let mut stop = pin!(stop_signal()?);
    let folder = tempfile::Builder::new().prefix("driftline-demo-").tempdir();
    let folder = folder.map_err(|error| Failure::could_not("make a temporary folder", &error))?;
    // Nobody will look at the pages of a demo that ends by itself.
    let port = if arguments.exit { 0 } else { arguments.port };
    let plan = DemoPlan {
        traces: arguments.traces as usize,
        seed: arguments.seed,
        web: format!("127.0.0.1:{port}"),
        folder: folder.path().to_owned(),
    };
    let bar = super::progress::bar(u64::from(arguments.traces), "traces");
    let given = tokio::select! {
        given = demo(&plan, |step| show(&bar, step)) => given.map_err(|error| failure(&error)),
        () = &mut stop => Err(Failure::CouldNot("the demo was stopped before it had its results".to_owned())),
    };
    bar.finish_and_clear();
    let given = given?;
    let mut output = Output::new();
    if context.json {
        output.json(&given.report)?;
    } else {
        for line in text(&given.report) {
            output.line(&line)?;
        }
        if let Some(address) = given.web_on.filter(|_| !arguments.exit) {
            output.line(&format!("\nLook further at http://{address} (Ctrl-C ends the demo)"))?;
        }
    }
    output.finish()?;
    let ended = async {
        if !arguments.exit {
            stop.await
        }
    };
    let convincing = given.report.is_convincing();
    given.service.run_until(ended).await.map_err(|error| Failure::CouldNot(error.to_string()))?;
    Ok(if convincing { Exit::Done } else { Exit::Failed })
}

fn failure(error: &DemoError) -> Failure {
    match error {
        DemoError::Start(error) => match serve::failure(error) {
            Failure::CouldNot(message) => Failure::CouldNot(format!("{message}; or give another --port")),
            failure => failure,
        },
        error => Failure::CouldNot(chain(error)),
    }
}

fn show(bar: &ProgressBar, step: DemoStep) {
    match step {
        DemoStep::Sent(traces) => bar.set_position(traces as u64),
        DemoStep::Working(left) => bar.set_message(format!("{left} left to score and judge")),
        DemoStep::Watching => bar.set_message("comparing with the baseline"),
    }
    bar.tick();
}

/// The account as a person reads it.
fn text(report: &DemoReport) -> Vec<String> {
    let mut lines = vec![
        format!("{} traces of three simulated agents, scored in {:.0} s.", report.traces, report.seconds),
        "Half way, release 1.5.0 brings a new model, a new prompt, and these faults:".to_owned(),
        String::new(),
    ];
    lines.extend(report.faults.iter().map(fault_line));
    let missed = if report.missed.is_empty() {
        "none missed".to_owned()
    } else {
        format!("missed: {}", report.missed.join(", "))
    };
    lines.push(String::new());
    lines.push(format!(
        "{} of {} planted faults found, {missed}; {} false alarms among {} alerts.",
        report.found, report.planted, report.false_alarms, report.alerts
    ));
    lines.extend(report.false_alarm_summaries.iter().map(|summary| format!("  false alarm: {summary}")));
    lines.push(String::new());
    lines.push(format!("Gate on release 1.5.0: {}", verdict(report.gate.verdict)));
    lines.extend(report.gate.series.iter().map(gate_line));
    lines
}

fn fault_line(fault: &FaultReport) -> String {
    let found = match (&fault.found_by, fault.delay_hours) {
        (Some(series), Some(hours)) => format!("found by {series} after {}", duration(hours)),
        _ => "MISSED".to_owned(),
    };
    let evidence = fault.evidence.first().map_or_else(String::new, |trace_id| format!(", see trace {trace_id}"));
    format!("  {:<32} {:<15} {:>4} traces  {found}{evidence}", fault.fault, fault.service, fault.planted_traces)
}

fn duration(hours: f64) -> String {
    humantime::format_duration(Duration::from_secs((hours * 60.0).round() as u64 * 60)).to_string()
}

fn gate_line(series: &GateSeries) -> String {
    format!("  {:<32} {:<13} {}", series.series, verdict(series.verdict), series.reason)
}

const fn verdict(verdict: GateVerdict) -> &'static str {
    match verdict {
        GateVerdict::Pass => "pass",
        GateVerdict::Fail => "fail",
        GateVerdict::Inconclusive => "inconclusive",
    }
}
