//! What is written on a message beside its body.

use std::time::Duration;

use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable, LongString, ShortString};

/// Header of a dead letter that says why it is one.
pub const REASON_HEADER: &str = "x-driftline-reason";

/// Header that says what a body holds, when that is not spans.
pub(super) const CONTENT_HEADER: &str = "x-driftline-content";

/// Header that counts attempts that have failed.
pub(super) const ATTEMPTS_HEADER: &str = "x-driftline-attempts";

/// A reason is for a person, and headers have to fit one frame.
const LONGEST_REASON: usize = 1_024;

/// `delivery_mode` of a message that survives the broker's restart (AMQP 0-9-1, basic class).
const PERSISTENT: u8 = 2;

/// A message that survives the broker's restart.
pub(super) fn persistent() -> BasicProperties {
    BasicProperties::default().with_delivery_mode(PERSISTENT)
}

/// A new message: what it holds, how that is encoded, and a name by which a repeat of it is known.
pub(super) fn of_new(content: &str, content_type: &str, name: &str) -> BasicProperties {
    let mut headers = FieldTable::default();
    headers.insert(CONTENT_HEADER.into(), AMQPValue::LongString(content.into()));
    persistent().with_headers(headers).with_content_type(content_type.into()).with_message_id(name.into())
}

/// The same message as a dead letter, with its reason.
pub(super) fn of_dead_letter(original: &BasicProperties, reason: &str) -> BasicProperties {
    let reason = &reason[..reason.floor_char_boundary(LONGEST_REASON)];
    same(original, (REASON_HEADER, AMQPValue::LongString(LongString::from(reason))))
}

/// The same message, for another attempt when the time is over.
pub(super) fn of_retry(original: &BasicProperties, failed_attempts: u32, wait: Duration) -> BasicProperties {
    let attempts = AMQPValue::LongLongInt(i64::from(failed_attempts));
    let milliseconds = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).to_string();
    same(original, (ATTEMPTS_HEADER, attempts)).with_expiration(milliseconds.as_str().into())
}

/// The same message as if it had just been published.
pub(super) fn of_replay(original: &BasicProperties) -> BasicProperties {
    let mut headers = FieldTable::default();
    keep_content(original, &mut headers);
    encoded_as(original, persistent().with_headers(headers))
}

fn same(original: &BasicProperties, (name, value): (&str, AMQPValue)) -> BasicProperties {
    let mut headers = FieldTable::default();
    keep_content(original, &mut headers);
    headers.insert(name.into(), value);
    encoded_as(original, persistent().with_headers(headers))
}

fn keep_content(original: &BasicProperties, headers: &mut FieldTable) {
    if let Some(content) = original.headers().as_ref().and_then(|headers| headers.inner().get(CONTENT_HEADER)) {
        headers.insert(CONTENT_HEADER.into(), content.clone());
    }
}

/// Properties that say of a body what the original's say, and name it alike.
fn encoded_as(original: &BasicProperties, properties: BasicProperties) -> BasicProperties {
    type Set = fn(BasicProperties, ShortString) -> BasicProperties;
    let kept: [(&Option<ShortString>, Set); 3] = [
        (original.content_type(), BasicProperties::with_content_type),
        (original.content_encoding(), BasicProperties::with_content_encoding),
        (original.message_id(), BasicProperties::with_message_id),
    ];
    kept.into_iter().fold(properties, |properties, (value, set)| match value {
        Some(value) => set(properties, value.clone()),
        None => properties,
    })
}

/// A header that holds text.
pub(super) fn text_header(properties: &BasicProperties, name: &str) -> Option<String> {
    match properties.headers().as_ref()?.inner().get(name)? {
        AMQPValue::LongString(text) => Some(text.to_string()),
        AMQPValue::ShortString(text) => Some(text.to_string()),
        _ => None,
    }
}

/// How many attempts have failed; what anyone else has written there counts as none.
pub(super) fn failed_attempts(properties: &BasicProperties) -> u32 {
    let attempts = properties.headers().as_ref().and_then(|headers| headers.inner().get(ATTEMPTS_HEADER));
    match attempts {
        Some(AMQPValue::LongLongInt(attempts)) => u32::try_from(*attempts).unwrap_or(0),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_keeps_what_it_holds_through_retry_death_and_replay() {
        let new = of_new("logs", "application/json", "a name");
        let retried = of_retry(&new, 2, Duration::from_secs(10));
        assert_eq!((failed_attempts(&retried), retried.expiration().clone()), (2, Some("10000".into())));
        let dead = of_dead_letter(&retried, "why");
        assert_eq!(text_header(&dead, REASON_HEADER).as_deref(), Some("why"));
        let replayed = of_replay(&dead);
        for message in [&retried, &dead, &replayed] {
            assert_eq!(text_header(message, CONTENT_HEADER).as_deref(), Some("logs"));
            assert_eq!(message.message_id().clone(), Some("a name".into()));
            assert_eq!(message.delivery_mode().clone(), Some(PERSISTENT));
        }
        assert_eq!((failed_attempts(&replayed), text_header(&replayed, REASON_HEADER)), (0, None));
    }
}
