//! `driftline evaluators backfill`: judgements that the budget left out.

use super::Context;
use super::failure::{Exit, Failure, chain};
use super::output::Output;
use super::service::{Place, answer};
use super::table::Table;
use crate::app;
use crate::backends::clock::{Clock as _, SystemClock};
use crate::backends::store::Store;
use crate::queries::backfill::{BackfillRequest, Planned, backfill};
use crate::queries::selection::parse;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Only of this judge.
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
    /// Only of these traces: key=value[,key=value], for example service=shop,since=24h.
    #[arg(long = "where", default_value = "", hide_default_value = true, value_name = "SELECTION")]
    selection: String,
    /// Make judgements again that failed, too.
    #[arg(long)]
    failed: bool,
    /// At most so many of each judge.
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    #[command(flatten)]
    place: Place,
}

pub(super) async fn run(arguments: &Arguments, context: &Context) -> Result<Exit, Failure> {
    let planned = arguments.plan(context).await?;
    let mut output = Output::new();
    if context.json {
        output.json(&planned)?;
    } else {
        let mut table = Table::new(&["judge", "planned"]);
        planned.evaluators.iter().for_each(|of| table.row([of.evaluator.clone(), of.planned.to_string()]));
        output.line(&table.to_string())?;
        output.line(&format!(
            "{} judgements are planned; a running service makes them within the day's budget",
            planned.planned
        ))?;
    }
    output.finish()?;
    Ok(Exit::Done)
}

impl Arguments {
    async fn plan(&self, context: &Context) -> Result<Planned, Failure> {
        let asked = BackfillRequest {
            evaluator: self.only.clone(),
            selection: self.selection.clone(),
            failed: self.failed,
            limit: self.limit,
        };
        if let Some(service) = self.place.service()? {
            return service.post(&["api", "v1", "evaluators", "backfill"], &asked).await;
        }
        let settings = context.settings()?;
        let evaluators = app::evaluators(&settings, None).map_err(|error| Failure::Usage(error.to_string()))?;
        let now = SystemClock.now();
        let selection = answer(parse(&asked.selection, &settings.attributes, now).map_err(Into::into))?;
        let remedy = "while driftline serve runs on it, ask the service with --url";
        let unopened = |error| Failure::CouldNot(format!("{}; {remedy}", chain(&error)));
        let store = Store::open(&settings.store.url, false).await.map_err(unopened)?;
        answer(backfill(&store, &evaluators, &asked, &selection, now).await)
    }
}
