//! The files of `deploy/` hold: what reads them accepts them, and they name what the program has.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use driftline::app::settings;
use driftline::telemetry::agents::{ModelRequest, SeriesEstimate, ServiceShares};
use driftline::telemetry::metrics::{
    CallLabels, EvaluationLabels, InvariantLabels, Metrics, QueueLabels, SeverityLabels, Transport,
};

use crate::support::services::find;

#[test]
fn the_settings_of_a_fleet_are_accepted() {
    let settings = settings::load(Some(&repository("deploy/driftline.toml"))).unwrap();
    assert!(settings.store.url.starts_with("postgres://"), "{}", settings.store.url);
    assert!(settings.queue.url.starts_with("amqp://"), "{}", settings.queue.url);
}

#[test]
fn the_collector_publishes_to_the_queue_that_is_consumed() {
    let settings = settings::load(Some(&repository("deploy/driftline.toml"))).unwrap();
    let collector = fs::read_to_string(repository("deploy/otel-collector.yaml")).unwrap();
    assert!(collector.contains(&format!("routing_key: {}\n", settings.queue.name)), "{}", settings.queue.name);
    assert!(collector.contains(&format!("endpoint: http://{}\n", settings.receive.http)), "{}", settings.receive.http);
}

#[test]
fn prometheus_accepts_its_configuration_and_the_alerts_fire_when_they_should() {
    let promtool = find("promtool", "/usr/bin", "prometheus");
    run(&promtool, &["check", "config", "deploy/prometheus.yml"]);
    run(&promtool, &["test", "rules", "tests/fixtures/prometheus-rules-test.yml"]);
}

#[test]
fn every_alert_about_driftline_itself_names_a_runbook_that_is_there() {
    let rules = fs::read_to_string(repository("deploy/prometheus-rules.yml")).unwrap();
    let runbooks: Vec<&str> = rules.lines().filter_map(|line| line.trim().strip_prefix("runbook: ")).collect();
    assert_eq!(runbooks.len(), rules.matches("- alert: ").count());
    let missing: Vec<&&str> = runbooks.iter().filter(|runbook| !repository(runbook).exists()).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn every_metric_in_an_alert_exists() {
    let rules = fs::read_to_string(repository("deploy/prometheus-rules.yml")).unwrap();
    let exposed = exposed_metrics();
    let unknown: Vec<&str> = metric_names(&rules).filter(|name| !exposed.contains(*name)).collect();
    assert!(unknown.is_empty(), "{unknown:?} are not among {exposed:?}");
}

#[test]
fn systemd_accepts_the_unit_and_finds_it_locked_down() {
    let analyze = find("systemd-analyze", "/usr/bin", "systemd");
    let unit = fs::read_to_string(repository("deploy/driftline.service")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("driftline.service");
    // The program itself need not be installed for this.
    fs::write(&copy, unit.replace("/usr/local/bin/driftline", "/bin/true")).unwrap();
    let copy = copy.to_str().unwrap();
    assert_eq!(run(&analyze, &["verify", copy]), "", "it has a remark on the unit");
    run(&analyze, &["security", "--offline=true", "--threshold=20", copy]);
}

pub(crate) fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// What a program says; it must succeed.
pub(crate) fn run(program: &Path, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).current_dir(repository("")).output().unwrap();
    let said = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    assert!(output.status.success(), "{} {arguments:?}:\n{said}", program.display());
    said
}

pub(crate) fn metric_names(text: &str) -> impl Iterator<Item = &str> {
    let words = text.split(|part: char| !part.is_ascii_alphanumeric() && part != '_');
    words.filter(|word| ["driftline_", "ai_", "agent_t"].iter().any(|start| word.starts_with(start)))
}

/// Names as they are scraped; a family shows once it has a member.
pub(crate) fn exposed_metrics() -> BTreeSet<String> {
    let metrics = Metrics::default();
    let some = || "some".to_owned();
    let call = CallLabels { to: some(), result: some() };
    metrics.received.get_or_create(&Transport { transport: some() }).inc();
    metrics.rejected.get_or_create(&Transport { transport: some() }).inc();
    metrics.evaluations.get_or_create(&EvaluationLabels { evaluator: some(), outcome: some() }).inc();
    metrics.judge_calls.get_or_create(&call).inc();
    metrics.deliveries.get_or_create(&call).inc();
    metrics.alerts_raised.get_or_create(&SeverityLabels { severity: some() }).inc();
    metrics.alerts_open.get_or_create(&SeverityLabels { severity: some() }).inc();
    metrics.invariant_violations.get_or_create(&InvariantLabels { invariant: some() }).inc();
    metrics.queue_depth.get_or_create(&QueueLabels { queue: some() }).inc();
    let request = ModelRequest {
        model: some(),
        operation: some(),
        user_tier: some(),
        tokens: 1,
        cost_usd: Some(1.0),
        seconds: Some(1.0),
    };
    metrics.agents.count(&request, "id");
    let (service, series) = (some(), some());
    let estimate = SeriesEstimate { service: some(), series, estimate: 1.0, interval: Some((1.0, 1.0)), traces: 1 };
    let shares = ServiceShares { service, tool_errors: Some(1.0), completed: Some(1.0) };
    metrics.agents.publish(&[estimate], &[shares], 1);
    let text = metrics.encode();
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    samples.flat_map(metric_names).map(str::to_owned).collect()
}
