//! What a trace costs: `cargo test --test it -- --ignored --nocapture cost`.
#![expect(clippy::print_stderr, reason = "a measurement is printed")]

use std::time::Duration;

use driftline::backends::store::{Chunk, Store, TraceBody};
use driftline::domain::ids::TraceId;
use tokio::time::Instant;

use super::fixtures::{LEASE, POLICY, TestStore, chunk, judge_job, plain, recorded, seconds, stored_evaluation};
use crate::support::services::durable_postgres;

const TRACES: u64 = 1_000;
const BATCH: usize = 100;
const BODY_BYTES: usize = 25_000;

#[tokio::test]
#[ignore = "a measurement: cargo test --release --test it -- --ignored cost_of_a_trace --nocapture"]
async fn cost_of_a_trace() {
    let sqlite = TestStore::sqlite().await;
    measure("sqlite", &sqlite.store).await;
    let postgres = Store::open(&durable_postgres().database().await, false).await.unwrap();
    measure("postgres (client only)", &postgres).await;
}

/// Appends, claims and records a thousand traces in batches, each with five evaluations, a judge job and two names.
async fn measure(store_name: &str, store: &Store) {
    let body: Vec<u8> = std::iter::repeat_with({
        let mut random = fastrand::Rng::with_seed(1);
        move || random.u8(..)
    })
    .take(BODY_BYTES)
    .collect();
    let chunks: Vec<Chunk> =
        (0..TRACES).map(|number| Chunk { body: body.clone(), ..chunk(number, "a", true) }).collect();
    let (cpu, wall) = (cpu_time(), Instant::now());
    for batch in chunks.chunks(BATCH) {
        store.append_chunks(batch, seconds(0), &POLICY).await.unwrap();
    }
    report(store_name, "append", cpu, wall);

    let (cpu, wall) = (cpu_time(), Instant::now());
    let mut claimed = Vec::new();
    while claimed.len() < chunks.len() {
        claimed.extend(store.claim_due(seconds(5), LEASE, BATCH).await.unwrap());
    }
    report(store_name, "claim", cpu, wall);

    let traces: Vec<_> = claimed.iter().map(|due| full(due.trace_id, due.generation)).collect();
    let (cpu, wall) = (cpu_time(), Instant::now());
    for batch in traces.chunks(BATCH) {
        store.record_traces(batch, seconds(6)).await.unwrap();
    }
    report(store_name, "record", cpu, wall);
}

fn full(trace_id: TraceId, generation: i64) -> driftline::backends::store::RecordedTrace {
    let mut trace = recorded(&driftline::backends::store::DueTrace {
        trace_id,
        generation,
        version: 0,
        attempts: 1,
        body: TraceBody::default(),
    });
    let names = ["loop", "empty_result", "latency", "cost", "schema"];
    trace.evaluations = names.iter().map(|name| stored_evaluation(trace_id, name, Some(1.0))).collect();
    trace.judge_jobs = vec![judge_job("grounded")];
    trace.trace.attributes = ["tier", "order"].map(|name| (name.to_owned(), trace_id.to_string())).into();
    let measurement = plain(0).trace.record.measurements[0].clone();
    trace.trace.record.measurements = vec![measurement; 20];
    trace
}

fn report(store_name: &str, step: &str, cpu: Duration, wall: Instant) {
    let per_trace = |time: Duration| time.as_micros() / u128::from(TRACES);
    let (cpu, wall) = (per_trace(cpu_time() - cpu), per_trace(wall.elapsed()));
    eprintln!("{store_name}: {step}: {cpu} us CPU, {wall} us wall per trace");
}

/// User and system time of this process so far (proc(5), `stat` fields 14 and 15, in hundredths of a second).
fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}
