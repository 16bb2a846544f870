//! What one run did, step by step, as it is shown to whoever has to answer for it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::domain::time::Timestamp;
use crate::domain::trace::{Decision, ModelCall, Retrieval, Step, ToolCall, Trace};

/// A run as its spans tell of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Account {
    /// What the user asked.
    pub input: Option<String>,
    /// The final answer.
    pub output: Option<String>,
    /// The system prompt.
    pub system_instructions: Option<String>,
    /// What the agent says of its own decision: result, confidence, rationale, sources.
    pub decision: Option<Decision>,
    /// Error of the run as a whole.
    pub error: Option<String>,
    /// Everything it did, by start.
    pub steps: Vec<AccountStep>,
    /// Where its time went, longest first; empty when the sender's clock is invented.
    pub operations: Vec<OperationTime>,
    /// Wall time in which no step ran, in seconds.
    pub between_steps_seconds: Option<f64>,
    /// Prompt tokens.
    pub input_tokens: Option<u64>,
    /// Completion tokens, reasoning included.
    pub output_tokens: Option<u64>,
    /// Reasoning tokens.
    pub reasoning_tokens: Option<u64>,
    /// Price in US dollars.
    pub cost_usd: Option<f64>,
    /// Attributes that would tell more and are not there.
    pub missing: Vec<String>,
}

/// One thing that the agent did.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct AccountStep {
    /// `model`, `tool` or `retrieval`.
    pub kind: String,
    /// The model, the tool; `retrieval` for documents.
    pub name: String,
    /// Start, in nanoseconds since the Unix epoch.
    pub started_at: Timestamp,
    /// How long it took; absent when the sender's clock is invented.
    pub seconds: Option<f64>,
    /// What went in: the user's new text, the arguments, the query.
    pub input: Option<String>,
    /// What came out: the answer, the result, each document.
    pub outputs: Vec<String>,
    /// How a tool call ended; why a model stopped.
    pub status: Option<String>,
    /// What failed.
    pub error: Option<String>,
    /// Prompt tokens.
    pub input_tokens: Option<u64>,
    /// Completion tokens.
    pub output_tokens: Option<u64>,
    /// Price in US dollars.
    pub cost_usd: Option<f64>,
}

/// Time of all steps of one name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OperationTime {
    /// `model`, `tool` or `retrieval`.
    pub kind: String,
    /// The model, the tool; `retrieval` for documents.
    pub name: String,
    /// How often it was done.
    pub count: u64,
    /// Sum of their times, in seconds; steps beside each other count each.
    pub seconds: f64,
    /// The longest of them, in seconds.
    pub longest_seconds: f64,
    /// Their sum beside the run's wall time; more than 1 where steps ran beside each other.
    pub share: f64,
}

impl From<&Trace> for Account {
    fn from(trace: &Trace) -> Self {
        let steps: Vec<AccountStep> = trace.steps.iter().map(|step| of_step(step, trace.clock_is_real)).collect();
        let wall = trace.latency_seconds();
        Self {
            input: trace.input.clone(),
            output: trace.output.clone(),
            system_instructions: trace.system_instructions.clone(),
            decision: trace.decision.clone(),
            error: trace.error.clone(),
            operations: wall.map(|wall| operations(&steps, wall)).unwrap_or_default(),
            between_steps_seconds: wall.map(|wall| (wall - covered_seconds(trace)).max(0.0)),
            steps,
            input_tokens: trace.input_tokens(),
            output_tokens: trace.output_tokens(),
            reasoning_tokens: trace.reasoning_tokens(),
            cost_usd: trace.cost_usd(),
            missing: trace.missing.iter().map(|name| (*name).to_owned()).collect(),
        }
    }
}

fn of_step(step: &Step, clock_is_real: bool) -> AccountStep {
    let (started_at, ended_at) = times(step);
    let seconds = clock_is_real.then(|| ended_at.seconds_since(started_at).max(0.0));
    let told = match step {
        Step::Model(call) => of_model(call),
        Step::Tool(call) => of_tool(call),
        Step::Retrieval(retrieval) => of_retrieval(retrieval),
    };
    AccountStep { started_at, seconds, ..told }
}

fn of_model(call: &ModelCall) -> AccountStep {
    AccountStep {
        kind: "model".to_owned(),
        name: call.model.clone().unwrap_or_else(|| "unnamed model".to_owned()),
        input: call.user_text.clone(),
        outputs: call.output_text.iter().cloned().collect(),
        status: Some(call.finish_reasons.join(", ")).filter(|reasons| !reasons.is_empty()),
        error: call.error.clone(),
        input_tokens: call.input_tokens,
        output_tokens: call.output_tokens,
        cost_usd: call.cost_usd,
        ..AccountStep::default()
    }
}

