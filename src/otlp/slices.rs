//! From a request to pieces of single traces, as bytes: what a plain request needs, which nearly every one is.
//!
//! A piece is stored as protobuf, and so it mostly came. To decode a request of one trace into thousands of strings and
//! lists and to encode them again would give the same bytes; of one of several traces each span's bytes stay, and only
//! the messages around them are new. What holds of [`split_by_trace`](super::split_by_trace) holds here: its pieces
//! decode to the same, and whatever this does not take is left to it.

use std::borrow::Cow;
use std::collections::HashMap;
use std::iter;

use prost::bytes::Bytes;
use prost::encoding::{WireType, encode_key, encode_varint};

use crate::domain::ids::TraceId;

use super::plain::{Fields, is_plain};
use super::split::{MAX_REPEATED_BYTES, ids};
use super::{EncodedPiece, TracePiece, weight};

/// Field numbers (opentelemetry-proto, `trace.proto`).
const RESOURCE_SPANS: u32 = 1;
const SCOPE_SPANS: u32 = 2;
const SPANS: u32 = 2;

/// Takes a protobuf request apart by trace without decoding it, one piece a trace in order of first appearance; `None`
/// when it is not plain and has to be decoded, or to be refused.
#[must_use]
pub fn slice_by_trace(request: &Bytes) -> Option<Vec<EncodedPiece>> {
    weight::weigh(request, &weight::TRACES).ok()?;
    let slices = is_plain(request).then(|| Slices::of(request))??;
    if let [piece] = slices.pieces.as_slice() {
        return Some(vec![EncodedPiece::new(piece, request.clone())]);
    }
    slices.compose()
}

/// What a request consists of.
#[derive(Default)]
struct Slices<'b> {
    /// A piece for each trace, yet without spans.
    pieces: Vec<TracePiece>,
    resource_spans: Vec<&'b [u8]>,
    scope_spans: Vec<&'b [u8]>,
    spans: Vec<SpanSlice<'b>>,
}

/// A span, and where it belongs: positions among the pieces, resources and scopes.
struct SpanSlice<'b> {
    piece: usize,
    resource: usize,
    scope: usize,
    /// With its key and length.
    bytes: &'b [u8],
}

impl<'b> Slices<'b> {
    /// `None` when a span has an invalid id.
    fn of(request: &'b [u8]) -> Option<Self> {
        let (mut slices, mut index) = (Self::default(), HashMap::new());
        for (_, resource_spans) in messages(request, RESOURCE_SPANS) {
            for (_, scope_spans) in messages(resource_spans, SCOPE_SPANS) {
                for (bytes, span) in messages(scope_spans, SPANS) {
                    let piece = slices.count(span, &mut index)?;
                    let (resource, scope) = (slices.resource_spans.len(), slices.scope_spans.len());
                    slices.spans.push(SpanSlice { piece, resource, scope, bytes });
                }
                slices.scope_spans.push(scope_spans);
            }
            slices.resource_spans.push(resource_spans);
        }
        Some(slices)
    }

    /// Counts a span for its trace, of which this gives the position.
    fn count(&mut self, span: &[u8], index: &mut HashMap<TraceId, usize>) -> Option<usize> {
        let (mut trace_id, mut span_id, mut parent) = (&[][..], &[][..], &[][..]);
        let (mut started, mut ended) = (0, 0);
        // Of a field that stands there twice the last one holds.
        for field in Fields(span) {
            match field.number {
                1 => trace_id = field.content,
                2 => span_id = field.content,
                4 => parent = field.content,
                7 => started = u64::from_le_bytes(field.content.try_into().ok()?),
                8 => ended = u64::from_le_bytes(field.content.try_into().ok()?),
                _ => {}
            }
        }
        let trace_id = ids(trace_id, span_id).ok()?;
        let piece = *index.entry(trace_id).or_insert_with(|| {
            self.pieces.push(TracePiece::empty(trace_id));
            self.pieces.len() - 1
        });
        self.pieces[piece].count(parent.is_empty(), started, ended);
        Some(piece)
    }

    /// The pieces, each with the resources and scopes of its spans; `None` when they would be repeated too often.
    fn compose(mut self) -> Option<Vec<EncodedPiece>> {
        let resources: Vec<_> = self.resource_spans.iter().map(|bytes| without(bytes, SCOPE_SPANS)).collect();
        let scopes: Vec<_> = self.scope_spans.iter().map(|bytes| without(bytes, SPANS)).collect();
        self.spans.sort_by_key(|span| span.piece);
        // Decoded and encoded again, bytes become at most twice as many: a negative number may be cut to five of ten.
        let mut left_bytes = MAX_REPEATED_BYTES / 2;
        let mut pieces = Vec::with_capacity(self.pieces.len());
        for (piece, spans) in self.pieces.iter().zip(self.spans.chunk_by(|one, next| one.piece == next.piece)) {
            let mut body: Parts<'_> = Vec::new();
            for spans in spans.chunk_by(|one, next| one.resource == next.resource) {
                let resource = &resources[spans[0].resource];
                let mut resource_spans = vec![Cow::Borrowed(resource.as_slice())];
                for spans in spans.chunk_by(|one, next| one.scope == next.scope) {
                    let scope = &scopes[spans[0].scope];
                    left_bytes = left_bytes.checked_sub(resource.len() + scope.len())?;
                    let mut scope_spans = vec![Cow::Borrowed(scope.as_slice())];
                    scope_spans.extend(spans.iter().map(|span| Cow::Borrowed(span.bytes)));
                    resource_spans.extend(field(SCOPE_SPANS, scope_spans));
                }
                body.extend(field(RESOURCE_SPANS, resource_spans));
            }
            pieces.push(EncodedPiece::new(piece, body.concat().into()));
        }
        Some(pieces)
    }
}

/// The fields of that number in a plain message, which hold messages: the whole field, and what is in it.
fn messages(message: &[u8], number: u32) -> impl Iterator<Item = (&[u8], &[u8])> {
    Fields(message).filter(move |field| field.number == number).map(|field| (field.bytes, field.content))
}

/// A plain message without the fields of that number.
fn without(message: &[u8], number: u32) -> Vec<u8> {
    let others = Fields(message).filter(|field| field.number != number);
    others.map(|field| field.bytes).collect::<Vec<_>>().concat()
}

/// Bytes that follow each other.
type Parts<'b> = Vec<Cow<'b, [u8]>>;

/// A field that holds a message of these parts.
fn field(number: u32, message: Parts<'_>) -> impl Iterator<Item = Cow<'_, [u8]>> {
    let mut header = Vec::new();
    encode_key(number, WireType::LengthDelimited, &mut header);
    encode_varint(message.iter().map(|part| part.len() as u64).sum(), &mut header);
    iter::once(header.into()).chain(message)
}

#[cfg(test)]
mod tests;
