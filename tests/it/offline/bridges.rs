//! Two revisions on the same traces: rules for nothing, judges for money that someone agreed to.

use std::fs;

use driftline::simulate::judge::ScriptedJudge;

use super::program::Folder;

fn limits(folder: &Folder, name: &str, tool_calls: u32) {
    fs::create_dir_all(folder.path(name)).unwrap();
    let definition = format!("kind = \"limits\"\ndescription = \"d\"\n[limits]\ntool_calls = {tool_calls}\n");
    folder.write(&format!("{name}/evaluator.toml"), definition);
}

#[test]
fn two_revisions_of_a_rule_are_compared_on_the_same_traces() {
    let folder = Folder::new();
    folder.ends(0, &["simulate", "--scenario", "healthy", "--traces", "150", "-o", "traces.jsonl"]);
    limits(&folder, "before", 50);
    limits(&folder, "after", 3);
    let bridge = |sample: &str, old: &str, new: &str, code| {
        let from = ["--from", "file:traces.jsonl", "--sample", sample, "--json"];
        folder.ends(code, &[&["evaluators", "bridge", old, new], from.as_slice()].concat()).json()
    };
    let found = bridge("100", "before", "after", 0);
    let number = |key: &str| found["bridge"][key].as_f64().unwrap();
    assert_eq!((number("pairs"), number("old"), found["old"] == found["new"]), (100.0, 1.0, false));
    assert!(number("difference") < 0.0 && number("low") < number("high") && number("high") < 0.0, "{found}");
    assert!(found["comparable_beyond"].as_f64().unwrap() >= -number("difference"));
    assert_eq!(bridge("100", "after", "after", 0)["bridge"]["agreement"], 1.0);
    assert!(bridge("9", "before", "after", 3)["bridge"].is_null());
    folder.ends(2, &["evaluators", "bridge", "0123456789ab", "after", "--from", "file:traces.jsonl"]).says("revision");
}

#[tokio::test(flavor = "multi_thread")]
async fn judges_are_asked_only_for_money_that_someone_agreed_to() {
    let (folder, judge) = (Folder::new(), ScriptedJudge::start().await.unwrap());
    let model = format!("base_url = \"{}\"\nmodel = \"m\"\ninput_usd_per_mtok = 1.0\n", judge.base_url());
    folder.write("driftline.toml", format!("[judge.models.default]\n{model}output_usd_per_mtok = 1.0\n"));
    folder.ends(0, &["simulate", "--scenario", "ungrounded_claim", "--traces", "60", "-o", "traces.jsonl"]);
    let run = tokio::task::spawn_blocking(move || {
        let listed = folder.ends(0, &["evaluators", "list", "--json"]).json();
        let known = listed.as_array().unwrap().iter().find(|it| it["name"] == "groundedness").unwrap();
        let known = known["revision"].as_str().unwrap().to_owned();
        let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/evaluators/groundedness");
        let asked = ["evaluators", "bridge", &known, shipped, "--from", "file:traces.jsonl", "--sample", "30"];
        folder.ends(2, &asked).says("--yes");
        folder.ends(0, &[asked.as_slice(), &["--yes", "--json"]].concat()).json()
    });
    let found = run.await.unwrap();
    assert_eq!((&found["bridge"]["pairs"], &found["bridge"]["agreement"]), (&30.into(), &1.0.into()), "{found}");
}
