//! What holds for every message, trace and run.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use driftline::domain::evaluation::Outcome;
use driftline::domain::judge::JudgeModelIdentity;
use driftline::domain::measurement::{Measurement, TraceRecord, Value};
use driftline::domain::time::Timestamp;
use driftline::domain::trace::Trace;
use driftline::evaluate::kinds::Behaviour;
use driftline::evaluate::run::{Evaluators, evaluate};
use driftline::evaluate::sampling::SamplingPolicy;
use driftline::normalize::{AttributeMapping, Inspection, normalize};
use driftline::otlp::{
    EncodedPiece, RawTrace, ResourceSpans, TracePiece, TracesData, assemble, decode_piece, pack, split_by_trace, unpack,
};
use driftline::watch::baseline::Baseline;

const LIMIT_BYTES: usize = 64 << 20;
/// Longest explanation, in characters: it is shown on a page and stored with every trace.
const LONGEST_EXPLANATION: usize = 4_000;

static EVALUATORS: LazyLock<Evaluators> = LazyLock::new(|| {
    let model = JudgeModelIdentity { model: "m".to_owned(), parameters: BTreeMap::new() };
    Evaluators::load(None, BTreeMap::from([("default".to_owned(), model)])).expect("shipped evaluators are valid")
});

/// A request taken apart, stored, read again, understood and scored.
pub fn of_request(resource_spans: Vec<ResourceSpans>) {
    let split = split_by_trace(resource_spans.clone());
    let again = split_by_trace(resource_spans);
    assert_eq!(split.traces.len(), again.traces.len());
    let ids: BTreeSet<_> = split.traces.iter().map(|piece| piece.trace_id).collect();
    assert_eq!(ids.len(), split.traces.len(), "a trace has one piece in a request");
    for piece in split.traces {
        of_piece(piece);
    }
}

/// A request taken apart undecoded gives what it gives decoded.
pub fn of_slices(mut pieces: Vec<EncodedPiece>, resource_spans: &[ResourceSpans]) {
    let split = split_by_trace(resource_spans.to_vec());
    assert_eq!((split.rejected.len(), split.own_spans, split.scores.len()), (0, 0, 0));
    for piece in &mut pieces {
        let resource_spans = decode_piece(&piece.body).expect("what was accepted can be read again");
        piece.body = prost::Message::encode_to_vec(&TracesData { resource_spans }).into();
    }
    assert_eq!(pieces, split.traces.into_iter().map(TracePiece::encode).collect::<Vec<_>>());
}

/// A piece survives the store, and what comes back is a run.
pub fn of_piece(piece: TracePiece) {
    let trace_id = piece.trace_id;
    let raw = assemble(trace_id, vec![piece.resource_spans.clone()]);
    let encoded = piece.encode().body;
    let stored = unpack(trace_id, &[pack(&encoded)], LIMIT_BYTES).expect("what was accepted can be read again");
    assert_eq!(bytes(&stored), bytes(&raw), "the store gives back what it got");
    let piece = decode_piece(&encoded).expect("what was accepted can be read again");
    let twice = assemble(trace_id, vec![piece.clone(), piece]);
    assert_eq!(twice.spans().count(), raw.spans().count(), "a piece that came twice counts once");
    of_trace(&stored);
}

/// The spans as protobuf: doubles that are no number do not equal themselves, their bytes do.
fn bytes(raw: &RawTrace) -> Vec<u8> {
    prost::Message::encode_to_vec(&TracesData { resource_spans: raw.resource_spans.clone() })
}

/// A trace is understood the same twice, and its run obeys.
pub fn of_trace(raw: &RawTrace) {
    let names = AttributeMapping::default();
    let trace = normalize(raw, &names);
    assert_eq!(trace, normalize(raw, &names), "reading a trace twice gives one answer");
    assert_eq!(trace.is_some(), raw.spans().next().is_some());
    if let Some(trace) = trace {
        assert_eq!(trace.span_count, raw.spans().count());
        of_run(&trace);
    }
}

/// A run is inspected, scored, measured, summarized, and shown to judges.
pub fn of_run(trace: &Trace) {
    let inspection = serde_json::to_string(&Inspection::from(trace)).expect("an inspection is JSON");
    assert!(serde_json::from_str::<serde_json::Value>(&inspection).is_ok());
    assert!(trace.cost_usd().is_none_or(f64::is_finite));
    assert!(trace.latency_seconds().is_none_or(|seconds| seconds.is_finite() && seconds >= 0.0));
    for (index, call) in trace.tool_calls().enumerate() {
        assert!(call.repeat_of.is_none_or(|first| first < index), "a repeat follows what it repeats");
    }
    of_evaluation(trace, &EVALUATORS);
    for definition in EVALUATORS.definitions() {
        let Behaviour::Judge(judge) = &definition.behaviour else { continue };
        if let Ok(prepared) = judge.prepare(trace) {
            let request = prepared.render("n0nce");
            assert!(!request.system.is_empty() && request.user.contains("n0nce"));
        }
    }
}

/// Every evaluator has one outcome, and every number is one.
pub fn of_evaluation(trace: &Trace, evaluators: &Evaluators) {
    let policy = SamplingPolicy { healthy_rate: 1.0, ..SamplingPolicy::default() };
    let evaluated = evaluate(trace, evaluators, &policy);
    assert_eq!(evaluated, evaluate(trace, evaluators, &policy), "scoring a trace twice gives one answer");
    let names = evaluated.evaluations.iter().map(|row| &row.evaluator);
    let names: Vec<&String> = names.chain(evaluated.judge.iter().map(|task| &task.evaluator)).collect();
    assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
    assert_eq!(names.len(), evaluators.definitions().len(), "every evaluator has one outcome");
    for row in &evaluated.evaluations {
        assert_eq!(row.value.is_some(), row.outcome == Outcome::Scored, "{row:?}");
        assert!(row.value.is_none_or(|value| (0.0..=1.0).contains(&value)), "{row:?}");
        let explanation = row.explanation.as_deref().unwrap_or_default();
        assert!(explanation.chars().count() <= LONGEST_EXPLANATION, "{} explains at length", row.evaluator);
    }
    of_record(&evaluated.record);
}

fn of_record(record: &TraceRecord) {
    record.measurements.iter().for_each(of_measurement);
    let stored = serde_json::to_string(record).expect("a record is JSON");
    let read: TraceRecord = serde_json::from_str(&stored).expect("a record is read again");
    assert_eq!(&read, record, "the store gives back what it got");
    let records = [record.clone(), read];
    let summary = Baseline::from_records("b", Timestamp(0), "", &records);
    let json = serde_json::to_string(&summary).expect("a baseline is JSON");
    let again: Baseline = serde_json::from_str(&json).expect("a baseline is read again");
    assert_eq!(again, summary);
    let merged = summary.series.values().all(|series| series.merge(series).is_some());
    assert!(merged, "a series goes together with itself");
}

fn of_measurement(measurement: &Measurement) {
    assert!(measurement.probability > 0.0 && measurement.probability <= 1.0, "{measurement:?}");
    if let Value::Number(number) = measurement.value {
        assert!(number.is_finite() && number >= 0.0, "{measurement:?}");
    }
}
