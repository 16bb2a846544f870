//! What a message takes in memory once it is read, from its bytes alone.
//!
//! An empty span is two bytes on the wire and some three hundred in memory, and two bytes repeated compress to nothing:
//! a request of a few kilobytes could take as many gigabytes. So a large message is weighed before it is read.

use std::cell::Cell;

use super::{AnyValue, InstrumentationScope, KeyValue, LogRecord, Resource, ResourceLogs, ResourceSpans};
use super::{ScopeLogs, ScopeSpans, Span, Status, span};

/// Memory that the parts of a message may take for each of its bytes when it is as large as it may be, their texts not
/// counted: about what the shortest attributes that anyone writes take.
const MOST_PER_BYTE: usize = 4;
/// Most memory that the parts of one message may take, in bytes: that of the largest request.
const MOST_BYTES: usize = MOST_PER_BYTE * 64 * 1024 * 1024;
/// Smaller messages are read unweighed: whatever they hold fits.
const WEIGHED_FROM: usize = 256 * 1024;
/// What a byte counts at most against a limit: a part takes two of them at least, and the largest part is a span. (A group,
/// which takes no memory, may count more.)
const MOST_COUNTED_PER_BYTE: usize = size_of::<Span>().div_ceil(2 * MOST_PER_BYTE);
/// Levels that the protobuf decoder follows.
const DEEPEST: usize = 100;

/// A message has so many parts that it is not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it has too many spans, attributes or values: they would take more than {} MiB", MOST_BYTES >> 20)]
pub struct TooManyParts;

/// A kind of message, what one takes, and which fields hold further messages.
pub(super) struct Part {
    bytes: usize,
    fields: &'static [(u64, &'static Part)],
}

/// `TracesData` (opentelemetry-proto, `trace.proto`).
pub(super) static TRACES: Part = Part { bytes: 0, fields: &[(1, &RESOURCE_SPANS)] };
/// `LogsData` (opentelemetry-proto, `logs.proto`).
pub(super) static LOGS: Part = Part { bytes: 0, fields: &[(1, &RESOURCE_LOGS)] };

static RESOURCE_SPANS: Part = part::<ResourceSpans>(&[(1, &RESOURCE), (2, &SCOPE_SPANS)]);
static SCOPE_SPANS: Part = part::<ScopeSpans>(&[(1, &SCOPE), (2, &SPAN)]);
static SPAN: Part = part::<Span>(&[(9, &ATTRIBUTE), (11, &EVENT), (13, &LINK), (15, &STATUS)]);
static EVENT: Part = part::<span::Event>(&[(3, &ATTRIBUTE)]);
static LINK: Part = part::<span::Link>(&[(4, &ATTRIBUTE)]);
static STATUS: Part = part::<Status>(&[]);
static RESOURCE_LOGS: Part = part::<ResourceLogs>(&[(1, &RESOURCE), (2, &SCOPE_LOGS)]);
static SCOPE_LOGS: Part = part::<ScopeLogs>(&[(1, &SCOPE), (2, &LOG_RECORD)]);
static LOG_RECORD: Part = part::<LogRecord>(&[(5, &VALUE), (6, &ATTRIBUTE)]);
static RESOURCE: Part = part::<Resource>(&[(1, &ATTRIBUTE), (3, &ENTITY)]);
static ENTITY: Part = part::<[String; 4]>(&[(3, &TEXT), (4, &TEXT)]);
static SCOPE: Part = part::<InstrumentationScope>(&[(3, &ATTRIBUTE)]);
static ATTRIBUTE: Part = part::<KeyValue>(&[(2, &VALUE)]);
static VALUE: Part = part::<AnyValue>(&[(5, &LIST), (6, &MAP)]);
static LIST: Part = Part { bytes: 0, fields: &[(1, &VALUE)] };
static MAP: Part = Part { bytes: 0, fields: &[(1, &ATTRIBUTE)] };
static TEXT: Part = part::<String>(&[]);

const fn part<T>(fields: &'static [(u64, &'static Part)]) -> Part {
    Part { bytes: size_of::<T>(), fields }
}

/// Refuses a large protobuf message that would take too much memory.
pub(super) fn weigh(bytes: &[u8], part: &Part) -> Result<(), TooManyParts> {
    let fits = bytes.len() < WEIGHED_FROM || weight(bytes, part, DEEPEST) <= MOST_BYTES;
    fits.then_some(()).ok_or(TooManyParts)
}

/// What a piece of a trace counts against a limit in bytes of protobuf: its bytes, or more where its parts weigh more.
pub(super) fn size_of_piece(bytes: &[u8]) -> usize {
    bytes.len().max(weight(bytes, &TRACES, DEEPEST) / MOST_PER_BYTE)
}

/// Whether pieces of so many bytes count no more than the limit whatever their parts weigh, so that none need be weighed.
pub(super) const fn is_light(bytes: usize, limit_bytes: usize) -> bool {
    bytes.saturating_mul(MOST_COUNTED_PER_BYTE) <= limit_bytes
}

/// Memory that the parts of a protobuf message take. What is malformed weighs nothing from there on, since the decoder
/// stops there too.
fn weight(mut bytes: &[u8], part: &Part, levels: usize) -> usize {
    let mut total = 0;
    while let Some((field, inner)) = next_field(&mut bytes) {
        if let Some((_, part)) = part.fields.iter().find(|(number, _)| *number == field) {
            let within = if levels > 0 && !part.fields.is_empty() { weight(inner, part, levels - 1) } else { 0 };
            total += part.bytes + within;
        }
    }
    total
}

