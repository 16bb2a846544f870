//! The kinds of evaluator: what a definition can ask for.
//!
//! A new kind is one file here and one line in [`KINDS`].

use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::judge::Judge;
use super::mistake::{Mistake, line_of_key};
use super::service::Service;
use crate::domain::evaluation::FailureClass;
use crate::domain::evaluation::FailureClass::{Hard, Looping, Soft};
use crate::domain::ids::SpanId;
use crate::domain::trace::Trace;

mod admission;
pub mod argument_outlier;
mod broken_context;
mod dead_end;
mod empty_result;
mod expression;
mod finish_reason;
mod http;
mod json_schema;
pub mod learned;
mod lexical_support;
mod limits;
mod llm_judge;
mod loops;
mod model_outcome;
pub mod pattern;
mod provenance;
mod recursion;
mod swallowed_error;
#[cfg(test)]
mod testing;
mod tool_outcome;
mod trajectory;
mod unsupported_after_empty;
pub mod usage_outlier;

/// Every kind, in the order of the table in `evaluators/README.md`.
pub const KINDS: &[Kind] = &[
    Kind { name: "loop", doc: loops::DOC, failure: Looping, version: 2, build: loops::build },
    Kind { name: "recursion", doc: recursion::DOC, failure: Looping, version: 1, build: recursion::build },
    Kind { name: "empty_result", doc: empty_result::DOC, failure: Soft, version: 1, build: empty_result::build },
    Kind {
        name: "unsupported_after_empty",
        doc: unsupported_after_empty::DOC,
        failure: Soft,
        version: 2,
        build: unsupported_after_empty::build,
    },
    Kind { name: "tool_outcome", doc: tool_outcome::DOC, failure: Hard, version: 1, build: tool_outcome::build },
    Kind { name: "model_outcome", doc: model_outcome::DOC, failure: Hard, version: 1, build: model_outcome::build },
    Kind {
        name: "swallowed_error",
        doc: swallowed_error::DOC,
        failure: Hard,
        version: 2,
        build: swallowed_error::build,
    },
    Kind { name: "dead_end", doc: dead_end::DOC, failure: Hard, version: 2, build: dead_end::build },
    Kind { name: "broken_context", doc: broken_context::DOC, failure: Hard, version: 1, build: broken_context::build },
    Kind { name: "finish_reason", doc: finish_reason::DOC, failure: Hard, version: 1, build: finish_reason::build },
    Kind { name: "limits", doc: limits::DOC, failure: Soft, version: 1, build: limits::build },
    Kind { name: "trajectory", doc: trajectory::DOC, failure: Soft, version: 1, build: trajectory::build },
    Kind { name: "json_schema", doc: json_schema::DOC, failure: Soft, version: 1, build: json_schema::build },
    Kind { name: "pattern", doc: pattern::DOC, failure: Soft, version: 1, build: pattern::build },
    Kind {
        name: "lexical_support",
        doc: lexical_support::DOC,
        failure: Soft,
        version: 1,
        build: lexical_support::build,
    },
    Kind { name: "provenance", doc: provenance::DOC, failure: Soft, version: 2, build: provenance::build },
    Kind { name: "expression", doc: expression::DOC, failure: Soft, version: 1, build: expression::build },
    Kind {
        name: "argument_outlier",
        doc: argument_outlier::DOC,
        failure: Soft,
        version: 2,
        build: argument_outlier::build,
    },
    Kind { name: "usage_outlier", doc: usage_outlier::DOC, failure: Soft, version: 1, build: usage_outlier::build },
    Kind { name: "http", doc: http::DOC, failure: Soft, version: 1, build: http::build },
    Kind { name: "llm_judge", doc: llm_judge::DOC, failure: Soft, version: 1, build: llm_judge::build },
];

/// One behaviour that a definition selects by name.
#[derive(Debug)]
pub struct Kind {
    /// The word after `kind =`, and the name of the kind's own table.
    pub name: &'static str,
    /// One line for tables and help.
    pub doc: &'static str,
    /// How a run fails that a rule of this kind flags.
    pub failure: FailureClass,
    /// Raised when the code, or a default, changes what the same settings score; part of every revision.
    pub version: u32,
    build: fn(&Source<'_>) -> Result<Built, Vec<Mistake>>,
}

impl Kind {
    /// The kind of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        KINDS.iter().find(|kind| kind.name == name)
    }

