//! What of a trace a judge can be shown.

use serde::{Deserialize, Serialize};

/// One input of a judge: a word in `inputs`, a placeholder in `prompt.md`, a fenced section in the prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Input {
    /// What the user asked.
    Question,
    /// The final answer.
    Answer,
    /// Tool results and retrieved documents, in order, each once.
    RetrievedData,
    /// Every tool call and retrieval with what it was given, how it ended and what it gave, in order, each once.
    ToolCalls,
    /// The policy file, else the system instructions.
    Policy,
    /// The system instructions.
    Instructions,
}

impl Input {
    /// Every input.
    pub const ALL: [Self; 6] =
        [Self::Question, Self::Answer, Self::RetrievedData, Self::ToolCalls, Self::Policy, Self::Instructions];

    /// The input's name in `evaluator.toml` and `prompt.md`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Question => "question",
            Self::Answer => "answer",
            Self::RetrievedData => "retrieved_data",
            Self::ToolCalls => "tool_calls",
            Self::Policy => "policy",
            Self::Instructions => "instructions",
        }
    }

    /// The input's name on its fence.
    #[must_use]
    pub const fn section(self) -> &'static str {
        match self {
            Self::Question => "QUESTION",
            Self::Answer => "ANSWER",
            Self::RetrievedData => "DATA",
            Self::ToolCalls => "TOOL_CALLS",
            Self::Policy => "POLICY",
            Self::Instructions => "INSTRUCTIONS",
        }
    }

    /// The attribute to record so that the input is there.
    #[must_use]
    pub const fn attribute(self) -> &'static str {
        match self {
            Self::Question => "gen_ai.input.messages",
            Self::Answer => "gen_ai.output.messages",
            Self::RetrievedData => "gen_ai.tool.call.result or gen_ai.retrieval.documents",
            Self::ToolCalls => "gen_ai.tool.name or gen_ai.retrieval.query.text",
            Self::Policy => "policy_file or gen_ai.system_instructions",
            Self::Instructions => "gen_ai.system_instructions",
        }
    }

    /// Whether an answer can be held against it, so that what the answer cites of it must not be lost.
    pub(super) const fn is_evidence(self) -> bool {
        matches!(self, Self::RetrievedData | Self::ToolCalls | Self::Policy)
    }
}
