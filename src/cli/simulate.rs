//! `driftline simulate`: seeded agent traffic as OTLP, with its ground truth beside it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use prost::Message as _;

use super::Context;
use super::failure::{Exit, Failure, chain};
use super::output::{Output, counted, warn};
use super::output_file::{OutputFile, beside};
use super::progress;
use super::service::answer;
use super::sources::now;
use super::table::Table;
use crate::backends::http::HttpSender;
use crate::domain::time::Timestamp;
use crate::otlp::Encoding;
use crate::queries::QueryError;
use crate::queries::selection::instant;
use crate::simulate::{Plan, SCENARIOS, Scenario, simulate};

/// Attempts at one trace, when the receiver asks to come back later.
const ATTEMPTS: u32 = 8;
/// Runs under way at one time are in memory: this many an hour take some hundred megabytes.
const DENSEST: f64 = 200_000.0;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// What happens; see --list.
    #[arg(long, default_value = "model_upgrade", value_name = "NAME")]
    scenario: String,
    /// Traces to produce.
    #[arg(long, default_value_t = 1000)]
    traces: usize,
    /// Everything random comes from this: the same seed gives the same bytes.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// When the first run begins: 2026-03-01T12:00:00Z, 2026-03-01, or 24h for so long ago.
    #[arg(long, default_value = "2026-01-05T00:00:00Z", value_name = "TIME")]
    start: String,
    /// Hours over which runs begin.
    #[arg(long, default_value_t = 24.0)]
    hours: f64,
    /// Write OTLP/JSON lines here, .gz and .zst compressed, and the ground truth to FILE.truth.jsonl.
    #[arg(short, long, value_name = "FILE", conflicts_with = "to")]
    output: Option<PathBuf>,
    /// Send to the OTLP/HTTP receiver at this URL.
    #[arg(long, value_name = "URL")]
    to: Option<String>,
    /// List the scenarios.
    #[arg(long)]
    list: bool,
}

pub(super) async fn run(arguments: Arguments, context: &Context) -> Result<Exit, Failure> {
    if arguments.list {
        return list(context);
    }
    let plan = plan(&arguments)?;
    match (&arguments.output, &arguments.to) {
        (Some(path), _) => write(&plan, path)?,
        (None, Some(url)) => send(&plan, url).await?,
        (None, None) => print(&plan)?,
    }
    Ok(Exit::Done)
}

fn list(context: &Context) -> Result<Exit, Failure> {
    let mut output = Output::new();
    if context.json {
        let rows = SCENARIOS.iter().map(|scenario| serde_json::json!({ "name": scenario.name, "doc": scenario.doc }));
        output.json(&rows.collect::<Vec<_>>())?;
    } else {
        let mut table = Table::new(&["scenario", "what happens"]);
        SCENARIOS.iter().for_each(|scenario| table.row(vec![scenario.name.to_owned(), scenario.doc.to_owned()]));
        output.line(&table.to_string())?;
    }
    output.finish()?;
    Ok(Exit::Done)
}

fn plan(arguments: &Arguments) -> Result<Plan, Failure> {
    let names = || SCENARIOS.iter().map(|scenario| scenario.name).collect::<Vec<_>>().join(", ");
    let scenario = Scenario::find(&arguments.scenario)
        .ok_or_else(|| Failure::Usage(format!("there is no scenario {:?}; known: {}", arguments.scenario, names())))?;
    let duration = Duration::try_from_secs_f64(arguments.hours * 3600.0)
        .map_err(|_| Failure::Usage(format!("--hours: {} is no length of time", arguments.hours)))?;
    if arguments.traces as f64 > DENSEST * arguments.hours.max(1.0) {
        let hours = (arguments.traces as f64 / DENSEST).ceil();
        let message = format!("{} traces are too many at one time; spread them: --hours {hours}", arguments.traces);
        return Err(Failure::Usage(message));
    }
    let start = answer(instant("--start", &arguments.start, now()).map_err(QueryError::from))?;
    check_end(start, duration)?;
    Ok(Plan { scenario, traces: arguments.traces, seed: arguments.seed, start, duration })
}

/// Times are kept in nanoseconds of 64 bits, which end in 2262; runs last a while beyond their begin.
fn check_end(start: Timestamp, duration: Duration) -> Result<(), Failure> {
    const LAST: Timestamp = Timestamp(i64::MAX - 24 * Timestamp::NANOS_PER_HOUR);
    if start.plus(duration) < LAST {
        return Ok(());
    }
    Err(Failure::Usage(
        "--start, --hours: the traffic must end before 2262; begin earlier, or make it shorter".to_owned(),
    ))
}

fn write(plan: &Plan, path: &Path) -> Result<(), Failure> {
    let truth_path = beside(path, "truth.jsonl");
    let (mut traces, mut truth) = (OutputFile::create(path)?, OutputFile::create(&truth_path)?);
    let bar = progress::bar(plan.traces as u64, "traces");
    for trace in simulate(plan) {
        traces.line(&json(&trace.request)?)?;
        truth.line(&json(&trace.truth)?)?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    truth.finish()?;
    traces.finish()?;
    let traces = counted(plan.traces as u64, "trace");
    warn(&format!("{traces} in {}, ground truth in {}", path.display(), truth_path.display()));
    Ok(())
}

fn print(plan: &Plan) -> Result<(), Failure> {
    warn("the ground truth is left out; -o FILE writes it to FILE.truth.jsonl");
    let mut output = Output::new();
    for trace in simulate(plan) {
        output.json(&trace.request)?;
    }
    output.finish()
}

fn json(value: &impl serde::Serialize) -> Result<Vec<u8>, Failure> {
    serde_json::to_vec(value).map_err(|error| Failure::could_not("write JSON", &error))
}

async fn send(plan: &Plan, url: &str) -> Result<(), Failure> {
    let sender = HttpSender::new(url).map_err(|error| Failure::Usage(format!("--to: {}", chain(&error))))?;
    let bar = progress::bar(plan.traces as u64, "traces");
    for trace in simulate(plan) {
        let sent = sender
            .insist("v1/traces", Encoding::Protobuf.content_type(), trace.request.encode_to_vec(), ATTEMPTS)
            .await;
        sent.map_err(|error| Failure::could_not("send traces", &error))?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    warn(&format!("{} sent to {url}", counted(plan.traces as u64, "trace")));
    Ok(())
}
