//! `driftline alerts objectives`: what is left of the error budgets of services.

use super::Context;
use super::failure::{Exit, Failure};
use super::output::Output;
use super::service::{Asked, Place, answer};
use super::table::Table;
use crate::app::service::objectives as configured;
use crate::backends::clock::{Clock as _, SystemClock};
use crate::queries::objectives::{Objectives, objectives};
use crate::watch::rules::ErrorBudget;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    place: Place,
}

impl Arguments {
    pub(super) async fn run(&self, context: &Context) -> Result<Exit, Failure> {
        let found = self.ask(context).await?.objectives;
        let mut output = Output::new();
        if context.json {
            found.iter().try_for_each(|budget| output.json(budget))?;
        } else if found.is_empty() {
            output.line("no runs were watched yet")?;
        } else {
            output.line(&table(&found).to_string())?;
        }
        output.finish()?;
        Ok(Exit::Done)
    }

    async fn ask(&self, context: &Context) -> Result<Objectives, Failure> {
        match self.place.open(context).await? {
            Asked::Store(store) => {
                let configured = configured(&context.settings()?);
                answer(objectives(&store, &configured, SystemClock.now()).await)
            }
            Asked::Service(service) => service.get(&["api", "v1", "objectives"], &[]).await,
        }
    }
}

fn table(budgets: &[ErrorBudget]) -> Table {
    let mut table = Table::new(&["service", "objective", "left", "bad", "allowed", "runs", "since"]);
    for of in budgets {
        let limit = of.at_most.map_or_else(String::new, |most| format!(" <= {most}"));
        table.row(vec![
            of.service.clone(),
            format!("{:.1} % {}{limit}", 100.0 * of.objective, of.series),
            format!("{:.1} %", 100.0 * of.remaining),
            of.bad.to_string(),
            format!("{:.0}", of.allowed.floor()),
            of.traces.to_string(),
            of.since.to_string(),
        ]);
    }
    table
}