    pub(super) fn build(&self, source: &Source<'_>) -> Result<Built, Vec<Mistake>> {
        (self.build)(source)
    }
}

/// What a rule found in one trace.
#[derive(Debug, Clone, PartialEq)]
pub enum Finding {
    /// A score.
    Scored {
        /// In [0, 1], higher is better.
        value: f64,
        /// Short verdict.
        label: String,
        /// One sentence for a person.
        explanation: String,
        /// The span that decided it; `None` for the run as a whole.
        span: Option<SpanId>,
    },
    /// There is nothing to judge in a run like this one, and why.
    NotApplicable(String),
    /// The telemetry lacks what is needed: the missing attribute.
    NotEvaluable(String),
}

impl Finding {
    /// The run is as it should be.
    pub(crate) fn pass(explanation: impl Into<String>) -> Self {
        Self::Scored { value: 1.0, label: "pass".to_owned(), explanation: explanation.into(), span: None }
    }

    /// The run is not as it should be, because of one span or of the run as a whole.
    pub(crate) fn fail(explanation: impl Into<String>, span: Option<SpanId>) -> Self {
        Self::Scored { value: 0.0, label: "fail".to_owned(), explanation: explanation.into(), span }
    }
}

/// A deterministic check of one trace; microseconds, no IO.
pub trait Rule: fmt::Debug + Send + Sync {
    /// Checks one trace.
    fn check(&self, trace: &Trace) -> Finding;
}

/// What a definition became.
#[derive(Debug)]
pub enum Behaviour {
    /// Checked here and now.
    Rule(Box<dyn Rule>),
    /// Asked of a model, later.
    Judge(Box<Judge>),
    /// Asked of a user's own service, later.
    Service(Box<Service>),
}

/// A behaviour with what of its source changes a score.
#[derive(Debug)]
pub(super) struct Built {
    pub(super) behaviour: Behaviour,
    /// Settings that differ from the kind's defaults, and the texts they refer to.
    pub(super) canonical: serde_json::Value,
}

impl Built {
    fn rule<R, S>(rule: R, settings: &S) -> Self
    where
        R: Rule + 'static,
        S: Serialize + Default,
    {
        Self { behaviour: Behaviour::Rule(Box::new(rule)), canonical: changed_from_default(settings) }
    }
}

/// One evaluator's files as its kind sees them.
#[derive(Debug)]
pub(super) struct Source<'a> {
    pub(super) folder: &'a super::definition::EvaluatorFolder,
    pub(super) kind: &'static str,
    pub(super) table: toml::Table,
}

impl Source<'_> {
    /// The kind's own table, every key checked by itself so that all mistakes show at once.
    fn settings<S: DeserializeOwned + Default>(&self) -> Result<S, Vec<Mistake>> {
        let mistakes: Vec<Mistake> =
            self.table.iter().filter_map(|(key, value)| self.refused::<S>(key, value)).collect();
        if mistakes.is_empty() {
            self.table.clone().try_into().map_err(|error| vec![self.mistake(self.kind, error.message(), "correct it")])
        } else {
            Err(mistakes)
        }
    }

    fn refused<S: DeserializeOwned>(&self, key: &str, value: &toml::Value) -> Option<Mistake> {
        let alone = toml::Table::from_iter([(key.to_owned(), value.clone())]);
        let error = alone.try_into::<S>().err()?;
        let problem = format!("{key} of [{}]: {}", self.kind, error.message().replace('\n', " ").trim());
        Some(self.mistake(key, &problem, "correct or remove it (keys are in evaluators/README.md)"))
    }

    /// A mistake at a key of `evaluator.toml`.
    fn mistake(&self, key: &str, problem: &str, remedy: &str) -> Mistake {
        let line = self.folder.file("evaluator.toml").and_then(|text| line_of_key(text, key));
        Mistake { line, ..self.folder.mistake("evaluator.toml", problem, remedy) }
    }
}

