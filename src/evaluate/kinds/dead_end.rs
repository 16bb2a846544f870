//! Dead ends: did the run stop before it answered?
//!
//! An agent loop ends in a crash, in an answer, or in nothing: a step limit is reached, an exception is caught and
//! dropped, a worker is redeployed between a tool call and the model that should have read its result. The last kind
//! reports no failure, and the user waits.
//!
//! **What fires**, in a run that reports no error:
//! - the last thing that happened is a tool call, and no model came back to read its result;
//! - the last model call asked for tools, and none was run;
//! - the last model call failed, and nothing followed;
//! - the last model call wrote nothing to the user, where this run records what models write.
//!
//! **What does not, and why.** Many agents end on purpose with a call: of a tool that carries the final answer
//! (`final_result`), or that hands over to a person (`transfer_to_human_agents`). `final_tools` names them, and common
//! ones are its default. A run that ends in an error is no dead end but a failure that says so. Runs without a model
//! call (a tool server's own traces) have no one who could answer. Agents store what they learned after they have
//! answered: retrievals at the end are passed over, and so are tools after a model call that wrote to the user and
//! stopped for another reason than to ask for them.
//!
//! **Known misses.** The last *started* step decides, so a run of parallel branches may end in one branch and hang in
//! another; and where a sub-agent answers last, its answer is taken for the run's. A provider that says `stop` for a
//! request for tools hides the dead end of a model that wrote a text beside it. Where a client runs the tools itself
//! (the run ends with the request and another trace brings the result), every such run looks like a dead end: name
//! those tools in `final_tools`. Without recorded content, whether the last call wrote anything is `not_evaluable`, and
//! without spans of tools, so is whether the tools that it asked for were run.
//!
//! **Measured.** Of 672 real runs three fail (a test holds it to that): each was stopped by its step limit in the middle of
//! its work, and reported no error.
//!
//! Source: a dead end is in the list of agent failures that the requirements of this project name; the definition
//! is ours.

use serde::{Deserialize, Serialize};

use super::{Built, Finding, Rule, Source, clip, is_tool_named};
use crate::domain::trace::{ModelCall, Step, ToolCall, Trace};
use crate::evaluate::mistake::Mistake;

pub(super) const DOC: &str = "a run that stops without an answer: on a tool call, or on a model call that says nothing";

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Settings {
    final_tools: Vec<String>,
}

impl Default for Settings {
    fn default() -> Self {
        let names =
            ["final_answer", "final_result", "submit*", "finish*", "done", "respond*", "transfer_to_*", "escalate*"];
        Self { final_tools: names.map(str::to_owned).to_vec() }
    }
}

pub(super) fn build(source: &Source<'_>) -> Result<Built, Vec<Mistake>> {
    let settings: Settings = source.settings()?;
    Ok(Built::rule(DeadEndRule(settings.clone()), &settings))
}

#[derive(Debug)]
struct DeadEndRule(Settings);

impl Rule for DeadEndRule {
    fn check(&self, trace: &Trace) -> Finding {
        if trace.error.is_some() {
            return Finding::NotApplicable("the run says that it failed".to_owned());
        }
        if trace.model_calls().next().is_none() {
            return Finding::NotApplicable("no model calls".to_owned());
        }
        match trace.steps.iter().rfind(|step| !matches!(step, Step::Retrieval(_))) {
            Some(Step::Tool(call)) => self.ends_on_tool(trace, call),
            Some(Step::Model(call)) => ends_on_model(trace, call),
            Some(Step::Retrieval(_)) | None => Finding::NotApplicable("no model calls".to_owned()),
        }
    }
}

impl DeadEndRule {
    fn ends_on_tool(&self, trace: &Trace, call: &ToolCall) -> Finding {
        let name = clip(&call.name);
        if self.0.final_tools.iter().any(|tool| is_tool_named(&call.name, tool)) {
            return Finding::pass(format!("{name} ends the run"));
        }
        if trace.model_calls().last().is_some_and(has_finished) {
            return Finding::pass(format!("the run answered before its call of {name}"));
        }
        Finding::fail(format!("the run ends on a call of {name}, and no model read its result"), Some(call.span_id))
    }
}

fn ends_on_model(trace: &Trace, call: &ModelCall) -> Finding {
    if call.error.is_some() {
        return Finding::fail("the run ends on a model call that failed, and says OK", Some(call.span_id));
    }
    if asks_for_tools(call) {
        let is_recorded = trace.tool_calls().next().is_some();
        return if is_recorded {
            Finding::fail("the last model call asks for a tool that was never run", Some(call.span_id))
        } else {
            Finding::NotEvaluable("spans of tool calls".to_owned())
        };
    }
    if answers(trace, call) {
        return Finding::pass("the run ends with an answer");
    }
    match records_texts(trace) {
        true => Finding::fail("the run ends without an answer", Some(call.span_id)),
        false => Finding::NotEvaluable("gen_ai.output.messages".to_owned()),
    }
}

fn asks_for_tools(call: &ModelCall) -> bool {
    call.finish_reasons.iter().any(|reason| reason == "tool_call")
}

/// Whether a call wrote to the user and says that it stopped for another reason than to ask for tools.
fn has_finished(call: &ModelCall) -> bool {
    is_text(call.output_text.as_deref()) && !call.finish_reasons.is_empty() && !asks_for_tools(call)
}

fn is_text(text: Option<&str>) -> bool {
    text.is_some_and(|text| !text.trim().is_empty())
}

/// Whether the last call wrote something, or the run records an answer that no earlier call wrote.
fn answers(trace: &Trace, last: &ModelCall) -> bool {
    let is_earlier = || trace.model_calls().any(|call| call.output_text == trace.output);
    is_text(last.output_text.as_deref()) || (is_text(trace.output.as_deref()) && !is_earlier())
}

fn records_texts(trace: &Trace) -> bool {
    trace.output.is_some() || trace.model_calls().any(|call| call.output_text.is_some())
}
