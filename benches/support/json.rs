//! The trace as one line of OTLP/JSON.

use driftline::otlp::{AnyValue, KeyValue, ResourceSpans, Span, any_value};
use serde_json::{Value, json};

/// One line of a traces file, without its line feed.
pub(crate) fn line(resource_spans: &[ResourceSpans]) -> String {
    let groups: Vec<Value> = resource_spans.iter().map(group).collect();
    json!({ "resourceSpans": groups }).to_string()
}

fn group(group: &ResourceSpans) -> Value {
    let resource = group.resource.as_ref().map(|resource| attributes(&resource.attributes));
    let scopes = group.scope_spans.iter().map(|scope| {
        let name = scope.scope.as_ref().map(|scope| scope.name.as_str());
        json!({"scope": {"name": name}, "spans": scope.spans.iter().map(span).collect::<Vec<_>>()})
    });
    json!({"resource": {"attributes": resource}, "scopeSpans": scopes.collect::<Vec<_>>()})
}

fn span(span: &Span) -> Value {
    json!({
        "traceId": hex::encode(&span.trace_id),
        "spanId": hex::encode(&span.span_id),
        "parentSpanId": hex::encode(&span.parent_span_id),
        "name": span.name,
        "kind": span.kind,
        "startTimeUnixNano": span.start_time_unix_nano.to_string(),
        "endTimeUnixNano": span.end_time_unix_nano.to_string(),
        "attributes": attributes(&span.attributes),
        "status": {"code": span.status.as_ref().map(|status| status.code)},
    })
}

fn attributes(attributes: &[KeyValue]) -> Vec<Value> {
    attributes.iter().map(|one| json!({"key": one.key, "value": one.value.as_ref().map(value)})).collect()
}

/// The kinds of value that the generator uses.
fn value(value: &AnyValue) -> Value {
    match &value.value {
        Some(any_value::Value::StringValue(text)) => json!({ "stringValue": text }),
        Some(any_value::Value::IntValue(number)) => json!({ "intValue": number.to_string() }),
        Some(any_value::Value::ArrayValue(array)) => {
            json!({"arrayValue": {"values": array.values.iter().map(self::value).collect::<Vec<_>>()}})
        }
        _ => Value::Null,
    }
}
