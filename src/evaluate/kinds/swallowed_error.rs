//! Swallowed errors: did something fail and no one say so?
//!
//! A span that failed tells its parent, which tries again, does it otherwise, fails itself, or passes the bad news on.
//! Where none of these happened the error is swallowed: dashboards of errors stay green, and the agent goes on as if it
//! knew what it does not.
//!
//! **What fires.** A failed span whose parent has arrived and says that all went well, in a run that says so too, when
//! - nothing of the kind succeeded later: neither the same operation below the same parent (the same tool, any model, a
//!   span of the same name), nor, for a tool, the same tool anywhere later in the run, whatever its arguments;
//! - the failure was not handed on as a failure: a tool whose own result reads as an error has passed on that its HTTP
//!   call failed (`tool_outcome` then speaks of the tool);
//! - no one worked round it: after a failed tool call or retrieval, nothing else that was looked up brought data;
//! - and nothing that the model wrote to the user afterwards owns up to it in words (a list of English phrases, `sorry`,
//!   `could not`, …): in a conversation that is often an answer before the last, which only says goodbye.
//!
//! So it fires for an HTTP request that failed below a tool that said OK, for a sub-agent whose model call failed, and
//! for a tool that failed and was followed by nothing but a confident answer.
//!
//! **What does not, and why.** A tool that fails in an agent's loop is no scandal: the model is told and may go another
//! way, which is what agents are for. Counting each of those failures is the business of `tool_outcome`, and flagging
//! each would bury the few that matter. A run that itself ends in an error swallowed nothing. Failures without a failed
//! span (an error text as result under a status that is fine) are no contained errors in this sense, since the child did
//! not say that it failed.
//!
//! **Known misses.** Work after the failure that has nothing to do with it counts as a way round. An agent may own up
//! in one sentence and invent in the next. Answers in other languages than English are not understood as owning up, so
//! they are flagged too often. An error that left no span left nothing to find, and where the parent's span has not
//! arrived it is not known what the parent says. Of one trace at most a hundred contained errors are looked at.
//!
//! **Measured.** Of 672 real runs of customer-service agents about 150 hold an error below a parent that says OK; two of
//! them fail (a test holds it to that), in both of which the agent talked on as if the write had succeeded.
//!
//! Source: the requirement that a child's error under a parent that says OK be flagged; OpenTelemetry leaves it to
//! instrumentations whether a parent takes over the status of its children, so the parent's own status is what counts,
//! and an unset status says OK.

use serde::{Deserialize, Serialize};

use super::admission::admits_failure;
use super::{Built, Finding, Rule, Source, clip};
use crate::domain::ids::SpanId;
use crate::domain::trace::{ContainedError, Step, ToolCall, ToolStatus, Trace};
use crate::evaluate::mistake::Mistake;

pub(super) const DOC: &str = "an error below a parent that says OK, neither tried again nor owned up to";

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Settings {
    ignore: Vec<String>,
}

pub(super) fn build(source: &Source<'_>) -> Result<Built, Vec<Mistake>> {
    let settings: Settings = source.settings()?;
    Ok(Built::rule(SwallowedErrorRule(settings.clone()), &settings))
}

#[derive(Debug)]
struct SwallowedErrorRule(Settings);

impl Rule for SwallowedErrorRule {
    fn check(&self, trace: &Trace) -> Finding {
        let is_meant = |error: &&ContainedError| !self.0.ignore.contains(&error.name);
        let errors: Vec<&ContainedError> = trace.structure.contained_errors.iter().filter(is_meant).collect();
        if errors.is_empty() {
            return Finding::NotApplicable("no error below a parent that says OK".to_owned());
        }
        if trace.error.is_some() {
            return Finding::pass("the run says that it failed");
        }
        let open: Vec<&ContainedError> = errors.iter().copied().filter(|error| !is_handled(trace, error)).collect();
        let mut silent = open.iter().filter(|error| !is_owned_up_to(trace, error));
        match silent.next() {
            None if open.is_empty() => Finding::pass(format!("{} errors were dealt with", errors.len())),
            None => Finding::pass(format!("the agent owns up to {} errors", open.len())),
            Some(first) => Finding::fail(explanation(first, silent.count()), Some(first.span_id)),
        }
    }
}

/// Whether the answer, or anything that the model wrote after a failed step, says that something went wrong.
fn is_owned_up_to(trace: &Trace, error: &ContainedError) -> bool {
    let spans = [error.span_id, error.parent_span_id];
    let position = trace.steps.iter().position(|step| spans.contains(&step.span_id())).unwrap_or_default();
    let said = trace.steps[position..].iter().filter_map(|step| match step {
        Step::Model(call) => call.output_text.as_deref(),
        Step::Tool(_) | Step::Retrieval(_) => None,
    });
    said.chain(trace.output.as_deref()).any(admits_failure)
}

fn is_handled(trace: &Trace, error: &ContainedError) -> bool {
    error.is_retried || is_handed_on(trace, error.parent_span_id) || is_made_up_for(trace, error.span_id)
}

/// Whether the parent is a tool whose result tells of the failure although its span does not.
fn is_handed_on(trace: &Trace, parent: SpanId) -> bool {
    trace.tool_calls().any(|call| call.span_id == parent && call.status != ToolStatus::Success)
}

/// Whether, after a failed step, the same tool succeeded or something else brought data.
fn is_made_up_for(trace: &Trace, span: SpanId) -> bool {
    let is_it = |step: &Step| step.span_id() == span && !matches!(step, Step::Model(_));
    let Some(position) = trace.steps.iter().position(is_it) else { return false };
    trace.steps[position + 1..].iter().any(brings_data)
}

fn brings_data(step: &Step) -> bool {
    match step {
        Step::Tool(ToolCall { status: ToolStatus::Success, result_empty, .. }) => *result_empty != Some(true),
        Step::Retrieval(retrieval) => !retrieval.documents_recorded || !retrieval.documents.is_empty(),
        Step::Tool(_) | Step::Model(_) => false,
    }
}

fn explanation(first: &ContainedError, others: usize) -> String {
    let more = if others > 0 { format!(", and {others} more") } else { String::new() };
    format!("{} failed ({}) below a span that says OK{more}", clip(&first.name), clip(&first.error))
}
