//! `driftline traces`: search evaluated traces.

use super::Context;
use super::failure::{Exit, Failure};
use super::output::Output;
use super::service::{Asked, Place, answer};
use super::table::Table;
use crate::backends::clock::{Clock as _, SystemClock};
use crate::queries::QueryError;
use crate::queries::search::{DEFAULT_LIMIT, FoundTrace, FoundTraces, search};
use crate::queries::selection::{Condition, conditions, selection};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Only traces for which this holds; repeat it or separate conditions by commas. Keys: service, release, model,
    /// environment, conversation, user, failing, failure_class, and configured attributes such as order.id.
    #[arg(long = "where", value_name = "KEY=VALUE")]
    conditions: Vec<String>,
    /// Ended at or after this time, or this long ago: 2026-01-31T12:00:00Z, 2026-01-31, 24h.
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Ended before this time, or this long ago.
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Most traces to list, newest first.
    #[arg(long, default_value_t = DEFAULT_LIMIT, value_name = "N")]
    limit: usize,
    #[command(flatten)]
    place: Place,
}

pub(super) async fn run(arguments: Arguments, context: &Context) -> Result<Exit, Failure> {
    let conditions = arguments.all_conditions()?;
    let found = find(&arguments, conditions, context).await?;
    let mut output = Output::new();
    if context.json {
        found.traces.iter().try_for_each(|trace| output.json(trace))?;
    } else {
        print(&found, &mut output)?;
    }
    output.finish()?;
    Ok(Exit::Done)
}

impl Arguments {
    fn all_conditions(&self) -> Result<Vec<Condition>, Failure> {
        let mut all = Vec::new();
        for text in &self.conditions {
            all.extend(answer(conditions(text).map_err(QueryError::from))?);
        }
        let times = [("since", &self.since), ("until", &self.until)];
        all.extend(times.into_iter().filter_map(|(key, time)| Some((key.to_owned(), time.clone()?))));
        Ok(all)
    }
}

async fn find(arguments: &Arguments, conditions: Vec<Condition>, context: &Context) -> Result<FoundTraces, Failure> {
    match arguments.place.open(context).await? {
        Asked::Store(store) => {
            let names = context.settings()?.attributes;
            let selection = selection(&conditions, &names, SystemClock.now()).map_err(QueryError::from);
            answer(search(&store, &answer(selection)?, arguments.limit).await)
        }
        Asked::Service(service) => {
            let mut parameters = conditions;
            parameters.push(("limit".to_owned(), arguments.limit.to_string()));
            service.get(&["api", "v1", "traces"], &parameters).await
        }
    }
}

fn print(found: &FoundTraces, output: &mut Output) -> Result<(), Failure> {
    if found.traces.is_empty() {
        return output.line("no evaluated trace matches");
    }
    let mut table = Table::new(&["trace", "ended", "service", "release", "model", "seconds", "state"]);
    for trace in &found.traces {
        let name = |name: &Option<String>| name.clone().unwrap_or_else(|| "-".to_owned());
        let seconds = trace.latency_seconds.map_or_else(|| "-".to_owned(), |seconds| format!("{seconds:.2}"));
        table.row([
            trace.trace_id.to_string(),
            trace.ended_at.to_string(),
            trace.service.clone(),
            name(&trace.release),
            name(&trace.model),
            seconds,
            state(trace),
        ]);
    }
    output.line(&table.to_string())
}

fn state(trace: &FoundTrace) -> String {
    let state = match (trace.failing, trace.error) {
        (true, true) => "flagged, error",
        (true, false) => "flagged",
        (false, true) => "error",
        (false, false) => "ok",
    };
    trace.failure_class.map_or_else(|| state.to_owned(), |class| format!("{state}: {}", class.as_str()))
}
