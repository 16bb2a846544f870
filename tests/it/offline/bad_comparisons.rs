//! Every way in which two sides cannot be compared, and the answer that each command gives.

use serde_json::{Value, json};

use super::program::{Folder, trace, trace_id};

const POLICY: &str = "[[series]]\nseries = \"solved\"\ndirection = \"higher_is_better\"\nmargin = 0.05\n";

/// Traces from `first` with a label that `solved` gives.
fn side(folder: &Folder, name: &str, first: u32, count: u32, solved: impl Fn(u32) -> Value) {
    folder.write(
        &format!("{name}.jsonl"),
        (first..first + count).map(|number| trace(number, "done")).collect::<String>(),
    );
    let label = |number: u32| json!({ "trace_id": trace_id(number), "solved": solved(number) }).to_string() + "\n";
    folder.write(&format!("{name}.labels"), (first..first + count).map(label).collect::<String>());
}

fn sides(counts: [u32; 2]) -> Folder {
    let folder = Folder::new();
    side(&folder, "before", 1, counts[0], |number| (!number.is_multiple_of(9)).into());
    side(&folder, "after", 1001, counts[1], |number| (!number.is_multiple_of(7)).into());
    folder.write("gate.toml", POLICY);
    folder
}

fn labels<'a>() -> [&'a str; 4] {
    ["--labels-file", "before.labels", "--labels-file", "after.labels"]
}

fn drift(folder: &Folder, code: i32, before: &str, after: &str) -> Value {
    let sides = ["drift", "--json", "--baseline", before, "--current", after];
    folder.ends(code, &[&sides[..], &labels()].concat()).json()
}

/// The reason that the gate gives for its first series.
fn gate(folder: &Folder, code: i32, before: &str, after: &str) -> String {
    let sides = ["gate", "--json", "--policy", "gate.toml", "--baseline", before, "--candidate", after];
    let report = folder.ends(code, &[&sides[..], &labels()].concat()).json();
    report["series"][0]["reason"].as_str().unwrap().to_owned()
}

fn row(report: &Value, series: &str) -> Value {
    report["series"].as_array().unwrap().iter().find(|row| row["series"] == series).unwrap().clone()
}

#[test]
fn identical_and_overlapping_sides_are_said_to_be_so() {
    let folder = sides([100, 100]);
    let half: String = folder.read("before.jsonl").lines().skip(50).map(|line| format!("{line}\n")).collect();
    folder.write("both.jsonl", half + &folder.read("after.jsonl"));
    let same = drift(&folder, 0, "before.jsonl", "before.jsonl");
    assert!(same["notes"].to_string().contains("hold the same traces"), "{same}");
    let shared = drift(&folder, 0, "before.jsonl", "both.jsonl");
    assert!(shared["notes"].to_string().contains("share traces"), "{}", shared["notes"]);
    assert!(gate(&folder, 3, "before.jsonl", "before.jsonl").contains("both sides hold the same traces"));
    assert!(gate(&folder, 3, "before.jsonl", "both.jsonl").contains("both sides share traces"));
}

#[test]
fn an_empty_selection_is_named_by_its_side() {
    let folder = sides([100, 100]);
    folder.write("empty.jsonl", "");
    let nothing = "after.jsonl?release=none";
    folder.ends(2, &["drift", "--baseline", "before.jsonl", "--current", nothing]).says("no column \"release\"");
    let nothing = "after.jsonl?service=none";
    let report = drift(&folder, 3, "before.jsonl", nothing);
    assert!(report["notes"].to_string().contains("no trace is selected on the current side"));
    assert_eq!(gate(&folder, 3, "before.jsonl", nothing), "no trace is selected on the candidate side");
    assert_eq!(
        gate(&folder, 3, "before.jsonl?service=none", "after.jsonl"),
        "no trace is selected on the baseline side"
    );
    folder.ends(4, &["baseline", "create", "none", "--from", nothing]).says("no trace is selected by");
}

#[test]
fn an_unknown_series_is_answered_with_those_there_are() {
    let folder = sides([100, 100]);
    folder.write("gate.toml", POLICY.replace("solved", "slved"));
    let reason = gate(&folder, 3, "before.jsonl", "after.jsonl");
    assert!(reason.contains("no values of slved; it has") && reason.contains("solved"), "{reason}");
}

#[test]
fn every_mistake_of_a_policy_is_told_at_once_with_2() {
    let folder = sides([100, 100]);
    let wrong = "alpha = 2\n[[series]]\nseries = \"a\"\nfloor = nan\n[[series]]\nseries = \"b\"\nmargin = 1\n";
    let arguments = ["gate", "--baseline", "before.jsonl", "--candidate", "after.jsonl", "--policy", "gate.toml"];
    folder.write("gate.toml", wrong);
    folder.ends(2, &arguments).says("alpha is 2").says("NaN is not a bound").says("a margin needs a direction");
    folder.write("gate.toml", "[[series]\n");
    folder.ends(2, &arguments).says("gate.toml: gate policy cannot be read").says("line 1");
    folder.write("gate.toml", "");
    folder.ends(2, &arguments).says("no [[series]] is asked for");
    folder.ends(2, &[&arguments[..6], &["nowhere.toml"]].concat()).says("cannot read nowhere.toml");
}

