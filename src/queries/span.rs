//! A span as JSON, whatever wire it came by.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::domain::ids::SpanId;
use crate::domain::time::Timestamp;
use crate::otlp::{AnyValue, KeyValue, RawTrace, ResourceSpans, Span, any_value, span as wire, status};

/// Attributes by name.
pub type Attributes = BTreeMap<String, Value>;

/// One span of a stored trace.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StoredSpan {
    /// The span.
    pub span_id: SpanId,
    /// Its parent; absent for a root.
    pub parent_span_id: Option<SpanId>,
    /// Its name; absent when only its scores are still kept.
    pub name: Option<String>,
    /// `internal`, `server`, `client`, `producer`, `consumer` or `unspecified`.
    pub kind: String,
    /// Start, in nanoseconds since the Unix epoch; absent when the sender set none.
    pub started_at: Option<Timestamp>,
    /// End, in nanoseconds since the Unix epoch; absent when the sender set none.
    pub ended_at: Option<Timestamp>,
    /// `ok`, `error` or `unset`.
    pub status: String,
    /// What the sender said about the status.
    pub status_message: Option<String>,
    /// Index into the trace's resources.
    pub resource: Option<usize>,
    /// The span's attributes, with its scores among them.
    pub attributes: Attributes,
    /// What happened during the span.
    pub events: Vec<StoredEvent>,
}

/// Something that happened during a span.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StoredEvent {
    /// When, in nanoseconds since the Unix epoch.
    pub at: Timestamp,
    /// What.
    pub name: String,
    /// Its attributes.
    pub attributes: Attributes,
}

impl StoredSpan {
    /// A span of which nothing but its id is known.
    #[must_use]
    pub fn unknown(span_id: SpanId) -> Self {
        Self {
            span_id,
            parent_span_id: None,
            name: None,
            kind: "unspecified".to_owned(),
            started_at: None,
            ended_at: None,
            status: "unset".to_owned(),
            status_message: None,
            resource: None,
            attributes: Attributes::new(),
            events: Vec::new(),
        }
    }

    fn read(span: &Span, resource: usize) -> Option<Self> {
        let status = span.status.as_ref();
        Some(Self {
            span_id: SpanId::from_bytes(&span.span_id).ok()?,
            parent_span_id: SpanId::from_bytes(&span.parent_span_id).ok(),
            name: Some(span.name.clone()),
            kind: kind(span.kind()).to_owned(),
            started_at: instant(span.start_time_unix_nano),
            ended_at: instant(span.end_time_unix_nano),
            status: code(status.map_or(status::StatusCode::Unset, crate::otlp::Status::code)).to_owned(),
            status_message: status.map(|status| status.message.clone()).filter(|message| !message.is_empty()),
            resource: Some(resource),
            attributes: attributes(&span.attributes),
            events: span.events.iter().map(event).collect(),
        })
    }

    /// Time from start to end in seconds, when both are known and in order.
    #[must_use]
    pub fn seconds(&self) -> Option<f64> {
        let seconds = self.ended_at?.seconds_since(self.started_at?);
        (seconds >= 0.0).then_some(seconds)
    }
}

/// Every span of a trace by start, and the attributes of the resources they name.
pub(super) fn spans(raw: &RawTrace) -> (Vec<StoredSpan>, Vec<Attributes>) {
    let resource =
        |group: &ResourceSpans| group.resource.as_ref().map_or_else(Attributes::new, |it| attributes(&it.attributes));
    let resources = raw.resource_spans.iter().map(resource).collect();
    let of_group = |(index, group): (usize, &ResourceSpans)| -> Vec<StoredSpan> {
        let spans = group.scope_spans.iter().flat_map(|scope| &scope.spans);
        spans.filter_map(|span| StoredSpan::read(span, index)).collect()
    };
    let mut spans: Vec<StoredSpan> = raw.resource_spans.iter().enumerate().flat_map(of_group).collect();
    spans.sort_by_key(|span| (span.started_at, span.span_id));
    (spans, resources)
}

fn event(event: &wire::Event) -> StoredEvent {
    StoredEvent {
        at: instant(event.time_unix_nano).unwrap_or_default(),
        name: event.name.clone(),
        attributes: attributes(&event.attributes),
    }
}

fn attributes(pairs: &[KeyValue]) -> Attributes {
    pairs.iter().map(|pair| (pair.key.clone(), pair.value.as_ref().map_or(Value::Null, json))).collect()
}

/// A value as JSON: bytes as hexadecimal text, numbers that JSON lacks by their name. Decoding has bounded the depth.
fn json(value: &AnyValue) -> Value {
    use any_value::Value as Wire;
    match &value.value {
        // An index into a table that only profiles carry says nothing here.
        None | Some(Wire::StringValueStrindex(_)) => Value::Null,
        Some(Wire::StringValue(text)) => text.as_str().into(),
        Some(Wire::BoolValue(flag)) => (*flag).into(),
        Some(Wire::IntValue(number)) => (*number).into(),
        Some(Wire::DoubleValue(number)) if number.is_finite() => (*number).into(),
        Some(Wire::DoubleValue(number)) => number.to_string().into(),
        Some(Wire::BytesValue(bytes)) => hex::encode(bytes).into(),
        Some(Wire::ArrayValue(list)) => list.values.iter().map(json).collect(),
        Some(Wire::KvlistValue(list)) => Value::Object(attributes(&list.values).into_iter().collect()),
    }
}

/// OTLP's unsigned nanoseconds, of which zero means unset; saturates in the year 2262.
fn instant(nanos: u64) -> Option<Timestamp> {
    (nanos != 0).then(|| Timestamp(i64::try_from(nanos).unwrap_or(i64::MAX)))
}

const fn kind(kind: wire::SpanKind) -> &'static str {
    match kind {
        wire::SpanKind::Unspecified => "unspecified",
        wire::SpanKind::Internal => "internal",
        wire::SpanKind::Server => "server",
        wire::SpanKind::Client => "client",
        wire::SpanKind::Producer => "producer",
        wire::SpanKind::Consumer => "consumer",
    }
}

const fn code(code: status::StatusCode) -> &'static str {
    match code {
        status::StatusCode::Unset => "unset",
        status::StatusCode::Ok => "ok",
        status::StatusCode::Error => "error",
    }
}
