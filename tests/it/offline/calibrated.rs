//! Judges against people from files, and labels in and out of a store.

use serde_json::{Value, json};

use super::program::{Folder, json_lines, trace_id};

/// Rows as `evaluate` writes them: 120 that a judge passes, 60 that it fails; people contradict every tenth.
fn rows() -> Vec<(Value, bool)> {
    let row = |number: u32| {
        let passed = !number.is_multiple_of(3);
        let row = json!({
            "trace_id": trace_id(number), "span_id": "0000000000000001", "evaluator": "grounded", "revision": "r1",
            "annotator_kind": "llm", "outcome": "scored", "value": f64::from(passed),
            "label": if passed { "pass" } else { "fail" }, "explanation": format!("because of {number}\u{1b}[2J"),
        });
        (row, passed != (number % 10 == 1))
    };
    (1..=180).map(row).collect()
}

fn lines(values: impl Iterator<Item = Value>) -> String {
    values.map(|value| format!("{value}\n")).collect()
}

fn labels(rows: &[(Value, bool)]) -> String {
    let label = |(row, person): &(Value, bool)| {
        json!({
            "trace_id": row["trace_id"], "evaluator": "grounded", "label": if *person { "pass" } else { "fail" },
            "reviewer": "anna", "note": "I looked",
        })
    };
    lines(rows.iter().map(label))
}

fn scored() -> (Folder, Vec<(Value, bool)>) {
    let (folder, rows) = (Folder::new(), rows());
    folder.write("scores.jsonl", lines(rows.iter().map(|(row, _)| row.clone())));
    folder.write("labels.jsonl", labels(&rows));
    (folder, rows)
}

#[test]
fn verdicts_and_labels_from_files_become_error_rates_agreement_and_a_corrected_rate() {
    let (folder, _) = scored();
    let arguments = ["calibrate", "--scores", "scores.jsonl", "--labels-file", "labels.jsonl"];
    let report = folder.ends(0, &[&arguments[..], &["--json"]].concat()).json();
    let judge = &report["judges"][0];
    assert_eq!(
        (&judge["evaluator"], &judge["n"], &judge["basis"]),
        (&json!("grounded"), &json!(180), &json!("imported"))
    );
    assert_eq!(judge["calibrated"], true, "{judge}");
    let counts = |key: &str| judge["confusion"][key].as_f64().unwrap();
    assert_eq!(counts("true_pass") + counts("false_pass"), 120.0);
    assert_eq!(counts("false_pass") + counts("false_fail"), 18.0);
    assert_eq!(judge["disagreements"].as_array().unwrap().len(), 18);
    assert!(judge["disagreements"][0]["reason"].as_str().unwrap().starts_with("because of "));
    assert_eq!(judge["corrected"]["method"], "rogan_gladen");
    assert_eq!((&judge["kappa"]["word"], &judge["kappa"]["scale"]), (&json!("good"), &json!("Altman 1991")));

    let run = folder.ends(0, &[&arguments[..], &["--html", "report.html"]].concat());
    for part in ["calibrated", "sensitivity", "specificity", "Cohen's kappa", "rogan_gladen", "━●━", "18 disagreements"]
    {
        assert!(run.stdout.contains(part), "{part:?} is not in\n{}", run.stdout);
    }
    assert!(!run.stdout.contains('\u{1b}'), "a judge's reason moves no cursor");
    assert!(!run.stdout.contains("upstream"), "rows say nothing of it: {}", run.stdout);
    let page = folder.read("report.html");
    assert!(page.contains("<svg") && page.contains("disagreements") && !page.contains("<script"), "{page}");
}

#[test]
fn a_bad_line_of_labels_is_named_and_the_others_are_used() {
    let (folder, rows) = scored();
    let bad = format!("{}{{\"trace_id\":\"xyz\",\"label\":\"pass\"}}\nnot json\n", labels(&rows[..3]));
    folder.write("labels.jsonl", format!("{bad}{}", labels(&rows[3..])));
    let arguments = ["calibrate", "--scores", "scores.jsonl", "--labels-file", "labels.jsonl", "--json"];
    let run = folder.ends(4, &arguments);
    run.says("labels.jsonl line 4: not a label").says("labels.jsonl line 5: not a label").says("2 problems");
    assert_eq!(run.json()["judges"][0]["n"], 180);
}

#[test]
fn without_labels_there_is_not_enough_evidence() {
    let (folder, _) = scored();
    folder.write("labels.jsonl", "");
    let run = folder.ends(3, &["calibrate", "--scores", "scores.jsonl", "--labels-file", "labels.jsonl"]);
    assert!(run.stdout.contains("uncalibrated: 0 labels on its passes and 0 on its fails; 50 of each are needed"));
    assert!(run.stdout.contains("not corrected: there are no labels"), "{}", run.stdout);
}

