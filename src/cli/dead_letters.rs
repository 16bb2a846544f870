//! `driftline dead-letters`: the messages of the queue that could not be read, and back into the queue with them.

use clap::Subcommand;
use serde::Serialize;

use super::Context;
use super::failure::{Exit, Failure};
use super::output::{Output, counted};
use super::sources::{now, open};
use super::table::Table;
use crate::app::settings::Settings;
use crate::backends::rabbitmq::{DeadLetter, DeadLetters, RabbitMqError};
use crate::queries::audit::letters_shown;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show the oldest dead letters, and why they are dead.
    List {
        /// Show at most so many.
        #[arg(long, default_value_t = 50, value_name = "N")]
        limit: usize,
    },
    /// Put dead letters back into the queue, oldest first: after an upgrade that can read them, or a mended sender.
    Replay {
        /// Put back at most so many; without it all that are there now.
        #[arg(long, value_name = "N")]
        limit: Option<usize>,
        /// Only those whose reason holds this text.
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
}

pub(super) async fn run(arguments: Arguments, context: &Context) -> Result<Exit, Failure> {
    let settings = context.settings()?;
    let queue = &settings.queue;
    if queue.is_embedded() {
        let why = "the embedded queue has no dead letters: what cannot be read is refused to its sender";
        return Err(Failure::Usage(format!("{why}; set queue.url to the RabbitMQ that is meant")));
    }
    let letters = DeadLetters::open(&queue.url, &queue.name).await.map_err(|error| failed(&error))?;
    let mut output = Output::new();
    match arguments.command {
        Command::List { limit } => {
            let (found, behind) = letters.list(limit).await.map_err(|error| failed(&error))?;
            note_shown(&found, &settings).await?;
            let rows: Vec<Row> = (1..).zip(&found).map(|(position, letter)| Row::new(position, letter)).collect();
            if context.json {
                rows.iter().try_for_each(|row| output.json(row))?;
            } else {
                print(&rows, behind, &queue.name, &mut output)?;
            }
        }
        Command::Replay { limit, reason } => {
            let is_chosen = |letter: &DeadLetter| is_meant(letter, reason.as_deref());
            let replayed = letters.replay(limit.unwrap_or(usize::MAX), is_chosen).await;
            let replayed = replayed.map_err(|error| failed(&error))?;
            if context.json {
                output.json(&serde_json::json!({ "queue": queue.name, "replayed": replayed }))?;
            } else {
                output.line(&format!("{} went back into {}", counted(replayed as u64, "message"), queue.name))?;
            }
        }
    }
    letters.close().await.map_err(|error| failed(&error))?;
    output.finish()?;
    Ok(Exit::Done)
}

fn failed(error: &RabbitMqError) -> Failure {
    Failure::CouldNot(format!("{}; check queue.url and queue.name", super::failure::chain(error)))
}

fn is_meant(letter: &DeadLetter, reason: Option<&str>) -> bool {
    reason.is_none_or(|wanted| letter.reason.as_ref().is_some_and(|reason| reason.contains(wanted)))
}

/// Notes in the configured store which letters are about to be shown.
async fn note_shown(letters: &[DeadLetter], settings: &Settings) -> Result<(), Failure> {
    if letters.is_empty() {
        return Ok(());
    }
    let store = open(settings, true).await?;
    let digests = letters.iter().map(|letter| letter.digest.clone());
    let noted = letters_shown(&store, &settings.queue.name, digests, now()).await;
    noted.map_err(|error| Failure::could_not("note in the audit log what is to be shown", &error))
}

/// A dead letter as it is shown.
#[derive(Debug, Serialize)]
struct Row {
    position: usize,
    bytes: usize,
    reason: Option<String>,
    /// What the audit log calls it.
    digest: String,
    /// How the body begins, every byte outside printable ASCII escaped.
    start: String,
}

impl Row {
    fn new(position: usize, letter: &DeadLetter) -> Self {
        let start = letter.start.escape_ascii().to_string();
        Self { position, bytes: letter.bytes, reason: letter.reason.clone(), digest: letter.digest.clone(), start }
    }
}

fn print(rows: &[Row], behind: u32, queue: &str, output: &mut Output) -> Result<(), Failure> {
    if rows.is_empty() {
        return output.line(&format!("no dead letters: {queue}.dead is empty"));
    }
    let mut table = Table::new(&["letter", "bytes", "reason", "begins"]);
    for row in rows {
        let reason = row.reason.clone().unwrap_or_else(|| "(no reason given)".to_owned());
        table.row([row.position.to_string(), row.bytes.to_string(), reason, row.start.clone()]);
    }
    output.line(&table.to_string())?;
    if behind == 0 { Ok(()) } else { output.line(&format!("{behind} more behind them; see --limit")) }
}
