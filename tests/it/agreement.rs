//! Offline and online agree: what `evaluate` prints for a file is what the service stores when `replay` sends it.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use driftline::backends::store::Store;
use driftline::domain::evaluation::Evaluation;
use driftline::domain::ids::TraceId;
use driftline::domain::time::Timestamp;
use tokio::time::{Instant, sleep};

use crate::support::data::trace_files;
use crate::support::serve::Serve;

const PATIENCE: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(50);

#[tokio::test(flavor = "multi_thread")]
async fn every_real_trace_has_the_same_rows_offline_and_online() {
    let Some(files) = trace_files() else { return };
    let (mut traces, mut rows) = (0, 0);
    for file in files {
        // A store of its own: some files tell the same traces in other conventions.
        let serve = Serve::start("[store]\nurl = \"sqlite://{folder}/driftline.db\"\n");
        let offline = evaluate(&file);
        replay(&file, &serve);
        let online = stored(&serve, &offline).await;
        for (offline, online) in offline.iter().zip(&online) {
            assert_eq!(offline, online, "{}", file.display());
        }
        assert_eq!(offline.len(), online.len(), "{}", file.display());
        rows += offline.len();
        traces += trace_ids(&offline).len();
    }
    assert!(traces > 600, "{traces} traces were compared");
    assert_eq!(rows % traces, 0, "a trace misses a row of an evaluator");
}

/// What `evaluate` prints, by trace and evaluator.
fn evaluate(file: &Path) -> Vec<Evaluation> {
    let output = Command::new(env!("CARGO_BIN_EXE_driftline")).arg("evaluate").arg(file).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    sorted(text.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}

fn replay(file: &Path, serve: &Serve) {
    let endpoint = format!("http://{}", serve.receives_on);
    let mut command = Command::new(env!("CARGO_BIN_EXE_driftline"));
    let output = command.arg("replay").arg(file).args(["--to", &endpoint]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// What the service has stored of the same traces, by trace and evaluator.
async fn stored(serve: &Serve, offline: &[Evaluation]) -> Vec<Evaluation> {
    let deadline = Instant::now() + PATIENCE;
    let store = Store::open(&serve.sqlite_url(), true).await.unwrap();
    while store.queue_depths(Timestamp(0)).await.unwrap().pending > 0 {
        assert!(Instant::now() < deadline, "traces are still pending:\n{}", serve.log());
        sleep(POLL).await;
    }
    let mut rows = Vec::new();
    for trace_id in trace_ids(offline) {
        rows.extend(store.evaluations(trace_id).await.unwrap().into_iter().map(|row| row.evaluation));
    }
    store.close().await;
    sorted(rows)
}

fn trace_ids(rows: &[Evaluation]) -> BTreeSet<TraceId> {
    rows.iter().map(|row| row.trace_id).collect()
}

fn sorted(mut rows: Vec<Evaluation>) -> Vec<Evaluation> {
    rows.sort_by(|left, right| (left.trace_id, &left.evaluator).cmp(&(right.trace_id, &right.evaluator)));
    rows
}
