//! What must not be kept is taken out of what is received before it is stored, and so before anyone judges or reads it.

use std::collections::BTreeSet;
use std::sync::Arc;

use ring::hmac;

use super::intake::Received;
use crate::domain::external_score::ExternalScore;
use crate::evaluate::redaction::Redactor;
use crate::otlp::{AnyValue, KeyValue, Span, TracePiece, any_value::Value};

/// Bytes of a hash that stand for a value.
const HASH_BYTES: usize = 16;

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
    pub fn apply(&self, received: &mut Received) -> u64 {
        let mut work = Work { redaction: self, count: 0 };
        received.pieces.iter_mut().for_each(|piece| work.piece(piece));
        received.scores.iter_mut().for_each(|new| work.score(&mut new.score));
        work.count
    }

    fn hashed(&self, value: &Value) -> Option<String> {
        let text = match value {
            Value::StringValue(text) => text.clone(),
            Value::IntValue(number) => number.to_string(),
            _ => return None,
        };
        let tag = hmac::sign(&self.key, text.as_bytes());
        Some(format!("hmac:{}", hex::encode(&tag.as_ref()[..HASH_BYTES])))
    }
}

struct Work<'a> {
    redaction: &'a Redaction,
    count: u64,
}

impl Work<'_> {
    fn piece(&mut self, piece: &mut TracePiece) {
        for group in &mut piece.resource_spans {
            if let Some(resource) = &mut group.resource {
                self.attributes(&mut resource.attributes);
            }
            for scope_spans in &mut group.scope_spans {
                if let Some(scope) = &mut scope_spans.scope {
                    self.attributes(&mut scope.attributes);
                }
                scope_spans.spans.iter_mut().for_each(|span| self.span(span));
            }
        }
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
        for attribute in attributes {
            let value = attribute.value.as_mut().and_then(|value| value.value.as_mut());
            match value {
                Some(value) if self.redaction.hash.contains(&attribute.key) => self.hash(value),
                Some(value) => self.value(value),
                None => {}
            }
        }
    }

    /// A list or a table has no one value to stand for; it goes.
    fn hash(&mut self, value: &mut Value) {
        *value = Value::StringValue(self.redaction.hashed(value).unwrap_or_else(|| "[redacted:hash]".to_owned()));
        self.count += 1;
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
            Value::BoolValue(_)
            | Value::IntValue(_)
            | Value::DoubleValue(_)
            | Value::BytesValue(_)
            | Value::StringValueStrindex(_) => {}
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
    use crate::otlp::{Encoding, decode_traces, split_by_trace};

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
            ],
            "events": [{ "timeUnixNano": "1", "name": "e", "attributes": [{ "key": "a", "value": text("x eve@mail.org") }] }],
        });
        let request = serde_json::json!({ "resourceSpans": [{ "scopeSpans": [{ "spans": [span] }] }] });
        let groups = decode_traces(request.to_string().as_bytes(), Encoding::Json).unwrap();
        Received { pieces: split_by_trace(groups).traces, scores: Vec::new() }
    }

    #[test]
    fn nothing_of_what_is_taken_out_is_left_anywhere_and_each_is_counted() {
        let mut received = received("ann");
        assert_eq!(redaction().apply(&mut received), 7);
        let left = format!("{received:?}");
        for gone in ["mail.org", "\"ann\"", "qrs", "xyz", "session.secret"] {
            assert!(!left.contains(gone), "{gone} is in {left}");
        }
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
