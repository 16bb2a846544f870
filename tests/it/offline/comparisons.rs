//! Drift reports on made traces and labels.

use serde_json::{Value, json};

use super::program::{Folder, trace, trace_id};

/// Sixty traces whose labels hold each kind of column.
fn labelled(folder: &Folder) {
    folder.write("traces.jsonl", (1..=120).map(|number| trace(number, "done")).collect::<String>());
    let label = |number: u32| {
        let half = if number <= 60 { "a" } else { "b" };
        let labels = json!({
            "trace_id": trace_id(number), "good": !number.is_multiple_of(3), "points": number % 7, "half": half, "model_calls": 40,
            "none": null,
        });
        labels.to_string() + "\n"
    };
    folder.write("labels.jsonl", (1..=120).map(label).collect::<String>());
}

fn report(folder: &Folder, rest: &[&str]) -> Value {
    let halves = ["drift", "--json", "--baseline", "file:traces.jsonl?half=a", "--current", "traces.jsonl?half=b"];
    folder.ends(0, &[&halves[..], &["--labels-file", "labels.jsonl"], rest].concat()).json()
}

fn row<'a>(report: &'a Value, series: &str) -> Option<&'a Value> {
    report["series"].as_array().unwrap().iter().find(|row| row["series"] == series)
}

#[test]
fn boolean_and_number_columns_become_series_and_others_select() {
    let folder = Folder::new();
    labelled(&folder);
    let report = report(&folder, &[]);
    assert_eq!(report["traces"], json!({ "baseline": 60, "current": 60 }));
    assert_eq!(row(&report, "good").unwrap()["kind"], "boolean");
    assert_eq!(row(&report, "points").unwrap()["kind"], "numeric");
    assert!(row(&report, "half").is_none() && row(&report, "none").is_none());
    let calls = &row(&report, "model_calls").unwrap()["baseline"];
    assert_eq!(
        (calls["n"].as_u64(), calls["estimate"].as_f64()),
        (Some(60), Some(40.0)),
        "labels win over measurements"
    );
}

#[test]
fn selecting_nothing_is_not_enough_evidence() {
    let folder = Folder::new();
    labelled(&folder);
    let sides = ["--baseline", "traces.jsonl?half=a", "--current", "traces.jsonl?half=c"];
    let run = folder.ends(3, &[&["drift", "--json", "--labels-file", "labels.jsonl"], &sides[..]].concat());
    assert_eq!(run.json()["verdict"], "insufficient_evidence");
    assert!(run.json()["notes"].to_string().contains("no trace is selected on the current side"));
}

#[test]
fn the_same_seed_gives_the_same_report() {
    let folder = Folder::new();
    labelled(&folder);
    assert_eq!(report(&folder, &["--seed", "5"]), report(&folder, &["--seed", "5"]));
}

#[test]
fn a_bad_line_is_said_in_the_report() {
    let folder = Folder::new();
    labelled(&folder);
    folder.write("traces.jsonl", folder.read("traces.jsonl") + "{\n");
    let report = report(&folder, &[]);
    assert!(report["notes"].to_string().contains("2 problems with the input"), "{}", report["notes"]);
}

#[test]
fn the_html_report_is_one_file_in_which_names_are_only_text() {
    let folder = Folder::new();
    labelled(&folder);
    let hostile = "<script>alert(1)</script>";
    let label = |number: u32| json!({ "trace_id": trace_id(number), hostile: number > 60 }).to_string() + "\n";
    folder.write("hostile.jsonl", (1..=120).map(label).collect::<String>());
    report(&folder, &["--labels-file", "hostile.jsonl", "--html", "report.html"]);
    let page = folder.read("report.html");
    assert!(page.contains("&lt;script&gt;") && !page.contains("<script"), "{page}");
    assert!(page.starts_with("<!DOCTYPE html>") && !page.contains("://"), "{page}");
}