/// Settings as JSON without those left at their default: writing a default out, or a later version's new optional
/// setting, is no new revision.
fn changed_from_default<S: Serialize + Default>(settings: &S) -> serde_json::Value {
    let as_json = |settings: &S| serde_json::to_value(settings).unwrap_or_default();
    let defaults = as_json(&S::default());
    let mut changed = as_json(settings);
    if let serde_json::Value::Object(entries) = &mut changed {
        entries.retain(|key, value| defaults.get(key) != Some(value));
    }
    changed
}

/// Whether a tool is the one that a setting names; a name that ends in `*` stands for all that begin so.
fn is_tool_named(tool: &str, name: &str) -> bool {
    name.strip_suffix('*').map_or(tool == name, |prefix| tool.starts_with(prefix))
}

/// Text from a trace inside an explanation or as a category: one line, at most 80 characters.
pub(crate) fn clip(text: &str) -> String {
    const LONGEST: usize = 80;
    let mut clipped: String =
        text.chars().map(|character| if character.is_control() { ' ' } else { character }).take(LONGEST).collect();
    if text.chars().nth(LONGEST).is_some() {
        clipped.push('…');
    }
    clipped
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::json;

    use super::testing::{found, passes};
    use super::*;

    #[test]
    fn a_polling_tool_may_be_called_again_and_again_and_another_may_not() {
        let run = json!({"steps": [{"tool": "wait", "arguments": {}, "result": "pending", "times": 9}]});
        assert!(passes(&found("loop", "polling_tools = [\"wait\"]", run.clone())));
        assert!(!passes(&found("loop", "polling_tools = [\"sleep\"]", run)));
    }

    #[test]
    fn an_ignored_tool_may_answer_with_nothing() {
        let run = json!({"steps": [
            {"tool": "delete", "arguments": {}, "result": "", "empty": true},
            {"tool": "get", "arguments": {}, "result": "x"}
        ]});
        assert!(passes(&found("empty_result", "ignore_tools = [\"delete\"]", run.clone())));
        assert!(!passes(&found("empty_result", "", run)));
    }

    #[test]
    fn each_limit_reads_its_own_number() {
        let run = json!({"seconds": 8, "steps": [
            {"model": "m", "input_tokens": 20, "output_tokens": 5, "cost_usd": 0.5},
            {"tool": "t", "times": 2}
        ]});
        for (limit, taken) in [
            ("latency_seconds", 8.0),
            ("cost_usd", 0.5),
            ("input_tokens", 20.0),
            ("output_tokens", 5.0),
            ("total_tokens", 25.0),
            ("steps", 3.0),
            ("tool_calls", 2.0),
        ] {
            assert!(passes(&found("limits", &format!("{limit} = {taken:?}"), run.clone())), "{limit}");
            assert!(!passes(&found("limits", &format!("{limit} = {:?}", taken - 0.1), run.clone())), "{limit}");
        }
    }

    #[test]
    fn a_limit_on_nothing_that_is_recorded_is_not_evaluable() {
        let run = json!({"steps": [{"model": "m"}]});
        let finding = found("limits", "cost_usd = 1.0\ninput_tokens = 9.0", run);
        assert_eq!(finding, Finding::NotEvaluable("gen_ai.usage.cost".to_owned()));
    }

    #[test]
    fn kinds_have_unique_names_and_one_line_of_doc() {
        let names: BTreeSet<_> = KINDS.iter().map(|kind| kind.name).collect();
        assert_eq!(names.len(), KINDS.len());
        for kind in KINDS {
            assert!(!kind.doc.is_empty() && !kind.doc.contains(['\n', '|']), "{}", kind.name);
        }
    }

    #[test]
    fn a_text_from_a_trace_stays_short_and_on_one_line_in_an_explanation() {
        assert_eq!(clip("a\nb\u{1b}[2J"), "a b [2J");
        assert_eq!(clip(&"x".repeat(500)).chars().count(), 81);
    }
}
