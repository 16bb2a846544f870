//! The demo, as someone who has just cloned the repository runs it.

use std::process::Command;

use serde_json::Value;

#[test]
fn the_demo_finds_what_was_planted_and_nothing_else_and_the_gate_fails_the_release() {
    let report = demo(&[]);
    assert!(report["found"].as_u64().unwrap() >= 10, "{report}");
    assert_eq!(report["false_alarms"], 0, "{report}");
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
