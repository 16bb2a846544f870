//! What must not be kept is taken out of what is received before it is stored, and so before anyone judges or reads it.
//!
//! A receiver that hands requests on to a broker takes it out of the request, so that the broker has none of it either. The
//! worker does so again, for what others publish, and changes nothing more.

use std::collections::BTreeSet;
use std::mem;
use std::sync::Arc;

use prost::Message as _;
use ring::hmac;
use serde_json::{Map, json};

use super::intake::Received;
use crate::domain::external_score::ExternalScore;
use crate::evaluate::redaction::Redactor;
use crate::otlp::{
    AnyValue, DecodeError, ExportLogsServiceRequest, ExportTraceServiceRequest, InstrumentationScope, KeyValue,
    LOG_BODY, LogRecord, Resource, ResourceLogs, ResourceSpans, Span, any_value::Value, decode_piece,
};

/// Bytes of a hash that stand for a value.
const HASH_BYTES: usize = 16;
/// How the hash of a value begins, and what stands for one that has none.
const HASH: &str = "hmac:";
const NO_HASH: &str = "[redacted:hash]";

/// The largest body that is left of one of so many bytes: what stands for something may be longer than that was.
#[must_use]
pub const fn largest_redacted(received: usize) -> usize {
    received.saturating_mul(2)
}

/// A body without what is taken out.
pub(super) struct Redacted {
    /// OTLP in protobuf, or of feedback JSON.
    pub(super) body: Vec<u8>,
    /// How often something was taken out.
    pub(super) count: u64,
}

/// What is taken out.
#[derive(Debug)]
pub struct Redaction {
    /// Out of every text.
    pub redactor: Arc<Redactor>,
    /// Attributes that are dropped, by key.
    pub drop: BTreeSet<String>,
    /// Attributes whose value is replaced by a keyed hash: the same value stays the same.
    pub hash: BTreeSet<String>,
    /// The key of the hash.
    pub key: hmac::Key,
}

impl Redaction {
    /// Takes everything out, and tells how often something was.
    ///
    /// # Errors
    /// A piece cannot be read.
    pub fn apply(&self, received: &mut Received) -> Result<u64, DecodeError> {
        let mut count = 0;
        for piece in &mut received.pieces {
            let redacted = self.of_spans(&mut decode_piece(&piece.body)?);
            piece.body = redacted.body.into();
            count += redacted.count;
        }
        let mut work = Work { redaction: self, count };
        received.scores.iter_mut().for_each(|new| work.score(&mut new.score));
        Ok(work.count)
    }

    /// Takes everything out of a request of spans, which is the same as its body then.
    pub(super) fn of_spans(&self, groups: &mut Vec<ResourceSpans>) -> Redacted {
        let mut work = Work { redaction: self, count: 0 };
        work.spans(groups);
        let request = ExportTraceServiceRequest { resource_spans: mem::take(groups) };
        let redacted = Redacted { body: request.encode_to_vec(), count: work.count };
        *groups = request.resource_spans;
        redacted
    }

    /// The same of a request of log records.
    pub(super) fn of_logs(&self, groups: &mut Vec<ResourceLogs>) -> Redacted {
        let mut work = Work { redaction: self, count: 0 };
        work.logs(groups);
        let request = ExportLogsServiceRequest { resource_logs: mem::take(groups) };
        let redacted = Redacted { body: request.encode_to_vec(), count: work.count };
        *groups = request.resource_logs;
        redacted
    }

    /// The same of feedback, of which the score was read. What a text gains by it is cut off: whoever reads it again takes
    /// no longer one.
    pub(super) fn of_feedback(&self, mut object: Map<String, serde_json::Value>, score: &ExternalScore) -> Redacted {
        let mut work = Work { redaction: self, count: 0 };
        let mut score = score.clone();
        work.score(&mut score);
        let score = score.bounded();
        object.insert("label".to_owned(), json!(score.label));
        object.insert("explanation".to_owned(), json!(score.explanation));
        Redacted { body: serde_json::Value::Object(object).to_string().into_bytes(), count: work.count }
    }

    fn hashed(&self, value: &Value) -> Option<String> {
        let text = match value {
            Value::StringValue(text) => text.clone(),
            Value::IntValue(number) => number.to_string(),
            _ => return None,
        };
        let tag = hmac::sign(&self.key, text.as_bytes());
        Some(format!("{HASH}{}", hex::encode(&tag.as_ref()[..HASH_BYTES])))
    }
}

