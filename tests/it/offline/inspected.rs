//! What `inspect --json` prints of real traces, beside what another program found in them.

use std::collections::HashMap;
use std::io::Read as _;
use std::path::Path;

use serde_json::{Value, json};

use super::program::{Folder, json_lines};
use crate::support::data::shared_data;

#[test]
fn inspect_says_of_every_real_trace_what_another_program_says() {
    let Some(data) = shared_data() else { return };
    let expected = expected(&data);
    let mut sets: Vec<&str> = expected.iter().map(|row| row["set"].as_str().unwrap()).collect();
    sets.dedup();
    let folder = Folder::new();
    let mut inspected = HashMap::new();
    for set in sets {
        let file = data.join(format!("{set}.otlp.jsonl.gz"));
        let printed = folder.ends(0, &["inspect", "--json", file.to_str().unwrap()]).stdout;
        inspected.extend(json_lines(&printed).into_iter().map(|row| (row["trace_id"].to_string(), row)));
    }
    assert_eq!((expected.len(), inspected.len()), (672, 672));
    for row in &expected {
        assert_eq!(columns(&inspected[&row["trace_id"].to_string()]), wanted(row), "{}", row["trace_id"]);
    }
}

fn expected(data: &Path) -> Vec<Value> {
    let file = std::fs::File::open(data.join("expected_features_dev.jsonl.gz")).unwrap();
    let mut text = String::new();
    flate2::read::GzDecoder::new(file).read_to_string(&mut text).unwrap();
    json_lines(&text)
}

/// The columns that both programs have.
fn wanted(row: &Value) -> Value {
    let names = [
        "chat_calls",
        "tools",
        "tool_errors",
        "empty_results",
        "max_same_call",
        "max_consecutive_same_call",
        "input_tokens",
        "output_tokens",
        "root_error",
    ];
    names.map(|name| row[name].clone()).into_iter().collect()
}

fn columns(inspection: &Value) -> Value {
    let tools = inspection["tools"].as_array().unwrap();
    let count = |holds: fn(&Value) -> bool| tools.iter().filter(|tool| holds(tool)).count();
    let (most, most_in_a_row) = repeated(tools);
    json!([
        inspection["model_calls"],
        tools.iter().map(|tool| &tool["name"]).collect::<Vec<_>>(),
        count(|tool| tool["status"] != "success"),
        count(|tool| tool["result_empty"] == true),
        most,
        most_in_a_row,
        inspection["input_tokens"],
        inspection["output_tokens"],
        inspection["error"],
    ])
}

/// How often the most repeated call was made, in all and in a row.
fn repeated(tools: &[Value]) -> (usize, usize) {
    let first = |(index, tool): (usize, &Value)| tool["repeat_of"].as_u64().unwrap_or(index as u64);
    let firsts: Vec<u64> = tools.iter().enumerate().map(first).collect();
    let in_all = firsts.iter().map(|call| firsts.iter().filter(|other| *other == call).count());
    let in_a_row = firsts.chunk_by(|left, right| left == right).map(<[u64]>::len);
    (in_all.max().unwrap_or(0), in_a_row.max().unwrap_or(0))
}
