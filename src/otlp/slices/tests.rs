use fastrand::Rng;
use prost::Message as _;

use super::super::{
    AnyValue, ArrayValue, Encoding, InstrumentationScope, KeyValue, KeyValueList, OWN_SCOPE, Resource, ResourceSpans,
    ScopeSpans, Span, Status, TracesData, any_value::Value, decode_piece, decode_traces, evaluation_events, span,
    split_by_trace,
};
use super::*;

/// Requests of random spans, most of them rearranged or damaged.
const CASES: u64 = 4_000;

/// The pieces of a request that is plain, once they are found to be what decoding it gives.
fn sliced(request: &[u8]) -> Option<Vec<EncodedPiece>> {
    let request = Bytes::copy_from_slice(request);
    let sliced = slice_by_trace(&request)?;
    assert_eq!(slice_by_trace(&request), Some(sliced.clone()), "the same request gives the same bytes");
    let split = split_by_trace(decode_traces(&request, Encoding::Protobuf).expect("what is plain can be decoded"));
    assert_eq!((split.rejected.len(), split.own_spans, split.scores.len()), (0, 0, 0));
    let expected: Vec<EncodedPiece> = split.traces.into_iter().map(TracePiece::encode).collect();
    // A double that is no number does not equal itself; its bytes do.
    let decoded = |piece: &EncodedPiece| {
        let spans = TracesData { resource_spans: decode_piece(&piece.body).expect("a piece can be read again") };
        EncodedPiece { body: spans.encode_to_vec().into(), ..piece.clone() }
    };
    assert_eq!(sliced.iter().map(decoded).collect::<Vec<_>>(), expected);
    Some(sliced)
}

fn bytes(resource_spans: &[ResourceSpans]) -> Vec<u8> {
    TracesData { resource_spans: resource_spans.to_vec() }.encode_to_vec()
}

fn text(rng: &mut Rng) -> String {
    ["", "a", "größer", "driftlin", "some words of text"][rng.usize(..5)].to_owned()
}

fn value(rng: &mut Rng, levels: usize) -> AnyValue {
    let value = match rng.usize(..if levels == 0 { 7 } else { 9 }) {
        0 => return AnyValue::default(),
        1 => Value::StringValue(text(rng)),
        2 => Value::BoolValue(rng.bool()),
        3 => Value::IntValue(rng.i64(..)),
        4 => Value::DoubleValue(f64::from_bits(rng.u64(..))),
        5 => Value::BytesValue((0..rng.usize(..9)).map(|_| rng.u8(..)).collect()),
        6 => Value::StringValueStrindex(rng.i32(..)),
        7 => Value::ArrayValue(ArrayValue { values: (0..rng.usize(..3)).map(|_| value(rng, levels - 1)).collect() }),
        _ => Value::KvlistValue(KeyValueList { values: attributes(rng, levels - 1) }),
    };
    AnyValue { value: Some(value) }
}

fn attributes(rng: &mut Rng, levels: usize) -> Vec<KeyValue> {
    let attribute = |rng: &mut Rng| KeyValue {
        key: text(rng),
        value: rng.bool().then(|| value(rng, levels)),
        key_strindex: rng.i32(-1..2),
    };
    (0..rng.usize(..4)).map(|_| attribute(rng)).collect()
}

fn any_span(rng: &mut Rng) -> Span {
    let event = |rng: &mut Rng| span::Event {
        time_unix_nano: rng.u64(..),
        name: text(rng),
        attributes: attributes(rng, 1),
        dropped_attributes_count: rng.u32(..2),
    };
    let link = |rng: &mut Rng| span::Link {
        trace_id: vec![7; 16],
        span_id: vec![rng.u8(..); rng.usize(..9)],
        trace_state: text(rng),
        attributes: attributes(rng, 1),
        dropped_attributes_count: 0,
        flags: rng.u32(..),
    };
    Span {
        trace_id: vec![rng.u8(1..4); 16],
        span_id: rng.u64(1..).to_be_bytes().to_vec(),
        parent_span_id: vec![9; 8 * rng.usize(..2)],
        trace_state: text(rng),
        name: text(rng),
        kind: rng.i32(..5),
        start_time_unix_nano: rng.u64(..4),
        end_time_unix_nano: rng.u64(..4) << rng.u32(..64),
        attributes: attributes(rng, 3),
        events: (0..rng.usize(..2)).map(|_| event(rng)).collect(),
        links: (0..rng.usize(..2)).map(|_| link(rng)).collect(),
        status: rng.bool().then(|| Status { message: text(rng), code: rng.i32(..3) }),
        flags: rng.u32(..2),
        ..Span::default()
    }
}

