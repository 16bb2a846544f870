//! `driftline traces`: search evaluated traces.

use serde::Serialize;

use super::Context;
use super::failure::{Exit, Failure};
use super::output::{Output, window};
use super::service::{Asked, Place, answer};
use super::table::Table;
use crate::backends::clock::{Clock as _, SystemClock};
use crate::domain::time::Timestamp;
use crate::queries::QueryError;
use crate::queries::search::{DEFAULT_LIMIT, FoundTrace, FoundTraces};
use crate::queries::selection::{Condition, conditions};
use crate::queries::top::{Answered, Ranked, RankedConversation, RankedTool, Ranking, answered};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Only traces for which this holds; repeat it or separate conditions by commas. Keys: service, release, model,
    /// environment, conversation, user, failing, failure (hard, soft, looping, drifting), verdict (a label such as no, or
    /// groundedness:no), and configured attributes such as order.id.
    #[arg(long = "where", value_name = "KEY=VALUE")]
    conditions: Vec<String>,
    /// Ended at or after this time, or this long ago: 2026-01-31T12:00:00Z, 2026-01-31, 24h.
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Ended before this time, or this long ago.
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Rank instead of listing the newest: tools by calls that failed, conversations by tool calls, or failures, hard ones
    /// first.
    #[arg(long, value_name = "tools|conversations|failures")]
    top: Option<Ranking>,
    /// Most traces to list, newest first; or most of what is ranked.
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
        print_json(&found, arguments.top.is_some(), &mut output)?;
    } else {
        print(&found, arguments.top.is_some(), &mut output)?;
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

async fn find(arguments: &Arguments, conditions: Vec<Condition>, context: &Context) -> Result<Answered, Failure> {
    match arguments.place.open(context).await? {
        Asked::Store(store) => {
            let names = context.settings()?.attributes;
            let asked_at = (&names, SystemClock.now());
            answer(answered(&store, arguments.top, &conditions, arguments.limit, asked_at).await)
        }
        Asked::Service(service) => {
            let mut parameters = conditions;
            parameters.push(("limit".to_owned(), arguments.limit.to_string()));
            parameters.extend(arguments.top.map(|ranking| ("top".to_owned(), ranking.as_str().to_owned())));
            service.get(&["api", "v1", "traces"], &parameters).await
        }
    }
}

/// One line a trace, tool or conversation; what is ranked says of which time.
#[derive(Serialize)]
struct Line<'a, T> {
    #[serde(flatten)]
    row: &'a T,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
}

fn print_json(answered: &Answered, is_ranked: bool, output: &mut Output) -> Result<(), Failure> {
    let Answered { since, until, found } = answered;
    let (since, until) = (*since, *until);
    match found {
        Ranked::Traces(found) if !is_ranked => found.traces.iter().try_for_each(|trace| output.json(trace)),
        Ranked::Traces(found) => found.traces.iter().try_for_each(|row| output.json(&Line { row, since, until })),
        Ranked::Tools { tools } => tools.iter().try_for_each(|row| output.json(&Line { row, since, until })),
        Ranked::Conversations { conversations } => {
            conversations.iter().try_for_each(|row| output.json(&Line { row, since, until }))
        }
    }
}

fn print(answered: &Answered, is_ranked: bool, output: &mut Output) -> Result<(), Failure> {
    match &answered.found {
        Ranked::Traces(found) => print_traces(found, output)?,
        Ranked::Tools { tools } => print_tools(tools, output)?,
        Ranked::Conversations { conversations } => print_conversations(conversations, output)?,
    }
    if is_ranked { output.line(&format!("traces {}", window(answered.since, answered.until))) } else { Ok(()) }
}

fn print_tools(tools: &[RankedTool], output: &mut Output) -> Result<(), Failure> {
    let mut table = Table::new(&["tool", "traces", "calls", "failed", "share", "empty"]);
    for RankedTool { tool, traces, calls, failed, failed_share, empty } in tools {
        let counts = [*calls, *failed].map(|count| format!("{count:.0}"));
        let share = format!("{:.1} %", 100.0 * failed_share);
        let [calls, failed] = counts;
        table.row([tool.clone(), traces.to_string(), calls, failed, share, format!("{empty:.0}")]);
    }
    output.line(&table.to_string())
}

fn print_conversations(conversations: &[RankedConversation], output: &mut Output) -> Result<(), Failure> {
    let mut table = Table::new(&["conversation", "traces", "tool calls", "failed"]);
    for RankedConversation { conversation_id, traces, tool_calls, failed } in conversations {
        table.row([conversation_id.clone(), traces.to_string(), tool_calls.to_string(), failed.to_string()]);
    }
    output.line(&table.to_string())
}

fn print_traces(found: &FoundTraces, output: &mut Output) -> Result<(), Failure> {
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
