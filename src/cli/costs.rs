//! `driftline costs`: what judging costs, and how much of its budgets is left.

use super::Context;
use super::failure::{Exit, Failure};
use super::output::Output;
use super::service::{Asked, Place, answer};
use super::table::Table;
use crate::app::service::budget_policy;
use crate::backends::clock::{Clock as _, SystemClock};
use crate::backends::store::CostDimension;
use crate::queries::costs::{Budget, Costs, Part, costs};
use crate::queries::selection::{Condition, cost_selection};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// What to tell costs apart by: evaluator, service, judge_model, response_model, outcome, day, and of the judged
    /// traces release, model, environment, feature, tier, prompt_version.
    #[arg(long, default_value = "evaluator", value_name = "DIMENSION")]
    by: CostDimension,
    /// Only judgements of this service's traces.
    #[arg(long, value_name = "NAME")]
    service: Option<String>,
    /// A time, or an age such as 24h.
    #[arg(long, default_value = "7d", value_name = "TIME")]
    since: String,
    /// A time, or an age such as 1h.
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    #[command(flatten)]
    place: Place,
}

pub(super) async fn run(arguments: Arguments, context: &Context) -> Result<Exit, Failure> {
    let found = arguments.ask(context).await?;
    let mut output = Output::new();
    if context.json {
        output.json(&found)?;
    } else {
        print(&found, &mut output)?;
    }
    output.finish()?;
    Ok(Exit::Done)
}

impl Arguments {
    fn conditions(&self) -> Vec<Condition> {
        let given = [("service", &self.service), ("since", &Some(self.since.clone())), ("until", &self.until)];
        given.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value.clone()?))).collect()
    }

    async fn ask(&self, context: &Context) -> Result<Costs, Failure> {
        match self.place.open(context).await? {
            Asked::Store(store) => {
                let (now, policy) = (SystemClock.now(), budget_policy(&context.settings()?));
                let selection = answer(cost_selection(&self.conditions(), now).map_err(Into::into))?;
                answer(costs(&store, self.by, &selection, &policy, now).await)
            }
            Asked::Service(service) => {
                let mut parameters = self.conditions();
                parameters.push(("by".to_owned(), self.by.as_str().to_owned()));
                service.get(&["api", "v1", "costs"], &parameters).await
            }
        }
    }
}

fn print(costs: &Costs, output: &mut Output) -> Result<(), Failure> {
    let mut table =
        Table::new(&["part", "requests", "answered", "input tokens", "output tokens", "US dollars", "unsettled"]);
    costs.parts.iter().for_each(|part| table.row(cells(part)));
    output.line(&table.to_string())?;
    output.line(&format!("${:.4} in all", costs.cost_usd))?;
    costs.budgets.iter().try_for_each(|budget| output.line(&sentence(budget)))
}

fn cells(part: &Part) -> Vec<String> {
    let mut cells = vec![part.name.clone().unwrap_or_else(|| "(unknown)".to_owned())];
    let counts = [part.requests, part.answered, part.input_tokens, part.output_tokens];
    cells.extend(counts.iter().map(u64::to_string));
    cells.extend([part.cost_usd, part.unsettled_usd].map(|usd| format!("{usd:.4}")));
    cells
}

fn sentence(budget: &Budget) -> String {
    let limit = budget.limit_usd.map_or_else(|| "no limit".to_owned(), |limit| format!("${limit:.2}"));
    let partial = if budget.partial { "; judgements were left out: the day is partial" } else { "" };
    format!("today, {}: ${:.4} of {limit}{partial}", budget.scope, budget.committed_usd)
}
