//! A sender of traces that says how it was answered; the bench scripts run it.
//!
//! `cargo bench --bench load -- URL COUNT RATE IN_FLIGHT FIRST` posts COUNT traces as OTLP protobuf, one a request, from
//! number FIRST on: RATE a second (0: as fast as they are taken), at most IN_FLIGHT at once. Each ends as it is sent.
//! A trace that is turned away is not sent again: what is accepted is what the service took on. It prints one line of
//! JSON: how many were accepted, turned away (429, 503) and failed, the seconds, and the times to the answer of those
//! that were accepted, in milliseconds.
#![expect(clippy::print_stdout, clippy::expect_used, reason = "a tool of the bench scripts, not of the program")]

#[path = "support/mod.rs"]
#[expect(dead_code, reason = "others ask for ids of what they made")]
mod support;

use std::time::{Duration, UNIX_EPOCH};

use driftline::otlp::ExportTraceServiceRequest;
use futures_util::StreamExt;
use prost::Message;
use reqwest::Client;
use serde_json::json;
use tokio::time::{Instant, sleep_until};

/// What became of one trace.
enum Answer {
    Accepted(Duration),
    TurnedAway,
    Failed,
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let [url, count, rate, in_flight, first] = arguments.as_slice() else {
        println!("URL COUNT RATE IN_FLIGHT FIRST");
        return;
    };
    rustls::crypto::ring::default_provider().install_default().expect("it is the first");
    let number = |text: &str| text.parse::<u64>().expect("a whole number");
    let rate: f64 = rate.parse().expect("RATE is a number");
    let (count, first, http, started) = (number(count), number(first), Client::new(), Instant::now());
    let send = |place: u64| {
        let at = if rate > 0.0 { started + Duration::from_secs_f64(place as f64 / rate) } else { started };
        post(&http, url, first + place, at)
    };
    let in_flight = usize::try_from(number(in_flight)).expect("it fits");
    let answers: Vec<Answer> =
        futures_util::stream::iter(0..count).map(send).buffer_unordered(in_flight).collect().await;
    report(&answers, started.elapsed());
}

/// Sends one trace at an instant.
async fn post(http: &Client, url: &str, number: u64, at: Instant) -> Answer {
    sleep_until(at).await;
    let body = ExportTraceServiceRequest { resource_spans: ending_now(number) }.encode_to_vec();
    let sent = Instant::now();
    let request = http.post(url).header("content-type", "application/x-protobuf").body(body);
    match request.send().await.map(|answer| answer.status().as_u16()) {
        Ok(200) => Answer::Accepted(sent.elapsed()),
        Ok(429 | 503) => Answer::TurnedAway,
        _ => Answer::Failed,
    }
}

/// The trace of that number, whose last span ends at this moment.
fn ending_now(number: u64) -> Vec<driftline::otlp::ResourceSpans> {
    #[expect(clippy::disallowed_methods, reason = "the traces are of this moment")]
    let now = std::time::SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970");
    let now = u64::try_from(now.as_nanos()).expect("it is before 2554");
    let trace = support::trace(number, 0);
    let spans = trace.iter().flat_map(|group| &group.scope_spans).flat_map(|scope| &scope.spans);
    let duration = spans.map(|span| span.end_time_unix_nano).max().unwrap_or(0);
    support::trace(number, now - duration)
}

fn report(answers: &[Answer], elapsed: Duration) {
    let mut times: Vec<f64> = Vec::new();
    let (mut turned_away, mut failed) = (0, 0);
    for answer in answers {
        match answer {
            Answer::Accepted(time) => times.push(time.as_secs_f64() * 1_000.0),
            Answer::TurnedAway => turned_away += 1,
            Answer::Failed => failed += 1,
        }
    }
    times.sort_by(f64::total_cmp);
    let quantile = |share: f64| times.get((times.len() as f64 * share) as usize).or(times.last());
    println!(
        "{}",
        json!({ "accepted": times.len(), "turned_away": turned_away, "failed": failed,
                "seconds": elapsed.as_secs_f64(), "p50_ms": quantile(0.5), "p99_ms": quantile(0.99) })
    );
}
