//! Spans that speak all conventions at once: any value under any name that a convention knows.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use driftline::otlp::{
    AnyValue, ArrayValue, Encoding, ExportTraceServiceRequest, InstrumentationScope, KeyValue, KeyValueList, Resource,
    ResourceSpans, ScopeSpans, Span, Status, any_value::Value, decode_traces, span::Event,
};
use prost::Message as _;

use super::choices::Choices;
use super::invariants;

const START: u64 = 1_760_000_000_000_000_000;
/// Levels of generated JSON.
const DEEPEST: u8 = 5;

/// Every text that the source of the conventions holds: names of attributes and members, roles, operations, phrases.
static WORDS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let above = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    let folder = above.map(|folder| folder.join("src/normalize")).find(|folder| folder.is_dir());
    let mut words: Vec<String> = files(&folder.expect("the source is beside the fuzzer"))
        .iter()
        .flat_map(|file| literals(&fs::read_to_string(file).expect("source is readable")))
        .collect();
    words.sort();
    words.dedup();
    words
});

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries =
        fs::read_dir(folder).expect("source is readable").map(|entry| entry.expect("source is readable").path());
    entries.filter(|path| path.extension().is_some_and(|extension| extension == "rs")).collect()
}

/// The texts in double quotes above the tests of a source file, as far as no quote is escaped.
fn literals(source: &str) -> Vec<String> {
    let source = source.split("#[cfg(test)]").next().unwrap_or_default();
    let code = source.lines().filter(|line| !line.trim_start().starts_with("//"));
    let quoted = |line: &str| line.split('"').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
    code.flat_map(quoted).filter(|word| !word.is_empty() && word.len() < 60).collect()
}

/// Reads bytes as a trace, and checks it in both encodings.
pub fn check(bytes: &[u8]) {
    let spans = spans(&mut Choices(bytes));
    let request = ExportTraceServiceRequest { resource_spans: spans.clone() };
    let json = serde_json::to_vec(&request).expect("a request is JSON");
    if let Ok(read) = decode_traces(&json, Encoding::Json) {
        let binary = decode_traces(&request.encode_to_vec(), Encoding::Protobuf).expect("a request is protobuf");
        assert_eq!(read, binary, "JSON and protobuf say the same: {}", String::from_utf8_lossy(&json));
    }
    invariants::of_request(spans);
}

fn spans(choices: &mut Choices<'_>) -> Vec<ResourceSpans> {
    let resource = Resource { attributes: attributes(choices, 4), ..Resource::default() };
    let scope = InstrumentationScope { name: word(choices), ..InstrumentationScope::default() };
    let spans = (0..=choices.below(8)).map(|number| span(choices, number as u8 + 1)).collect();
    let scope_spans = vec![ScopeSpans { scope: Some(scope), spans, ..ScopeSpans::default() }];
    vec![ResourceSpans { resource: Some(resource), scope_spans, ..ResourceSpans::default() }]
}

fn span(choices: &mut Choices<'_>, number: u8) -> Span {
    let parent = choices.below(10) as u8;
    let start_time_unix_nano = START + u64::from(choices.byte()) * 1_000_000;
    let status = Status { code: choices.below(4) as i32, message: word(choices) };
    Span {
        trace_id: vec![1; 16],
        span_id: vec![number; 8],
        parent_span_id: if parent == 0 { Vec::new() } else { vec![parent; 8] },
        name: word(choices),
        start_time_unix_nano,
        end_time_unix_nano: start_time_unix_nano + u64::from(choices.byte()) * 1_000_000_000,
        attributes: attributes(choices, 12),
        events: (0..choices.below(3)).map(|_| event(choices)).collect(),
        status: Some(status),
        ..Span::default()
    }
}

fn event(choices: &mut Choices<'_>) -> Event {
    Event { name: word(choices), attributes: attributes(choices, 4), time_unix_nano: START, ..Event::default() }
}

fn attributes(choices: &mut Choices<'_>, most: usize) -> Vec<KeyValue> {
    (0..choices.below(most)).map(|_| attribute(choices, 0)).collect()
}

fn attribute(choices: &mut Choices<'_>, depth: u8) -> KeyValue {
    KeyValue { key: key(choices), value: Some(AnyValue { value: value(choices, depth) }), ..KeyValue::default() }
}

fn key(choices: &mut Choices<'_>) -> String {
    match choices.below(8) {
        0 => format!("{}{}.{}", word(choices), choices.below(3), word(choices)),
        1 => choices.text(),
        _ => word(choices),
    }
}

fn word(choices: &mut Choices<'_>) -> String {
    WORDS[choices.below(WORDS.len())].clone()
}

fn value(choices: &mut Choices<'_>, depth: u8) -> Option<Value> {
    Some(match choices.below(if depth < DEEPEST { 11 } else { 8 }) {
        0 => return None,
        1 | 2 => Value::StringValue(word(choices)),
        3 => Value::StringValue(choices.text()),
        4 => Value::IntValue(choices.number() as i64),
        // What is not finite is null in JSON, and equals nothing.
        5 => Value::DoubleValue(
            Some(f64::from_bits(choices.number())).filter(|number| number.is_finite()).unwrap_or(0.5),
        ),
        6 => Value::BoolValue(choices.byte() < 128),
        7 => Value::BytesValue(choices.text().into_bytes()),
        8 => Value::StringValue(json(choices, depth + 1).to_string()),
        9 => {
            let values = (0..choices.below(4)).map(|_| AnyValue { value: value(choices, depth + 1) }).collect();
            Value::ArrayValue(ArrayValue { values })
        }
        _ => {
            let values = (0..choices.below(5)).map(|_| attribute(choices, depth + 1)).collect();
            Value::KvlistValue(KeyValueList { values })
        }
    })
}

fn json(choices: &mut Choices<'_>, depth: u8) -> serde_json::Value {
    use serde_json::Value as Json;
    match choices.below(if depth < DEEPEST { 9 } else { 6 }) {
        0 => Json::Null,
        1 => (choices.byte() < 128).into(),
        2 => f64::from_bits(choices.number()).into(),
        3 => (choices.byte() as i8).into(),
        4 => word(choices).into(),
        5 => choices.text().into(),
        6 => (0..choices.below(4)).map(|_| json(choices, depth + 1)).collect(),
        7 => json(choices, depth + 1).to_string().into(),
        _ => Json::Object((0..choices.below(5)).map(|_| (word(choices), json(choices, depth + 1))).collect()),
    }
}
