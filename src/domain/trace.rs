//! An agent run as driftline understands it, whatever emitted it.
//!
//! `normalize` builds a [`Trace`] from OTLP spans; every evaluator and measurement reads only this. An absent
//! fact is `None`, never zero and never an empty text: a missing token count must not look like a free call.

use std::collections::{BTreeMap, HashSet};

use serde::{Deserialize, Serialize};

use super::ids::{SpanId, TraceId};
use super::time::Timestamp;

/// Searchable name of traces of which not all pieces were read, or kept.
pub const TRUNCATED: &str = "truncated";

/// One agent run: its identity, what it did in order of start time, and what it answered.
#[derive(Debug, Clone, PartialEq)]
pub struct Trace {
    /// The run's id.
    pub trace_id: TraceId,
    /// The root span, or the earliest span when the root never arrived.
    pub root_span_id: SpanId,
    /// Which span convention was recognised, for example `gen_ai`.
    pub convention: &'static str,
    /// `service.name`; `unknown_service` when absent (OpenTelemetry resource specification).
    pub service: String,
    /// The release: `service.version`, else the agent's version.
    pub release: Option<String>,
    /// `deployment.environment.name`.
    pub environment: Option<String>,
    /// `gen_ai.agent.name`.
    pub agent: Option<String>,
    /// Hash of what makes the agent: system prompt without its changing parts, tool definitions, model.
    pub agent_version: Option<String>,
    /// The conversation this run belongs to.
    pub conversation_id: Option<String>,
    /// The end user.
    pub user_id: Option<String>,
    /// Further names worth searching and segmenting by: tier, organisation, feature, business ids.
    pub attributes: BTreeMap<String, String>,
    /// Start of the root, else the earliest span start that is believed.
    pub started_at: Timestamp,
    /// Latest span end that is believed: within a day of the root.
    pub ended_at: Timestamp,
    /// False when the emitter says that its timestamps are invented; then nothing is said about latency.
    pub clock_is_real: bool,
    /// Error of the run as a whole (root status or `error.type`).
    pub error: Option<String>,
    /// Model calls, tool calls and retrievals, ordered by start time, then span id.
    pub steps: Vec<Step>,
    /// What the user asked: the last user text that the run received before its final answer.
    pub input: Option<String>,
    /// The final answer to the user.
    pub output: Option<String>,
    /// The system prompt.
    pub system_instructions: Option<String>,
    /// What the agent says of its own decision, when it says so.
    pub decision: Option<Decision>,
    /// Number of spans.
    pub span_count: usize,
    /// What the tree of spans tells besides the steps.
    pub structure: Structure,
    /// Number of spans whose status is an error, which is what a collector's tail sampler looks at.
    pub failed_spans: usize,
    /// Probability with which upstream sampling kept this trace, when it says so; unknown is `None`, not 1.
    pub upstream_probability: Option<UpstreamProbability>,
    /// Facts evaluators want that the telemetry does not carry, by attribute name.
    pub missing: Vec<&'static str>,
}

/// With what probability a trace was kept before it came here, and who says so.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UpstreamProbability {
    /// More than 0, at most 1.
    pub probability: f64,
    /// Where it is said: `ot=th`, the names of attributes, or a stratum of the settings.
    pub source: String,
}

/// A decision as the agent that took it reports it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// What was decided.
    pub result: Option<String>,
    /// How sure the agent says it is, on its own scale.
    pub confidence: Option<f64>,
    /// Why, in the agent's words.
    pub rationale: Option<String>,
    /// Names of the sources that the agent says it saw.
    pub sources: Vec<String>,
}

/// One thing the agent did.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// A language model inference.
    Model(ModelCall),
    /// A tool call.
    Tool(ToolCall),
    /// A retrieval of documents.
    Retrieval(Retrieval),
}

impl Step {
    /// The span that tells of the step.
    #[must_use]
    pub const fn span_id(&self) -> SpanId {
        match self {
            Self::Model(call) => call.span_id,
            Self::Tool(call) => call.span_id,
            Self::Retrieval(retrieval) => retrieval.span_id,
        }
    }
}

