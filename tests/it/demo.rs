//! The demo, as someone who has just cloned the repository runs it.

use std::process::Command;

use serde_json::Value;

#[test]
fn the_demo_finds_what_was_planted_and_nothing_else_and_the_gate_fails_the_release() {
    let output = Command::new(env!("CARGO_BIN_EXE_driftline")).args(["demo", "--json", "--exit"]).output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(report["planted"].as_u64().unwrap() >= 8, "{report}");
    assert!(report["found"].as_u64().unwrap() >= 8, "{report}");
    assert_eq!(report["false_alarms"], 0, "{report}");
    assert_eq!(report["gate"]["verdict"], "fail", "{report}");
    // 1 when a planted fault was missed: the demo is honest about it, and eight are enough here.
    let missed = report["missed"].as_array().unwrap();
    assert_eq!(output.status.code(), Some(i32::from(!missed.is_empty())), "{report}");
}
