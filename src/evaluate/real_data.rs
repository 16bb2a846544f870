//! Rules on real runs. Only what the loop rule reads is taken from the files: which tools were called with what.

#![expect(clippy::print_stdout, reason = "a skipped test must be seen")]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::cases::{StepDescription, TraceDescription, trace_of};
use super::definition::{EvaluatorDefinition, JudgeModels};
use super::kinds::{Behaviour, Finding};
use super::shipped::shipped;

pub(super) fn shared_data() -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
    let folder = std::env::var_os("DRIFTLINE_SHARED_DATA").map_or_else(beside, PathBuf::from);
    folder.is_dir().then_some(folder)
}

fn attribute<'a>(span: &'a Value, key: &str) -> Option<&'a str> {
    let attributes = span["attributes"].as_array()?;
    attributes.iter().find(|attribute| attribute["key"] == key)?["value"]["stringValue"].as_str()
}

/// The steps of one line of OTLP/JSON, in order of start time, then span id.
fn description(line: &str) -> TraceDescription {
    let request: Value = serde_json::from_str(line).unwrap();
    let mut spans: Vec<&Value> =
        request["resourceSpans"].as_array().unwrap().iter().flat_map(spans_of_resource).collect();
    let start = |span: &Value| span["startTimeUnixNano"].as_str().unwrap().parse::<u64>().unwrap();
    spans.sort_by_key(|span| (start(span), span["spanId"].to_string()));
    TraceDescription { steps: spans.into_iter().filter_map(step).collect(), ..TraceDescription::default() }
}

fn spans_of_resource(resource: &Value) -> Vec<&Value> {
    let scopes = resource["scopeSpans"].as_array().unwrap();
    scopes.iter().flat_map(|scope| scope["spans"].as_array().unwrap()).collect()
}

fn step(span: &Value) -> Option<StepDescription> {
    let model = StepDescription { model: Some("m".to_owned()), ..StepDescription::default() };
    match attribute(span, "gen_ai.operation.name")? {
        "chat" => Some(StepDescription { user_text: user_text(span), ..model }),
        "execute_tool" => Some(StepDescription {
            tool: attribute(span, "gen_ai.tool.name").map(str::to_owned),
            arguments: serde_json::from_str(attribute(span, "gen_ai.tool.call.arguments")?).ok(),
            result: attribute(span, "gen_ai.tool.call.result").map(Value::from),
            ..StepDescription::default()
        }),
        _ => None,
    }
}

/// The files carry only new messages, so any user message of a call is new in it.
fn user_text(span: &Value) -> Option<String> {
    let messages: Value = serde_json::from_str(attribute(span, "gen_ai.input.messages")?).ok()?;
    let message = messages.as_array()?.iter().rfind(|message| message["role"] == "user")?;
    Some(message["parts"].to_string())
}

fn findings(folder: &Path, file: &str) -> Vec<Finding> {
    let definition = shipped().into_iter().find(|folder| folder.name == "loop").unwrap();
    let Behaviour::Rule(rule) = EvaluatorDefinition::parse(&definition, &JudgeModels::new()).unwrap().behaviour else {
        panic!("loop is a rule");
    };
    let file = std::fs::File::open(folder.join(file)).unwrap();
    let lines = BufReader::new(flate2::read::MultiGzDecoder::new(file)).lines();
    lines.map(|line| rule.check(&trace_of(&description(&line.unwrap())))).collect()
}

fn loops(folder: &Path, file: &str) -> Vec<String> {
    let explanation = |finding: Finding| match finding {
        Finding::Scored { value, explanation, .. } if value < 0.5 => Some(explanation),
        _ => None,
    };
    findings(folder, file).into_iter().filter_map(explanation).collect()
}

#[test]
fn the_nine_looping_runs_of_the_fine_tuned_agent_are_found_and_none_before() {
    let Some(folder) = shared_data() else {
        println!("skipped: no shared data");
        return;
    };
    assert_eq!(loops(&folder, "tau_telecom_gpt-4.1.otlp.jsonl.gz"), [""; 0]);
    let found = loops(&folder, "tau_telecom_ft-gpt-4.1.otlp.jsonl.gz");
    assert_eq!(found.len(), 9, "{found:#?}");
    let longest = "get_data_usage was called 64 times in a row with the same arguments";
    assert!(found.iter().any(|explanation| explanation == longest), "{found:#?}");
}

#[test]
fn of_364_runs_without_three_calls_in_a_row_one_loops_in_a_cycle() {
    let Some(folder) = shared_data() else {
        println!("skipped: no shared data");
        return;
    };
    let files = ["tau_airline_gpt-4o", "tau_airline_gpt-4o-2024-11-20", "tau_retail_gpt-4.1-mini_base"];
    let found: Vec<String> = files.iter().flat_map(|file| loops(&folder, &format!("{file}.otlp.jsonl.gz"))).collect();
    assert_eq!(found, ["the calls book_reservation, think were repeated 3 times with the same arguments"]);
}
