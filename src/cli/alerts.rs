//! `driftline alerts`: what has moved away from the baseline, and what people do about it.

use clap::Subcommand;

use super::Context;
use super::alert_hands::{Ack, Silence, Silences, Unsilence};
use super::alert_show::Show;
use super::failure::{Exit, Failure};
use super::objectives;
use super::output::Output;
use super::service::{Asked, Place, answer};
use crate::backends::store::AlertFilter;
use crate::domain::alert::Alert;
use crate::queries::alerts::{AlertGroup, Alerts, alerts};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List alerts, last raised first.
    List(List),
    /// Show one alert: what moved, since when, how sure, what it affects, its life so far.
    Show(Show),
    /// Take an open alert in hand: its reminders stop.
    Ack(Ack),
    /// Silence alerts for a time: they are recorded and not sent.
    Silence(Silence),
    /// Show what is left of each service's error budgets over thirty days.
    Objectives(objectives::Arguments),
    /// List the silences that hold.
    Silences(Silences),
    /// End a silence before its time.
    Unsilence(Unsilence),
}

#[derive(Debug, clap::Args)]
struct List {
    /// Only what still goes on.
    #[arg(long)]
    open: bool,
    /// Only this service.
    #[arg(long, value_name = "NAME")]
    service: Option<String>,
    #[command(flatten)]
    place: Place,
}

pub(super) async fn run(arguments: Arguments, context: &Context) -> Result<Exit, Failure> {
    match arguments.command {
        Command::List(list) => list.run(context).await,
        Command::Show(show) => show.run(context).await,
        Command::Ack(ack) => ack.run(context).await,
        Command::Silence(silence) => silence.run(context).await,
        Command::Objectives(objectives) => objectives.run(context).await,
        Command::Silences(silences) => silences.run(context).await,
        Command::Unsilence(unsilence) => unsilence.run(context).await,
    }
}

impl List {
    async fn run(&self, context: &Context) -> Result<Exit, Failure> {
        let found = self.ask(context).await?;
        let mut output = Output::new();
        if context.json {
            found.alerts.iter().try_for_each(|alert| output.json(alert))?;
        } else if found.alerts.is_empty() {
            output.line("no alerts")?;
        } else {
            found.groups().iter().try_for_each(|group| print_group(group, &mut output))?;
        }
        output.finish()?;
        Ok(Exit::Done)
    }

    async fn ask(&self, context: &Context) -> Result<Alerts, Failure> {
        match self.place.open(context).await? {
            Asked::Store(store) => {
                let filter = AlertFilter { open_only: self.open, service: self.service.clone() };
                answer(alerts(&store, &filter).await)
            }
            Asked::Service(service) => {
                let mut parameters = vec![("open".to_owned(), self.open.to_string())];
                parameters.extend(self.service.iter().map(|name| ("service".to_owned(), name.clone())));
                service.get(&["api", "v1", "alerts"], &parameters).await
            }
        }
    }
}

fn print_group(group: &AlertGroup, output: &mut Output) -> Result<(), Failure> {
    print(&group.parent, output)?;
    if group.children.is_empty() {
        return Ok(());
    }
    output.line(&format!("  and {} more series:", group.children.len()))?;
    group.children.iter().try_for_each(|child| output.line(&format!("    {} {}", child.fingerprint, headline(child))))
}

/// Severity, state and sentence.
pub(super) fn headline(alert: &Alert) -> String {
    format!("{} {}: {}", alert.severity.as_str().to_uppercase(), alert.state.as_str(), alert.summary)
}

fn print(alert: &Alert, output: &mut Output) -> Result<(), Failure> {
    let traces: Vec<String> = alert.trace_ids.iter().take(3).map(ToString::to_string).collect();
    output.line(&headline(alert))?;
    output.line(&format!("  {}, since {}, raised {}", alert.fingerprint, alert.since(), alert.raised_at))?;
    if let Some(change) = &alert.evidence.nearest_change {
        output.line(&format!("  nearest change: {change}"))?;
    }
    if traces.is_empty() { Ok(()) } else { output.line(&format!("  traces: {}", traces.join(", "))) }
}
