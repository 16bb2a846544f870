//! `driftline audit`: a decision rebuilt whole, and who changed or read what.

use std::path::PathBuf;

use super::Context;
use super::audit_text::{nothing, print, print_log};
use super::failure::{Exit, Failure};
use super::output::Output;
use super::output_file::write_text;
use super::service::{Asked, Place, answer};
use crate::backends::clock::{Clock as _, SystemClock};
use crate::queries::QueryError;
use crate::queries::audit::{Audit, AuditLog, AuditOf, DEFAULT_RUNS, Reading, audit, log};
use crate::queries::selection::{Condition, conditions, instant};
use crate::web::audit_document;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// A trace, a conversation, a user or a business id; or key=value[,key=value], for example invoice.id=INV-9.
    #[arg(value_name = "ID", required_unless_present = "log")]
    id: Option<String>,
    /// Write one HTML file that needs nothing else.
    #[arg(long, value_name = "FILE", conflicts_with = "log")]
    html: Option<PathBuf>,
    /// The newest runs, at most so many.
    #[arg(long, value_name = "RUNS", default_value_t = DEFAULT_RUNS)]
    limit: usize,
    /// Show the log instead: every change by people, and every time that text of a trace was shown.
    #[arg(long, conflicts_with = "id")]
    log: bool,
    /// Of the log, from this time or age on.
    #[arg(long, value_name = "TIME", default_value = "30d", requires = "log")]
    since: String,
    #[command(flatten)]
    place: Place,
}

pub(super) async fn run(arguments: Arguments, context: &Context) -> Result<Exit, Failure> {
    let mut output = Output::new();
    match &arguments.id {
        Some(id) => {
            let found = ask(id, &arguments, context).await?;
            if found.runs.is_empty() {
                return none(&found, arguments.html.is_some(), context, output);
            }
            show(&found, arguments.html.as_ref(), context, &mut output)?;
        }
        None => {
            let found = ask_log(&arguments, context).await?;
            if context.json { output.json(&found)? } else { print_log(&found, &mut output)? }
        }
    }
    output.finish()?;
    Ok(Exit::Done)
}

async fn ask(id: &str, arguments: &Arguments, context: &Context) -> Result<Audit, Failure> {
    let of = meant(id)?;
    match arguments.place.open(context).await? {
        Asked::Store(store) => {
            let settings = context.settings()?;
            let reading = Reading { names: &settings.attributes, prices: &settings.prices, now: SystemClock.now() };
            answer(audit(&store, &of, arguments.limit, reading).await)
        }
        Asked::Service(service) => {
            let mut parameters = match of {
                AuditOf::Id(id) => vec![("id".to_owned(), id)],
                AuditOf::Conditions(conditions) => conditions,
            };
            parameters.push(("limit".to_owned(), arguments.limit.to_string()));
            service.get(&["api", "v1", "audit"], &parameters).await
        }
    }
}

/// What has an equals sign is a condition.
fn meant(id: &str) -> Result<AuditOf, Failure> {
    if !id.contains('=') {
        return Ok(AuditOf::Id(id.trim().to_owned()));
    }
    let conditions: Vec<Condition> = answer(conditions(id).map_err(QueryError::from))?;
    Ok(AuditOf::Conditions(conditions))
}

async fn ask_log(arguments: &Arguments, context: &Context) -> Result<AuditLog, Failure> {
    match arguments.place.open(context).await? {
        Asked::Store(store) => {
            let since = answer(instant("since", &arguments.since, SystemClock.now()).map_err(QueryError::from))?;
            answer(log(&store, since).await)
        }
        Asked::Service(service) => {
            service.get(&["api", "v1", "audit", "log"], &[("since".to_owned(), arguments.since.clone())]).await
        }
    }
}

/// Nothing is known of what was asked about, which is an answer, but no decision that a file could hold.
fn none(found: &Audit, wants_file: bool, context: &Context, mut output: Output) -> Result<Exit, Failure> {
    match () {
        () if context.json => output.json(found)?,
        () if wants_file => {}
        () => output.line(&nothing(found))?,
    }
    output.finish()?;
    if wants_file { Err(Failure::CouldNot(nothing(found))) } else { Ok(Exit::Done) }
}

fn show(found: &Audit, html: Option<&PathBuf>, context: &Context, output: &mut Output) -> Result<(), Failure> {
    if let Some(path) = html {
        write_text(path, &audit_document(found))?;
        return output.line(&format!("{} runs are in {}", found.runs.len(), path.display()));
    }
    if context.json { output.json(found) } else { print(found, output) }
}
