//! How well a rule finds what it claims to find: its verdicts against what is known.
//!
//! Precision is the share of failing runs that should fail, recall the share of runs that should fail and do. Both are
//! shares of counts, so each comes with its Wilson interval at 95 %; a share of nothing is absent.

use serde::{Deserialize, Serialize};

use super::cases::{Case, trace_of};
use super::definition::EvaluatorDefinition;
use super::kinds::{Finding, Rule};
use crate::domain::evaluation::Outcome;
use crate::domain::trace::Trace;
use crate::stats::interval::wilson;

/// Labels of scores that do not fail.
const PASSING: [&str; 3] = ["pass", "success", "yes"];

/// Verdicts against what is known, counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Confusion {
    /// Runs that should fail and do.
    pub true_positives: u64,
    /// Runs that fail and should not.
    pub false_positives: u64,
    /// Runs that should fail and do not.
    pub false_negatives: u64,
    /// Runs that do not fail and should not.
    pub true_negatives: u64,
}

/// A share with its 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Share {
    /// The share.
    pub value: f64,
    /// Lower end of the Wilson interval.
    pub low: f64,
    /// Upper end of the Wilson interval.
    pub high: f64,
}

impl Share {
    /// The share of `part` in `whole`; `None` of nothing.
    #[must_use]
    pub fn of(part: u64, whole: u64) -> Option<Self> {
        let value = part as f64 / whole as f64;
        let interval = (whole > 0).then(|| wilson(value, whole as f64, 0.95))?;
        Some(Self { value, low: interval.low, high: interval.high })
    }
}

impl Confusion {
    /// Counts one run.
    pub const fn count(&mut self, should_fail: bool, fails: bool) {
        let counter = match (should_fail, fails) {
            (true, true) => &mut self.true_positives,
            (false, true) => &mut self.false_positives,
            (true, false) => &mut self.false_negatives,
            (false, false) => &mut self.true_negatives,
        };
        *counter += 1;
    }

    /// Runs that were counted.
    #[must_use]
    pub const fn runs(&self) -> u64 {
        self.true_positives + self.false_positives + self.false_negatives + self.true_negatives
    }

    /// Share of failing runs that should fail.
    #[must_use]
    pub fn precision(&self) -> Option<Share> {
        Share::of(self.true_positives, self.true_positives + self.false_positives)
    }

    /// Share of runs that should fail and do.
    #[must_use]
    pub fn recall(&self) -> Option<Share> {
        Share::of(self.true_positives, self.true_positives + self.false_negatives)
    }
}

/// Whether a rule, where its evaluator applies, fails a run.
#[must_use]
pub fn fails(definition: &EvaluatorDefinition, rule: &dyn Rule, trace: &Trace) -> bool {
    let finding = definition.inapplicable(trace).unwrap_or_else(|| rule.check(trace));
    matches!(finding, Finding::Scored { value, .. } if value < 0.5)
}

/// A rule's verdicts on its own labelled cases.
#[must_use]
pub fn on_cases(definition: &EvaluatorDefinition, rule: &dyn Rule) -> Confusion {
    let mut confusion = Confusion::default();
    for case in &definition.cases {
        confusion.count(should_fail(case), fails(definition, rule, &trace_of(&case.trace)));
    }
    confusion
}

fn should_fail(case: &Case) -> bool {
    let label = case.expect.label.as_deref();
    case.expect.outcome == Outcome::Scored && label.is_some_and(|label| !PASSING.contains(&label))
}

#[cfg(test)]
mod tests {
    use super::super::definition::JudgeModels;
    use super::super::kinds::Behaviour;
    use super::super::learning::Learner;
    use super::super::run::Evaluators;
    use super::*;

    #[test]
    fn shares_come_with_wilson_intervals_and_a_share_of_nothing_is_absent() {
        let confusion = Confusion { true_positives: 8, false_positives: 2, ..Confusion::default() };
        let precision = confusion.precision().unwrap();
        // R: prop.test(8, 10, correct = FALSE)$conf.int
        assert!((precision.low - 0.490_162).abs() < 1e-6 && (precision.high - 0.943_318).abs() < 1e-6, "{precision:?}");
        assert_eq!(confusion.recall().unwrap().value, 1.0);
        assert_eq!(Confusion::default().recall(), None);
    }

    #[test]
    fn every_shipped_rule_has_cases_that_fail_but_those_that_must_learn_first() {
        let evaluators = Evaluators::load(None, JudgeModels::new()).unwrap();
        for definition in evaluators.definitions() {
            let Behaviour::Rule(rule) = &definition.behaviour else { continue };
            let found = on_cases(definition, rule.as_ref());
            assert_eq!((found.false_positives, found.false_negatives), (0, 0), "{}", definition.name);
            let must_learn = Learner::of(definition.kind.name).is_some();
            assert_eq!(found.true_positives == 0, must_learn, "{}", definition.name);
        }
    }
}
