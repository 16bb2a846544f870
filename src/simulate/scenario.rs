//! What happens over a simulated stretch of time: a baseline half, and a half in which something has changed.

use serde::{Deserialize, Serialize};

use super::agent::{ASTER_4, ASTER_5, Agent, Release};
use super::fault::Fault;

/// Which half of the scenario a run belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Before the change: no fault is planted.
    Baseline,
    /// After the change. The healthy scenario never gets here.
    Changed,
}

/// A named course of events.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scenario {
    /// The name on the command line.
    pub name: &'static str,
    /// One line for a person.
    pub doc: &'static str,
    /// Faults planted after the change, with the share of their agent's runs that draw each one.
    pub faults: &'static [(Fault, f64)],
    /// Agents whose model is replaced by the change.
    pub upgraded: &'static [Agent],
}

/// What a model upgrade moves by itself, faults aside.
const MODEL_UPGRADE_SERIES: &[&str] = &[
    "model_answered",
    "input_tokens",
    "output_tokens",
    "reasoning_tokens",
    "output_tokens_per_call",
    "cost_usd",
    "latency_seconds",
    "answer_length",
];

/// Every scenario, by name.
///
/// In `model_upgrade` all three services release 1.5.0 half way. Support and research get the new model and most
/// faults; invoice keeps its model and its habits, and only the checks on its wrong approvals may move.
pub const SCENARIOS: &[Scenario] = &[
    Scenario { name: "healthy", doc: "three agents at work, nothing planted", faults: &[], upgraded: &[] },
    Scenario {
        name: "model_upgrade",
        doc: "a baseline release, then a release with a new model and every fault",
        faults: &[
            (Fault::RefundLoop, 0.08),
            (Fault::EmptyResult, 0.14),
            (Fault::ToolTimeoutsAndInvalidArgs, 0.12),
            (Fault::MisquotedPolicy, 0.08),
            (Fault::BehaviourTrade, 1.0),
            (Fault::InventedAnswerAfterFailure, 0.07),
            (Fault::CutOffAnswer, 0.09),
            (Fault::UngroundedClaim, 0.07),
            (Fault::CostRunaway, 0.06),
            (Fault::SlowTool, 0.06),
            (Fault::StopsReasoning, 1.0),
            (Fault::QuantityTenTimesOff, 0.12),
        ],
        upgraded: &[Agent::Support, Agent::Research],
    },
    Scenario {
        name: "structural_faults",
        doc: "a baseline release, then one with every fault that the tree of spans shows and its texts do not",
        faults: &[
            (Fault::DeadEnd, 0.12),
            (Fault::SwallowedError, 0.12),
            (Fault::FailedModelCall, 0.12),
            (Fault::RunawayRecursion, 0.12),
            (Fault::LostContext, 0.12),
        ],
        upgraded: &[],
    },
    only(&[(Fault::RefundLoop, 0.1)], &[]),
    only(&[(Fault::EmptyResult, 0.1)], &[]),
    only(&[(Fault::InventedAnswerAfterFailure, 0.1)], &[]),
    only(&[(Fault::ToolTimeoutsAndInvalidArgs, 0.1)], &[]),
    only(&[(Fault::CutOffAnswer, 0.1)], &[]),
    only(&[(Fault::MisquotedPolicy, 0.1)], &[]),
    only(&[(Fault::QuantityTenTimesOff, 0.12)], &[]),
    only(&[(Fault::UngroundedClaim, 0.1)], &[]),
    only(&[(Fault::CostRunaway, 0.1)], &[]),
    only(&[(Fault::StopsReasoning, 1.0)], &[Agent::Research]),
    only(&[(Fault::BehaviourTrade, 1.0)], &[]),
    only(&[(Fault::SlowTool, 0.1)], &[]),
    only(&[(Fault::DeadEnd, 0.1)], &[]),
    only(&[(Fault::RunawayRecursion, 0.1)], &[]),
    only(&[(Fault::SwallowedError, 0.1)], &[]),
    only(&[(Fault::LostContext, 0.1)], &[]),
    only(&[(Fault::FailedModelCall, 0.1)], &[]),
];

const fn only(faults: &'static [(Fault, f64)], upgraded: &'static [Agent]) -> Scenario {
    let (fault, _) = faults[0];
    Scenario { name: fault.name(), doc: fault.doc(), faults, upgraded }
}

