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
