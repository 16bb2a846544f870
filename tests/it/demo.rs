//! The demo, as someone who has just cloned the repository runs it.

use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

#[test]
fn the_demo_finds_what_was_planted_and_nothing_else_and_the_gate_fails_the_release() {
    let report = demo(&[]);
    assert!(report["found"].as_u64().unwrap() >= 10, "{report}");
    assert_eq!(report["false_alarms"], 0, "{report}");
}

#[test]
fn a_demo_that_is_stopped_before_it_has_results_ends_at_once_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let entries = || std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>();
    let mut command = Command::new(env!("CARGO_BIN_EXE_driftline"));
    command.args(["demo", "--exit", "--traces", "100000"]).env("TMPDIR", folder.path());
    let mut process = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    until(|| entries().first().is_some_and(|demo| demo.join("driftline.db").exists()));
    assert!(Command::new("kill").arg("-INT").arg(process.id().to_string()).status().unwrap().success());
    until(|| process.try_wait().unwrap().is_some());
    let output = process.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(4));
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "error: the demo was stopped before it had its results\n");
    assert_eq!((output.stdout, entries()), (Vec::new(), Vec::new()));
}

fn until(mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_mins(1);
    while !is_so() {
        assert!(Instant::now() < deadline, "not within a minute");
        sleep(Duration::from_millis(20));
    }
}

/// `cargo test --test it -- --ignored twenty_demos`
#[test]
#[ignore = "takes ten minutes: cargo test --test it -- --ignored twenty_demos --nocapture"]
#[expect(clippy::print_stderr, reason = "the figures are what it is run for")]
fn twenty_demos_raise_at_most_one_false_alarm() {
    let mut false_alarms = 0;
    for seed in 1..=20 {
        let report = demo(&["--seed", &seed.to_string()]);
        eprintln!(
            "seed {seed}: {} of {} found, {} false alarms",
            report["found"], report["planted"], report["false_alarms"]
        );
        assert!(report["found"].as_u64().unwrap() >= 8, "{report}");
        false_alarms += report["false_alarms"].as_u64().unwrap();
    }
    assert!(false_alarms <= 1, "{false_alarms}");
}

fn demo(arguments: &[&str]) -> Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_driftline"));
    let output = command.args(["demo", "--json", "--exit"]).args(arguments).output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(report["planted"].as_u64().unwrap() >= 8, "{report}");
    assert_eq!(report["gate"]["verdict"], "fail", "{report}");
    // 1 when the demo missed something or alarmed falsely: it is honest about it.
    let is_perfect = report["missed"].as_array().unwrap().is_empty() && report["false_alarms"] == 0;
    assert_eq!(output.status.code(), Some(i32::from(!is_perfect)), "{report}");
    report
}
