//! `driftline costs`: what judging costs, or what the agents cost that are watched, and how much of budgets is left.

use super::Context;
use super::failure::{Exit, Failure};
use super::output::{Output, counted, window};
use super::service::{Asked, Place, answer};
use super::table::Table;
use crate::app::service::budget_policy;
use crate::backends::clock::{Clock as _, SystemClock};
use crate::queries::QueryError;
use crate::queries::agent_costs::{AgentBudgetState, AgentCost, AgentCosts, Today, agent_costs};
use crate::queries::costs::{Budget, Costs, Part, Payer, cost_dimension, costs};
use crate::queries::selection::{Condition, conditions, cost_selection, selection};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Whose costs: of the judges that driftline asks, or of the agents that are watched.
    #[arg(long, default_value = "judges", value_name = "agents|judges")]
    of: Payer,
    /// What to tell costs apart by. Of judges: evaluator (the default), service, judge_model, response_model, outcome,
    /// day, and of the judged traces release, model, environment, feature, tier, prompt_version. Of agents: model (the
    /// default), operation, service, release, environment, user, conversation, day, and configured attributes such as
    /// tier, organisation or feature.
    #[arg(long, value_name = "DIMENSION")]
    by: Option<String>,
    /// Only traces of agents for which this holds, as in traces --where.
    #[arg(long = "where", value_name = "KEY=VALUE")]
    conditions: Vec<String>,
    /// Only this service's traces.
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
    let mut output = Output::new();
    match arguments.of {
        Payer::Judges => {
            let found = arguments.of_judges(context).await?;
            if context.json { output.json(&found)? } else { print(&found, &mut output)? }
        }
        Payer::Agents => {
            let found = arguments.of_agents(context).await?;
            if context.json { output.json(&found)? } else { print_agents(&found, &mut output)? }
        }
    }
    output.finish()?;
    Ok(Exit::Done)
}

impl Arguments {
    fn conditions(&self) -> Result<Vec<Condition>, Failure> {
        let given = [("service", &self.service), ("since", &Some(self.since.clone())), ("until", &self.until)];
        let given = given.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value.clone()?)));
        let chosen = answer(conditions(&self.conditions.join(",")).map_err(QueryError::from))?;
        Ok(given.chain(chosen).collect())
    }

    fn parameters(&self, of: &str) -> Result<Vec<Condition>, Failure> {
        let by = self.by.iter().map(|by| ("by".to_owned(), by.clone()));
        Ok(self.conditions()?.into_iter().chain(by).chain([("of".to_owned(), of.to_owned())]).collect())
    }

    async fn of_judges(&self, context: &Context) -> Result<Costs, Failure> {
        let by = answer(cost_dimension(self.by.as_deref()))?;
        match self.place.open(context).await? {
            Asked::Store(store) => {
                let (now, policy) = (SystemClock.now(), budget_policy(&context.settings()?));
                let selection = answer(cost_selection(&self.conditions()?, now).map_err(Into::into))?;
                answer(costs(&store, by, &selection, &policy, now).await)
            }
            Asked::Service(service) => service.get(&["api", "v1", "costs"], &self.parameters("judges")?).await,
        }
    }

    async fn of_agents(&self, context: &Context) -> Result<AgentCosts, Failure> {
        match self.place.open(context).await? {
            Asked::Store(store) => {
                let (now, settings) = (SystemClock.now(), context.settings()?);
                let chosen = selection(&self.conditions()?, &settings.attributes, now).map_err(QueryError::from);
                let (chosen, by) = (answer(chosen)?, self.by.as_deref().unwrap_or("model"));
                answer(agent_costs(&store, by, &chosen, &settings.attributes, &settings.budget, now).await)
            }
            Asked::Service(service) => service.get(&["api", "v1", "costs"], &self.parameters("agents")?).await,
        }
    }
}

fn print_agents(costs: &AgentCosts, output: &mut Output) -> Result<(), Failure> {
    let headings =
        [costs.by.as_str(), "traces", "model calls", "input tokens", "output tokens", "cache hits", "US dollars"];
    let mut table = Table::new(&headings);
    for part in &costs.parts {
        let mut cells = vec![part.name.clone().unwrap_or_else(|| "(unknown)".to_owned())];
        cells.extend(agent_cells(&part.cost));
        table.row(cells);
    }
    output.line(&table.to_string())?;
    let (total, window) = (&costs.total, window(costs.since, costs.until));
    output.line(&format!("${:.4} in all, of {}, {window}", total.cost_usd, counted(total.traces, "trace")))?;
    if total.unpriced_calls > 0.0 {
        output.line(&format!("{:.0} answered calls have no known price: see [prices]", total.unpriced_calls))?;
    }
    if total.upstream_unknown > 0 {
        output
            .line(&format!("upstream sampling is not known of {} traces, which count once", total.upstream_unknown))?;
    }
    let Today { spent_usd, projected_usd, .. } = costs.today;
    output.line(&format!("today: ${spent_usd:.4}, ${projected_usd:.4} at its end at this pace"))?;
    costs.budgets.iter().try_for_each(|budget| output.line(&agent_sentence(budget)))
}

fn agent_cells(cost: &AgentCost) -> [String; 6] {
    [
        cost.traces.to_string(),
        format!("{:.0}", cost.model_calls),
        format!("{:.0}", cost.input_tokens),
        format!("{:.0}", cost.output_tokens),
        cost.cache_hit_share.map_or_else(String::new, |share| format!("{:.1} %", 100.0 * share)),
        format!("{:.4}", cost.cost_usd),
    ]
}

fn agent_sentence(budget: &AgentBudgetState) -> String {
    let AgentBudgetState { scope, spent_usd, limit_usd, projected_usd, resets_at, .. } = budget;
    let closed = if budget.allowed { "" } else { "; closed" };
    format!(
        "budget of {scope}: ${spent_usd:.4} of ${limit_usd:.2}, ${projected_usd:.2} at this pace by {resets_at}{closed}"
    )
}

fn print(costs: &Costs, output: &mut Output) -> Result<(), Failure> {
    let mut table =
        Table::new(&["part", "requests", "answered", "input tokens", "output tokens", "US dollars", "unsettled"]);
    costs.parts.iter().for_each(|part| table.row(cells(part)));
    output.line(&table.to_string())?;
    output.line(&format!("${:.4} in all, {}", costs.cost_usd, window(costs.since, costs.until)))?;
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
