//! Agents under real instrumentations, end to end over sockets: what `tests/emitters` runs, of it the part that uses
//! nothing but OpenTelemetry's own packages: content on spans, in log records before and after them, in the dialect of
//! 1.36, over HTTP and gRPC.

use std::path::Path;
use std::process::Command;

use crate::support::services::{find, require};

const OPENTELEMETRY: [&str; 4] = ["otel-spans", "otel-events", "otel-grpc", "otel-legacy"];

#[test]
fn every_fact_that_opentelemetrys_python_sdk_sends_is_understood() {
    let python = find("python3", "/usr/bin", "python3");
    require(&python, &["-c", "import ensurepip"], "python3-venv");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/emitters/run.py");
    let program = env!("CARGO_BIN_EXE_driftline");
    let run = Command::new(python).arg(script).arg(program).args(OPENTELEMETRY).output().unwrap();
    let [said, complained] = [&run.stdout, &run.stderr].map(|output| String::from_utf8_lossy(output));
    assert!(run.status.success(), "{said}{complained}");
}
