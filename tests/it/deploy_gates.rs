//! The CI and canary files of `deploy/` hold: they are YAML, and what they ask of the program it has.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::LazyLock;

use driftline::watch::gate_policy::GatePolicy;
use serde_json::Value;

use crate::support::services::{find, require};

const FILES: [&str; 5] = [
    "github-action/action.yml",
    "github-workflow.yml",
    "gitlab-ci.yml",
    "argo-rollouts-analysis.yml",
    "flagger-canary.yml",
];

fn deploy(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(name)
}

fn yaml(name: &str) -> Value {
    yaml_documents(name).remove(0)
}

/// The documents of a YAML file as JSON, read by PyYAML, which Debian has as python3-yaml.
pub(crate) fn yaml_documents(name: &str) -> Vec<Value> {
    static PYTHON: LazyLock<PathBuf> = LazyLock::new(|| {
        let python = find("python3", "/usr/bin", "python3-yaml");
        require(&python, &["-c", "import yaml"], "python3-yaml");
        python
    });
    let script =
        "import json, sys, yaml; print(json.dumps(list(yaml.load_all(open(sys.argv[1]), Loader=yaml.BaseLoader))))";
    let output = Command::new(&*PYTHON).args(["-c", script]).arg(deploy(name)).output().unwrap();
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn help() -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_driftline")).args(["gate", "--help"]).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn every_file_is_yaml_and_every_flag_in_it_is_one_of_the_gate() {
    let help = help();
    for name in FILES {
        yaml(name);
        let text = fs::read_to_string(deploy(name)).unwrap();
        let code = text.lines().filter(|line| !line.trim_start().starts_with('#')).filter(|line| !line.contains("./"));
        for flag in code.flat_map(|line| line.split([' ', '('])).filter(|word| word.starts_with("--")) {
            assert!(help.contains(&format!("{flag} <")), "{name} has {flag}, which is not in\n{help}");
        }
    }
}

#[test]
fn the_policies_of_the_canary_files_are_policies() {
    let (argo, flagger) = (yaml("argo-rollouts-analysis.yml"), yaml("flagger-canary.yml"));
    let asked = &argo["spec"]["metrics"][0]["provider"]["web"]["jsonBody"];
    let posted = &flagger["analysis"]["webhooks"][1]["metadata"];
    for request in [asked, posted] {
        let policy = GatePolicy::parse(request["policy"].as_str().unwrap()).unwrap();
        assert!(policy.concurrent && policy.is_randomized, "{request}");
        assert!(request["baseline"].as_str().unwrap().starts_with("where:release="));
    }
}

/// Runs the action's script with a program in place of driftline that ends with `code`.
fn action(code: i32, on_inconclusive: &str) -> (Output, String) {
    let action = yaml("github-action/action.yml");
    let step = &action["runs"]["steps"][0];
    let folder = tempfile::tempdir().unwrap();
    let fake = format!("#!/bin/sh\necho \"$@\" > arguments\necho '### Gate' > driftline-gate.md\nexit {code}\n");
    let program = folder.path().join("driftline");
    fs::write(&program, fake).unwrap();
    let mut permissions = fs::metadata(&program).unwrap().permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o755);
    fs::set_permissions(&program, permissions).unwrap();
    let given = |name: &str| match name {
        "DRIFTLINE" => program.display().to_string(),
        "ON_INCONCLUSIVE" => on_inconclusive.to_owned(),
        "WAIT" => "5m".to_owned(),
        "SERVICE" | "LABELS" => String::new(),
        name => format!("a b; {name}"),
    };
    let mut command = Command::new("bash");
    command.args(["--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"].as_str().unwrap()]);
    command.env("GITHUB_STEP_SUMMARY", "summary").env("GITHUB_OUTPUT", "output").current_dir(folder.path());
    command.envs(step["env"].as_object().unwrap().keys().map(|name| (name.clone(), given(name))));
    let output = command.output().unwrap();
    let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap_or_default();
    (output, ["arguments", "summary", "output"].map(read).concat())
}

#[test]
fn the_action_ends_as_the_gate_does_and_says_the_verdict() {
    for (code, on_inconclusive, ends, verdict) in
        [(0, "fail", 0, "pass"), (1, "pass", 1, "fail"), (3, "fail", 3, "inconclusive"), (3, "pass", 0, "inconclusive")]
    {
        let (output, written) = action(code, on_inconclusive);
        assert_eq!(output.status.code(), Some(ends), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(written.contains(&format!("verdict={verdict}\n")) && written.contains("### Gate"), "{written}");
        assert!(written.contains("--baseline a b; BASELINE --candidate") && written.contains("--wait 5m"), "{written}");
    }
    let (output, written) = action(4, "pass");
    assert_eq!((output.status.code(), written.contains("verdict=")), (Some(4), false));
}
