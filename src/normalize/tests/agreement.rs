//! Real traces, against features that another program computed from them, and against themselves in other conventions.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::BufRead as _;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::domain::trace::{ToolStatus, Trace};
use crate::normalize::{AttributeMapping, normalize};
use crate::otlp::{TraceReader, assemble, split_by_trace};

/// The folder of shared data; says so when there is none.
fn shared_data() -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
    let folder = std::env::var_os("DRIFTLINE_SHARED_DATA").map_or_else(beside, PathBuf::from);
    let found = folder.is_dir();
    if !found {
        skipped();
    }
    found.then_some(folder)
}

#[expect(clippy::print_stderr, reason = "a skipped test must be visible")]
fn skipped() {
    eprintln!("skipped: no shared data");
}

fn traces(path: &Path) -> Vec<Trace> {
    let mapping = AttributeMapping::default();
    let requests = TraceReader::open(path).unwrap().map(Result::unwrap);
    let pieces = requests.flat_map(|request| split_by_trace(request).traces);
    pieces.map(|piece| normalize(&assemble(piece.trace_id, vec![piece.resource_spans]), &mapping).unwrap()).collect()
}

#[derive(Deserialize)]
struct Expected {
    trace_id: String,
    set: String,
    spans: usize,
    chat_calls: usize,
    tools: Vec<String>,
    tool_errors: usize,
    empty_results: usize,
    max_same_call: usize,
    max_consecutive_same_call: usize,
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    final_chars: usize,
    final_is_json_object: bool,
    root_error: Option<String>,
}

fn expected(folder: &Path) -> Vec<Expected> {
    let file = std::fs::File::open(folder.join("expected_features_dev.jsonl.gz")).unwrap();
    let lines = std::io::BufReader::new(flate2::read::GzDecoder::new(file)).lines();
    lines.map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect()
}

fn tool_names(trace: &Trace) -> Vec<&str> {
    trace.tool_calls().map(|call| call.name.as_str()).collect()
}

fn tool_errors(trace: &Trace) -> usize {
    trace.tool_calls().filter(|call| call.status != ToolStatus::Success).count()
}

/// How often the most repeated call was made, in all and in a row.
fn most_repeated(trace: &Trace) -> (usize, usize) {
    let firsts: Vec<usize> =
        trace.tool_calls().enumerate().map(|(index, call)| call.repeat_of.unwrap_or(index)).collect();
    let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
    for first in &firsts {
        *counts.entry(*first).or_default() += 1;
    }
    let runs = firsts.chunk_by(|left, right| left == right).map(<[usize]>::len);
    (counts.into_values().max().unwrap_or(0), runs.max().unwrap_or(0))
}

fn assert_agrees(trace: &Trace, expected: &Expected) {
    let id = &expected.trace_id;
    assert_eq!(trace.span_count, expected.spans, "{id}");
    assert_eq!(trace.model_calls().count(), expected.chat_calls, "{id}");
    assert_eq!(tool_names(trace), expected.tools, "{id}");
    assert_eq!(tool_errors(trace), expected.tool_errors, "{id}");
    let empty = trace.tool_calls().filter(|call| call.result_empty == Some(true)).count();
    assert_eq!(empty, expected.empty_results, "{id}");
    assert_eq!(most_repeated(trace), (expected.max_same_call, expected.max_consecutive_same_call), "{id}");
    assert_eq!(trace.input_tokens(), expected.input_tokens, "{id}");
    assert_eq!(trace.output_tokens(), expected.output_tokens, "{id}");
    assert_eq!(trace.error, expected.root_error, "{id}");
    assert_eq!(
        trace.missing.contains(&"gen_ai.usage.input_tokens"),
        expected.input_tokens.is_none() && expected.chat_calls > 0,
        "{id}"
    );
    // Where the run recorded no answer of its own, the model's last words stand in for it.
    if expected.final_chars > 0 {
        let output = trace.output.as_deref().unwrap();
        assert_eq!(output.chars().count(), expected.final_chars, "{id}");
        let object = output.starts_with('{') && output.ends_with('}');
        assert_eq!(object, expected.final_is_json_object, "{id}");
    }
}

