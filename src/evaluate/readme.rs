//! Keeps the tables of `evaluators/README.md` true.

use std::fmt::Write as _;

use super::definition::{EvaluatorDefinition, JudgeModels};
use super::expression::fields;
use super::judge::Input;
use super::kinds::KINDS;
use super::kinds::pattern::DETECTORS;
use super::shipped::shipped;

const README: &str = include_str!("../../evaluators/README.md");

fn between<'a>(text: &'a str, name: &str) -> &'a str {
    let (_, rest) = text.split_once(&format!("<!-- generated: {name} -->\n")).unwrap();
    rest.split_once("<!-- end -->").unwrap().0
}

fn table(heads: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut text = format!("| {} |\n|{}\n", heads.join(" | "), " --- |".repeat(heads.len()));
    for row in rows {
        writeln!(text, "| {} |", row.join(" | ")).unwrap();
    }
    text
}

#[test]
fn the_table_of_kinds_is_what_is_built() {
    let rows = KINDS.iter().map(|kind| {
        let failure = kind.failure.as_str().to_owned();
        vec![format!("`{}`", kind.name), kind.version.to_string(), failure, kind.doc.to_owned()]
    });
    assert_eq!(between(README, "kinds"), table(&["kind", "version", "failure", "what it finds"], rows));
}

#[test]
fn the_table_of_shipped_evaluators_is_what_is_shipped() {
    let rows = shipped().into_iter().map(|folder| {
        let evaluator = EvaluatorDefinition::parse(&folder, &JudgeModels::new()).unwrap();
        vec![format!("`{}`", evaluator.name), format!("`{}`", evaluator.kind.name), evaluator.description]
    });
    assert_eq!(between(README, "shipped"), table(&["evaluator", "kind", "a pass means"], rows));
}

#[test]
fn the_table_of_judge_inputs_is_complete() {
    let rows = Input::ALL.into_iter().map(|input| {
        vec![format!("`{}`", input.name()), format!("`{}`", input.section()), input.attribute().to_owned()]
    });
    assert_eq!(between(README, "inputs"), table(&["input", "section", "where it comes from"], rows));
}

#[test]
fn the_table_of_detectors_is_complete() {
    let rows = DETECTORS.iter().map(|detector| vec![format!("`{}`", detector.name), detector.doc.to_owned()]);
    assert_eq!(between(README, "detectors"), table(&["detector", "what it finds"], rows));
}

#[test]
fn the_table_of_what_an_expression_sees_is_complete() {
    fn row<R>(record: &str, fields: &[fields::Field<R>]) -> Vec<String> {
        let names: Vec<String> = fields.iter().map(|field| format!("`{}`", field.name)).collect();
        vec![record.to_owned(), names.join(", ")]
    }
    let rows = [
        row("`trace`", fields::TRACE),
        row("each of `trace.tools`", fields::TOOL),
        row("each of `trace.models`", fields::MODEL),
        row("each of `trace.retrievals`", fields::RETRIEVAL),
    ];
    assert_eq!(between(README, "fields"), table(&["record", "fields"], rows.into_iter()));
}
