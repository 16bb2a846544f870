//! How a flagged run failed: the one definition.
//!
//! - **looping**: an evaluator that looks for circles fails it (the kinds `loop` and `recursion`).
//! - **hard**: the run or one of its steps says itself that something went wrong: the run ended in an error, or an
//!   evaluator of a kind fails it that reads statuses, errors and finish reasons.
//! - **soft**: everything reports success, and an evaluator of any other kind fails it: fluent and wrong.
//! - **drifting**: nothing is wrong with the run by itself, and it is among the traces behind an alert. The store
//!   notes this one when the alert is raised, since no run knows of it.
//!
//! A run has one class, the first of these that holds. Looping comes first because a run that goes round in circles meets
//! errors on its way (the step limit, a rate limit) that are its consequence; hard comes before soft because what says
//! that it failed can be found by anyone, and is to be repaired first. Reports list hard first. The class of each kind
//! stands in its line of [`KINDS`](super::kinds::KINDS).

use super::definition::EvaluatorDefinition;
use crate::domain::evaluation::FailureClass;

/// The class of a run: whether it ended in an error, and the flagging evaluators that fail it. `None` when nothing is
/// wrong with it.
pub fn failure_class<'a>(
    ended_in_error: bool,
    failing: impl IntoIterator<Item = &'a EvaluatorDefinition>,
) -> Option<FailureClass> {
    let error = ended_in_error.then_some(FailureClass::Hard);
    let classes = failing.into_iter().map(|definition| definition.kind.failure).chain(error);
    classes.min_by_key(|class| match class {
        FailureClass::Looping => 0,
        FailureClass::Hard => 1,
        FailureClass::Soft => 2,
        FailureClass::Drifting => 3,
    })
}

#[cfg(test)]
mod tests {
    use super::super::definition::JudgeModels;
    use super::super::run::Evaluators;
    use super::*;

    #[test]
    fn looping_comes_before_hard_and_hard_before_soft() {
        let evaluators = Evaluators::load(None, JudgeModels::new()).unwrap();
        let class =
            |error: bool, names: &[&str]| failure_class(error, names.iter().map(|name| evaluators.get(name).unwrap()));
        assert_eq!(class(false, &[]), None);
        assert_eq!(class(true, &[]), Some(FailureClass::Hard));
        assert_eq!(class(false, &["groundedness"]), Some(FailureClass::Soft));
        assert_eq!(class(true, &["groundedness"]), Some(FailureClass::Hard));
        assert_eq!(class(false, &["empty_result", "tool_outcome"]), Some(FailureClass::Hard));
        assert_eq!(class(true, &["tool_outcome", "loop"]), Some(FailureClass::Looping));
    }
}
