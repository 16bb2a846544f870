//! Spans as programs print or export them, one JSON object each, where a request would wrap them by resource.
//!
//! Read are the names of OTLP in either case, those of the OpenTelemetry SDKs' console exporters (ids in `context`,
//! `parent_id`, times in RFC 3339), attributes as a list or as a plain object.

use std::time::{Duration, UNIX_EPOCH};

use serde_json::{Map, Value};

use super::{
    AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList, Resource, ResourceSpans, ScopeSpans, Span,
    Status, any_value, span, status,
};

const TRACE_ID: [&str; 4] = ["/traceId", "/trace_id", "/context/trace_id", "/spanContext/traceId"];
const SPAN_ID: [&str; 5] = ["/spanId", "/span_id", "/context/span_id", "/spanContext/spanId", "/id"];
const PARENT: [&str; 5] = ["/parentSpanId", "/parent_span_id", "/parent_id", "/parentId", "/parentSpanContext/spanId"];
const START: [&str; 5] = ["/startTimeUnixNano", "/start_time_unix_nano", "/startTime", "/start_time", "/timestamp"];
const END: [&str; 4] = ["/endTimeUnixNano", "/end_time_unix_nano", "/endTime", "/end_time"];
const EVENT_TIME: [&str; 4] = ["/timeUnixNano", "/time_unix_nano", "/timestamp", "/time"];
const STATUS: [&str; 4] = ["/status/code", "/status/status_code", "/status_code", "/status"];
const STATUS_MESSAGE: [&str; 3] = ["/status/message", "/status/description", "/status_message"];
const RESOURCE: [&str; 3] = ["/resource/attributes", "/resource_attributes", "/resource"];
const SCOPE: [&str; 3] = ["/scope/name", "/instrumentation_scope/name", "/instrumentationScope/name"];

/// Reads one span; `None` when the text is no JSON object with a trace id and a span id.
pub(super) fn decode(bytes: &[u8]) -> Option<Vec<ResourceSpans>> {
    let json: Value = serde_json::from_slice(bytes).ok()?;
    let span = read_span(&json)?;
    let scope = text(&json, &SCOPE).map(|name| InstrumentationScope { name: name.to_owned(), ..Default::default() });
    let resource = Resource { attributes: attributes(first(&json, &RESOURCE)), ..Default::default() };
    let scope_spans = vec![ScopeSpans { scope, spans: vec![span], ..Default::default() }];
    Some(vec![ResourceSpans { resource: Some(resource), scope_spans, ..Default::default() }])
}

fn read_span(json: &Value) -> Option<Span> {
    Some(Span {
        trace_id: id(text(json, &TRACE_ID)?),
        span_id: id(text(json, &SPAN_ID)?),
        parent_span_id: text(json, &PARENT).filter(|parent| !parent.is_empty()).map(id).unwrap_or_default(),
        trace_state: text(json, &["/traceState", "/trace_state"]).unwrap_or_default().to_owned(),
        name: text(json, &["/name"]).unwrap_or_default().to_owned(),
        start_time_unix_nano: first(json, &START).and_then(nanos).unwrap_or_default(),
        end_time_unix_nano: first(json, &END).and_then(nanos).unwrap_or_default(),
        attributes: attributes(json.get("attributes")),
        events: json.get("events").and_then(Value::as_array).into_iter().flatten().map(event).collect(),
        status: Some(Status {
            code: first(json, &STATUS).map(status_code).unwrap_or_default(),
            message: text(json, &STATUS_MESSAGE).unwrap_or_default().to_owned(),
        }),
        ..Default::default()
    })
}

/// The first of some places that holds something.
fn first<'v>(json: &'v Value, places: &[&str]) -> Option<&'v Value> {
    places.iter().filter_map(|place| json.pointer(place)).find(|value| !value.is_null())
}

fn text<'v>(json: &'v Value, places: &[&str]) -> Option<&'v str> {
    first(json, places).and_then(Value::as_str)
}

/// A hexadecimal id, as Python prints it or not. Not hexadecimal gives one zero byte, a length no id has.
fn id(text: &str) -> Vec<u8> {
    hex::decode(text.strip_prefix("0x").unwrap_or(text)).unwrap_or_else(|_| vec![0])
}

/// A time as a number of whatever unit, told by its size, or as text in RFC 3339.
fn nanos(time: &Value) -> Option<u64> {
    let number = match time {
        Value::String(text) => match text.parse::<f64>() {
            Ok(number) => text.parse::<u64>().map_err(|_| number),
            Err(_) => return rfc3339_nanos(text),
        },
        other => other.as_u64().ok_or(other.as_f64()?),
    };
    // Bounds are 1973 in the smaller unit and past 5000 in the larger.
    let unit = match number.map_or_else(|fraction| fraction, |whole| whole as f64) {
        seconds if seconds < 1e11 => 1_000_000_000,
        millis if millis < 1e14 => 1_000_000,
        micros if micros < 1e17 => 1_000,
        _ => 1,
    };
    match number {
        Ok(whole) => whole.checked_mul(unit),
        Err(fraction) => Some((fraction * unit as f64) as u64),
    }
}

