//! What of a trace a judge can be shown.

use serde::{Deserialize, Serialize};

use crate::domain::trace::Trace;

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
    /// The policy file, else the system instructions.
    Policy,
    /// The system instructions.
    Instructions,
}

impl Input {
    /// Every input.
    pub const ALL: [Self; 5] = [Self::Question, Self::Answer, Self::RetrievedData, Self::Policy, Self::Instructions];

    /// The input's name in `evaluator.toml` and `prompt.md`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Question => "question",
            Self::Answer => "answer",
            Self::RetrievedData => "retrieved_data",
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
            Self::Policy => "policy_file or gen_ai.system_instructions",
            Self::Instructions => "gen_ai.system_instructions",
        }
    }

    /// The input's texts in a trace, blank ones left out; empty when the trace lacks it.
    pub(super) fn texts(self, trace: &Trace) -> Vec<&str> {
        let texts = match self {
            Self::Question => Vec::from_iter(trace.input.as_deref()),
            Self::Answer => Vec::from_iter(trace.output.as_deref()),
            Self::RetrievedData => trace.retrieved_data(),
            Self::Policy | Self::Instructions => Vec::from_iter(trace.system_instructions.as_deref()),
        };
        // Ordered, because a hash reads every text to its end, and comparing them hardly ever does.
        let mut seen = std::collections::BTreeSet::new();
        texts.into_iter().filter(|text| !text.trim().is_empty() && seen.insert(*text)).collect()
    }
}