fn of_tool(call: &ToolCall) -> AccountStep {
    AccountStep {
        kind: "tool".to_owned(),
        name: call.name.clone(),
        input: call.arguments.clone(),
        outputs: call.result.iter().cloned().collect(),
        status: Some(call.status.as_str().to_owned()),
        error: call.error.clone(),
        ..AccountStep::default()
    }
}

fn of_retrieval(retrieval: &Retrieval) -> AccountStep {
    AccountStep {
        kind: "retrieval".to_owned(),
        name: "retrieval".to_owned(),
        input: retrieval.query.clone(),
        outputs: retrieval.documents.clone(),
        status: (!retrieval.documents_recorded).then(|| "documents not recorded".to_owned()),
        ..AccountStep::default()
    }
}

const fn times(step: &Step) -> (Timestamp, Timestamp) {
    match step {
        Step::Model(call) => (call.started_at, call.ended_at),
        Step::Tool(call) => (call.started_at, call.ended_at),
        Step::Retrieval(retrieval) => (retrieval.started_at, retrieval.ended_at),
    }
}

fn operations(steps: &[AccountStep], wall_seconds: f64) -> Vec<OperationTime> {
    let mut by_name: BTreeMap<(&str, &str), (u64, f64, f64)> = BTreeMap::new();
    for step in steps {
        let (count, sum, longest) = by_name.entry((&step.kind, &step.name)).or_default();
        let seconds = step.seconds.unwrap_or_default();
        *count += 1;
        *sum += seconds;
        *longest = longest.max(seconds);
    }
    let operation =
        |((kind, name), (count, seconds, longest_seconds)): ((&str, &str), (u64, f64, f64))| OperationTime {
            kind: kind.to_owned(),
            name: name.to_owned(),
            count,
            seconds,
            longest_seconds,
            share: if wall_seconds > 0.0 { seconds / wall_seconds } else { 0.0 },
        };
    let mut operations: Vec<OperationTime> = by_name.into_iter().map(operation).collect();
    operations.sort_by(|left, right| right.seconds.total_cmp(&left.seconds));
    operations
}

/// Seconds in which at least one step ran, within the run.
fn covered_seconds(trace: &Trace) -> f64 {
    let within = |at: Timestamp| at.max(trace.started_at).min(trace.ended_at);
    let mut times: Vec<(Timestamp, Timestamp)> = trace.steps.iter().map(times).collect();
    times.sort_unstable();
    let (mut covered, mut reached) = (0.0, trace.started_at);
    for (started_at, ended_at) in times {
        let (from, to) = (within(started_at).max(reached), within(ended_at));
        if to > from {
            covered += to.seconds_since(from);
            reached = to;
        }
    }
    covered
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::evaluate::cases::trace_of;

    fn at(second: i64) -> Timestamp {
        Timestamp(second * 1_000_000_000)
    }

    fn run(tools: &[(&str, i64, i64)]) -> Trace {
        let mut trace = trace_of(&serde_json::from_value(json!({ "output": "done" })).unwrap());
        let mut call = |(name, from, to): &(&str, i64, i64)| {
            Step::Tool(ToolCall {
                span_id: trace.root_span_id,
                started_at: at(*from),
                ended_at: at(*to),
                name: (*name).to_owned(),
                arguments: Some("{}".to_owned()),
                result: None,
                status: crate::domain::trace::ToolStatus::Success,
                error: None,
                result_empty: None,
                repeat_of: None,
            })
        };
        let steps = tools.iter().map(&mut call).collect();
        trace = Trace { steps, started_at: at(0), ended_at: at(10), clock_is_real: true, ..trace };
        trace
    }

    #[test]
    fn time_is_told_by_operation_and_steps_beside_each_other_leave_no_time_twice() {
        let account = Account::from(&run(&[("search", 1, 4), ("search", 2, 5), ("refund", 6, 7)]));
        let told: Vec<(&str, u64, f64, f64)> =
            account.operations.iter().map(|it| (it.name.as_str(), it.count, it.seconds, it.share)).collect();
        assert_eq!(told, [("search", 2, 6.0, 0.6), ("refund", 1, 1.0, 0.1)]);
        assert_eq!(account.between_steps_seconds, Some(5.0));
    }

    #[test]
    fn an_invented_clock_tells_no_times() {
        let account = Account::from(&Trace { clock_is_real: false, ..run(&[("search", 1, 4)]) });
        assert!(account.operations.is_empty() && account.between_steps_seconds.is_none());
        assert_eq!(account.steps[0].seconds, None);
    }
}