fn rfc3339_nanos(text: &str) -> Option<u64> {
    let (local, ahead_seconds) = match text.len().checked_sub(6).and_then(|at| text.split_at_checked(at)) {
        Some((local, offset)) if offset.starts_with(['+', '-']) => (local, offset_seconds(offset)?),
        _ => (text, 0),
    };
    let local = humantime::parse_rfc3339_weak(local).ok()?.duration_since(UNIX_EPOCH).ok()?;
    let away = Duration::from_secs(ahead_seconds.unsigned_abs());
    let utc = if ahead_seconds < 0 { local.checked_add(away) } else { local.checked_sub(away) };
    u64::try_from(utc?.as_nanos()).ok()
}

/// Seconds by which a clock at `+02:00` is ahead.
fn offset_seconds(offset: &str) -> Option<i64> {
    let (hours, minutes) = offset.get(1..)?.split_once(':')?;
    let seconds = hours.parse::<i64>().ok()? * 3600 + minutes.parse::<i64>().ok()? * 60;
    Some(if offset.starts_with('-') { -seconds } else { seconds })
}

/// A status code as a number or as any SDK's word for it.
fn status_code(code: &Value) -> i32 {
    let says = |word| code.as_str().is_some_and(|text| text.to_ascii_uppercase().ends_with(word));
    match code.as_i64() {
        Some(number) => i32::try_from(number).unwrap_or_default(),
        None if says("ERROR") => status::StatusCode::Error as i32,
        None if says("OK") => status::StatusCode::Ok as i32,
        None => status::StatusCode::Unset as i32,
    }
}

fn event(json: &Value) -> span::Event {
    span::Event {
        time_unix_nano: first(json, &EVENT_TIME).and_then(nanos).unwrap_or_default(),
        name: text(json, &["/name"]).unwrap_or_default().to_owned(),
        attributes: attributes(json.get("attributes")),
        dropped_attributes_count: 0,
    }
}

/// Attributes as an object, or as OTLP's list.
fn attributes(json: Option<&Value>) -> Vec<KeyValue> {
    match json {
        Some(Value::Object(members)) => plain_members(members),
        Some(Value::Array(items)) => items.iter().filter_map(listed).collect(),
        _ => Vec::new(),
    }
}

fn plain_members(members: &Map<String, Value>) -> Vec<KeyValue> {
    let set = members.iter().filter(|(_, value)| !value.is_null());
    set.map(|(key, value)| key_value(key, plain_value(value))).collect()
}

fn key_value(key: &str, value: Option<any_value::Value>) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value }), key_strindex: 0 }
}

fn listed(item: &Value) -> Option<KeyValue> {
    Some(key_value(item.get("key")?.as_str()?, typed_value(item.get("value")?)))
}

fn plain_value(json: &Value) -> Option<any_value::Value> {
    Some(match json {
        Value::Null => return None,
        Value::Bool(value) => any_value::Value::BoolValue(*value),
        Value::Number(number) => match number.as_i64() {
            Some(whole) => any_value::Value::IntValue(whole),
            None => any_value::Value::DoubleValue(number.as_f64()?),
        },
        Value::String(text) => any_value::Value::StringValue(text.clone()),
        Value::Array(items) => array(items.iter().map(plain_value)),
        Value::Object(members) => any_value::Value::KvlistValue(KeyValueList { values: plain_members(members) }),
    })
}

/// OTLP's object with one key that says the type.
fn typed_value(json: &Value) -> Option<any_value::Value> {
    let (kind, value) = json.as_object()?.iter().next()?;
    match kind.as_str() {
        "intValue" => {
            let whole = value.as_i64().or_else(|| value.as_str()?.parse().ok());
            whole.map(any_value::Value::IntValue)
        }
        "arrayValue" => Some(array(value.get("values")?.as_array()?.iter().map(typed_value))),
        "kvlistValue" => {
            let values = value.get("values")?.as_array()?.iter().filter_map(listed).collect();
            Some(any_value::Value::KvlistValue(KeyValueList { values }))
        }
        _ => plain_value(value),
    }
}