/// One language model inference (a leaf span: totals that parents repeat are not counted).
#[derive(Debug, Clone, PartialEq)]
pub struct ModelCall {
    /// The span of the call.
    pub span_id: SpanId,
    /// Start of the call.
    pub started_at: Timestamp,
    /// End of the call.
    pub ended_at: Timestamp,
    /// The model that answered, else the one asked for.
    pub model: Option<String>,
    /// Prompt tokens.
    pub input_tokens: Option<u64>,
    /// Completion tokens, reasoning included.
    pub output_tokens: Option<u64>,
    /// Prompt tokens that were read from the provider's cache, a subset of the prompt tokens with most senders.
    pub cached_tokens: Option<u64>,
    /// Reasoning tokens, a subset of the completion tokens.
    pub reasoning_tokens: Option<u64>,
    /// Price of the call in US dollars: what the span says, else what its tokens cost by the price table.
    pub cost_usd: Option<f64>,
    /// Why the model stopped: `stop`, `length`, `tool_call`, `content_filter`, `error`, ...
    pub finish_reasons: Vec<String>,
    /// `error.type` or the status message of a failed call.
    pub error: Option<String>,
    /// The kind of that error; present exactly when `error` is.
    pub error_class: Option<ModelErrorClass>,
    /// Text the model wrote to the user in this call, if any.
    pub output_text: Option<String>,
    /// Text that the user wrote and that is new in this call, if any.
    pub user_text: Option<String>,
}

/// Why a model call failed (REQUIREMENTS E3b).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModelErrorClass {
    /// The prompt was longer than the model takes.
    ContextLength,
    /// The provider refused for load or quota.
    RateLimit,
    /// A filter of the provider blocked the prompt or the answer.
    ContentFilter,
    /// The model did not answer in time.
    Timeout,
    /// None of these.
    Other,
}

impl ModelErrorClass {
    /// The class as it is written in JSON and labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ContextLength => "context_length",
            Self::RateLimit => "rate_limit",
            Self::ContentFilter => "content_filter",
            Self::Timeout => "timeout",
            Self::Other => "other",
        }
    }
}

/// What the tree of spans tells besides the steps.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Structure {
    /// Number of agent spans.
    pub agents: usize,
    /// Most agents inside of one another, whatever their names; 1 where no agent calls another.
    pub nesting: usize,
    /// The agent that runs inside itself most often.
    pub recursion: Option<Recursion>,
    /// Agent spans that hang on nothing: their parent never arrived, or they are further roots.
    pub detached_agents: Vec<DetachedAgent>,
    /// Failed spans whose parent has arrived and reports no error, in order of start; at most 100.
    pub contained_errors: Vec<ContainedError>,
    /// How the spans hang together.
    pub propagation: Propagation,
}

/// Spans that do not hang where they belong: trace context was lost between those who sent them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Propagation {
    /// Spans without a parent; 1 in a run that is whole.
    pub roots: usize,
    /// Spans whose parent never arrived.
    pub orphans: usize,
    /// Those among the roots and orphans that are tool calls: they hang below no model and no agent.
    pub detached_tools: usize,
}

impl Propagation {
    /// Whether all spans hang below one root.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        self.roots == 1 && self.orphans == 0
    }
}

/// An agent inside itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recursion {
    /// The agent's name, else its span's.
    pub agent: String,
    /// How many of its runs are inside of one another, at least 2.
    pub depth: usize,
    /// The innermost.
    pub span_id: SpanId,
}

/// An agent span that hangs on nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DetachedAgent {
    /// The agent's name, else its span's.
    pub agent: String,
    /// Its span.
    pub span_id: SpanId,
    /// The parent that it names and that never arrived; `None` for a further root.
    pub missing_parent: Option<SpanId>,
}

/// A failed span whose parent says that all went well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainedError {
    /// The failed span.
    pub span_id: SpanId,
    /// Its parent.
    pub parent_span_id: SpanId,
    /// What failed: the tool, else the span's name.
    pub name: String,
    /// `error.type` or the status message.
    pub error: String,
    /// Whether the same was done again below the same parent afterwards, and succeeded.
    pub is_retried: bool,
}

/// One tool call.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolCall {
    /// The span of the call.
    pub span_id: SpanId,
    /// Start of the call.
    pub started_at: Timestamp,
    /// End of the call.
    pub ended_at: Timestamp,
    /// The tool's name.
    pub name: String,
    /// Arguments as JSON text.
    pub arguments: Option<String>,
    /// Result as text (JSON where the tool gave JSON).
    pub result: Option<String>,
    /// How the call ended.
    pub status: ToolStatus,
    /// `error.type` or the error text of a failed call.
    pub error: Option<String>,
    /// Whether the result holds no data; `None` when no result was recorded.
    pub result_empty: Option<bool>,
    /// Index into [`Trace::tool_calls`] of the first earlier call with the same name and arguments.
    pub repeat_of: Option<usize>,
}