/// A request of a few traces, interleaved over resources and scopes.
fn request(rng: &mut Rng) -> Vec<ResourceSpans> {
    let scope = |rng: &mut Rng| InstrumentationScope {
        name: text(rng),
        version: text(rng),
        attributes: attributes(rng, 1),
        dropped_attributes_count: 0,
    };
    let scope_spans = |rng: &mut Rng| ScopeSpans {
        scope: rng.bool().then(|| scope(rng)),
        spans: (0..rng.usize(..4)).map(|_| any_span(rng)).collect(),
        schema_url: text(rng),
    };
    let resource_spans = |rng: &mut Rng| ResourceSpans {
        resource: rng.bool().then(|| Resource { attributes: attributes(rng, 1), ..Resource::default() }),
        scope_spans: (0..rng.usize(..3)).map(|_| scope_spans(rng)).collect(),
        schema_url: text(rng),
    };
    (0..rng.usize(..4)).map(|_| resource_spans(rng)).collect()
}

/// What no encoder writes, some of which decoders take: overlong and overflowing numbers, fields of other types, groups.
const ODD_FIELDS: [&[u8]; 10] = [
    &[0x30, 0x80, 0x00],
    &[0xb2, 0x80, 0x00, 0x01, b'x'],
    &[0x50, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
    &[0x50, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02],
    &[0x18, 0xff, 0xff, 0xff, 0xff, 0x0f],
    &[0x00, 0x00],
    &[0x0b, 0x0c],
    &[0x0a, 0x00],
    &[0x22, 0x00],
    &[0x12, 0x01, 0xff],
];

/// The message with one of its fields, or of the fields of a message in it, doubled, dropped, joined by an odd one, or
/// followed in the same message by what is in another.
fn rearranged(message: &[u8], rng: &mut Rng) -> Vec<u8> {
    let mut fields: Vec<Vec<u8>> = Fields(message).map(|field| field.bytes.to_vec()).collect();
    let (from, to) = (rng.usize(..=fields.len()), rng.usize(..=fields.len()));
    match Fields(message).nth(from) {
        Some(field) if field.wire_type == WireType::LengthDelimited && rng.u8(..8) > 0 => {
            let alike: Vec<_> = Fields(message).filter(|other| other.number == field.number).collect();
            let other = alike[rng.usize(..alike.len())].content;
            let inner = match rng.u8(..8) {
                0 => [field.content, other].concat(),
                _ => rearranged(field.content, rng),
            };
            fields[from] = super::field(field.number, vec![inner.into()]).collect::<Vec<_>>().concat();
        }
        Some(field) if rng.bool() => fields.insert(to, field.bytes.to_vec()),
        Some(_) if rng.bool() => drop(fields.remove(from)),
        _ => fields.insert(to, ODD_FIELDS[rng.usize(..ODD_FIELDS.len())].to_vec()),
    }
    fields.concat()
}

/// The bytes with some of them changed, lost, doubled or put in.
fn damaged(mut bytes: Vec<u8>, rng: &mut Rng) -> Vec<u8> {
    let at = rng.usize(..=bytes.len());
    let end = bytes.len().min(at + rng.usize(..12));
    match rng.u8(..5) {
        0 => bytes.truncate(at),
        1 => drop(bytes.drain(at..end)),
        2 => drop(bytes.splice(at..at, bytes[at..end].to_vec())),
        3 => bytes.insert(at, rng.u8(..)),
        _ => bytes[at..end].iter_mut().take(1).for_each(|byte| *byte ^= 1 << rng.u8(..8)),
    }
    bytes
}

fn case(seed: u64) -> Option<Vec<EncodedPiece>> {
    let rng = &mut Rng::with_seed(seed);
    let mut bytes = bytes(&request(rng));
    for _ in 0..rng.usize(..3) {
        bytes = if rng.bool() { rearranged(&bytes, rng) } else { damaged(bytes, rng) };
    }
    sliced(&bytes)
}

#[test]
fn whatever_is_sliced_decodes_to_what_splitting_gives() {
    let pieces: Vec<usize> = (0..CASES).filter_map(case).map(|pieces| pieces.len()).collect();
    assert!(pieces.len() > CASES as usize / 3, "{}", pieces.len());
    assert!((0..4).all(|traces| pieces.contains(&traces)));
}

#[test]
fn what_real_agents_send_is_plain_and_one_trace_is_passed_on_as_it_came() {
    let seeds: [&[u8]; 2] = [
        include_bytes!("../../../fuzz/seeds/otlp_protobuf/gen_ai"),
        include_bytes!("../../../fuzz/seeds/otlp_protobuf/open_inference"),
    ];
    for request in seeds {
        let pieces = sliced(request).unwrap();
        assert_eq!(pieces.len(), 1);
        assert_eq!(pieces[0].body, request);
    }
}

fn one(span: Span) -> Vec<ResourceSpans> {
    let scope_spans = vec![ScopeSpans { spans: vec![span], ..ScopeSpans::default() }];
    vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }]
}

