//! `driftline doctor`, run as an operator would.

use std::process::Command;

use serde_json::Value;

fn examined(settings: &str) -> (i32, Value) {
    examined_with(settings, &[])
}

fn examined_with(settings: &str, variables: &[(&str, &str)]) -> (i32, Value) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("driftline.toml"), settings).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_driftline"));
    command.args(["doctor", "--json"]).current_dir(folder.path()).envs(variables.iter().copied());
    let output = command.output().unwrap();
    (output.status.code().unwrap(), serde_json::from_slice(&output.stdout).unwrap_or_default())
}

fn health<'a>(report: &'a Value, name: &str) -> &'a str {
    let checks = report["checks"].as_array().unwrap();
    let check = checks.iter().find(|check| check["name"].as_str().unwrap().starts_with(name));
    check.unwrap_or_else(|| panic!("no {name} in {report}"))["health"].as_str().unwrap()
}

#[test]
fn a_machine_on_which_nothing_ever_ran_is_fit_for_a_first_start() {
    let (code, report) = examined("");
    assert_eq!((code, report["health"].as_str()), (0, Some("warn")), "{report}");
    for (name, expected) in [("settings", "ok"), ("evaluators", "ok"), ("store", "warn"), ("queue", "ok")] {
        assert_eq!(health(&report, name), expected, "{report}");
    }
    for check in report["checks"].as_array().unwrap() {
        assert_eq!(check["remedy"].is_null(), check["health"] == "ok", "{check}");
    }
}

#[test]
fn what_cannot_be_reached_fails_each_by_its_name_and_secrets_are_not_repeated() {
    let (code, report) = examined(
        "[queue]\nurl = \"amqp://user:hidden@127.0.0.1:1/%2f\"\n\
         [judge.models.default]\nbase_url = \"http://127.0.0.1:1\"\nmodel = \"m\"\nallow_unpriced = true\n\
         [archive]\ndirectory = \"driftline.toml\"\n\
         [[write_back]]\nkind = \"phoenix\"\nendpoint = \"http://user:hidden@127.0.0.1:1\"\n\
         [[write_back]]\nkind = \"langfuse\"\nendpoint = \"http://127.0.0.1:1\"\ntoken_env = \"NO_SUCH_VARIABLE\"\n",
    );
    assert_eq!((code, report["health"].as_str()), (1, Some("fail")), "{report}");
    for name in ["archive", "queue", "judge default", "destination"] {
        assert_eq!(health(&report, name), "fail", "{report}");
    }
    assert!(report.to_string().contains("NO_SUCH_VARIABLE") && !report.to_string().contains("hidden"), "{report}");
}

#[test]
fn flagged_runs_that_retention_will_delete_are_told_until_there_is_an_archive_for_them() {
    let (code, report) = examined("[retention]\ntraces = \"3d\"\n");
    assert_eq!((code, health(&report, "archive")), (0, "warn"), "{report}");
    assert!(report.to_string().contains("flagged and failed runs are deleted with all others after 3days"), "{report}");
    assert_eq!(health(&examined("[archive]\ndirectory = \"archive\"\n").1, "archive"), "ok");
}

#[test]
fn an_archive_that_another_store_wrote_is_told() {
    let archive = tempfile::tempdir().unwrap();
    let settings = format!("[archive]\ndirectory = \"{}\"\n", archive.path().display());
    std::fs::write(archive.path().join("notes.txt"), "").unwrap();
    assert_eq!(health(&examined(&settings).1, "archive"), "ok");
    std::fs::write(archive.path().join("driftline-store"), "0123456789abcdef0123456789abcdef").unwrap();
    let (code, report) = examined(&settings);
    assert_eq!((code, health(&report, "archive")), (1, "fail"), "{report}");
}

#[test]
fn an_archive_in_a_bucket_needs_room_for_temporary_files() {
    let variables = [
        ("TMPDIR", "/nonexistent"),
        ("AWS_ENDPOINT_URL", "http://127.0.0.1:1"),
        ("AWS_ACCESS_KEY_ID", "key"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
    ];
    let (_, report) = examined_with("[archive]\ndirectory = \"s3://bucket/runs\"\n", &variables);
    assert_eq!(health(&report, "archive"), "fail", "{report}");
    let told = report.to_string();
    assert!(told.contains("no temporary file") && told.contains("/nonexistent"), "{report}");
}

#[test]
fn settings_that_cannot_be_used_are_a_mistake_of_usage() {
    let (code, report) = examined("[stor]\nurl = \"x\"\n");
    assert_eq!((code, report.is_null()), (2, true));
}