/// How a tool call ended (REQUIREMENTS E3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToolStatus {
    /// The tool answered.
    Success,
    /// The tool failed for a reason not named below.
    Error,
    /// The tool did not answer in time.
    Timeout,
    /// The tool refused for load.
    RateLimited,
    /// The model passed arguments that the tool's schema refuses.
    InvalidArgs,
}

impl ToolStatus {
    /// The status as it is written in JSON and labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Error => "error",
            Self::Timeout => "timeout",
            Self::RateLimited => "rate_limited",
            Self::InvalidArgs => "invalid_args",
        }
    }
}

/// One retrieval of documents.
#[derive(Debug, Clone, PartialEq)]
pub struct Retrieval {
    /// The span of the retrieval.
    pub span_id: SpanId,
    /// Start of the retrieval.
    pub started_at: Timestamp,
    /// End of the retrieval.
    pub ended_at: Timestamp,
    /// What was asked for.
    pub query: Option<String>,
    /// Text of each document, best first; empty when nothing was found.
    pub documents: Vec<String>,
    /// Whether the span recorded its documents at all.
    pub documents_recorded: bool,
}

impl Trace {
    /// The tool calls in order of start time.
    pub fn tool_calls(&self) -> impl Iterator<Item = &ToolCall> {
        self.steps.iter().filter_map(|step| match step {
            Step::Tool(call) => Some(call),
            Step::Model(_) | Step::Retrieval(_) => None,
        })
    }

    /// The model calls in order of start time.
    pub fn model_calls(&self) -> impl Iterator<Item = &ModelCall> {
        self.steps.iter().filter_map(|step| match step {
            Step::Model(call) => Some(call),
            Step::Tool(_) | Step::Retrieval(_) => None,
        })
    }

    /// The retrievals in order of start time.
    pub fn retrievals(&self) -> impl Iterator<Item = &Retrieval> {
        self.steps.iter().filter_map(|step| match step {
            Step::Retrieval(retrieval) => Some(retrieval),
            Step::Model(_) | Step::Tool(_) => None,
        })
    }

    /// Sum over the model calls that carry the count; `None` when none does.
    #[must_use]
    pub fn input_tokens(&self) -> Option<u64> {
        sum(self.model_calls().map(|call| call.input_tokens))
    }

    /// Sum over the model calls that carry the count; `None` when none does.
    #[must_use]
    pub fn output_tokens(&self) -> Option<u64> {
        sum(self.model_calls().map(|call| call.output_tokens))
    }

    /// Sum over the model calls that carry the count; `None` when none does.
    #[must_use]
    pub fn reasoning_tokens(&self) -> Option<u64> {
        sum(self.model_calls().map(|call| call.reasoning_tokens))
    }

    /// Sum of the prices of the model calls that have one, in US dollars; `None` when none does.
    #[must_use]
    pub fn cost_usd(&self) -> Option<f64> {
        self.model_calls().filter_map(|call| call.cost_usd).fold(None, |total, cost| Some(total.unwrap_or(0.0) + cost))
    }

    /// Wall time of the run in seconds; `None` when the clock is invented.
    #[must_use]
    pub fn latency_seconds(&self) -> Option<f64> {
        self.clock_is_real.then(|| self.ended_at.seconds_since(self.started_at).max(0.0))
    }

    /// Distinct models in order of first use.
    #[must_use]
    pub fn models(&self) -> Vec<&str> {
        let mut seen = HashSet::new();
        self.model_calls().filter_map(|call| call.model.as_deref()).filter(|model| seen.insert(*model)).collect()
    }

    /// What the agent was doing: the feature, else the agent's name.
    #[must_use]
    pub fn operation(&self) -> Option<&str> {
        self.attributes.get("feature").or(self.agent.as_ref()).map(String::as_str)
    }

    /// Everything the agent was shown as data: tool results and retrieved documents, in order.
    #[must_use]
    pub fn retrieved_data(&self) -> Vec<&str> {
        self.steps
            .iter()
            .flat_map(|step| match step {
                Step::Tool(call) => call.result.iter().map(String::as_str).collect::<Vec<_>>(),
                Step::Retrieval(retrieval) => retrieval.documents.iter().map(String::as_str).collect(),
                Step::Model(_) => Vec::new(),
            })
            .collect()
    }
}

fn sum(counts: impl Iterator<Item = Option<u64>>) -> Option<u64> {
    counts.flatten().fold(None, |total: Option<u64>, count| Some(total.unwrap_or(0).saturating_add(count)))
}
