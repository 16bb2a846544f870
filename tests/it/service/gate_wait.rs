//! `gate --wait` against a running service: a canary arrives while CI waits.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use driftline::backends::clock::{Clock, SystemClock};
use driftline::simulate::{Plan, Scenario, SimulatedTrace, simulate};
use prost::Message as _;
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::Instant;

use super::fixtures::{PROTOBUF, eventually, post, requests, simulated};
use crate::support::serve::Serve;

const POLICY: &str = "[[series]]\nseries = \"loop\"\ndirection = \"higher_is_better\"\nfloor = 0.5\n";
/// Of concurrent traffic, of which the policy does not say that chance assigned it.
const CONCURRENT: &str =
    "concurrent = true\n[[series]]\nseries = \"loop\"\nmargin = 0.1\ndirection = \"higher_is_better\"\n";
const TRACES: usize = 120;

/// Traffic that says of itself that it is of a release.
fn of_release(traces: &[SimulatedTrace], release: &str) -> Vec<SimulatedTrace> {
    let mut traces = traces.to_vec();
    for group in traces.iter_mut().flat_map(|trace| &mut trace.request.resource_spans) {
        let attributes = group.resource.iter_mut().flat_map(|resource| &mut resource.attributes);
        for attribute in attributes.filter(|attribute| attribute.key == "service.version") {
            let text = driftline::otlp::any_value::Value::StringValue(release.to_owned());
            attribute.value = Some(driftline::otlp::AnyValue { value: Some(text) });
        }
    }
    traces
}

async fn send(serve: &Serve, traces: &[SimulatedTrace]) {
    for request in requests(traces, 20) {
        let url = format!("http://{}", serve.receives_on);
        assert_eq!(post(&url, &[("content-type", PROTOBUF)], request.encode_to_vec()).await.status(), 200);
    }
}

/// The gate at work, and where it writes.
struct Gate {
    folder: TempDir,
    process: Child,
    started: Instant,
}

impl Gate {
    fn start(serve: &Serve, policy: &str, wait: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("gate.toml"), policy).unwrap();
        let file = |name: &str| Stdio::from(fs::File::create(folder.path().join(name)).unwrap());
        let mut command = Command::new(env!("CARGO_BIN_EXE_driftline"));
        command.args(["gate", "--baseline", "where:release=stable", "--candidate", "where:release=canary"]);
        command.args(["--policy", "gate.toml", "--json", "--wait", wait, "--url"]);
        command.arg(format!("http://{}", serve.web_on)).current_dir(folder.path());
        let process = command.stdout(file("answer")).stderr(file("told")).spawn().unwrap();
        Self { folder, process, started: Instant::now() }
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.folder.path().join(name)).unwrap()
    }

    /// The exit code, the answer, and how long it took.
    async fn end(mut self) -> (Option<i32>, Value, Duration) {
        let ended = std::cell::RefCell::new(&mut self.process);
        let status = eventually("an answer", async || ended.borrow_mut().try_wait().unwrap()).await;
        let answer = serde_json::from_str(&self.read("answer")).unwrap_or_else(|_| panic!("{}", self.read("told")));
        (status.code(), answer, self.started.elapsed())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gate_that_waits_answers_when_the_canary_has_shown_enough_and_else_says_at_the_end_that_it_has_not() {
    let serve = Serve::start("[store]\nurl = \"sqlite://{folder}/driftline.db\"\n");
    let start = SystemClock.now().minus(Duration::from_hours(3));
    let traces = simulated("healthy", 2 * TRACES, start, Duration::from_hours(2));
    let (stable, canary) = traces.split_at(TRACES);
    send(&serve, &of_release(stable, "stable")).await;

    let (code, answer, took) = Gate::start(&serve, POLICY, "1s").end().await;
    assert_eq!((code, &answer["verdict"]), (Some(3), &"inconclusive".into()), "{answer}");
    assert!(took >= Duration::from_secs(1), "it did not wait: {took:?}");

    let waiting = Gate::start(&serve, POLICY, "10m");
    eventually("that it waits", async || (!waiting.read("told").is_empty()).then_some(())).await;
    send(&serve, &of_release(canary, "canary")).await;
    let (code, answer, took) = waiting.end().await;
    assert_eq!((code, &answer["verdict"]), (Some(0), &"pass".into()), "{answer}");
    assert_eq!((&answer["sequential"], answer["series"][0]["series"].as_str()), (&true.into(), Some("loop")));
    assert!(took < Duration::from_mins(5), "it waited for the end: {took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gate_that_waits_fails_a_canary_that_is_worse_than_the_traffic_of_its_own_hours() {
    let serve = Serve::start("[store]\nurl = \"sqlite://{folder}/driftline.db\"\n");
    let start = SystemClock.now().minus(Duration::from_hours(3));
    let looping = Plan {
        scenario: Scenario::find("refund_loop").unwrap(),
        traces: 20 * TRACES,
        seed: 6,
        start,
        duration: Duration::from_hours(2),
    };
    let looping: Vec<SimulatedTrace> = simulate(&looping).filter(|one| !one.truth.faults.is_empty()).collect();
    let healthy = simulated("healthy", TRACES, start, Duration::from_hours(2));
    let waiting = Gate::start(&serve, CONCURRENT, "10m");
    eventually("that it waits", async || (!waiting.read("told").is_empty()).then_some(())).await;
    send(&serve, &of_release(&healthy, "stable")).await;
    send(&serve, &of_release(&looping, "canary")).await;
    let (code, answer, took) = waiting.end().await;
    assert_eq!((code, &answer["verdict"]), (Some(1), &"fail".into()), "{answer}");
    assert_eq!((&answer["design"], &answer["observational"]), (&"concurrent".into(), &true.into()), "{answer}");
    assert!(took < Duration::from_mins(5), "it waited for the end: {took:?}");
}