fn valid() -> Span {
    Span { trace_id: vec![1; 16], span_id: vec![2; 8], ..Span::default() }
}

#[test]
fn what_has_to_be_understood_is_left_to_the_decoder() {
    assert!(sliced(&bytes(&one(valid()))).is_some());
    let own = InstrumentationScope { name: OWN_SCOPE.to_owned(), ..InstrumentationScope::default() };
    let mut by_us = one(valid());
    by_us[0].scope_spans[0].scope = Some(own);
    let event = span::Event { name: evaluation_events::EVENT.to_owned(), ..span::Event::default() };
    let scored = one(Span { events: vec![event], ..valid() });
    let short_id = one(Span { span_id: vec![2; 7], ..valid() });
    let no_id = one(Span { trace_id: vec![0; 16], ..valid() });
    for request in [by_us, scored, short_id, no_id] {
        assert_eq!(sliced(&bytes(&request)), None, "{request:?}");
    }
    let mut newer = bytes(&one(valid()));
    newer.extend([0x28, 0xb5, 0x2f]);
    assert!(decode_traces(&newer, Encoding::Protobuf).is_ok());
    assert_eq!(sliced(&newer), None, "a field that is unknown here");
}

#[test]
fn values_may_lie_as_deep_in_each_other_as_the_decoder_follows_them() {
    let nested = |levels: usize| {
        let value = (0..levels).fold(AnyValue::default(), |inner, _| AnyValue {
            value: Some(Value::ArrayValue(ArrayValue { values: vec![inner] })),
        });
        let attributes = vec![KeyValue { value: Some(value), ..KeyValue::default() }];
        bytes(&one(Span { attributes, ..valid() }))
    };
    let decodes = |request: &[u8]| decode_traces(request, Encoding::Protobuf).is_ok();
    assert!((40..60).all(|levels| sliced(&nested(levels)).is_some() == decodes(&nested(levels))));
    assert!(decodes(&nested(40)) && !decodes(&nested(59)));
}

#[test]
fn a_request_that_would_multiply_or_take_too_much_memory_is_left_to_the_decoder() {
    let spans = |traces: u8| (1..=traces).map(|trace| Span { trace_id: vec![trace; 16], ..valid() }).collect();
    let shared = |traces| {
        let key = "x".repeat(1 << 20);
        let attributes = vec![KeyValue { key, ..KeyValue::default() }];
        let resource = Some(Resource { attributes, ..Resource::default() });
        let scope_spans = vec![ScopeSpans { spans: spans(traces), ..ScopeSpans::default() }];
        bytes(&[ResourceSpans { resource, scope_spans, ..ResourceSpans::default() }])
    };
    assert_eq!(sliced(&shared(20)).map(|pieces| pieces.len()), Some(20));
    assert_eq!(sliced(&shared(40)), None);
    let heavy = one(Span { attributes: vec![KeyValue::default(); 4 << 20], ..valid() });
    assert_eq!(sliced(&bytes(&heavy)), None);
}