impl Scenario {
    /// The scenario of this name.
    #[must_use]
    pub fn find(name: &str) -> Option<&'static Self> {
        SCENARIOS.iter().find(|scenario| scenario.name == name)
    }

    /// Faults that the scenario plants in an agent.
    pub fn faults_of(&self, agent: Agent) -> impl Iterator<Item = Fault> + use<> {
        self.faults.iter().map(|(fault, _)| *fault).filter(move |fault| fault.agent() == agent)
    }

    /// Whether drift of this series of the agent's service is true after the change; anything else is a false alarm.
    #[must_use]
    pub fn affects(&self, agent: Agent, series: &str) -> bool {
        let by_upgrade = self.upgraded.contains(&agent) && MODEL_UPGRADE_SERIES.contains(&series);
        by_upgrade || self.faults_of(agent).any(|fault| fault.affected_series().any(|affected| affected == series))
    }

    /// The phase of a run that starts after this share of the scenario.
    pub(crate) fn phase(&self, elapsed_share: f64) -> Phase {
        if self.faults.is_empty() || elapsed_share < 0.5 { Phase::Baseline } else { Phase::Changed }
    }

    /// What is deployed for an agent in a phase.
    pub(crate) fn release(&self, agent: Agent, phase: Phase) -> Release {
        match phase {
            Phase::Baseline => Release { version: "1.4.0", model: ASTER_4, prompt_version: "7" },
            Phase::Changed if self.upgraded.contains(&agent) => {
                Release { version: "1.5.0", model: ASTER_5, prompt_version: "8" }
            }
            Phase::Changed => Release { version: "1.5.0", model: ASTER_4, prompt_version: "8" },
        }
    }

    /// What is wrong with one run: every behavioural fault of its agent, and at most one of the others.
    pub(crate) fn draw(&self, agent: Agent, phase: Phase, rng: &mut fastrand::Rng) -> Trouble {
        let mut trouble = Trouble::default();
        let mut ticket = rng.f64();
        if phase == Phase::Baseline {
            return trouble;
        }
        for &(fault, rate) in self.faults.iter().filter(|(fault, _)| fault.agent() == agent) {
            if fault.is_behavioural() {
                trouble.habit = Some(fault);
            } else if trouble.accident.is_none() {
                ticket -= rate;
                trouble.accident = (ticket < 0.0).then_some(fault);
            }
        }
        trouble
    }
}

/// What a story is asked to get wrong.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Trouble {
    /// A fault of this run alone.
    pub(crate) accident: Option<Fault>,
    /// A fault that every run of the release leans to.
    pub(crate) habit: Option<Fault>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_has_a_scenario_and_stands_in_one_of_the_two_that_the_report_counts() {
        let counted = ["model_upgrade", "structural_faults"].map(|name| Scenario::find(name).unwrap().faults).concat();
        assert_eq!(counted.len(), Fault::ALL.len());
        for fault in Fault::ALL {
            assert_eq!(Scenario::find(fault.name()).unwrap().faults[0].0, fault);
            assert!(counted.iter().any(|(planted, _)| *planted == fault), "{}", fault.name());
        }
    }

    #[test]
    fn invoice_drifts_only_where_its_wrong_approvals_are_checked() {
        let upgrade = Scenario::find("model_upgrade").unwrap();
        assert!(upgrade.affects(Agent::Invoice, "argument_outlier"));
        for series in MODEL_UPGRADE_SERIES.iter().chain(&["tool_transitions", "tool_chosen", "loop"]) {
            assert!(!upgrade.affects(Agent::Invoice, series), "{series}");
        }
        assert!(upgrade.affects(Agent::Support, "model_answered"));
    }

    #[test]
    fn the_accidents_of_an_agent_never_crowd_out_its_healthy_runs() {
        for scenario in SCENARIOS {
            for agent in Agent::ALL {
                let accidents = scenario.faults.iter().filter(|(fault, _)| fault.agent() == agent);
                let total: f64 = accidents.filter(|(fault, _)| !fault.is_behavioural()).map(|(_, rate)| rate).sum();
                assert!(total < 0.5, "{} {}", scenario.name, agent.name());
            }
        }
    }
}
