//! What the program says of real agents.

use std::path::Path;

use serde_json::Value;

use super::program::{Folder, Run, json_lines, rows_by_trace};
use crate::support::data::{shared_data, trace_files};

fn traces(data: &Path, set: &str) -> String {
    data.join(format!("{set}.otlp.jsonl.gz")).display().to_string()
}

fn labels(data: &Path, set: &str) -> String {
    data.join(format!("labels_{set}.jsonl")).display().to_string()
}

fn row<'a>(report: &'a Value, series: &str) -> &'a Value {
    report["series"].as_array().unwrap().iter().find(|row| row["series"] == series).unwrap()
}

fn drift(folder: &Folder, code: i32, baseline: &str, current: &str, rest: &[&str]) -> Value {
    let arguments = ["drift", "--json", "--baseline", baseline, "--current", current];
    folder.ends(code, &[&arguments, rest].concat()).json()
}

#[test]
fn every_real_trace_has_a_row_for_every_evaluator() {
    let Some(files) = trace_files() else { return };
    let folder = Folder::new();
    let mut traces = 0;
    for file in files {
        folder.ends(0, &["evaluate", file.to_str().unwrap(), "-o", "rows.jsonl"]);
        let rows = json_lines(&folder.read("rows.jsonl"));
        let evaluators = rows_by_trace(&rows);
        let expected = evaluators.values().next().unwrap();
        assert!(expected.len() >= 8 && expected.is_sorted(), "{expected:?}");
        assert!(evaluators.values().all(|found| found == expected), "{}", file.display());
        for row in &rows {
            assert_eq!(row["outcome"] == "scored", row["value"].is_number(), "{row}");
            assert!(row["outcome"] != "failed" && row["explanation"].is_string(), "{row}");
        }
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        traces += if name.starts_with("tau_") { evaluators.len() } else { 0 };
    }
    assert_eq!(traces, 672);
}

#[test]
fn no_trial_of_one_agent_drifts_from_another() {
    let Some(data) = shared_data() else { return };
    let (folder, set) = (Folder::new(), "tau_airline_gpt-4o");
    let trial = |number: usize| format!("file:{}?trial={number}", traces(&data, set));
    for (one, other) in [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)] {
        let labels = labels(&data, set);
        let report = drift(&folder, 0, &trial(one), &trial(other), &["--labels-file", &labels, "--fail-on-drift"]);
        assert_eq!(report["traces"], serde_json::json!({ "baseline": 50, "current": 50 }));
        assert_eq!(report["verdict"], "no_drift");
        assert!(report["series"].as_array().unwrap().iter().all(|row| row["series"] != "trial"));
        assert_eq!(row(&report, "success")["kind"], "boolean");
    }
}

#[test]
fn a_model_upgrade_drifts_in_tokens_and_by_task_in_named_transitions_but_not_in_success() {
    let Some(data) = shared_data() else { return };
    let (folder, sets) = (Folder::new(), ["tau_retail_gpt-4.1-mini_base", "tau_retail_gpt-5-mini_base"]);
    let [before, after] = sets.map(|set| traces(&data, set));
    let alone = drift(&folder, 1, &before, &after, &["--fail-on-drift"]);
    assert_eq!(row(&alone, "output_tokens")["verdict"], "drift");
    assert_eq!(row(&alone, "tool_transitions")["verdict"], "no_drift");
    // JSON where there was prose: a series that no one has configured.
    assert_eq!(row(&alone, "answer_format")["verdict"], "drift");

    let [one, two] = sets.map(|set| labels(&data, set));
    let by_task = ["--labels-file", &one, "--labels-file", &two, "--pair-by", "task_id"];
    let paired = drift(&folder, 0, &before, &after, &by_task);
    let transitions = row(&paired, "tool_transitions");
    assert_eq!(transitions["verdict"], "drift");
    let named = transitions["transitions"].as_array().unwrap();
    assert!(!named.is_empty() && named.iter().all(|cell| cell["from"] != "" && cell["to"] != ""), "{named:?}");
    assert_eq!(row(&paired, "success")["verdict"], "no_drift");
    assert_eq!(row(&paired, "output_tokens")["pairs"], 111);
}

#[test]
fn the_text_of_a_report_names_what_moved() {
    let Some(data) = shared_data() else { return };
    let folder = Folder::new();
    let [before, after] = ["tau_retail_gpt-4.1-mini_base", "tau_retail_gpt-5-mini_base"].map(|set| traces(&data, set));
    let Run { stdout, .. } = folder.ends(0, &["drift", "--baseline", &before, "--current", &after]);
    assert!(stdout.starts_with("DRIFT: "), "{stdout}");
    let tokens = stdout.lines().find(|line| line.starts_with("output_tokens ")).unwrap();
    assert!(tokens.contains("DRIFT") && tokens.contains("x 3."), "{tokens}");
    assert!(stdout.contains("gpt-4.1-mini: 100.0 % -> 0.0 %"), "{stdout}");
}

#[test]
fn an_agent_believed_unchanged_is_no_alarm_and_its_success_is_notable_by_task() {
    let Some(data) = shared_data() else { return };
    let (folder, sets) = (Folder::new(), ["tau_retail_gpt-4.1-mini_base-r1", "tau_retail_gpt-4.1-mini_base"]);
    let ([before, after], [one, two]) = (sets.map(|set| traces(&data, set)), sets.map(|set| labels(&data, set)));
    let by_task = ["--fail-on-drift", "--labels-file", &one, "--labels-file", &two, "--pair-by", "task_id"];
    let report = drift(&folder, 0, &before, &after, &by_task);
    assert_eq!(
        (row(&report, "success")["notable"].as_bool(), report["verdict"].as_str()),
        (Some(true), Some("no_drift"))
    );
}

#[test]
fn a_fine_tuned_agent_drifts_in_success_by_task_and_alone_in_loops_by_an_exact_test_of_few() {
    let Some(data) = shared_data() else { return };
    let (folder, sets) = (Folder::new(), ["tau_telecom_gpt-4.1", "tau_telecom_ft-gpt-4.1"]);
    let ([before, after], [one, two]) = (sets.map(|set| traces(&data, set)), sets.map(|set| labels(&data, set)));
    let alone = drift(&folder, 0, &before, &after, &[]);
    let loops = row(&alone, "loop");
    assert_eq!((loops["verdict"].as_str(), loops["baseline"]["n"].as_u64()), (Some("drift"), Some(40)), "{loops}");
    assert!(loops["test"].as_str().unwrap().contains("exact"), "{loops}");
    let by_task = ["--labels-file", &one, "--labels-file", &two, "--pair-by", "task_id"];
    let paired = drift(&folder, 0, &before, &after, &by_task);
    assert_eq!(row(&paired, "success")["verdict"], "drift", "{}", row(&paired, "success"));
}
