//! How fast judgements are made, beside a loop that does nothing but ask.

use std::collections::BTreeSet;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use driftline::app::service::{Role, Service};
use driftline::app::settings::defaults;
use driftline::backends::judge::{JudgeModelSettings, Provider};
use driftline::domain::time::Timestamp;
use futures_util::StreamExt;
use prost::Message as _;
use tokio::time::Instant;

use super::fake::Fake;
use super::fixtures::{PROTOBUF, eventually, post, requests, simulated};

const TRACES: usize = 1_000;
const ANSWER: &str = r#"{"model": "m", "choices": [{"message": {"role": "assistant",
    "content": "{\"reason\": \"all of it is there\", \"verdict\": \"YES\"}"}}],
    "usage": {"prompt_tokens": 900, "completion_tokens": 20}}"#;

async fn model() -> Fake {
    Fake::start(|_| {
        let body = futures_util::stream::once(async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            Ok::<_, std::io::Error>(ANSWER)
        });
        Some(Response::new(Body::from_stream(body)))
    })
    .await
}

fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}

/// Asks `count` times with nothing in between; gives answers a second, and CPU-seconds.
async fn bare(fake: &Fake, body: Vec<u8>, count: usize, in_flight: usize) -> (f64, f64) {
    let (http, url) = (reqwest::Client::new(), format!("{}/v1/chat/completions", fake.url));
    let (started, cpu) = (Instant::now(), cpu_seconds());
    let ask = |_| async { http.post(&url).body(body.clone()).send().await.unwrap().bytes().await.unwrap() };
    futures_util::stream::iter(0..count).map(ask).buffer_unordered(in_flight).count().await;
    (count as f64 / started.elapsed().as_secs_f64(), cpu_seconds() - cpu)
}

#[expect(clippy::print_stdout, reason = "a measurement is read")]
async fn beside(in_flight: u32) {
    let _installed_before = rustls::crypto::ring::default_provider().install_default();
    let (fake, folder) = (model().await, tempfile::tempdir().unwrap());
    let mut settings = defaults().unwrap();
    settings.store.url = format!("sqlite://{}/driftline.db", folder.path().display());
    settings.receive.http = "127.0.0.1:0".to_owned();
    settings.complete.root_grace = Duration::from_millis(50);
    settings.sampling.healthy_rate = 1.0;
    settings.judge.budget.daily_usd = 1_000.0;
    let priced = JudgeModelSettings {
        concurrency: in_flight,
        input_usd_per_mtok: Some(0.4),
        output_usd_per_mtok: Some(1.6),
        ..JudgeModelSettings::new(Provider::Openai, format!("{}/v1", fake.url), "m")
    };
    settings.judge.models = [("default".to_owned(), priced)].into();

    let before = Service::start(&settings, &BTreeSet::from([Role::Receive, Role::Evaluate])).await.unwrap();
    let traces = simulated("healthy", TRACES, Timestamp(1_760_000_000_000_000_000), Duration::from_hours(1));
    let url = format!("http://{}", before.receives_on.unwrap());
    for request in requests(&traces, 50) {
        assert_eq!(post(&url, &[("content-type", PROTOBUF)], request.encode_to_vec()).await.status(), 200);
    }
    let store = before.shared().store.clone();
    let left = async || store.queue_depths(Timestamp(0)).await.unwrap();
    eventually("every trace", async || (left().await.pending == 0).then_some(())).await;
    let jobs = left().await.judge_jobs;
    drop(store);
    before.run_until(async {}).await.unwrap();

    let (started, cpu) = (Instant::now(), cpu_seconds());
    let service = Service::start(&settings, &BTreeSet::from([Role::Judge])).await.unwrap();
    let store = service.shared().store.clone();
    let made = async || (store.queue_depths(Timestamp(0)).await.unwrap().judge_jobs == 0).then_some(());
    eventually("every judgement", made).await;
    let (rate, cpu) = (jobs as f64 / started.elapsed().as_secs_f64(), cpu_seconds() - cpu);
    let asked = fake.asked();
    let body = asked[0].body.to_vec();
    let (bare_rate, bare_cpu) = bare(&fake, body, asked.len(), in_flight as usize).await;
    println!(
        "{in_flight} in flight: {jobs} judgements, {} requests; {rate:.0}/s, {cpu:.2} CPU-s (server included); \
         bare loop {bare_rate:.0}/s, {bare_cpu:.2} CPU-s; ratio {:.2}; {:.0} judgements a CPU-second of ours",
        asked.len(),
        rate / bare_rate,
        jobs as f64 / (cpu - bare_cpu).max(0.01)
    );
}

/// `cargo test --release --test it -- speed_beside_a_bare_loop --ignored --nocapture`
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn speed_beside_a_bare_loop() {
    beside(64).await;
    beside(256).await;
}
