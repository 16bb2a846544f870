//! The three simulated agents, and the models and releases they run on.

use serde::{Deserialize, Serialize};

/// A simulated agent; each is a service of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Agent {
    /// Refunds and fare rules of an airline.
    Support,
    /// Approval of supplier invoices.
    Invoice,
    /// Cited answers from a document collection.
    Research,
}

impl Agent {
    /// Every agent.
    pub const ALL: [Self; 3] = [Self::Support, Self::Invoice, Self::Research];

    /// `gen_ai.agent.name`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Support => "support",
            Self::Invoice => "invoice",
            Self::Research => "research",
        }
    }

    /// `service.name`.
    #[must_use]
    pub const fn service(self) -> &'static str {
        match self {
            Self::Support => "support-agent",
            Self::Invoice => "invoice-agent",
            Self::Research => "research-agent",
        }
    }

    /// Share of the traces this agent answers; the shares sum to 1.
    pub(crate) const fn share(self) -> f64 {
        match self {
            Self::Support => 0.4,
            Self::Invoice => 0.25,
            Self::Research => 0.35,
        }
    }
}

/// A fictional language model: what its traces cost, and how fast it writes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Model {
    /// Name asked for and answered.
    pub(crate) name: &'static str,
    /// Characters that make a token on average.
    pub(crate) characters_per_token: f64,
    /// US dollars for a million prompt tokens.
    pub(crate) input_usd_per_mtok: f64,
    /// US dollars for a million completion tokens.
    pub(crate) output_usd_per_mtok: f64,
    /// Completion tokens a second.
    pub(crate) tokens_per_second: f64,
}

/// The model before the upgrade.
pub(crate) const ASTER_4: Model = Model {
    name: "aster-4",
    characters_per_token: 4.0,
    input_usd_per_mtok: 2.0,
    output_usd_per_mtok: 8.0,
    tokens_per_second: 120.0,
};

/// The model after the upgrade: coarser tokens, cheaper and faster.
pub(crate) const ASTER_5: Model = Model {
    name: "aster-5",
    characters_per_token: 4.4,
    input_usd_per_mtok: 1.5,
    output_usd_per_mtok: 6.0,
    tokens_per_second: 150.0,
};

/// What was deployed when a run happened.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Release {
    /// `service.version`.
    pub(crate) version: &'static str,
    /// The model in use.
    pub(crate) model: Model,
    /// `gen_ai.prompt.version`.
    pub(crate) prompt_version: &'static str,
}
