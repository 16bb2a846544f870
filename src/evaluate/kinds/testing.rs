//! What the tests of every kind share.

use crate::domain::trace::Trace;
use crate::evaluate::cases::trace_of;
use crate::evaluate::definition::{EvaluatorDefinition, EvaluatorFolder, JudgeModels};

use super::{Behaviour, Finding, Rule};

/// The folder of an evaluator with this own table, and further files.
fn folder(kind: &str, table: &str, files: &[(&str, &str)]) -> EvaluatorFolder {
    let toml = format!("kind = \"{kind}\"\ndescription = \"d\"\n[{kind}]\n{table}");
    let files = [("evaluator.toml", toml.as_str())].into_iter().chain(files.iter().copied());
    EvaluatorFolder {
        name: "mine".to_owned(),
        place: "mine".to_owned(),
        files: files.map(|(name, text)| (name.to_owned(), text.to_owned())).collect(),
    }
}

/// The rule with this own table.
pub(super) fn rule(kind: &str, table: &str, files: &[(&str, &str)]) -> Box<dyn Rule> {
    match EvaluatorDefinition::parse(&folder(kind, table, files), &JudgeModels::new()).unwrap().behaviour {
        Behaviour::Rule(rule) => rule,
        Behaviour::Judge(_) | Behaviour::Service(_) => panic!("{kind} is no rule"),
    }
}

/// The mistakes in this own table, one a line.
pub(super) fn mistakes(kind: &str, table: &str) -> String {
    mistakes_with(kind, table, &[])
}

/// The mistakes in this own table and further files, one a line.
pub(super) fn mistakes_with(kind: &str, table: &str, files: &[(&str, &str)]) -> String {
    let wrong = EvaluatorDefinition::parse(&folder(kind, table, files), &JudgeModels::new()).unwrap_err();
    wrong.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// A described run.
pub(super) fn run(description: serde_json::Value) -> Trace {
    trace_of(&serde_json::from_value(description).unwrap())
}

/// What a rule with this own table finds in a described run.
pub(super) fn found(kind: &str, table: &str, description: serde_json::Value) -> Finding {
    rule(kind, table, &[]).check(&run(description))
}

pub(super) fn passes(finding: &Finding) -> bool {
    matches!(finding, Finding::Scored { value, .. } if *value >= 0.5)
}

/// The explanation of a failing score, and nothing of any other finding.
pub(super) fn failure(finding: &Finding) -> Option<&str> {
    match finding {
        Finding::Scored { value, explanation, .. } if *value < 0.5 => Some(explanation),
        _ => None,
    }
}
