//! Gates on made labels.

use serde_json::json;

use super::program::{Folder, Run, trace, trace_id};

const POLICY: &str = "[[series]]\nseries = \"solved\"\ndirection = \"higher_is_better\"\nmargin = 0.05\n";

/// Traces from `first`, of which one in `fails_every` is not solved, with their labels.
fn side(folder: &Folder, name: &str, first: u32, count: u32, fails_every: u32) {
    let traces: String = (first..first + count).map(|number| trace(number, "done")).collect();
    let label = |number: u32| {
        let index = number - first;
        json!({ "trace_id": trace_id(number), "solved": !index.is_multiple_of(fails_every), "task": index }).to_string()
            + "\n"
    };
    folder.write(&format!("{name}.jsonl"), traces);
    folder.write(&format!("{name}.labels"), (first..first + count).map(label).collect::<String>());
}

fn gate(folder: &Folder, code: i32, policy: &str, rest: &[&str]) -> Run {
    folder.write("gate.toml", policy);
    let sides = ["gate", "--baseline", "before.jsonl", "--candidate", "after.jsonl", "--policy", "gate.toml"];
    let labels = ["--labels-file", "before.labels", "--labels-file", "after.labels"];
    folder.ends(code, &[&sides[..], &labels, rest].concat())
}

#[test]
fn a_candidate_that_is_as_good_passes_with_0() {
    let folder = Folder::new();
    side(&folder, "before", 1, 400, 10);
    side(&folder, "after", 1001, 400, 20);
    let report = gate(&folder, 0, POLICY, &["--json"]).json();
    assert_eq!(report["verdict"], "pass");
    let row = &report["series"][0];
    assert_eq!((row["series"].as_str(), row["margin"].as_f64()), (Some("solved"), Some(0.05)));
    assert_eq!((row["n_baseline"].as_u64(), row["n_candidate"].as_u64()), (Some(400), Some(400)));
}

#[test]
fn a_candidate_that_is_worse_fails_with_1_and_says_so_to_the_ci_server() {
    let folder = Folder::new();
    side(&folder, "before", 1, 300, 10);
    side(&folder, "after", 1001, 300, 2);
    let run = gate(&folder, 1, POLICY, &["--junit", "gate.xml", "--markdown", "gate.md"]);
    assert!(run.stdout.starts_with("FAIL"), "{}", run.stdout);
    assert!(folder.read("gate.xml").contains("failures=\"1\""));
    assert!(folder.read("gate.md").starts_with("### Gate: FAIL"));
}

#[test]
fn too_few_traces_are_inconclusive_with_3_and_say_how_many_are_needed() {
    let folder = Folder::new();
    side(&folder, "before", 1, 40, 10);
    side(&folder, "after", 1001, 40, 8);
    let report = gate(&folder, 3, POLICY, &["--json"]).json();
    assert_eq!(report["verdict"], "inconclusive");
    assert!(report["series"][0]["needed_n"].as_u64().unwrap() > 40, "{report}");
}

#[test]
fn a_policy_that_pairs_counts_pairs_and_needs_its_column() {
    let folder = Folder::new();
    side(&folder, "before", 1, 300, 10);
    side(&folder, "after", 1001, 200, 10);
    let report = gate(&folder, 0, &format!("pair_by = \"task\"\n{POLICY}"), &["--json"]).json();
    assert_eq!(report["series"][0]["n_candidate"], 200, "the tasks on both sides");
    gate(&folder, 2, &format!("pair_by = \"taks\"\n{POLICY}"), &[]).says("no column \"taks\"").says("task");
}

#[test]
fn a_duration_that_is_none_is_said_with_examples() {
    let folder = Folder::new();
    gate(&folder, 2, POLICY, &["--wait", "nope"]).says("such as 30m, 24h or 7d");
    folder.ends(2, &["releases", "compare", "a", "b", "--window", "abc"]).says("such as 30m, 24h or 7d");
}

#[test]
fn a_gate_does_not_decide_on_half_its_input() {
    let folder = Folder::new();
    side(&folder, "before", 1, 300, 10);
    side(&folder, "after", 1001, 300, 20);
    folder.write("after.jsonl", folder.read("after.jsonl") + "{\"resourceSpans\":[{");
    gate(&folder, 4, POLICY, &[]).says("after.jsonl line 301");
}