#[test]
fn labels_go_into_a_store_and_out_again_and_calibrate_rows_that_it_never_saw() {
    let (folder, _) = scored();
    let imported = folder.ends(0, &["review", "import", "labels.jsonl", "--json"]).json();
    assert_eq!((&imported["given"], &imported["new"]), (&json!(180), &json!(180)));
    let again = folder.ends(0, &["review", "import", "labels.jsonl", "--json"]).json();
    assert_eq!((&again["given"], &again["new"]), (&json!(180), &json!(0)));
    let report = folder.ends(0, &["calibrate", "--scores", "scores.jsonl", "--json"]).json();
    assert_eq!(report["judges"][0]["n"], 180);

    folder.ends(0, &["review", "export", "-o", "log.jsonl"]);
    let log = json_lines(&folder.read("log.jsonl"));
    assert_eq!((log.len(), &log[0]["origin"], &log[0]["reviewer"]), (180, &json!("import"), &json!("anna")));
    let other = Folder::new();
    other.write("log.jsonl", folder.read("log.jsonl"));
    assert_eq!(other.ends(0, &["review", "import", "log.jsonl", "--json"]).json()["new"], 180);
}

#[test]
fn an_imported_line_that_is_no_label_is_named_and_the_others_are_kept() {
    let folder = Folder::new();
    let good = json!({ "trace_id": trace_id(1), "evaluator": "grounded", "label": true });
    let bad = json!({ "trace_id": trace_id(2), "evaluator": "grounded", "label": "maybe" });
    let odd = json!({ "trace_id": trace_id(3), "evaluator": "grounded", "label": false, "probability": 2 });
    folder.write("labels.jsonl", lines([good, bad, odd].into_iter()));
    let run = folder.ends(4, &["review", "import", "labels.jsonl"]);
    run.says("labels.jsonl line 2: not a label: label is \"maybe\", and none of pass, fail, skip");
    run.says("labels.jsonl line 3: probability is 2, expected more than 0 and at most 1");
    assert!(run.stdout.contains("1 label, 1 of them new"), "{}", run.stdout);
}

#[test]
fn a_judge_without_labels_is_listed_as_uncalibrated_and_a_rule_is_neither() {
    let folder = Folder::new();
    let listed = folder.ends(0, &["evaluators", "list", "--json"]).json();
    let of = |name: &str| {
        let all = listed.as_array().unwrap();
        all.iter().find(|one| one["name"] == name).unwrap()["calibrated"].clone()
    };
    assert_eq!((of("groundedness"), of("loop")), (json!(false), Value::Null));
    assert!(folder.ends(0, &["evaluators", "list"]).stdout.contains("uncalibrated"));
}

#[test]
fn of_imported_lines_that_do_not_say_when_the_last_one_holds() {
    let folder = Folder::new();
    let line =
        |number: u32, label: bool| json!({ "trace_id": trace_id(number), "evaluator": "grounded", "label": label });
    folder.write("labels.jsonl", lines((1..=20).rev().flat_map(|number| [line(number, true), line(number, false)])));
    folder.ends(0, &["review", "import", "labels.jsonl"]);
    let log = json_lines(&folder.ends(0, &["review", "export"]).stdout);
    let times: Vec<i64> = log.iter().map(|label| label["labelled_at"].as_i64().unwrap()).collect();
    assert!(times.is_sorted_by(|one, next| one < next), "{times:?}");
    assert!(log.chunks(2).all(|pair| pair[0]["label"] == "pass" && pair[1]["label"] == "fail"), "{log:?}");
    assert_eq!(log[0]["trace_id"], json!(trace_id(20)));
}

#[test]
fn who_changes_their_mind_back_without_saying_when_has_the_last_word_and_says_it_once() {
    let folder = Folder::new();
    let line = |label: bool| json!({ "trace_id": trace_id(1), "evaluator": "grounded", "label": label });
    let import = |said: &[bool]| {
        folder.write("labels.jsonl", lines(said.iter().map(|label| line(*label))));
        let kept = folder.ends(0, &["review", "import", "labels.jsonl", "--json"]).json();
        let log = json_lines(&folder.ends(0, &["review", "export"]).stdout);
        (kept["new"].as_u64().unwrap(), log.last().unwrap()["label"].as_str().unwrap().to_owned())
    };
    assert_eq!(import(&[true]), (1, "pass".to_owned()));
    assert_eq!(import(&[true, false]), (1, "fail".to_owned()), "a file that has grown");
    assert_eq!(import(&[true, false, true]), (1, "pass".to_owned()));
    assert_eq!(import(&[true, false, true]), (0, "pass".to_owned()), "and comes again");
}
