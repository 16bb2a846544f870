//! Builds small traces by hand.

use crate::domain::trace::Trace;
use crate::normalize::{AttributeMapping, normalize};
use crate::otlp::any_value::Value;
use crate::otlp::{AnyValue, KeyValue, RawTrace, Resource, ResourceSpans, ScopeSpans, Span, Status, assemble};

/// A span from its id, its parent's (0 for none) and texts by key. It starts at its id in seconds and takes one second.
pub(super) fn span(id: u32, parent: u32, attributes: &[(&str, &str)]) -> Span {
    let second = 1_000_000_000;
    Span {
        trace_id: vec![1; 16],
        span_id: span_id(id),
        parent_span_id: if parent == 0 { Vec::new() } else { span_id(parent) },
        start_time_unix_nano: u64::from(id) * second,
        end_time_unix_nano: u64::from(id + 1) * second,
        attributes: texts(attributes),
        ..Default::default()
    }
}

pub(super) fn failed(span: Span, message: &str) -> Span {
    Span { status: Some(Status { code: 2, message: message.to_owned() }), ..span }
}

fn span_id(id: u32) -> Vec<u8> {
    (u64::from(id) | 1 << 63).to_be_bytes().to_vec()
}

fn texts(attributes: &[(&str, &str)]) -> Vec<KeyValue> {
    let value = |text: &str| AnyValue { value: Some(Value::StringValue(text.to_owned())) };
    let attribute =
        |(key, text): &(&str, &str)| KeyValue { key: (*key).to_owned(), value: Some(value(text)), key_strindex: 0 };
    attributes.iter().map(attribute).collect()
}

pub(super) fn raw(resource: &[(&str, &str)], spans: Vec<Span>) -> RawTrace {
    let resource = Resource { attributes: texts(resource), ..Default::default() };
    let scope_spans = vec![ScopeSpans { spans, ..Default::default() }];
    let group = ResourceSpans { resource: Some(resource), scope_spans, ..Default::default() };
    assemble("01010101010101010101010101010101".parse().unwrap(), vec![vec![group]])
}

pub(super) fn trace(spans: Vec<Span>) -> Trace {
    normalize(&raw(&[], spans), &AttributeMapping::default()).unwrap()
}
