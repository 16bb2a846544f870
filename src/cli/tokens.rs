//! `driftline tokens`: who may come in.

use super::Context;
use super::failure::{Exit, Failure};
use super::output::{Output, warn};
use super::service::{Asked, Place, answer, open_for_writing};
use super::table::{Table, clip};
use crate::backends::clock::{Clock as _, SystemClock};
use crate::domain::access::{AccessToken, Role};
use crate::domain::time::Timestamp;
use crate::queries::tokens::{GivenToken, TokenRequest, Tokens, create, list, revoke};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Make a token and show it, once. From the first one on, every request to the service needs a token.
    Create {
        /// ingest (sends traces), read, review (reads, labels, takes alerts in hand) or admin.
        #[arg(long)]
        role: Role,
        /// Whose it is, or what for; it stands in the audit log.
        #[arg(long, value_name = "NAME")]
        name: Option<String>,
        /// How long it lives, such as 90d; left out, until it is revoked.
        #[arg(long, value_name = "DURATION")]
        expires: Option<String>,
    },
    /// List tokens, revoked and expired ones too; what they are is never shown again.
    List,
    /// Revoke a token, by its id or its name. Services know within two seconds.
    Revoke {
        /// The id, or the name.
        id: String,
    },
}

pub(super) async fn run(arguments: Arguments, context: &Context) -> Result<Exit, Failure> {
    let Arguments { command, place } = arguments;
    let mut output = Output::new();
    match command {
        Command::Create { role, name, expires } => {
            let given = make(TokenRequest { role, name, expires }, &place, context).await?;
            if context.json {
                output.json(&given)?;
            } else {
                output.line(&given.secret)?;
                warn(
                    "This is the only time that it is shown. Clients take it from DRIFTLINE_TOKEN, agents as Authorization: Bearer.",
                );
            }
        }
        Command::List => show(&all(&place, context).await?, context, &mut output)?,
        Command::Revoke { id } => show(&end(&id, &place, context).await?, context, &mut output)?,
    }
    output.finish()?;
    Ok(Exit::Done)
}

async fn make(asked: TokenRequest, place: &Place, context: &Context) -> Result<GivenToken, Failure> {
    match place.service()? {
        Some(service) => service.post(&["api", "v1", "tokens"], &asked).await,
        None => answer(create(&open_for_writing(context).await?, &asked, SystemClock.now()).await),
    }
}

async fn all(place: &Place, context: &Context) -> Result<Tokens, Failure> {
    match place.open(context).await? {
        Asked::Store(store) => answer(list(&store).await),
        Asked::Service(service) => service.get(&["api", "v1", "tokens"], &[]).await,
    }
}

async fn end(id: &str, place: &Place, context: &Context) -> Result<Tokens, Failure> {
    match place.service()? {
        Some(service) => service.post(&["api", "v1", "tokens", id, "revoke"], &serde_json::json!({})).await,
        None => answer(revoke(&open_for_writing(context).await?, id, SystemClock.now()).await),
    }
}

fn show(tokens: &Tokens, context: &Context, output: &mut Output) -> Result<(), Failure> {
    if context.json {
        return output.json(tokens);
    }
    if tokens.tokens.is_empty() {
        return output.line("no tokens: this machine needs none, and no other is let in");
    }
    let mut table = Table::new(&["id", "role", "name", "made", "state"]);
    let now = SystemClock.now();
    for token in &tokens.tokens {
        let cells = [token.id.clone(), token.role.as_str().to_owned(), clip(&token.name), token.created_at.to_string()];
        table.row(cells.into_iter().chain([state(token, now)]));
    }
    output.line(table.to_string().trim_end())
}

fn state(token: &AccessToken, now: Timestamp) -> String {
    match (token.revoked_at, token.expires_at) {
        (Some(at), _) => format!("revoked {at}"),
        (None, Some(end)) if end <= now => format!("expired {end}"),
        (None, Some(end)) => format!("until {end}"),
        (None, None) => "active".to_owned(),
    }
}
