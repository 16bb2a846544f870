//! A condition of your own on the whole run, for what no other kind says. The language, and what it does about absent
//! facts, are described in `evaluate::expression`; how to write it, in `evaluators/README.md`.

use serde::{Deserialize, Serialize};

use super::{Built, Finding, Rule, Source, clip};
use crate::domain::trace::Trace;
use crate::evaluate::expression::{Expression, Unanswered};
use crate::evaluate::mistake::Mistake;

pub(super) const DOC: &str = "runs for which a condition in CEL does not hold";

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Settings {
    pass_when: String,
}

pub(super) fn build(source: &Source<'_>) -> Result<Built, Vec<Mistake>> {
    let settings: Settings = source.settings()?;
    let condition = Expression::parse(&settings.pass_when).map_err(|problem| {
        vec![source.mistake("pass_when", &format!("pass_when: {problem}"), "correct it (evaluators/README.md)")]
    })?;
    Ok(Built::rule(ExpressionRule { condition, text: settings.pass_when.clone() }, &settings))
}

#[derive(Debug)]
struct ExpressionRule {
    condition: Expression,
    text: String,
}

impl Rule for ExpressionRule {
    fn check(&self, trace: &Trace) -> Finding {
        match self.condition.holds(trace) {
            Ok(true) => Finding::pass(format!("holds: {}", clip(&self.text))),
            Ok(false) => Finding::fail(format!("does not hold: {}", clip(&self.text)), None),
            Err(Unanswered::Absent(fact)) => Finding::NotEvaluable(fact),
            Err(other) => Finding::NotEvaluable(format!("an answer to pass_when ({other})")),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::testing::{failure, found, mistakes, passes};
    use super::*;

    #[test]
    fn the_condition_decides() {
        let table = "pass_when = \"trace.tools.size() < 2\"";
        let run = |times: usize| json!({"steps": [{"tool": "t", "times": times}]});
        assert!(passes(&found("expression", table, run(1))));
        assert_eq!(failure(&found("expression", table, run(2))), Some("does not hold: trace.tools.size() < 2"));
    }

    #[test]
    fn a_condition_on_what_is_not_recorded_cannot_be_judged() {
        let finding = found("expression", "pass_when = \"trace.cost_usd < 1\"", json!({}));
        assert_eq!(finding, Finding::NotEvaluable("cost_usd".to_owned()));
        let finding = found("expression", "pass_when = \"trace.tools\"", json!({}));
        let expected = "an answer to pass_when (the expression is a list, not true or false)";
        assert_eq!(finding, Finding::NotEvaluable(expected.to_owned()));
    }

    #[test]
    fn a_condition_that_cannot_be_read_is_a_mistake() {
        assert!(
            mistakes("expression", "pass_when = \"trace.cost <\"").contains("pass_when: there is no field \"cost\"")
        );
        assert!(mistakes("expression", "").contains("the expression ends too early"));
    }
}
