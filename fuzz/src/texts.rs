//! Texts of a run that rules read word by word: the answer, the data, the arguments.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use driftline::evaluate::cases::{StepDescription, TraceDescription, trace_of};
use driftline::evaluate::definition::EvaluatorFolder;
use driftline::evaluate::run::Evaluators;

use super::invariants;

/// One evaluator of every kind that is not shipped, and shipped kinds with all they can look for.
const DEFINITIONS: [(&str, &str); 6] = [
    (
        "pattern",
        r#"subjects = ["question", "answer", "arguments", "results", "documents"]
        detect = ["payment_card", "iban", "email", "phone", "us_ssn", "es_dni", "it_codice_fiscale", "fr_nir",
            "no_fodselsnummer", "br_cpf", "private_key", "aws_access_key", "json_web_token"]
        require = { word = '\w+' }"#,
    ),
    ("json_schema", "schema_file = \"schema.json\"\nallow_fence = true"),
    ("trajectory", "before = [[\"a\", \"b*\"]]\nfollowed_by = [[\"a\", \"b\"]]\nat_most = { a = 1 }\nnever = [\"c*\"]"),
    ("argument_outlier", "least_values = 1"),
    (
        "expression",
        "pass_when = 'trace.tools.all(t, t.name.contains(\"a\") || t.result.matches(\"[0-9]+\")) && size(trace.output) > 3'",
    ),
    ("provenance", "must_cite = true"),
];

const FILES: [(&str, &str); 2] = [
    ("schema.json", r#"{"type": "object", "properties": {"a": {"type": "string", "format": "date-time"}}}"#),
    ("learned.json", r#"{"a": {"n": {"values": 50, "low": 1.0, "high": 9.0}}}"#),
];

static EVALUATORS: LazyLock<Evaluators> = LazyLock::new(|| {
    let folder = |(kind, table): &(&str, &str)| {
        let definition = format!("kind = \"{kind}\"\ndescription = \"d\"\n[{kind}]\n{table}");
        let files = FILES.into_iter().chain([("evaluator.toml", definition.as_str())]);
        let files = files.map(|(name, text)| (name.to_owned(), text.to_owned())).collect();
        EvaluatorFolder { name: format!("own_{kind}"), place: "fuzz".to_owned(), files }
    };
    Evaluators::from_folders(DEFINITIONS.iter().map(folder), BTreeMap::new()).expect("evaluators are valid")
});

/// Reads lines as what was asked, answered, instructed, given to a tool, told by it, and retrieved.
pub fn check(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let mut texts = text.splitn(6, '\u{1}').map(str::to_owned);
    let (output, result, arguments) = (texts.next(), texts.next(), texts.next());
    let (input, system, document) = (texts.next(), texts.next(), texts.next());
    let arguments = arguments.map(|text| serde_json::from_str(&text).unwrap_or(serde_json::Value::String(text)));
    let call = StepDescription {
        tool: Some("a".to_owned()),
        arguments,
        result: result.map(serde_json::Value::String),
        times: Some(3),
        ..StepDescription::default()
    };
    let documents = document.map(|document| vec![document.clone(), document]);
    let retrieval = StepDescription { retrieval: Some("q".to_owned()), documents, ..StepDescription::default() };
    let trace =
        trace_of(&TraceDescription { input, output, system, steps: vec![call, retrieval], ..Default::default() });
    invariants::of_run(&trace);
    invariants::of_evaluation(&trace, &EVALUATORS);
}
