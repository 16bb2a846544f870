//! OTLP/JSON to the prost types, typed and in one pass.
//!
//! The reading is our own because real senders write nulls, numbers as text and empty lists. Unknown keys are ignored,
//! as the specification demands, and a snake case key is an unknown key.

use serde::de::MapAccess;

use super::json_values::{Bytes, Object, Scalar, essential, field, id, read_message, skip, value};
use super::{
    AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList, Resource, ResourceSpans, ScopeSpans, Span,
    Status, any_value, span,
};

/// Reads one `ExportTraceServiceRequest`; `None` when the text is JSON but has no `resourceSpans`.
pub(super) fn decode(bytes: &[u8]) -> Result<Option<Vec<ResourceSpans>>, serde_json::Error> {
    Ok(read_message::<Request>(bytes)?.and_then(|request| request.resource_spans))
}

#[derive(Default)]
struct Request {
    resource_spans: Option<Vec<ResourceSpans>>,
}

impl Object for Request {
    fn read<'de, A: MapAccess<'de>>(&mut self, name: &str, members: &mut A) -> Result<(), A::Error> {
        match name {
            "resourceSpans" => self.resource_spans = essential(members)?,
            _ => skip(members)?,
        }
        Ok(())
    }
}

impl Object for ResourceSpans {
    fn read<'de, A: MapAccess<'de>>(&mut self, name: &str, members: &mut A) -> Result<(), A::Error> {
        match name {
            "resource" => self.resource = value(members)?,
            "scopeSpans" => self.scope_spans = essential(members)?.unwrap_or_default(),
            "schemaUrl" => self.schema_url = field(members)?,
            _ => skip(members)?,
        }
        Ok(())
    }
}

impl Object for Resource {
    fn read<'de, A: MapAccess<'de>>(&mut self, name: &str, members: &mut A) -> Result<(), A::Error> {
        match name {
            "attributes" => self.attributes = field(members)?,
            "droppedAttributesCount" => self.dropped_attributes_count = field(members)?,
            _ => skip(members)?,
        }
        Ok(())
    }
}

impl Object for ScopeSpans {
    fn read<'de, A: MapAccess<'de>>(&mut self, name: &str, members: &mut A) -> Result<(), A::Error> {
        match name {
            "scope" => self.scope = value(members)?,
            "spans" => self.spans = essential(members)?.unwrap_or_default(),
            "schemaUrl" => self.schema_url = field(members)?,
            _ => skip(members)?,
        }
        Ok(())
    }
}

impl Object for InstrumentationScope {
    fn read<'de, A: MapAccess<'de>>(&mut self, name: &str, members: &mut A) -> Result<(), A::Error> {
        match name {
            "name" => self.name = field(members)?,
            "version" => self.version = field(members)?,
            "attributes" => self.attributes = field(members)?,
            "droppedAttributesCount" => self.dropped_attributes_count = field(members)?,
            _ => skip(members)?,
        }
        Ok(())
    }
}

impl Object for Span {
    fn read<'de, A: MapAccess<'de>>(&mut self, name: &str, members: &mut A) -> Result<(), A::Error> {
        match name {
            "traceId" => self.trace_id = id(members)?,
            "spanId" => self.span_id = id(members)?,
            "traceState" => self.trace_state = field(members)?,
            "parentSpanId" => self.parent_span_id = id(members)?,
            "flags" => self.flags = field(members)?,
            "name" => self.name = field(members)?,
            "kind" => self.kind = field(members)?,
            "startTimeUnixNano" => self.start_time_unix_nano = field(members)?,
            "endTimeUnixNano" => self.end_time_unix_nano = field(members)?,
            "attributes" => self.attributes = field(members)?,
            "droppedAttributesCount" => self.dropped_attributes_count = field(members)?,
            "events" => self.events = field(members)?,
            "droppedEventsCount" => self.dropped_events_count = field(members)?,
            "links" => self.links = field(members)?,
            "droppedLinksCount" => self.dropped_links_count = field(members)?,
            "status" => self.status = value(members)?,
            _ => skip(members)?,
        }
        Ok(())
    }

    /// A span without ids, which is rejected and thus counted.
    fn from_bare(_: Scalar<'_>) -> Option<Self> {
        Some(Self::default())
    }
}

impl Object for span::Event {
    fn read<'de, A: MapAccess<'de>>(&mut self, name: &str, members: &mut A) -> Result<(), A::Error> {
        match name {
            "timeUnixNano" => self.time_unix_nano = field(members)?,
            "name" => self.name = field(members)?,
            "attributes" => self.attributes = field(members)?,
            "droppedAttributesCount" => self.dropped_attributes_count = field(members)?,
            _ => skip(members)?,
        }
        Ok(())
    }
}

impl Object for span::Link {
    fn read<'de, A: MapAccess<'de>>(&mut self, name: &str, members: &mut A) -> Result<(), A::Error> {
        match name {
            "traceId" => self.trace_id = id(members)?,
            "spanId" => self.span_id = id(members)?,
            "traceState" => self.trace_state = field(members)?,
            "attributes" => self.attributes = field(members)?,
            "droppedAttributesCount" => self.dropped_attributes_count = field(members)?,
            "flags" => self.flags = field(members)?,
            _ => skip(members)?,
        }
        Ok(())
    }
}

impl Object for Status {
    fn read<'de, A: MapAccess<'de>>(&mut self, name: &str, members: &mut A) -> Result<(), A::Error> {
        match name {
            "message" => self.message = field(members)?,
            "code" => self.code = field(members)?,
            _ => skip(members)?,
        }
        Ok(())
    }
}

