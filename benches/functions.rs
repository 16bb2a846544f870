//! What each step of a trace's path costs on one core: `cargo bench --bench functions [FILTER]`.
//!
//! On a machine that does other things too, compare the fastest column: it is what the code costs when nothing else
//! runs.
#![expect(clippy::expect_used, reason = "a bench fails by panicking")]

#[path = "support/json.rs"]
mod json;
#[path = "support/mod.rs"]
mod support;

use divan::{Bencher, black_box};
use driftline::domain::measurement::TraceRecord;
use driftline::domain::time::Timestamp;
use driftline::domain::trace::Trace;
use driftline::evaluate::definition::JudgeModels;
use driftline::evaluate::run::{Evaluators, evaluate};
use driftline::evaluate::sampling::SamplingPolicy;
use driftline::normalize::{AttributeMapping, normalize};
use driftline::otlp::{Encoding, RawTrace, TracesData, assemble, decode_traces, slice_by_trace, split_by_trace};
use driftline::stats::e_process::AlertBudget;
use driftline::watch::baseline::Baseline;
use driftline::watch::detect::StreamState;
use driftline::watch::drift::{DriftOptions, drift};
use driftline::watch::expectation::Mix;
use driftline::watch::key::{ALL, SeriesKey};
use driftline::watch::watched::{Epoch, WatchedStream};
use prost::Message;

const START_NANOS: u64 = 1_780_000_000_000_000_000;
const RECORDS: u64 = 1_000;

fn main() {
    divan::main();
}

#[divan::bench]
fn decode_protobuf(bencher: Bencher<'_, '_>) {
    let bytes = TracesData { resource_spans: support::trace(0, START_NANOS) }.encode_to_vec();
    bencher.bench(|| decode_traces(black_box(&bytes), Encoding::Protobuf));
}

#[divan::bench]
fn decode_json(bencher: Bencher<'_, '_>) {
    let line = json::line(&support::trace(0, START_NANOS));
    bencher.bench(|| decode_traces(black_box(line.as_bytes()), Encoding::Json));
}

#[divan::bench]
fn split_one_trace(bencher: Bencher<'_, '_>) {
    bencher.with_inputs(|| support::trace(0, START_NANOS)).bench_values(split_by_trace);
}

#[divan::bench]
fn split_ten_traces_in_one_request(bencher: Bencher<'_, '_>) {
    let request = || (0..10).flat_map(|number| support::trace(number, START_NANOS)).collect::<Vec<_>>();
    bencher.with_inputs(request).bench_values(split_by_trace);
}

/// Taken apart undecoded, by the number of traces in the request.
#[divan::bench(args = [1, 10])]
fn slice_protobuf(bencher: Bencher<'_, '_>, traces: u64) {
    let resource_spans = (0..traces).flat_map(|number| support::trace(number, START_NANOS)).collect();
    let request = TracesData { resource_spans }.encode_to_vec().into();
    bencher.bench(|| slice_by_trace(black_box(&request)).expect("the request is plain"));
}

#[divan::bench]
fn normalize_trace(bencher: Bencher<'_, '_>) {
    let (raw, mapping) = (raw(0), AttributeMapping::default());
    bencher.bench(|| normalize(black_box(&raw), &mapping));
}

#[divan::bench]
fn evaluate_trace_by_all_rules(bencher: Bencher<'_, '_>) {
    let (trace, evaluators, policy) = (normalized(0), evaluators(), SamplingPolicy::default());
    bencher.bench(|| evaluate(black_box(&trace), &evaluators, &policy));
}

#[divan::bench]
fn baseline_from_a_thousand_records(bencher: Bencher<'_, '_>) {
    let records = records(0, RECORDS);
    bencher.bench(|| Baseline::from_records("bench", Timestamp(0), "", black_box(&records)));
}

#[divan::bench]
fn drift_report_on_two_baselines(bencher: Bencher<'_, '_>) {
    let [before, after] = [baseline(0), baseline(RECORDS)];
    bencher.bench(|| drift(black_box(&before), black_box(&after), &DriftOptions::default()));
}

/// One stream's check of one hour, by the number of its traces.
#[divan::bench(args = [("latency_seconds", 1_000), ("tool_transitions", 1_000), ("tool_transitions", 10_000)])]
fn detector_hour(bencher: Bencher<'_, '_>, (series, traces): (&str, u64)) {
    let of = |first| Baseline::from_records("bench", Timestamp(0), "", &records(first, traces));
    let [before, after] = [of(0), of(traces)].map(|baseline| baseline.overall(series));
    let (before, after) = (before.expect("the series is measured"), after.expect("the series is measured"));
    let budget = AlertBudget { false_alarms: 1.0, windows: 720.0, detectors: 50 };
    let stream = WatchedStream::new(&before, before.over_dispersion, &budget);
    let hour = |mut state: StreamState| state.observe(Timestamp(0), black_box(&after), &Mix::new(), &stream);
    bencher.with_inputs(StreamState::default).bench_values(hour);
}

/// What an hour spends on five hundred series and their segments before it checks one.
#[divan::bench]
fn five_hundred_streams(bencher: Bencher<'_, '_>) {
    let one = baseline(0);
    let watched = one.series.keys().filter(|key| key.segment == ALL).count();
    let copy = |number: usize| {
        let named = move |key: &SeriesKey| SeriesKey { series: format!("{} {number}", key.series), ..key.clone() };
        one.series.iter().map(move |(key, summary)| (named(key), summary.clone()))
    };
    let many = Baseline { series: (0..500_usize.div_ceil(watched)).flat_map(copy).collect(), ..one.clone() };
    let service = *many.services().first().expect("the baseline has a service");
    bencher.bench(|| Epoch::of(black_box(&many), &[], 1.0, 720.0).streams_of(service).count());
}

fn raw(number: u64) -> RawTrace {
    assemble(support::trace_id(number), vec![support::trace(number, START_NANOS)])
}

fn normalized(number: u64) -> Trace {
    normalize(&raw(number), &AttributeMapping::default()).expect("the trace has spans")
}

fn evaluators() -> Evaluators {
    Evaluators::load(None, JudgeModels::new()).expect("the shipped evaluators are valid")
}

fn records(first: u64, count: u64) -> Vec<TraceRecord> {
    let (evaluators, policy) = (evaluators(), SamplingPolicy::default());
    (first..first + count).map(|number| evaluate(&normalized(number), &evaluators, &policy).record).collect()
}

fn baseline(first: u64) -> Baseline {
    Baseline::from_records("bench", Timestamp(0), "", &records(first, RECORDS))
}
