//! Silent integration failures: a tool or retrieval that reports success and returns nothing.
//!
//! A failed call is no silent failure and belongs to `tool_outcome`. A tool that rightly answers with nothing (a
//! deletion, a log write) is listed in `ignore_tools`.

use serde::{Deserialize, Serialize};

use super::{Built, Finding, Rule, Source, clip};
use crate::domain::ids::SpanId;
use crate::domain::trace::{Step, ToolStatus, Trace};
use crate::evaluate::mistake::Mistake;

pub(super) const DOC: &str = "a tool or retrieval that reports success with an empty result";

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Settings {
    ignore_tools: Vec<String>,
}

pub(super) fn build(source: &Source<'_>) -> Result<Built, Vec<Mistake>> {
    let settings: Settings = source.settings()?;
    Ok(Built::rule(EmptyResultRule(settings.clone()), &settings))
}

#[derive(Debug)]
struct EmptyResultRule(Settings);

/// One answer that should hold data.
struct Answer<'a> {
    source: &'a str,
    span_id: SpanId,
    attribute: &'static str,
    /// `None` when the telemetry does not carry the answer.
    is_empty: Option<bool>,
}

impl Rule for EmptyResultRule {
    fn check(&self, trace: &Trace) -> Finding {
        let answers: Vec<Answer<'_>> = trace.steps.iter().filter_map(|step| self.answer(step)).collect();
        let Some(first) = answers.first() else {
            return Finding::NotApplicable("no successful tool call or retrieval".to_owned());
        };
        let empty: Vec<&Answer<'_>> = answers.iter().filter(|answer| answer.is_empty == Some(true)).collect();
        if let Some(found) = empty.first() {
            return Finding::fail(explanation(&empty, answers.len()), Some(found.span_id));
        }
        match answers.iter().filter(|answer| answer.is_empty.is_some()).count() {
            0 => Finding::NotEvaluable(first.attribute.to_owned()),
            recorded => Finding::pass(format!("none of {recorded} recorded results is empty")),
        }
    }
}

impl EmptyResultRule {
    fn answer<'a>(&self, step: &'a Step) -> Option<Answer<'a>> {
        match step {
            Step::Tool(call) if call.status == ToolStatus::Success && !self.0.ignore_tools.contains(&call.name) => {
                Some(Answer {
                    source: &call.name,
                    span_id: call.span_id,
                    attribute: "gen_ai.tool.call.result",
                    is_empty: call.result_empty,
                })
            }
            Step::Retrieval(retrieval) => Some(Answer {
                source: "retrieval",
                span_id: retrieval.span_id,
                attribute: "gen_ai.retrieval.documents",
                is_empty: retrieval
                    .documents_recorded
                    .then(|| retrieval.documents.iter().all(|document| document.trim().is_empty())),
            }),
            Step::Tool(_) | Step::Model(_) => None,
        }
    }
}

fn explanation(empty: &[&Answer<'_>], total: usize) -> String {
    let mut sources: Vec<String> = Vec::new();
    for answer in empty {
        let source = clip(answer.source);
        if !sources.contains(&source) && sources.len() < 5 {
            sources.push(source);
        }
    }
    format!("{} of {total} successful results hold no data: {}", empty.len(), sources.join(", "))
}
