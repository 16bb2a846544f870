//! A trace as driftline understands it, in the shape of `inspect --json`.

use std::collections::HashSet;

use serde::Serialize;

use crate::domain::ids::TraceId;
use crate::domain::trace::{Decision, ToolCall, ToolStatus, Trace, UpstreamProbability};

/// What was found in a trace and what is missing from it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Inspection {
    /// The trace.
    pub trace_id: TraceId,
    /// The span convention that was recognised.
    pub convention: &'static str,
    /// `service.name`.
    pub service: String,
    /// The release.
    pub release: Option<String>,
    /// Hash of system prompt skeleton, tool definitions and model.
    pub agent_version: Option<String>,
    /// Distinct models in order of first use.
    pub models: Vec<String>,
    /// The conversation.
    pub conversation_id: Option<String>,
    /// The end user.
    pub user_id: Option<String>,
    /// Number of model calls.
    pub model_calls: usize,
    /// The tool calls in order.
    pub tools: Vec<InspectedTool>,
    /// Number of retrieved documents.
    pub retrieved: usize,
    /// Sum of prompt tokens; `null` when no call carries them.
    pub input_tokens: Option<u64>,
    /// Sum of completion tokens; `null` when no call carries them.
    pub output_tokens: Option<u64>,
    /// Sum of reasoning tokens; `null` when no call carries them.
    pub reasoning_tokens: Option<u64>,
    /// Sum of prices in US dollars; `null` when no call carries one.
    pub cost_usd: Option<f64>,
    /// Distinct finish reasons in order of first occurrence.
    pub finish_reasons: Vec<String>,
    /// Error of the run as a whole.
    pub error: Option<String>,
    /// What the user asked.
    pub input: Option<String>,
    /// The final answer.
    pub output: Option<String>,
    /// What the agent says of its own decision.
    pub decision: Option<Decision>,
    /// With what probability upstream sampling kept the trace, and who says so; `null` when unknown.
    pub upstream_probability: Option<UpstreamProbability>,
    /// Wanted attributes that are absent.
    pub missing: Vec<&'static str>,
}

/// One tool call of an [`Inspection`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InspectedTool {
    /// The tool's name.
    pub name: String,
    /// Arguments as JSON text.
    pub arguments: Option<String>,
    /// How the call ended.
    pub status: ToolStatus,
    /// What a failed call says of its failure.
    pub error: Option<String>,
    /// Whether the result holds no data; `null` when no result was recorded.
    pub result_empty: Option<bool>,
    /// Index into the tools of the first earlier call with the same name and arguments.
    pub repeat_of: Option<usize>,
}

impl From<&Trace> for Inspection {
    fn from(trace: &Trace) -> Self {
        let mut seen = HashSet::new();
        let finish_reasons = trace.model_calls().flat_map(|call| &call.finish_reasons);
        let finish_reasons = finish_reasons.filter(|reason| seen.insert(reason.as_str())).cloned().collect();
        Self {
            trace_id: trace.trace_id,
            convention: trace.convention,
            service: trace.service.clone(),
            release: trace.release.clone(),
            agent_version: trace.agent_version.clone(),
            models: trace.models().into_iter().map(str::to_owned).collect(),
            conversation_id: trace.conversation_id.clone(),
            user_id: trace.user_id.clone(),
            model_calls: trace.model_calls().count(),
            tools: trace.tool_calls().map(InspectedTool::from).collect(),
            retrieved: trace.retrievals().map(|retrieval| retrieval.documents.len()).sum(),
            input_tokens: trace.input_tokens(),
            output_tokens: trace.output_tokens(),
            reasoning_tokens: trace.reasoning_tokens(),
            cost_usd: trace.cost_usd(),
            finish_reasons,
            error: trace.error.clone(),
            input: trace.input.clone(),
            output: trace.output.clone(),
            decision: trace.decision.clone(),
            upstream_probability: trace.upstream_probability.clone(),
            missing: trace.missing.clone(),
        }
    }
}

impl From<&ToolCall> for InspectedTool {
    fn from(call: &ToolCall) -> Self {
        Self {
            name: call.name.clone(),
            arguments: call.arguments.clone(),
            status: call.status,
            error: call.error.clone(),
            result_empty: call.result_empty,
            repeat_of: call.repeat_of,
        }
    }
}
