//! What people write: evaluators, conditions, policies, selections; and what judges answer.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use driftline::domain::ids::TraceId;
use driftline::domain::time::Timestamp;
use driftline::domain::trace::Trace;
use driftline::evaluate::cases::{check_case, parse_cases, trace_of};
use driftline::evaluate::definition::{EvaluatorDefinition, EvaluatorFolder};
use driftline::evaluate::judge::parse_verdict;
use driftline::evaluate::run::Evaluators;
use driftline::normalize::AttributeMapping;
use driftline::otlp::{Compression, Encoding};
use driftline::queries::selection;
use driftline::watch::gate_policy::GatePolicy;

use super::invariants;

/// A run with something of everything in it.
const RUN: &str = r#"{"name": "run", "expect": {}, "trace": {"input": "Where is order 7?", "output": "Order 7 is on its way.",
    "system": "Be kind.", "seconds": 3.5, "steps": [
    {"model": "m", "input_tokens": 7, "output_tokens": 5, "cost_usd": 0.5, "finish_reasons": ["stop"], "user_text": "Where?"},
    {"tool": "find", "arguments": {"id": 7, "lines": [{"quantity": 3}]}, "result": {"state": "sent"}, "times": 2},
    {"tool": "pay", "arguments": "x", "result": "", "status": "timeout"},
    {"retrieval": "orders", "documents": ["Order 7 was sent.", ""]}]}}"#;

static RUNS: LazyLock<Vec<Trace>> = LazyLock::new(|| {
    let json: serde_json::Value = serde_json::from_str(RUN).expect("the run is JSON");
    let full = serde_json::from_value(json["trace"].clone()).expect("the run is a description");
    vec![trace_of(&full), trace_of(&Default::default())]
});

/// The text of `evaluator.toml`, and after a NUL that of `cases.jsonl`.
pub fn evaluator(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (definition, cases) = text.split_once('\0').unwrap_or((&text, ""));
    run(folder(&[
        ("evaluator.toml", definition),
        ("cases.jsonl", cases),
        ("schema.json", r#"{"type": "string"}"#),
        ("learned.json", r#"{"find": {"id": {"values": 50, "low": 1.0, "high": 9.0}}}"#),
        ("prompt.md", "Is it so?"),
    ]));
}

/// A condition, as `pass_when` and as `applies_when`.
pub fn expression(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let quoted = serde_json::to_string(&text).expect("text is JSON").replace('\x7f', "\\u007f");
    let head = "kind = \"expression\"\ndescription = \"d\"\n";
    run(folder(&[("evaluator.toml", &format!("{head}[expression]\npass_when = {quoted}"))]));
    run(folder(&[("evaluator.toml", &format!("{head}applies_when = {quoted}\n[expression]\npass_when = 'true'"))]));
}

fn folder(files: &[(&str, &str)]) -> EvaluatorFolder {
    let files = files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
    EvaluatorFolder { name: "own".to_owned(), place: "fuzz".to_owned(), files }
}

fn run(folder: EvaluatorFolder) {
    match EvaluatorDefinition::parse(&folder, &BTreeMap::new()) {
        Ok(definition) => {
            for case in &definition.cases {
                let _meets = check_case(&definition, case);
            }
            let evaluators = Evaluators::from_folders([folder], BTreeMap::new()).expect("it was read before");
            RUNS.iter().for_each(|trace| invariants::of_evaluation(trace, &evaluators));
        }
        Err(mistakes) => assert!(!mistakes.is_empty(), "a refusal says why"),
    }
}

/// The text of `gate.toml`.
pub fn gate_policy(bytes: &[u8]) {
    match GatePolicy::parse(&String::from_utf8_lossy(bytes)) {
        Ok(policy) => {
            assert!(policy.alpha > 0.0 && policy.alpha < 0.5 && !policy.goals.is_empty());
            assert!(policy.goals.iter().all(|goal| goal.bound.value().is_finite()));
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// Short texts of people, senders and models: selections, ids, headers, verdicts, cases.
pub fn small_texts(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let _selection = selection::parse(&text, &AttributeMapping::default(), Timestamp(1_760_000_000_000_000_000));
    if let Ok(id) = text.parse::<TraceId>() {
        assert_eq!(id.to_string(), text.to_lowercase());
    }
    let _encoding = (Encoding::from_content_type(&text), Compression::from_content_encoding(&text));
    if let Ok(verdict) = parse_verdict(&text, &text[..text.floor_char_boundary(text.len() / 2)]) {
        assert!(!verdict.reason.is_empty());
    }
    match parse_cases(&text) {
        Ok(cases) => cases.iter().for_each(|case| invariants::of_run(&trace_of(&case.trace))),
        Err(problems) => assert!(!problems.is_empty()),
    }
}
