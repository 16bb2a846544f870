//! Runs the program in a folder of its own.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

/// A folder that the program runs in, so that no settings and no store of the developer's are found.
pub(super) struct Folder(tempfile::TempDir);

/// What a run of the program came to.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) code: i32,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

impl Folder {
    pub(super) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(super) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> &Self {
        fs::write(self.path(name), content).unwrap();
        self
    }

    pub(super) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// Runs `driftline` with these arguments.
    pub(super) fn run(&self, arguments: &[&str]) -> Run {
        self.run_with_input(arguments, b"")
    }

    pub(super) fn run_with_input(&self, arguments: &[&str], input: &[u8]) -> Run {
        let mut child = Command::new(env!("CARGO_BIN_EXE_driftline"))
            .args(arguments)
            .current_dir(self.0.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        let output = child.wait_with_output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Run { code: output.status.code().unwrap(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// Runs and expects an exit code.
    pub(super) fn ends(&self, code: i32, arguments: &[&str]) -> Run {
        let run = self.run(arguments);
        assert_eq!(run.code, code, "{arguments:?}\n{}\n{}", run.stdout, run.stderr);
        run
    }
}

impl Run {
    /// Standard output as one JSON value.
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap()
    }

    /// Standard output as JSON lines.
    pub(super) fn lines(&self) -> Vec<Value> {
        json_lines(&self.stdout)
    }

    pub(super) fn says(&self, text: &str) -> &Self {
        assert!(self.stderr.contains(text), "{text:?} is not in\n{}", self.stderr);
        self
    }
}

pub(super) fn json_lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// How many rows each trace has, and their evaluators: the same for all.
pub(super) fn rows_by_trace(rows: &[Value]) -> BTreeMap<String, Vec<String>> {
    let mut by_trace: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for row in rows {
        let text = |key: &str| row[key].as_str().unwrap().to_owned();
        by_trace.entry(text("trace_id")).or_default().push(text("evaluator"));
    }
    by_trace
}

pub(super) fn trace_id(number: u32) -> String {
    format!("{number:032x}")
}

/// A span of a made trace; span 1 is its root.
pub(super) fn span(trace: u32, span: u32, attributes: &[(&str, &str)]) -> Value {
    let attribute = |(key, value): &(&str, &str)| json!({ "key": key, "value": { "stringValue": value } });
    json!({
        "traceId": trace_id(trace),
        "spanId": format!("{span:016x}"),
        "parentSpanId": if span == 1 { String::new() } else { format!("{:016x}", 1) },
        "name": format!("span {span}"),
        "startTimeUnixNano": (1_780_000_000_000_000_000_u64 + u64::from(span)).to_string(),
        "endTimeUnixNano": (1_780_000_001_000_000_000_u64 + u64::from(span)).to_string(),
        "attributes": attributes.iter().map(attribute).collect::<Vec<_>>(),
    })
}

/// A line of these spans, of one service.
pub(super) fn line(spans: &[Value]) -> String {
    let service = json!({ "key": "service.name", "value": { "stringValue": "made-agent" } });
    let scopes = json!([{ "scope": { "name": "made" }, "spans": spans }]);
    json!({ "resourceSpans": [{ "resource": { "attributes": [service] }, "scopeSpans": scopes }] }).to_string() + "\n"
}

/// A whole made trace: an agent that answers.
pub(super) fn trace(number: u32, answer: &str) -> String {
    let output = json!([{ "role": "assistant", "parts": [{ "type": "text", "content": answer }] }]).to_string();
    let root = [("gen_ai.operation.name", "invoke_agent"), ("gen_ai.agent.name", "made")];
    let chat = [
        ("gen_ai.operation.name", "chat"),
        ("gen_ai.request.model", "made-1"),
        ("gen_ai.output.messages", output.as_str()),
    ];
    line(&[span(number, 1, &root), span(number, 2, &chat)])
}
