//! What can be planted in simulated traffic, and how each plant should be found: the ground truth of the demo.

use serde::{Deserialize, Serialize};

use super::agent::Agent;

/// A known fault of a simulated agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// The same refund is issued again and again.
    RefundLoop,
    /// A tool says that all is well and returns nothing.
    EmptyResult,
    /// Every source fails and the answer is confident all the same.
    InventedAnswerAfterFailure,
    /// A new prompt makes the model write arguments that the tool refuses, and the tool times out more.
    ToolTimeoutsAndInvalidArgs,
    /// The answer stops at the token limit.
    CutOffAnswer,
    /// The answer states a deadline or fee that the policy passage does not.
    MisquotedPolicy,
    /// An invoice for ten times the ordered quantity is approved.
    QuantityTenTimesOff,
    /// The answer holds a figure or a name that no document holds.
    UngroundedClaim,
    /// A run reads page after page at many times the usual price.
    CostRunaway,
    /// After a model upgrade the agent neither reasons nor verifies.
    StopsReasoning,
    /// A new prompt escalates less, and skips the eligibility check.
    BehaviourTrade,
    /// A tool answers long after the latency limit.
    SlowTool,
    /// The run stops after a tool call, and no one answers.
    DeadEnd,
    /// The agent hands its task to itself, and that one to itself again.
    RunawayRecursion,
    /// A request fails below a tool that says OK, and the answer says so too.
    SwallowedError,
    /// A sub-agent's span names a parent that never arrives.
    LostContext,
    /// A call of the model fails and is made again.
    FailedModelCall,
}

/// How a planted fault should be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ExpectedEvidence {
    /// Any of these evaluators scores the trace below a half.
    FailingEvaluation {
        /// Evaluator names, the most direct one first.
        any_of: &'static [&'static str],
    },
    /// Any of these series of the agent's service drifts; no single trace proves the fault.
    DriftingSeries {
        /// Series names, the most direct one first.
        any_of: &'static [&'static str],
    },
}

impl ExpectedEvidence {
    /// The evaluators or series, whichever it is.
    #[must_use]
    pub const fn names(self) -> &'static [&'static str] {
        match self {
            Self::FailingEvaluation { any_of } | Self::DriftingSeries { any_of } => any_of,
        }
    }
}

/// Everything that a fault which changes the course of a run moves besides its own evidence.
const COURSE_OF_RUN: &[&str] = &[
    "tool_transitions",
    "tool_chosen",
    "tool_outcomes",
    "tool_calls",
    "tool_errors",
    "tool_repeats",
    "model_calls",
    "steps",
    "finish_reasons",
    "latency_seconds",
    "input_tokens",
    "output_tokens",
    "output_tokens_per_call",
    "reasoning_tokens",
    "cost_usd",
    "answer_length",
    "tool_results",
    "not_evaluable",
];

/// The checks that read an answer against what the agent was shown.
const UNSUPPORTED_ANSWER: &[&str] =
    &["groundedness", "policy_compliance", "unsupported_after_failure", "lexical_support", "task_completion"];

struct Profile {
    name: &'static str,
    doc: &'static str,
    agent: Agent,
    evidence: ExpectedEvidence,
    also_moves: &'static [&'static str],
}

const fn failing(any_of: &'static [&'static str]) -> ExpectedEvidence {
    ExpectedEvidence::FailingEvaluation { any_of }
}

const fn drifting(any_of: &'static [&'static str]) -> ExpectedEvidence {
    ExpectedEvidence::DriftingSeries { any_of }
}

