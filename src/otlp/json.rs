//! OTLP/JSON to the prost types, typed and in one pass.
//!
//! Shadow types stand between because real senders write nulls, numbers as text and empty lists. Unknown keys are
//! ignored, as the specification demands, and a snake case key is an unknown key.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};

use super::json_values::{Bytes, Double, Id, Integer, List, Text};
use super::weight::weighing;
use super::{
    AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList, Resource, ResourceSpans, ScopeSpans, Span,
    Status, any_value, span,
};

/// Reads one `ExportTraceServiceRequest`; `None` when the text is JSON but has no `resourceSpans`.
pub(super) fn decode(bytes: &[u8]) -> Result<Option<Vec<ResourceSpans>>, serde_json::Error> {
    // Derived structs read lists too, by position.
    if bytes.trim_ascii_start().starts_with(b"[") {
        return serde_json::from_slice::<IgnoredAny>(bytes).map(|_| None);
    }
    let request: RequestShape = weighing(|| serde_json::from_slice(bytes))?;
    Ok(request.resource_spans.map(|list| convert(Some(list))))
}

pub(super) fn convert<T, U: From<T>>(list: Option<List<T>>) -> Vec<U> {
    list.unwrap_or_default().0.into_iter().map(U::from).collect()
}

pub(super) fn text(text: Option<Text>) -> String {
    text.map(|text| text.0).unwrap_or_default()
}

pub(super) fn id(id: Option<Id>) -> Vec<u8> {
    id.map(|id| id.0).unwrap_or_default()
}