#[test]
fn what_is_no_number_is_left_out_and_counted_or_refused() {
    let folder = sides([100, 100]);
    side(&folder, "after", 1001, 100, |number| if number < 1011 { json!(-1.5) } else { json!(f64::from(number % 2)) });
    side(&folder, "before", 1, 100, |number| json!(f64::from(number % 2)));
    let row = row(&drift(&folder, 0, "before.jsonl", "after.jsonl"), "solved");
    assert_eq!(row["current"]["n"], 90);
    assert!(row["note"].as_str().unwrap().contains("10 values were left out"), "{row}");
    folder.write("after.labels", format!("{{\"trace_id\": \"{}\", \"solved\": NaN}}\n", trace_id(1001)));
    let arguments = ["drift", "--baseline", "before.jsonl", "--current", "after.jsonl"];
    let run = folder.run(&[&arguments[..], &labels()].concat());
    assert_ne!(run.code, 0, "{}", run.stdout);
    run.says("after.labels").says("line 1");
}

#[test]
fn a_series_without_variance_is_compared_and_said_not_to_vary() {
    let folder = sides([100, 100]);
    side(&folder, "before", 1, 100, |_| json!(3));
    side(&folder, "after", 1001, 100, |_| json!(3));
    let row = row(&drift(&folder, 0, "before.jsonl", "after.jsonl"), "solved");
    assert_eq!((row["verdict"].as_str(), row["baseline"]["estimate"].as_f64()), (Some("no_drift"), Some(3.0)));
    let reason = gate(&folder, 0, "before.jsonl", "after.jsonl");
    assert!(reason.contains("no value differs from another"), "{reason}");
}

#[test]
fn one_trace_is_not_enough_and_never_a_crash() {
    let folder = sides([1, 1]);
    assert_eq!(drift(&folder, 3, "before.jsonl", "after.jsonl")["verdict"], "insufficient_evidence");
    let reason = gate(&folder, 3, "before.jsonl", "after.jsonl");
    assert!(reason.contains("shows neither"), "{reason}");
    let taken = folder.ends(0, &["baseline", "create", "one", "--from", "before.jsonl", "--json"]).json();
    assert_eq!(taken["traces"], 1);
    drift(&folder, 3, "name:one", "after.jsonl");
}

#[test]
fn a_baseline_of_another_revision_is_not_compared() {
    let folder = sides([100, 100]);
    std::fs::create_dir_all(folder.path("evaluators/few_tools")).unwrap();
    let at_most = |tools: u32| {
        let definition = format!(
            "kind = \"expression\"\ndescription = \"few tools\"\n[expression]\npass_when = \"trace.tools.size() < {tools}\"\n"
        );
        folder.write("evaluators/few_tools/evaluator.toml", definition);
    };
    folder.write("evaluators/few_tools/cases.jsonl", "");
    folder.write("driftline.toml", "[evaluators]\ndirectory = \"evaluators\"\n");
    at_most(3);
    folder.ends(0, &["baseline", "create", "old", "--from", "before.jsonl"]);
    assert_eq!(row(&drift(&folder, 0, "old", "after.jsonl"), "few_tools")["verdict"], "no_drift");
    at_most(4);
    let row = row(&drift(&folder, 0, "old", "after.jsonl"), "few_tools");
    assert_eq!(row["verdict"], "insufficient_evidence");
    assert!(row["note"].as_str().unwrap().contains("revisions are never compared"), "{row}");
    folder.write("gate.toml", POLICY.replace("solved", "few_tools"));
    assert!(gate(&folder, 3, "old", "after.jsonl").contains("it was scored by revision"));
}

#[test]
fn a_release_that_is_not_there_is_answered_with_what_is() {
    let folder = sides([100, 100]);
    folder.ends(4, &["releases", "list"]).says("start driftline serve");
    folder.ends(0, &["baseline", "create", "any", "--from", "before.jsonl"]);
    assert!(folder.ends(0, &["releases", "list"]).stdout.contains("no version has been noticed"));
    folder.ends(4, &["releases", "compare", "shop", "2.0"]).says("service \"shop\" has no version \"2.0\"");
    folder.ends(4, &["releases", "show", "shop", "2.0"]).says("list the releases");
    folder.ends(2, &["releases", "compare", "shop", "2.0", "--window", "soon"]).says("invalid value 'soon'");
}

#[test]
fn what_no_traces_arrive_in_is_not_waited_for() {
    let folder = sides([100, 100]);
    folder.ends(0, &["baseline", "create", "any", "--from", "before.jsonl"]);
    let gate =
        |candidate| ["gate", "--policy", "gate.toml", "--baseline", "any", "--candidate", candidate, "--wait", "1s"];
    folder.ends(2, &gate("after.jsonl")).says("no traces arrive in a file");
    folder.ends(2, &gate("name:any")).says("no traces arrive in a stored baseline");
    let asking = ["--url", "http://127.0.0.1:1"];
    folder
        .ends(2, &[&["drift", "--baseline", "any", "--current", "after.jsonl"], &asking[..]].concat())
        .says("leave out --url");
    folder
        .ends(2, &[&["baseline", "create", "x", "--from", "after.jsonl"], &asking[..]].concat())
        .says("leave out --url");
}