/// The number of the next field, and what it holds if that has a length of its own. Groups, which nothing in OTLP uses,
/// are gone through as if their fields stood in place of them.
fn next_field<'b>(bytes: &mut &'b [u8]) -> Option<(u64, &'b [u8])> {
    let tag = varint(bytes)?;
    let length = match tag & 7 {
        0 => varint(bytes).map(|_| 0)?,
        1 => 8,
        2 => usize::try_from(varint(bytes)?).ok()?,
        3 | 4 => 0,
        5 => 4,
        _ => return None,
    };
    let (inner, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some((tag >> 3, inner))
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

thread_local! {
    /// Memory that the lists of the JSON message being read on this thread may still take: serde has no way to hand
    /// it down.
    static LEFT: Cell<usize> = const { Cell::new(MOST_BYTES) };
}

/// Reads a JSON message whose lists [`take`] their memory.
pub(super) fn weighing<T>(read: impl FnOnce() -> T) -> T {
    LEFT.set(MOST_BYTES);
    read()
}

/// Takes the memory of one more item of a list, and as much again for the parts that it may have once each. So whatever
/// is read as JSON can be read again from the store.
pub(super) fn take<T>() -> Result<(), TooManyParts> {
    let left = LEFT.get().checked_sub(2 * size_of::<T>()).ok_or(TooManyParts)?;
    LEFT.set(left);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::{DecodeError, Encoding, ExportTraceServiceRequest, decode_logs, decode_traces};
    use super::*;
    use prost::Message as _;

    /// One message inside of another, as field `number`.
    fn within(number: u8, inner: &[u8]) -> Vec<u8> {
        let mut bytes = vec![number << 3 | 2];
        prost::encoding::encode_varint(inner.len() as u64, &mut bytes);
        bytes.extend_from_slice(inner);
        bytes
    }

    #[test]
    fn a_small_message_of_nothing_but_empty_parts_is_refused_before_it_takes_memory() {
        let spans = within(1, &within(2, &[0x12, 0].repeat(1 << 20)));
        let values = within(1, &within(1, &within(1, &within(2, &within(5, &[0x0a, 0].repeat(1 << 23))))));
        for bytes in [spans, values] {
            assert!(matches!(decode_traces(&bytes, Encoding::Protobuf), Err(DecodeError::TooManyParts(_))));
        }
        let records = within(1, &within(2, &[0x12, 0].repeat(1 << 21)));
        assert!(matches!(decode_logs(&records, Encoding::Protobuf), Err(DecodeError::TooManyParts(_))));
    }

    #[test]
    fn a_group_or_a_deep_value_hides_nothing_behind_it() {
        let mut hidden = vec![0x3b, 0x3c];
        hidden.extend(within(1, &within(2, &[0x12, 0].repeat(1 << 20))));
        assert!(matches!(decode_traces(&hidden, Encoding::Protobuf), Err(DecodeError::TooManyParts(_))));
        let mut deep = Vec::new();
        for _ in 0..20_000 {
            deep = within(5, &within(1, &deep));
        }
        let deep = within(1, &within(1, &within(1, &within(2, &[deep, vec![0; WEIGHED_FROM]].concat()))));
        assert!(matches!(decode_traces(&deep, Encoding::Protobuf), Err(DecodeError::Protobuf(_))));
    }

    #[test]
    fn many_small_pieces_of_empty_parts_count_what_they_take() {
        let piece = within(1, &within(2, &within(2, &[0x4a, 0].repeat(1 << 16))));
        assert!(size_of_piece(&piece) > 5 * piece.len());
        let text = within(1, &within(2, &within(2, &within(5, &[b'x'; 1000]))));
        assert_eq!(size_of_piece(&text), text.len());
    }

    #[test]
    fn what_is_light_counts_no_more_than_the_limit_though_it_be_the_heaviest_there_is() {
        let heaviest = within(1, &within(2, &[0x12, 0].repeat(1 << 16)));
        let counted = size_of_piece(&heaviest);
        assert!(!is_light(heaviest.len(), counted - 1));
        assert!(is_light(heaviest.len(), counted * 21 / 20), "a byte cannot count much more");
        assert!(!is_light(usize::MAX, usize::MAX - 1));
    }

    #[test]
    fn json_of_nothing_but_empty_parts_is_refused_too() {
        let spans = format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{}}{}]}}]}}]}}"#, ",{}".repeat(1 << 20));
        let error = decode_traces(spans.as_bytes(), Encoding::Json).unwrap_err();
        assert!(
            matches!(&error, DecodeError::Json(cause) if cause.to_string().contains("too many spans")),
            "{error:?}"
        );
        let plain = br#"{"resourceSpans":[{"scopeSpans":[{"spans":[{}]}]}]}"#;
        assert!(decode_traces(plain, Encoding::Json).is_ok(), "each message has memory of its own");
    }

    #[test]
    fn the_largest_request_of_short_attributes_is_read() {
        let attribute = |number: usize| KeyValue { key: format!("app.key.{number:06}"), ..KeyValue::default() };
        let span = Span { attributes: (0..1_000_000).map(attribute).collect(), ..Span::default() };
        let scope_spans = vec![ScopeSpans { spans: vec![span], ..ScopeSpans::default() }];
        let resource_spans = vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }];
        let bytes = ExportTraceServiceRequest { resource_spans }.encode_to_vec();
        assert!(decode_traces(&bytes, Encoding::Protobuf).is_ok());
    }
}