impl Object for KeyValue {
    fn read<'de, A: MapAccess<'de>>(&mut self, name: &str, members: &mut A) -> Result<(), A::Error> {
        match name {
            "key" => self.key = field(members)?,
            "value" => self.value = value(members)?,
            _ => skip(members)?,
        }
        Ok(())
    }
}

impl Object for ArrayValue {
    fn read<'de, A: MapAccess<'de>>(&mut self, name: &str, members: &mut A) -> Result<(), A::Error> {
        match name {
            "values" => self.values = field(members)?,
            _ => skip(members)?,
        }
        Ok(())
    }
}

impl Object for KeyValueList {
    fn read<'de, A: MapAccess<'de>>(&mut self, name: &str, members: &mut A) -> Result<(), A::Error> {
        match name {
            "values" => self.values = field(members)?,
            _ => skip(members)?,
        }
        Ok(())
    }
}

/// An object with one key that says the type; some write the bare value.
impl Object for AnyValue {
    fn read<'de, A: MapAccess<'de>>(&mut self, name: &str, members: &mut A) -> Result<(), A::Error> {
        use any_value::Value;
        let read = match name {
            "stringValue" => value(members)?.map(Value::StringValue),
            "boolValue" => value(members)?.map(Value::BoolValue),
            "intValue" => value(members)?.map(Value::IntValue),
            "doubleValue" => value(members)?.map(Value::DoubleValue),
            "arrayValue" => value(members)?.map(Value::ArrayValue),
            "kvlistValue" => value(members)?.map(Value::KvlistValue),
            "bytesValue" => value(members)?.map(|Bytes(bytes)| Value::BytesValue(bytes)),
            _ => skip(members).map(|()| None)?,
        };
        self.value = read.or(self.value.take());
        Ok(())
    }

    fn from_bare(scalar: Scalar<'_>) -> Option<Self> {
        use any_value::Value;
        let value = match scalar {
            Scalar::Boolean(value) => Value::BoolValue(value),
            Scalar::Integer(value) => Value::IntValue(i64::try_from(value).ok()?),
            Scalar::Double(value) => Value::DoubleValue(value),
            Scalar::Text(text) => Value::StringValue(text.to_owned()),
        };
        Some(Self { value: Some(value) })
    }
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
    fn a_value_of_the_wrong_type_costs_no_more_than_itself() {
        use any_value::Value;
        let text = |text: &str| Some(Value::StringValue(text.to_owned()));
        for (written, expected) in [
            (r#"{"stringValue":5}"#, text("5")),
            (r#"{"stringValue":["a"]}"#, None),
            (r#"{"boolValue":"true"}"#, Some(Value::BoolValue(true))),
            (r#"{"boolValue":0}"#, Some(Value::BoolValue(false))),
            (r#"{"boolValue":7}"#, None),
            (r#"{"intValue":{"low":5}}"#, None),
            (r#"{"bytesValue":5}"#, None),
            (r#"{"arrayValue":["a",{"intValue":1}]}"#, None),
            (r#"{"kvlistValue":7}"#, None),
            (r#"{"stringValue":"first","stringValue":"last"}"#, text("last")),
            ("\"bare\"", text("bare")),
            ("4.5", Some(Value::DoubleValue(4.5))),
        ] {
            assert_eq!(value_of(written), expected, "{written}");
        }
        for written in [
            r#""status":"OK""#,
            r#""name":["a"],"name":7"#,
            r#""attributes":{"a":"b"},"name":"7""#,
            r#""attributes":["a",5,null],"name":"7""#,
            r#""events":"none","links":{},"traceState":[],"name":"first","name":"7""#,
        ] {
            let name = if written.contains("status") { "" } else { "7" };
            assert_eq!(span_with(written), Span { name: name.to_owned(), ..Span::default() }, "{written}");
        }
    }

    #[test]
    fn an_id_of_the_wrong_type_makes_no_root_and_no_other_span() {
        let span = span_with(r#""traceId":5,"spanId":true,"parentSpanId":7"#);
        assert_eq!((span.trace_id, span.span_id, span.parent_span_id), (vec![0], vec![0], vec![0]));
    }

    #[test]
    fn where_spans_should_be_anything_else_is_refused_or_rejected_rather_than_lost() {
        for written in
            ["{}", r#""none""#, r#"[{"scopeSpans":{"spans":[]}}]"#, r#"[{"scopeSpans":[{"spans":{"name":"a"}}]}]"#]
        {
            assert!(decode(format!(r#"{{"resourceSpans":{written}}}"#).as_bytes()).is_err(), "{written}");
        }
        let groups = decode(br#"{"resourceSpans":[{"scopeSpans":[{"spans":["none",null]}]}]}"#).unwrap().unwrap();
        assert_eq!(super::super::split_by_trace(groups).rejected.len(), 1);
    }

    #[test]
    fn what_is_no_unicode_is_replaced_and_the_rest_kept() {
        let written = br#"{"resourceSpans":[{"schemaUrl":"\ud83d\ude00 \\ud83d \ud83d \ude00 _","x\udc00":1}]}"#;
        let written = written.map(|byte| if byte == b'_' { 0xff } else { byte });
        let groups = decode(&written).unwrap().unwrap();
        assert_eq!(groups[0].schema_url, "\u{1f600} \\ud83d \u{fffd} \u{fffd} \u{fffd}");
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