#[test]
fn every_real_trace_reads_as_another_program_reads_it() {
    let Some(folder) = shared_data() else { return };
    let expected = expected(&folder);
    let mut sets: Vec<&str> = expected.iter().map(|expected| expected.set.as_str()).collect();
    sets.dedup();
    let files = sets.iter().map(|set| folder.join(format!("{set}.otlp.jsonl.gz")));
    let traces: HashMap<String, Trace> =
        files.flat_map(|file| traces(&file)).map(|trace| (trace.trace_id.to_string(), trace)).collect();
    assert_eq!((expected.len(), traces.len()), (672, 672));
    let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for expected in &expected {
        let trace = &traces[&expected.trace_id];
        assert_agrees(trace, expected);
        assert_eq!(trace.agent_version.is_some(), expected.chat_calls > 0);
        versions.entry(&expected.set).or_default().extend(trace.agent_version.as_deref());
        assert_eq!(trace.convention, "gen_ai");
        assert_eq!(trace.latency_seconds().is_some(), trace.clock_is_real);
        assert!(trace.input.is_some() || expected.chat_calls == 0);
    }
    assert!(versions.values().all(|versions| versions.len() == 1), "one agent made each set: {versions:?}");
    assert_eq!(versions["tau_retail_gpt-4.1-mini_base-r1"], versions["tau_retail_gpt-4.1-mini_base"]);
    assert_eq!(versions.values().collect::<BTreeSet<_>>().len(), 6, "and any other is another: {versions:?}");
}

#[test]
fn the_same_run_reads_the_same_in_every_convention() {
    let Some(folder) = shared_data() else { return };
    let originals = ["tau_airline_gpt-4o", "tau_retail_gpt-5-mini_base"];
    let originals: HashMap<_, _> = originals
        .iter()
        .flat_map(|set| traces(&folder.join(format!("{set}.otlp.jsonl.gz"))))
        .map(|trace| (trace.trace_id, trace))
        .collect();
    for (file, convention) in [
        ("dialect40_openinference.otlp.jsonl.gz", "openinference"),
        ("dialect40_openllmetry-legacy.otlp.jsonl.gz", "openllmetry"),
        ("dialect40_genai-full.otlp.pb.gz", "gen_ai"),
    ] {
        let translated = traces(&folder.join(file));
        assert_eq!(translated.len(), 40, "{file}");
        for trace in translated {
            assert_eq!(trace.convention, convention);
            assert_same_run(&trace, &originals[&trace.trace_id]);
        }
    }
}

/// Every fact that the test reads is carried by each of these conventions.
fn assert_same_run(trace: &Trace, original: &Trace) {
    let id = trace.trace_id;
    assert_eq!(tool_names(trace), tool_names(original), "{id}");
    assert_eq!(tool_errors(trace), tool_errors(original), "{id}");
    assert_eq!(most_repeated(trace), most_repeated(original), "{id}");
    assert_eq!(trace.model_calls().count(), original.model_calls().count(), "{id}");
    assert_eq!(
        (trace.input_tokens(), trace.output_tokens()),
        (original.input_tokens(), original.output_tokens()),
        "{id}"
    );
    assert_eq!(trace.models(), original.models(), "{id}");
    assert_eq!(trace.conversation_id, original.conversation_id, "{id}");
    assert_eq!(trace.agent, original.agent, "{id}");
    assert_eq!(trace.agent_version, original.agent_version, "{id}");
    assert_eq!(trace.output, original.output, "{id}");
    assert_eq!(trace.input, original.input, "{id}");
    // The translation dropped the line feed at the end.
    let instructions = |trace: &Trace| trace.system_instructions.as_deref().unwrap().trim_end().to_owned();
    assert_eq!(instructions(trace), instructions(original), "{id}");
    for (call, original) in trace.tool_calls().zip(original.tool_calls()) {
        assert_eq!(
            (&call.arguments, &call.result, call.result_empty),
            (&original.arguments, &original.result, original.result_empty),
            "{id}"
        );
    }
}

#[test]
fn spans_of_the_vercel_sdk_are_understood() {
    let Some(folder) = shared_data() else { return };
    let traces = traces(&folder.join("dialect_vercel-ai-sdk.otlp.jsonl.gz"));
    assert_eq!(traces.len(), 10);
    assert!(traces.iter().all(|trace| trace.convention == "vercel_ai"));
    let answered: Vec<&Trace> = traces.iter().filter(|trace| trace.model_calls().count() > 0).collect();
    assert_eq!(answered.len(), 8, "the other two are embeddings");
    for trace in answered {
        assert!(
            trace.input.is_some() && trace.output.is_some() && trace.input_tokens().is_some(),
            "{}",
            trace.trace_id
        );
    }
}
