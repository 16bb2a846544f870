//! What understanding and scoring a trace costs, in units of only reading it: `cargo bench --bench ratio [-- ROUNDS]`.
//!
//! The unit is the bare prost decode of the same bytes. Both sides run by turns in one process, so that whatever else the
//! machine does falls on both.
#![expect(clippy::print_stdout, clippy::expect_used, reason = "a bench prints, and fails by panicking")]

#[path = "support/mod.rs"]
mod support;

use std::hint::black_box;
use std::time::{Duration, Instant};

use driftline::domain::ids::TraceId;
use driftline::evaluate::definition::JudgeModels;
use driftline::evaluate::run::{EvaluatedTrace, Evaluators, evaluate};
use driftline::evaluate::sampling::SamplingPolicy;
use driftline::normalize::{AttributeMapping, PriceTable, normalize_priced};
use driftline::otlp::{Encoding, TracesData, assemble, decode_traces};
use prost::Message;

const START_NANOS: u64 = 1_780_000_000_000_000_000;
const ROUNDS: usize = 2_000;
/// So that a turn is long beside the clock's resolution, and short beside the scheduler's.
const TRACES_PER_TURN: u32 = 8;

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    let rounds = arguments.next().map_or(ROUNDS, |rounds| rounds.parse().expect("ROUNDS is a whole number"));
    let bytes = TracesData { resource_spans: support::trace(0, START_NANOS) }.encode_to_vec();
    let service = Service::new();
    let (mut decoding, mut scoring) = (Vec::with_capacity(rounds), Vec::with_capacity(rounds));
    for _ in 0..rounds {
        decoding.push(per_trace(|| decode(black_box(&bytes))));
        scoring.push(per_trace(|| service.score(black_box(&bytes))));
    }
    print("fastest", fastest(&decoding), fastest(&scoring));
    print("median", median(decoding), median(scoring));
}

/// What the service holds while it scores traces.
struct Service {
    trace_id: TraceId,
    mapping: AttributeMapping,
    prices: PriceTable,
    evaluators: Evaluators,
    policy: SamplingPolicy,
}

impl Service {
    fn new() -> Self {
        Self {
            trace_id: support::trace_id(0),
            mapping: AttributeMapping::default(),
            prices: PriceTable::default(),
            evaluators: Evaluators::load(None, JudgeModels::new()).expect("the shipped evaluators are valid"),
            policy: SamplingPolicy::default(),
        }
    }

    #[inline(never)]
    fn score(&self, bytes: &[u8]) -> EvaluatedTrace {
        let spans = decode_traces(bytes, Encoding::Protobuf).expect("the bytes are a trace");
        let raw = assemble(self.trace_id, vec![spans]);
        let trace = normalize_priced(&raw, &self.mapping, &self.prices).expect("the trace has spans");
        evaluate(&trace, &self.evaluators, &self.policy)
    }
}

#[inline(never)]
fn decode(bytes: &[u8]) -> TracesData {
    TracesData::decode(bytes).expect("the bytes are a trace")
}

#[expect(clippy::disallowed_methods, reason = "a bench measures real time")]
fn per_trace<T>(work: impl Fn() -> T) -> Duration {
    let started = Instant::now();
    for _ in 0..TRACES_PER_TURN {
        black_box(work());
    }
    started.elapsed() / TRACES_PER_TURN
}

fn fastest(turns: &[Duration]) -> Duration {
    turns.iter().min().copied().unwrap_or_default()
}

fn median(mut turns: Vec<Duration>) -> Duration {
    turns.sort_unstable();
    turns[turns.len() / 2]
}

fn print(what: &str, decoding: Duration, scoring: Duration) {
    let [decoding, scoring] = [decoding, scoring].map(|time| time.as_secs_f64() * 1e6);
    let ratio = scoring / decoding;
    println!("{what:>8}: decode {decoding:.1} µs; decode, normalize and score {scoring:.1} µs; ratio {ratio:.2}");
}
