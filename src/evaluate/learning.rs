//! What kinds of evaluators learn from good traffic before they judge anything.

use serde_json::{Value, json};

use super::kinds::{argument_outlier, usage_outlier};
use crate::domain::trace::Trace;

/// Learns for an evaluator of one kind, run by run.
#[derive(Debug)]
pub enum Learner {
    /// What numbers tools usually get.
    Arguments(argument_outlier::Learner),
    /// What runs of each service usually come to.
    Usage(usage_outlier::Learner),
}

impl Learner {
    /// Kinds that learn.
    pub const KINDS: [&'static str; 2] = ["argument_outlier", "usage_outlier"];

    /// A learner for a kind; `None` where it has nothing to learn.
    #[must_use]
    pub fn of(kind: &str) -> Option<Self> {
        match kind {
            "argument_outlier" => Some(Self::Arguments(argument_outlier::Learner::default())),
            "usage_outlier" => Some(Self::Usage(usage_outlier::Learner::default())),
            _ => None,
        }
    }

    /// Takes in one run, which stands for `weight` runs.
    pub fn add(&mut self, trace: &Trace, weight: f64) {
        match self {
            Self::Arguments(learner) => learner.add(trace, weight),
            Self::Usage(learner) => learner.add(trace, weight),
        }
    }

    /// How much was learned, and the file that the evaluator reads.
    #[must_use]
    pub fn learned(self) -> (usize, Value) {
        match self {
            Self::Arguments(learner) => {
                let learned = learner.learned();
                (learned.values().map(|of_tool| of_tool.len()).sum(), json!(learned))
            }
            Self::Usage(learner) => {
                let learned = learner.learned();
                (learned.values().map(|of_service| of_service.len()).sum(), json!(learned))
            }
        }
    }
}
