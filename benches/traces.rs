//! Writes a file of traces to measure on: `cargo bench --bench traces -- COUNT FILE SECONDS`, where SECONDS is the
//! Unix time at which the last one starts. Without arguments, says what one trace is.
#![expect(clippy::print_stdout, clippy::expect_used, reason = "a tool of the bench scripts, not of the program")]

#[path = "support/json.rs"]
mod json;
#[path = "support/mod.rs"]
mod support;

use std::fs::File;
use std::io::{BufWriter, Write};

use driftline::otlp::TracesData;
use prost::Message;

const BETWEEN_TRACES_NANOS: u64 = 50_000_000;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    match arguments.as_slice() {
        [count, file, seconds] => {
            let number = |text: &str| text.parse().expect("COUNT and SECONDS are whole numbers");
            write(number(count), file, number(seconds));
        }
        _ => describe(),
    }
}

fn write(count: u64, file: &str, last_start_seconds: u64) {
    let mut output = BufWriter::new(File::create(file).expect("FILE can be written"));
    for number in 0..count {
        let start = last_start_seconds * 1_000_000_000 - (count - number) * BETWEEN_TRACES_NANOS;
        writeln!(output, "{}", json::line(&support::trace(number, start))).expect("FILE can be written");
    }
    output.flush().expect("FILE can be written");
}

fn describe() {
    let trace = support::trace(0, 0);
    let spans: usize = trace.iter().flat_map(|group| &group.scope_spans).map(|scope| scope.spans.len()).sum();
    let json = json::line(&trace).len();
    let protobuf = TracesData { resource_spans: trace }.encoded_len();
    println!("trace {}: {spans} spans, {protobuf} bytes as protobuf, {json} as JSON", support::trace_id(0));
}
