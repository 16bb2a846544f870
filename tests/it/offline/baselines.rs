//! Baselines in the embedded store.

use serde_json::Value;

use super::program::Folder;

/// A report without what only traces can tell, of which a baseline keeps none.
fn without_history(report: &Value) -> Value {
    let mut report = report.clone();
    report.as_object_mut().unwrap().remove("changes");
    for row in report["series"].as_array_mut().unwrap() {
        row.as_object_mut().unwrap().remove("history");
    }
    report
}

#[test]
fn a_baseline_is_taken_once_and_compared_by_name() {
    let folder = Folder::new();
    folder.ends(0, &["simulate", "--traces", "400", "--seed", "4", "-o", "traces.jsonl"]);
    let create = ["baseline", "create", "v1", "--from", "traces.jsonl?release=1.4.0"];
    folder.ends(0, &create);
    folder.ends(2, &create).says("baselines never change");
    let listed = folder.ends(0, &["baseline", "list", "--json"]).json();
    assert_eq!((listed.as_array().unwrap().len(), listed[0]["name"].as_str()), (1, Some("v1")));
    let shown = folder.ends(0, &["baseline", "show", "v1", "--json"]).json();
    assert_eq!(shown["traces"], 200);

    let by_name = ["drift", "--json", "--baseline", "v1", "--current", "traces.jsonl?release=1.5.0"];
    let by_file =
        ["drift", "--json", "--baseline", "traces.jsonl?release=1.4.0", "--current", "traces.jsonl?release=1.5.0"];
    let (by_name, by_file) = (folder.ends(0, &by_name).json(), folder.ends(0, &by_file).json());
    assert_eq!(without_history(&by_name), without_history(&by_file));
    assert_eq!(by_name["verdict"], "drift");
}

#[test]
fn a_baseline_keeps_to_its_time_and_is_not_taken_of_nothing() {
    let folder = Folder::new();
    folder.ends(0, &["simulate", "--traces", "100", "--start", "2026-02-01", "--hours", "10", "-o", "traces.jsonl"]);
    let from = ["--from", "traces.jsonl", "--until", "2026-02-01T05:00:00Z"];
    let taken = folder.ends(0, &[&["baseline", "create", "early", "--json"], &from[..]].concat()).json();
    let traces = taken["traces"].as_u64().unwrap();
    assert!((40..60).contains(&traces), "{traces}");
    folder.ends(4, &["baseline", "create", "none", "--from", "traces.jsonl", "--since", "2027-01-01"]).says("no trace");
    let backwards = ["--from", "traces.jsonl", "--since", "2026-02-02", "--until", "2026-02-01"];
    folder.ends(2, &[&["baseline", "create", "none"], &backwards[..]].concat()).says("is later than until");
    folder.ends(4, &["baseline", "show", "none"]).says("list the baselines");
    folder.ends(2, &["baseline", "create", "copy", "--from", "name:early"]).says("never changes");
}

#[test]
fn a_trace_that_is_not_stored_is_said_to_be_unknown() {
    let folder = Folder::new();
    folder.ends(0, &["simulate", "--traces", "5", "-o", "traces.jsonl"]);
    folder.ends(0, &["baseline", "create", "any", "--from", "traces.jsonl"]);
    folder.ends(4, &["inspect", "65888dddb25592422df09b0e4b474df2"]).says("check the id");
    folder.ends(2, &["drift", "--baseline", "any", "--current", "where:servce=a"]).says("unknown key \"servce\"");
}

#[tokio::test]
async fn a_store_that_a_service_writes_is_left_alone_and_the_way_out_is_said() {
    let folder = Folder::new();
    folder.ends(0, &["simulate", "--traces", "5", "-o", "traces.jsonl"]);
    let url = format!("sqlite://{}", folder.path("driftline-data/driftline.db").display());
    let _held = driftline::backends::store::Store::open(&url, false).await.unwrap();
    folder.ends(4, &["baseline", "create", "any", "--from", "traces.jsonl"]).says("--url http://127.0.0.1:8080");
    folder.ends(0, &["baseline", "list"]).says("there is no baseline");
}
