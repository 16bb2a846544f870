//! Which evaluations people are asked about because something is wrong, and which of these first.
//!
//! Only evaluators with `flag = true` put a trace before people: by failing it, or, a judge whose samples gave different
//! verdicts, by being in doubt. What fails comes before what is in doubt; among what fails, the severity that an evaluator
//! declares decides; and among equals, runs that more evaluators fail come first.

use std::collections::BTreeMap;

use super::definition::Severity;
use super::run::Evaluators;

/// One more than what [`failures`](FlagPolicy::severity) can add.
const STEP: i64 = 100;

/// What puts a trace before people, and how much of it they are asked about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlagPolicy {
    /// The evaluators that flag, each with how bad a failing score is.
    pub evaluators: BTreeMap<String, Severity>,
    /// Traces of one day, service and evaluator, at most.
    pub a_day: u32,
}

impl FlagPolicy {
    /// The policy of the loaded evaluators.
    #[must_use]
    pub fn of(evaluators: &Evaluators, a_day: u32) -> Self {
        let flagging = evaluators.definitions().iter().filter(|definition| definition.flag);
        Self { evaluators: flagging.map(|it| (it.name.clone(), it.severity)).collect(), a_day }
    }

    /// How severe an evaluation is that fails its trace, or else is in doubt, where so many evaluators fail the trace.
    #[must_use]
    pub fn severity(&self, evaluator: &str, fails: bool, failures: u32) -> i64 {
        let declared = match self.evaluators.get(evaluator).filter(|_| fails) {
            Some(Severity::Fail) => 3,
            Some(Severity::Warn) => 2,
            Some(Severity::Info) => 1,
            None => 0,
        };
        declared * STEP + i64::from(failures).min(STEP - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_come_before_doubts_and_graver_evaluators_before_many() {
        let severities = [("grave", Severity::Fail), ("small", Severity::Warn)];
        let evaluators = severities.map(|(name, severity)| (name.to_owned(), severity)).into();
        let policy = FlagPolicy { evaluators, a_day: 1 };
        let order = [("grave", true, 2), ("grave", true, 1), ("small", true, 1_000), ("grave", false, 1_000)];
        let severities = order.map(|(name, fails, failures)| policy.severity(name, fails, failures));
        assert!(severities.is_sorted_by(|one, next| one > next), "{severities:?}");
    }

    #[test]
    fn only_evaluators_that_flag_put_a_trace_before_people() {
        let policy = FlagPolicy::of(&Evaluators::load(None, BTreeMap::new()).unwrap(), 1);
        assert_eq!(policy.evaluators.get("loop"), Some(&Severity::Fail));
        assert_eq!(policy.evaluators.get("tool_outcome"), Some(&Severity::Warn));
        assert!(!policy.evaluators.contains_key("lexical_support"));
    }
}