pub(super) fn integer<T: TryFrom<i128> + Default>(integer: Option<Integer>) -> T {
    integer.map(Integer::to).unwrap_or_default()
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object")]
struct RequestShape {
    resource_spans: Option<List<ResourceSpansShape>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object")]
struct ResourceSpansShape {
    resource: Option<ResourceShape>,
    scope_spans: Option<List<ScopeSpansShape>>,
    schema_url: Option<Text>,
}

impl From<ResourceSpansShape> for ResourceSpans {
    fn from(shape: ResourceSpansShape) -> Self {
        Self {
            resource: shape.resource.map(Resource::from),
            scope_spans: convert(shape.scope_spans),
            schema_url: text(shape.schema_url),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object")]
pub(super) struct ResourceShape {
    attributes: Option<List<KeyValueShape>>,
    dropped_attributes_count: Option<Integer>,
}

impl From<ResourceShape> for Resource {
    fn from(shape: ResourceShape) -> Self {
        Self {
            attributes: convert(shape.attributes),
            dropped_attributes_count: integer(shape.dropped_attributes_count),
            entity_refs: Vec::new(),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object")]
struct ScopeSpansShape {
    scope: Option<ScopeShape>,
    spans: Option<List<SpanShape>>,
    schema_url: Option<Text>,
}

impl From<ScopeSpansShape> for ScopeSpans {
    fn from(shape: ScopeSpansShape) -> Self {
        Self {
            scope: shape.scope.map(InstrumentationScope::from),
            spans: convert(shape.spans),
            schema_url: text(shape.schema_url),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object")]
pub(super) struct ScopeShape {
    name: Option<Text>,
    version: Option<Text>,
    attributes: Option<List<KeyValueShape>>,
    dropped_attributes_count: Option<Integer>,
}

impl From<ScopeShape> for InstrumentationScope {
    fn from(shape: ScopeShape) -> Self {
        Self {
            name: text(shape.name),
            version: text(shape.version),
            attributes: convert(shape.attributes),
            dropped_attributes_count: integer(shape.dropped_attributes_count),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object")]
struct SpanShape {
    trace_id: Option<Id>,
    span_id: Option<Id>,
    trace_state: Option<Text>,
    parent_span_id: Option<Id>,
    flags: Option<Integer>,
    name: Option<Text>,
    kind: Option<Integer>,
    start_time_unix_nano: Option<Integer>,
    end_time_unix_nano: Option<Integer>,
    attributes: Option<List<KeyValueShape>>,
    dropped_attributes_count: Option<Integer>,
    events: Option<List<EventShape>>,
    dropped_events_count: Option<Integer>,
    links: Option<List<LinkShape>>,
    dropped_links_count: Option<Integer>,
    status: Option<StatusShape>,
}

impl From<SpanShape> for Span {
    fn from(shape: SpanShape) -> Self {
        Self {
            trace_id: id(shape.trace_id),
            span_id: id(shape.span_id),
            trace_state: text(shape.trace_state),
            parent_span_id: id(shape.parent_span_id),
            flags: integer(shape.flags),
            name: text(shape.name),
            kind: integer(shape.kind),
            start_time_unix_nano: integer(shape.start_time_unix_nano),
            end_time_unix_nano: integer(shape.end_time_unix_nano),
            attributes: convert(shape.attributes),
            dropped_attributes_count: integer(shape.dropped_attributes_count),
            events: convert(shape.events),
            dropped_events_count: integer(shape.dropped_events_count),
            links: convert(shape.links),
            dropped_links_count: integer(shape.dropped_links_count),
            status: shape.status.map(Status::from),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object")]
struct EventShape {
    time_unix_nano: Option<Integer>,
    name: Option<Text>,
    attributes: Option<List<KeyValueShape>>,
    dropped_attributes_count: Option<Integer>,
}

impl From<EventShape> for span::Event {
    fn from(shape: EventShape) -> Self {
        Self {
            time_unix_nano: integer(shape.time_unix_nano),
            name: text(shape.name),
            attributes: convert(shape.attributes),
            dropped_attributes_count: integer(shape.dropped_attributes_count),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object")]
struct LinkShape {
    trace_id: Option<Id>,
    span_id: Option<Id>,
    trace_state: Option<Text>,
    attributes: Option<List<KeyValueShape>>,
    dropped_attributes_count: Option<Integer>,
    flags: Option<Integer>,
}

impl From<LinkShape> for span::Link {
    fn from(shape: LinkShape) -> Self {
        Self {
            trace_id: id(shape.trace_id),
            span_id: id(shape.span_id),
            trace_state: text(shape.trace_state),
            attributes: convert(shape.attributes),
            dropped_attributes_count: integer(shape.dropped_attributes_count),
            flags: integer(shape.flags),
        }
    }
}

#[derive(Deserialize)]
struct StatusShape {
    message: Option<Text>,
    code: Option<Integer>,
}

impl From<StatusShape> for Status {
    fn from(shape: StatusShape) -> Self {
        Self { message: text(shape.message), code: integer(shape.code) }
    }
}

#[derive(Deserialize)]
pub(super) struct KeyValueShape {
    key: Option<Text>,
    value: Option<ValueShape>,
}

impl From<KeyValueShape> for KeyValue {
    fn from(shape: KeyValueShape) -> Self {
        Self { key: text(shape.key), value: shape.value.map(AnyValue::from), key_strindex: 0 }
    }
}

#[derive(Deserialize)]
struct ArrayShape {
    values: Option<List<ValueShape>>,
}

#[derive(Deserialize)]
struct KeyValueListShape {
    values: Option<List<KeyValueShape>>,
}

/// One `AnyValue`: an object with one key that says the type.
pub(super) struct ValueShape(Option<any_value::Value>);

impl From<ValueShape> for AnyValue {
    fn from(shape: ValueShape) -> Self {
        Self { value: shape.0 }
    }
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "camelCase")]
enum ValueKey {
    StringValue,
    BoolValue,
    IntValue,
    DoubleValue,
    ArrayValue,
    KvlistValue,
    BytesValue,
    #[serde(other)]
    Unknown,
}

impl<'de> Deserialize<'de> for ValueShape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ValueVisitor;
        impl<'de> Visitor<'de> for ValueVisitor {
            type Value = ValueShape;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an attribute value object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<ValueShape, A::Error> {
                let mut value = None;
                while let Some(key) = entries.next_key()? {
                    value = read_value(&key, &mut entries)?.or(value);
                }
                Ok(ValueShape(value))
            }
        }
        deserializer.deserialize_map(ValueVisitor)
    }
}

fn read_value<'de, A: MapAccess<'de>>(key: &ValueKey, entries: &mut A) -> Result<Option<any_value::Value>, A::Error> {
    use any_value::Value;
    Ok(match key {
        ValueKey::StringValue => entries.next_value::<Option<Text>>()?.map(|text| Value::StringValue(text.0)),
        ValueKey::BoolValue => entries.next_value::<Option<bool>>()?.map(Value::BoolValue),
        ValueKey::IntValue => integer_value(entries.next_value()?),
        ValueKey::DoubleValue => entries.next_value::<Double>()?.0.map(Value::DoubleValue),
        ValueKey::ArrayValue => entries
            .next_value::<Option<ArrayShape>>()?
            .map(|array| Value::ArrayValue(ArrayValue { values: convert(array.values) })),
        ValueKey::KvlistValue => entries
            .next_value::<Option<KeyValueListShape>>()?
            .map(|list| Value::KvlistValue(KeyValueList { values: convert(list.values) })),
        ValueKey::BytesValue => entries.next_value::<Option<Bytes>>()?.map(|bytes| Value::BytesValue(bytes.0)),
        ValueKey::Unknown => entries.next_value::<IgnoredAny>().map(|_| None)?,
    })
}

fn integer_value(integer: Integer) -> Option<any_value::Value> {
    integer.0.and_then(|value| i64::try_from(value).ok()).map(any_value::Value::IntValue)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span_with(fields: &str) -> Span {
        let request = format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{{fields}}}]}}]}}]}}"#);
        decode(request.as_bytes()).unwrap().unwrap().remove(0).scope_spans.remove(0).spans.remove(0)
    }

    fn value_of(value: &str) -> Option<any_value::Value> {
        span_with(&format!(r#""attributes":[{{"key":"a","value":{value}}}]"#)).attributes.remove(0).value?.value
    }

    #[test]
    fn ids_are_hexadecimal_in_either_case() {
        let span = span_with(r#""traceId":"5B8EFFF798038103D269B633813FC60C","spanId":"eee19b7ec3c1b174""#);
        assert_eq!(span.trace_id[0], 0x5b);
        assert_eq!(span.span_id, [0xee, 0xe1, 0x9b, 0x7e, 0xc3, 0xc1, 0xb1, 0x74]);
    }

    #[test]
    fn an_id_that_is_not_hexadecimal_cannot_pass_for_one() {
        assert_eq!(span_with(r#""traceId":"zzzzzzzzzzzzzzzz","parentSpanId":"zzzzzzzz""#).trace_id, [0]);
    }

    #[test]
    fn integers_are_read_from_numbers_text_and_whole_doubles() {
        for written in ["1736121602888946688", "\"1736121602888946688\"", "1736121602888946688.0"] {
            let span = span_with(&format!(r#""startTimeUnixNano":{written}"#));
            assert_eq!(span.start_time_unix_nano, 1_736_121_602_888_946_688);
        }
        assert_eq!(value_of(r#"{"intValue":"-5"}"#), Some(any_value::Value::IntValue(-5)));
        assert_eq!(value_of(r#"{"intValue":5.5}"#), None);
    }

    #[test]
    fn doubles_are_read_from_numbers_text_and_named_values() {
        assert_eq!(value_of(r#"{"doubleValue":"1.5"}"#), Some(any_value::Value::DoubleValue(1.5)));
        assert_eq!(value_of(r#"{"doubleValue":2}"#), Some(any_value::Value::DoubleValue(2.0)));
        let infinite = value_of(r#"{"doubleValue":"-Infinity"}"#);
        assert_eq!(infinite, Some(any_value::Value::DoubleValue(f64::NEG_INFINITY)));
        assert!(matches!(value_of(r#"{"doubleValue":"NaN"}"#), Some(any_value::Value::DoubleValue(x)) if x.is_nan()));
    }

    #[test]
    fn null_is_unset_everywhere() {
        let fields =
            "traceId spanId parentSpanId traceState name kind startTimeUnixNano attributes events links status"
                .split(' ')
                .map(|field| format!(r#""{field}":null"#))
                .collect::<Vec<_>>();
        assert_eq!(span_with(&fields.join(",")), Span::default());
        for kind in ["stringValue", "boolValue", "intValue", "doubleValue", "arrayValue", "kvlistValue", "bytesValue"] {
            assert_eq!(value_of(&format!(r#"{{"{kind}":null}}"#)), None);
        }
        assert_eq!(value_of("null"), None);
        assert_eq!(
            decode(br#"{"resourceSpans":[null,{"resource":null,"scopeSpans":[null]}]}"#).unwrap().unwrap().len(),
            1
        );
    }

    #[test]
    fn empty_lists_and_unknown_keys_are_fine() {
        assert_eq!(value_of(r#"{"arrayValue":{}}"#), Some(any_value::Value::ArrayValue(ArrayValue::default())));
        assert_eq!(value_of(r#"{"kvlistValue":{}}"#), Some(any_value::Value::KvlistValue(KeyValueList::default())));
        assert_eq!(value_of(r#"{"newValue":[1],"boolValue":true}"#), Some(any_value::Value::BoolValue(true)));
        assert_eq!(span_with(r#""start_time_unix_nano":5,"future":{"a":[]}"#), Span::default());
    }

    #[test]
    fn bytes_are_base64() {
        assert_eq!(value_of(r#"{"bytesValue":"Zm9v"}"#), Some(any_value::Value::BytesValue(b"foo".to_vec())));
    }

    #[test]
    fn a_lone_surrogate_does_not_cost_the_request() {
        let Some(any_value::Value::StringValue(text)) = value_of(r#"{"stringValue":"cut \ud83d"}"#) else { panic!() };
        assert!(text.starts_with("cut \u{fffd}"));
    }

    #[test]
    fn json_without_resource_spans_is_told_apart_from_an_empty_request() {
        assert_eq!(decode(br#"{"resource_spans":[]}"#).unwrap(), None);
        assert_eq!(decode(br#"{"resourceSpans":[]}"#).unwrap(), Some(Vec::new()));
    }

    #[test]
    fn nesting_deeper_than_the_parser_allows_is_an_error_and_not_a_crash() {
        let deep = format!(
            r#"{{"resourceSpans":[{{"resource":{{"attributes":[{{"key":"a","value":{}{}}}]}}}}]}}"#,
            r#"{"arrayValue":{"values":["#.repeat(100_000),
            "]}}".repeat(100_000)
        );
        assert!(decode(deep.as_bytes()).is_err());
    }
}