/// In the order of the enum, by which it is indexed.
const PROFILES: [Profile; Fault::ALL.len()] = [
    Profile {
        name: "refund_loop",
        doc: "issue_refund is called again and again with the same arguments",
        agent: Agent::Support,
        evidence: failing(&["loop"]),
        also_moves: COURSE_OF_RUN,
    },
    Profile {
        name: "empty_result",
        doc: "get_fare_rules says OK and returns nothing; the agent carries on",
        agent: Agent::Support,
        evidence: failing(&["empty_result"]),
        also_moves: COURSE_OF_RUN,
    },
    Profile {
        name: "invented_answer_after_failure",
        doc: "every source fails or is empty, and the answer states invented facts",
        agent: Agent::Research,
        evidence: failing(&[
            "unsupported_after_failure",
            "groundedness",
            "unsupported_after_empty",
            "lexical_support",
            "policy_compliance",
            "empty_result",
            "tool_outcome",
            "task_completion",
        ]),
        also_moves: COURSE_OF_RUN,
    },
    Profile {
        name: "tool_timeouts_and_invalid_args",
        doc: "after a prompt change search_flights refuses its arguments or times out",
        agent: Agent::Support,
        evidence: failing(&["tool_outcome"]),
        also_moves: COURSE_OF_RUN,
    },
    Profile {
        name: "cut_off_answer",
        doc: "the answer ends in the middle with finish reason length",
        agent: Agent::Research,
        evidence: failing(&["finish_reason", "instruction_following", "task_completion"]),
        also_moves: &["answer_length", "output_tokens", "output_tokens_per_call", "cost_usd", "latency_seconds"],
    },
    Profile {
        name: "misquoted_policy",
        doc: "the answer states another deadline or fee than the policy passage",
        agent: Agent::Support,
        evidence: failing(UNSUPPORTED_ANSWER),
        also_moves: COURSE_OF_RUN,
    },
    Profile {
        name: "quantity_ten_times_off",
        doc: "an invoice for ten times the ordered quantity is approved as matching",
        agent: Agent::Invoice,
        evidence: failing(&["argument_outlier", "groundedness", "policy_compliance", "task_completion"]),
        also_moves: &[],
    },
    Profile {
        name: "ungrounded_claim",
        doc: "the cited answer holds a figure or a name that no document holds",
        agent: Agent::Research,
        evidence: failing(UNSUPPORTED_ANSWER),
        also_moves: &[],
    },
    Profile {
        name: "cost_runaway",
        doc: "the run reads dozens of pages and costs many times the usual",
        agent: Agent::Research,
        evidence: failing(&["limits"]),
        also_moves: COURSE_OF_RUN,
    },
    Profile {
        name: "stops_reasoning",
        doc: "after the model upgrade reasoning tokens fall and verify_citation vanishes",
        agent: Agent::Research,
        evidence: drifting(&["reasoning_tokens", "tool_transitions", "tool_chosen", "output_tokens"]),
        also_moves: COURSE_OF_RUN,
    },
    Profile {
        name: "behaviour_trade",
        doc: "the new prompt escalates less and skips check_refund_eligibility",
        agent: Agent::Support,
        evidence: drifting(&["tool_transitions", "tool_chosen", "trajectory"]),
        also_moves: COURSE_OF_RUN,
    },
    Profile {
        name: "slow_tool",
        doc: "open_page answers long after the latency limit",
        agent: Agent::Research,
        evidence: failing(&["limits"]),
        also_moves: &["latency_seconds"],
    },
    Profile {
        name: "dead_end",
        doc: "the run stops after search_flights, and no one answers the customer",
        agent: Agent::Support,
        evidence: failing(&["dead_end"]),
        also_moves: COURSE_OF_RUN,
    },
    Profile {
        name: "runaway_recursion",
        doc: "the agent hands the question to itself, and that one to itself again, four to eight deep",
        agent: Agent::Research,
        evidence: failing(&["recursion"]),
        also_moves: COURSE_OF_RUN,
    },
    Profile {
        name: "swallowed_error",
        doc: "the payment request below issue_refund fails, and tool and answer say that all went well",
        agent: Agent::Support,
        evidence: failing(&["swallowed_error"]),
        also_moves: COURSE_OF_RUN,
    },
    Profile {
        name: "lost_context",
        doc: "the span of a sub-agent that checks the vendor names a parent that never arrives",
        agent: Agent::Invoice,
        evidence: failing(&["broken_context"]),
        also_moves: &[],
    },
    Profile {
        name: "failed_model_call",
        doc: "a call of the model fails and is made again with success",
        agent: Agent::Support,
        evidence: failing(&["model_outcome"]),
        also_moves: &["model_calls", "model_outcomes", "steps", "latency_seconds"],
    },
];

impl Fault {
    /// Every fault, in the order reports list them.
    pub const ALL: [Self; 17] = [
        Self::RefundLoop,
        Self::EmptyResult,
        Self::InventedAnswerAfterFailure,
        Self::ToolTimeoutsAndInvalidArgs,
        Self::CutOffAnswer,
        Self::MisquotedPolicy,
        Self::QuantityTenTimesOff,
        Self::UngroundedClaim,
        Self::CostRunaway,
        Self::StopsReasoning,
        Self::BehaviourTrade,
        Self::SlowTool,
        Self::DeadEnd,
        Self::RunawayRecursion,
        Self::SwallowedError,
        Self::LostContext,
        Self::FailedModelCall,
    ];

    /// The name in JSON, on the command line and in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.profile().name
    }

    /// One line for a person.
    #[must_use]
    pub const fn doc(self) -> &'static str {
        self.profile().doc
    }

    /// The agent that has it.
    #[must_use]
    pub const fn agent(self) -> Agent {
        self.profile().agent
    }

    /// How it should be found.
    #[must_use]
    pub const fn expected_evidence(self) -> ExpectedEvidence {
        self.profile().evidence
    }

    /// Whether it is a change of habit, seen over many traces, and not an accident of single ones.
    #[must_use]
    pub const fn is_behavioural(self) -> bool {
        matches!(self.profile().evidence, ExpectedEvidence::DriftingSeries { .. })
    }

    /// Every series of the agent's service that the fault can truly move: drift there is no false alarm.
    pub fn affected_series(self) -> impl Iterator<Item = &'static str> {
        let profile = self.profile();
        profile.evidence.names().iter().chain(profile.also_moves).copied()
    }

    const fn profile(self) -> &'static Profile {
        &PROFILES[self as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_finds_its_own_profile() {
        for fault in Fault::ALL {
            assert_eq!(serde_json::to_value(fault).unwrap(), fault.name());
        }
    }
}
