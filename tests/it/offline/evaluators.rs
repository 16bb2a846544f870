//! The files that users write for evaluators.

use super::program::Folder;

fn own_loop(folder: &Folder, definition: &str, cases: &str) {
    std::fs::create_dir_all(folder.path("own/patience")).unwrap();
    folder.write("own/patience/evaluator.toml", definition).write("own/patience/cases.jsonl", cases);
}

const DEFINITION: &str = "kind = \"loop\"\ndescription = \"No call is repeated.\"\n[loop]\nsame_arguments = 2\n";
const HOLDS: &str =
    r#"{"name": "one call", "trace": {"steps": [{"tool": "a", "arguments": {}}]}, "expect": {"label": "pass"}}"#;

#[test]
fn the_shipped_evaluators_are_listed_and_hold_their_cases() {
    let folder = Folder::new();
    let listed = folder.ends(0, &["evaluators", "list", "--json"]).json();
    assert!(listed.as_array().unwrap().iter().any(|row| row["name"] == "loop" && row["annotator_kind"] == "code"));
    folder.ends(0, &["evaluators", "check"]);
    folder.ends(0, &["evaluators", "test"]);
}

#[test]
fn a_mistake_in_a_file_is_named_with_its_line_and_ends_with_2() {
    let folder = Folder::new();
    own_loop(&folder, "kind = \"loop\"\ndescription = \"x\"\ncolour = 1\n", HOLDS);
    folder.ends(2, &["evaluators", "check", "own"]).says("own/patience/evaluator.toml:3");
}

#[test]
fn a_case_that_does_not_hold_ends_with_1_and_is_named() {
    let folder = Folder::new();
    own_loop(&folder, DEFINITION, HOLDS);
    folder.ends(0, &["evaluators", "test", "--evaluators", "own"]);
    own_loop(&folder, DEFINITION, &HOLDS.replace("pass", "fail"));
    let run = folder.ends(1, &["evaluators", "test", "--evaluators", "own"]);
    assert!(run.stdout.contains("patience: one call: expected"), "{}", run.stdout);
}

#[test]
fn own_evaluators_join_the_shipped_ones_and_only_chooses_among_all() {
    let folder = Folder::new();
    own_loop(&folder, DEFINITION, HOLDS);
    folder.write("traces.jsonl", super::program::trace(1, "hello"));
    let rows = |rest: &[&str]| {
        let all = [&["evaluate", "traces.jsonl", "--evaluators", "own"], rest].concat();
        folder.ends(0, &all).lines().iter().map(|row| row["evaluator"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert!(rows(&[]).len() > 8 && rows(&[]).contains(&"patience".to_owned()));
    assert_eq!(rows(&["--only", "patience", "--only", "limits"]), ["limits", "patience"]);
}

#[test]
fn the_report_counts_every_rule_and_says_which_faults_no_rule_claims() {
    let folder = Folder::new();
    let report = folder.ends(0, &["evaluators", "report", "--traces", "300", "--seed", "3", "--json"]).json();
    let rules = report["rules"].as_array().unwrap();
    let rule = |name: &str| rules.iter().find(|row| row["evaluator"] == name).unwrap();
    assert_eq!(rule("loop")["cases"]["false_positives"], 0);
    assert!(rule("loop")["simulated"]["recall"]["low"].as_f64().unwrap() > 0.0);
    assert!(rule("argument_outlier")["simulated"]["true_positives"].as_u64().unwrap() > 0, "it learned first");
    for name in ["dead_end", "recursion", "swallowed_error", "broken_context", "model_outcome"] {
        let simulated = &rule(name)["simulated"];
        assert!(simulated["true_positives"].as_u64().unwrap() > 0, "{name} {simulated}");
        assert_eq!(simulated["false_negatives"], 0, "{name}");
        // It rightly sees that a source failed before an answer was invented, which is another fault.
        assert!(name == "swallowed_error" || simulated["false_positives"] == 0, "{name} {simulated}");
    }
    assert!(rule("secrets")["simulated"].is_null() && rules.iter().all(|row| row["evaluator"] != "groundedness"));
    let faults = report["faults"].as_array().unwrap();
    let fault = |name: &str| faults.iter().find(|row| row["fault"] == name).unwrap();
    assert!(fault("stops_reasoning")["otherwise"].as_str().unwrap().starts_with("drift of reasoning_tokens"));
    assert_eq!(fault("refund_loop")["found"], fault("refund_loop")["runs"]);
}

#[test]
fn a_preview_stores_nothing_and_says_what_would_be_scored_and_asked() {
    let folder = Folder::new();
    folder.ends(0, &["simulate", "--traces", "60", "--hours", "6", "-o", "traces.jsonl"]);
    let arguments =
        ["evaluators", "preview", "--from", "file:traces.jsonl", "--only", "loop", "--only", "groundedness"];
    let preview = folder.ends(0, &[&arguments[..], &["--json"]].concat()).json();
    assert_eq!((preview["traces"].as_u64(), preview["evaluators"].as_array().unwrap().len()), (Some(60), 2));
    let judge = &preview["judges"][0];
    assert!(judge["calls_per_day"].as_f64().unwrap() > 0.0 && judge["usd_per_day"].is_null(), "{judge}");
    assert!(folder.ends(0, &arguments).stdout.contains("calls a day"));
    assert!(!folder.path("driftline.db").exists());
    folder.ends(2, &["evaluators", "preview", "--from", "file:traces.jsonl", "--only", "nope"]).says("--only");
}

#[test]
fn what_is_usual_is_learned_into_a_folder_and_judged_from_then_on() {
    let folder = Folder::new();
    folder.ends(0, &["simulate", "--scenario", "healthy", "--traces", "300", "-o", "traces.jsonl"]);
    let outlier = |rest: &[&str]| {
        let all = [&["evaluate", "traces.jsonl", "--only", "argument_outlier"], rest].concat();
        let rows = folder.ends(0, &all).lines();
        rows.iter().filter(|row| row["outcome"] == "scored").count()
    };
    assert_eq!(outlier(&[]), 0);
    let learn = ["evaluators", "learn", "argument_outlier", "--from", "file:traces.jsonl"];
    folder.ends(2, &learn).says("--evaluators DIR");
    folder.ends(0, &[&learn[..], &["--evaluators", "own"]].concat()).says("learned from 300 runs");
    assert!(outlier(&["--evaluators", "own"]) > 50);
    folder
        .ends(2, &["evaluators", "learn", "loop", "--from", "file:traces.jsonl"])
        .says("only argument_outlier and usage_outlier learn");
    let outlier = ["evaluators", "learn", "usage_outlier", "--from", "file:traces.jsonl", "--evaluators", "own"];
    folder.ends(0, &outlier).says("learned from 300 runs");
    let rows = folder.ends(0, &["evaluate", "traces.jsonl", "--only", "usage_outlier", "--evaluators", "own"]).lines();
    let passed = rows.iter().filter(|row| row["label"] == "pass");
    assert_eq!((passed.count(), rows.len()), (300, 300), "healthy runs are usual");
}