fn array(values: impl Iterator<Item = Option<any_value::Value>>) -> any_value::Value {
    any_value::Value::ArrayValue(ArrayValue { values: values.map(|value| AnyValue { value }).collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span_of(text: &str) -> (Span, ResourceSpans) {
        let mut group = decode(text.as_bytes()).unwrap().remove(0);
        (group.scope_spans[0].spans.remove(0), group)
    }

    const NOON: u64 = 1_772_452_800_000_000_000;

    #[test]
    fn the_same_span_is_read_in_every_shape() {
        let shapes = [
            r#"{"traceId":"0af7651916cd43dd8448eb211c80319c","spanId":"b7ad6b7169203331","parentSpanId":"00f067aa0ba902b7",
                "name":"chat","startTimeUnixNano":"1772452800000000000","endTimeUnixNano":1772452801000000000,
                "attributes":[{"key":"n","value":{"intValue":"5"}},{"key":"l","value":{"arrayValue":{"values":[{"stringValue":"a"}]}}}],
                "status":{"code":2,"message":"no"},"scope":{"name":"s"},
                "resource":{"attributes":[{"key":"service.name","value":{"stringValue":"desk"}}]},
                "events":[{"name":"e","timeUnixNano":"1772452800000000000","attributes":[]}]}"#,
            r#"{"name":"chat","context":{"trace_id":"0x0af7651916cd43dd8448eb211c80319c","span_id":"0xb7ad6b7169203331",
                "trace_state":"[]"},"kind":"SpanKind.INTERNAL","parent_id":"0x00f067aa0ba902b7",
                "start_time":"2026-03-02T12:00:00.000000Z","end_time":"2026-03-02T14:00:01+02:00",
                "status":{"status_code":"ERROR","description":"no"},"attributes":{"l":["a"],"n":5,"gone":null},
                "events":[{"name":"e","timestamp":"2026-03-02T12:00:00Z","attributes":{}}],"links":[],
                "instrumentation_scope":{"name":"s"},"resource":{"attributes":{"service.name":"desk"},"schema_url":""}}"#,
            r#"{"trace_id":"0AF7651916CD43DD8448EB211C80319C","span_id":"b7ad6b7169203331","parent_span_id":"00f067aa0ba902b7",
                "name":"chat","start_time":1772452800,"end_time":1772452801000.0,"status_code":"ERROR","status_message":"no",
                "attributes":{"n":5,"l":["a"]},"resource":{"service.name":"desk"},"scope":{"name":"s"},
                "events":[{"name":"e","time":1772452800000}]}"#,
        ];
        for shape in shapes {
            let (span, group) = span_of(shape);
            assert_eq!(hex::encode(&span.trace_id), "0af7651916cd43dd8448eb211c80319c");
            assert_eq!(
                (hex::encode(&span.span_id), hex::encode(&span.parent_span_id)),
                ("b7ad6b7169203331".into(), "00f067aa0ba902b7".into())
            );
            assert_eq!((span.start_time_unix_nano, span.end_time_unix_nano), (NOON, NOON + 1_000_000_000), "{shape}");
            assert_eq!(
                (span.name.as_str(), span.events[0].name.as_str(), span.events[0].time_unix_nano),
                ("chat", "e", NOON)
            );
            assert_eq!(span.status, Some(Status { code: 2, message: "no".to_owned() }));
            let mut found = span.attributes;
            found.sort_by(|left, right| left.key.cmp(&right.key));
            assert_eq!(found, plain_members(serde_json::json!({"l": ["a"], "n": 5}).as_object().unwrap()));
            assert_eq!(group.resource.unwrap().attributes[0].key, "service.name");
            assert_eq!(group.scope_spans[0].scope.as_ref().unwrap().name, "s");
        }
    }

    #[test]
    fn what_is_no_span_is_none_and_odd_values_are_unset() {
        for text in
            ["5", "[]", "{}", r#"{"traceId":"0af7651916cd43dd8448eb211c80319c"}"#, r#"{"trace_id":5,"span_id":6}"#]
        {
            assert!(decode(text.as_bytes()).is_none(), "{text}");
        }
        let odd = r#"{"trace_id":"é","span_id":"b7","start_time":"é+02:00","end_time":-5,"status":[],"attributes":7,
            "events":[5],"parent_id":null,"resource":"x"}"#;
        let (span, _) = span_of(odd);
        assert_eq!((span.trace_id, span.parent_span_id), (vec![0], Vec::new()));
        assert_eq!((span.start_time_unix_nano, span.end_time_unix_nano), (0, 0));
        assert_eq!(rfc3339_nanos("0000-00-00T00:00:00Zxxxxxx"), None);
    }

    #[test]
    fn bytes_flipped_anywhere_are_refused_or_read_but_never_a_crash() {
        let text = r#"{"context":{"trace_id":"0x0af7651916cd43dd8448eb211c80319c","span_id":"0xb7ad6b7169203331"},
            "start_time":"2026-03-02T12:00:00.000000+01:30","end_time":1772452801000.5,"status":{"status_code":"ERROR"},
            "attributes":[{"key":"n","value":{"kvlistValue":{"values":[{"key":"a","value":{"intValue":"5"}}]}}}]}"#;
        let mut random = fastrand::Rng::with_seed(2);
        let mut read = 0;
        for _ in 0..3000 {
            let mut bytes = text.as_bytes().to_vec();
            (0..random.usize(1..4)).for_each(|_| bytes[random.usize(0..text.len())] = random.u8(b' '..=b'~'));
            read += usize::from(decode(&bytes).is_some());
        }
        assert!(read > 500, "most flips spoil only a value: {read}");
    }
}