/// Whether a value stands for another one already.
fn is_hash(value: &Value) -> bool {
    let Value::StringValue(text) = value else { return false };
    let tag = text.strip_prefix(HASH).filter(|tag| tag.len() == 2 * HASH_BYTES);
    text == NO_HASH || tag.is_some_and(|tag| tag.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

struct Work<'a> {
    redaction: &'a Redaction,
    count: u64,
}

impl Work<'_> {
    fn spans(&mut self, groups: &mut [ResourceSpans]) {
        for group in groups {
            self.resource(group.resource.as_mut());
            for scope_spans in &mut group.scope_spans {
                self.scope(scope_spans.scope.as_mut());
                scope_spans.spans.iter_mut().for_each(|span| self.span(span));
            }
        }
    }

    fn logs(&mut self, groups: &mut [ResourceLogs]) {
        for group in groups {
            self.resource(group.resource.as_mut());
            for scope_logs in &mut group.scope_logs {
                self.scope(scope_logs.scope.as_mut());
                scope_logs.log_records.iter_mut().for_each(|record| self.log_record(record));
            }
        }
    }

    fn resource(&mut self, resource: Option<&mut Resource>) {
        resource.into_iter().for_each(|resource| self.attributes(&mut resource.attributes));
    }

    fn scope(&mut self, scope: Option<&mut InstrumentationScope>) {
        scope.into_iter().for_each(|scope| self.attributes(&mut scope.attributes));
    }

    fn log_record(&mut self, record: &mut LogRecord) {
        self.text(&mut record.event_name);
        self.text(&mut record.severity_text);
        self.attributes(&mut record.attributes);
        record.body = record.body.take().and_then(|body| self.log_body(body));
    }

    /// A table stands for attributes, as it does for whoever reads the record; anything else for one that is named body.
    fn log_body(&mut self, mut body: AnyValue) -> Option<AnyValue> {
        if let Some(Value::KvlistValue(table)) = &mut body.value {
            self.attributes(&mut table.values);
            return Some(body);
        }
        let mut named = vec![KeyValue { key: LOG_BODY.to_owned(), value: Some(body), ..KeyValue::default() }];
        self.attributes(&mut named);
        named.pop()?.value
    }

    fn span(&mut self, span: &mut Span) {
        self.text(&mut span.name);
        self.attributes(&mut span.attributes);
        if let Some(status) = &mut span.status {
            self.text(&mut status.message);
        }
        for event in &mut span.events {
            self.text(&mut event.name);
            self.attributes(&mut event.attributes);
        }
        span.links.iter_mut().for_each(|link| self.attributes(&mut link.attributes));
    }

    fn score(&mut self, score: &mut ExternalScore) {
        self.count += self.redaction.redactor.redact_score(score);
    }

    fn attributes(&mut self, attributes: &mut Vec<KeyValue>) {
        let before = attributes.len();
        attributes.retain(|attribute| !self.redaction.drop.contains(&attribute.key));
        self.count += (before - attributes.len()) as u64;
        for KeyValue { key, value, .. } in attributes {
            let is_hashed = self.redaction.hash.contains(key.as_str());
            match value.as_mut().and_then(|value| value.value.as_mut()) {
                Some(value) if is_hashed => self.hash(value),
                Some(value) => self.value(value),
                None => {}
            }
            // A key that is hashed by was named by hand, and has to be known again.
            if !is_hashed {
                self.text(key);
            }
        }
    }

    /// A list or a table has no one value to stand for; it goes.
    fn hash(&mut self, value: &mut Value) {
        if !is_hash(value) {
            *value = Value::StringValue(self.redaction.hashed(value).unwrap_or_else(|| NO_HASH.to_owned()));
            self.count += 1;
        }
    }

    /// Decoding has bounded how deep values lie in each other.
    fn value(&mut self, value: &mut Value) {
        match value {
            Value::StringValue(text) => self.text(text),
            Value::ArrayValue(list) => {
                let values = list.values.iter_mut().filter_map(|AnyValue { value }| value.as_mut());
                values.for_each(|value| self.value(value));
            }
            Value::KvlistValue(table) => self.attributes(&mut table.values),
            Value::BytesValue(bytes) => self.bytes(bytes),
            Value::BoolValue(_) | Value::IntValue(_) | Value::DoubleValue(_) | Value::StringValueStrindex(_) => {}
        }
    }

    /// Bytes may be text that was sent so; what is none holds nothing that could be looked for.
    fn bytes(&mut self, bytes: &mut Vec<u8>) {
        let redacted = std::str::from_utf8(bytes).ok().and_then(|text| self.redaction.redactor.redacted(text));
        if let Some((redacted, count)) = redacted {
            *bytes = redacted.into_bytes();
            self.count += count;
        }
    }

    fn text(&mut self, text: &mut String) {
        if let Some((redacted, count)) = self.redaction.redactor.redacted(text) {
            *text = redacted;
            self.count += count;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::feedback::parse;
    use crate::otlp::{Encoding, decode_logs, decode_traces, split_by_trace};

    fn redaction() -> Redaction {
        Redaction {
            redactor: Arc::new(Redactor::new(&["email".to_owned()], &std::collections::BTreeMap::new()).unwrap()),
            drop: ["session.secret".to_owned()].into(),
            hash: ["user.id".to_owned()].into(),
            key: hmac::Key::new(hmac::HMAC_SHA256, b"key"),
        }
    }

    fn received(user: &str) -> Received {
        let text = |text: &str| serde_json::json!({ "stringValue": text });
        let inner = serde_json::json!({ "kvlistValue": { "values": [
            { "key": "session.secret", "value": text("xyz") },
            { "key": "deep", "value": { "arrayValue": { "values": [text("to bob@mail.org")] } } },
        ] } });
        let span = serde_json::json!({
            "traceId": "0123456789abcdef0123456789abcdef", "spanId": "0123456789abcdef", "name": "mail eve@mail.org",
            "startTimeUnixNano": "1", "endTimeUnixNano": "2", "status": { "message": "no eve@mail.org" },
            "attributes": [
                { "key": "user.id", "value": text(user) }, { "key": "session.secret", "value": text("qrs") },
                { "key": "table", "value": inner },
                { "key": "of eve@mail.org", "value": { "bytesValue": "ZXZlQG1haWwub3Jn" } },
            ],
            "events": [{ "timeUnixNano": "1", "name": "e", "attributes": [{ "key": "a", "value": text("x eve@mail.org") }] }],
        });
        let request = serde_json::json!({ "resourceSpans": [{ "scopeSpans": [{ "spans": [span] }] }] });
        let groups = decode_traces(request.to_string().as_bytes(), Encoding::Json).unwrap();
        Received::new(split_by_trace(groups).traces, Vec::new())
    }

    #[test]
    fn nothing_of_what_is_taken_out_is_left_anywhere_and_each_is_counted() {
        let mut received = received("ann");
        assert_eq!(redaction().apply(&mut received).unwrap(), 9);
        let left = format!("{:?}", decode_piece(&received.pieces[0].body).unwrap());
        let bytes = format!("{:?}", b"mail.org");
        for gone in ["mail.org", bytes.trim_matches(['[', ']']), "\"ann\"", "qrs", "xyz", "session.secret"] {
            assert!(!left.contains(gone), "{gone} is in {left}");
        }
    }

    #[test]
    fn a_request_without_it_is_read_again_to_the_same_and_nothing_more_is_taken_out() {
        let mut stored = received("ann");
        redaction().apply(&mut stored).unwrap();
        let mut groups = decode_piece(&received("ann").pieces[0].body).unwrap();
        let redacted = redaction().of_spans(&mut groups);
        assert_eq!(redacted.count, 9);
        let (mut again, _) = Received::of_spans(&redacted.body.into(), Encoding::Protobuf).unwrap();
        assert_eq!(redaction().apply(&mut again).unwrap(), 0, "a hash is not hashed");
        assert_eq!(again.pieces, stored.pieces);
    }

    #[test]
    fn log_records_and_feedback_lose_it_too() {
        let text = |text: &str| serde_json::json!({ "stringValue": text });
        let table =
            serde_json::json!({ "kvlistValue": { "values": [{ "key": "session.secret", "value": text("xyz") }] } });
        let records = serde_json::json!([
            { "eventName": "e", "body": text("mail eve@mail.org"), "attributes": [{ "key": "user.id", "value": text("ann") }] },
            { "eventName": "e", "body": table },
        ]);
        let request = serde_json::json!({ "resourceLogs": [{ "scopeLogs": [{ "logRecords": records }] }] });
        let mut groups = decode_logs(request.to_string().as_bytes(), Encoding::Json).unwrap();
        let redacted = redaction().of_logs(&mut groups);
        assert_eq!(redacted.count, 3);
        assert_eq!(decode_logs(&redacted.body, Encoding::Protobuf).unwrap(), groups);
        let left = format!("{groups:?}");
        assert!(!left.contains("eve@") && !left.contains("\"ann\"") && !left.contains("xyz"), "{left}");

        let label = "a@b.co ".repeat(28);
        let feedback = serde_json::json!({ "trace_id": "0123456789abcdef0123456789abcdef", "name": "n", "source": "s",
            "label": label, "value": 1, "id": "7" });
        let feedback = feedback.as_object().unwrap().clone();
        let score = parse(&feedback).unwrap();
        let redacted = redaction().of_feedback(feedback, &score.score);
        let again = parse(&serde_json::from_slice(&redacted.body).unwrap()).unwrap();
        assert_eq!((redacted.count, &again.identity, again.score.value), (28, &score.identity, Some(1.0)));
        assert!(!again.score.label.unwrap().contains('@'));
    }

    #[test]
    fn the_same_value_stays_the_same_and_another_key_gives_another() {
        let hashed = |redaction: &Redaction, user: &str| redaction.hashed(&Value::StringValue(user.to_owned()));
        let other = Redaction { key: hmac::Key::new(hmac::HMAC_SHA256, b"other"), ..redaction() };
        assert_eq!(hashed(&redaction(), "ann"), hashed(&redaction(), "ann"));
        assert_ne!(hashed(&redaction(), "ann"), hashed(&redaction(), "bob"));
        assert_ne!(hashed(&redaction(), "ann"), hashed(&other, "ann"));
    }
}
