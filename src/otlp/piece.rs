//! Pieces of a trace as bytes for the store, and pieces put together to the whole trace.

use std::collections::HashSet;
use std::mem;

use prost::Message as _;
use prost::bytes::Bytes;

use crate::domain::ids::{SpanId, TraceId};
use crate::domain::time::Timestamp;

use super::logs::deliver_events;
use super::{DecodeError, Encoding, ResourceSpans, Span, TracePiece, TracesData, decode_traces};

/// All spans of one trace that have arrived, each span id once.
#[derive(Debug, Clone, PartialEq)]
pub struct RawTrace {
    /// The trace.
    pub trace_id: TraceId,
    /// Its spans, by resource and scope.
    pub resource_spans: Vec<ResourceSpans>,
    /// Stored pieces that are not in it, because all of them were too large together.
    pub pieces_left_out: usize,
}

impl RawTrace {
    /// The spans in order of arrival.
    pub fn spans(&self) -> impl Iterator<Item = &Span> {
        self.resource_spans.iter().flat_map(|group| &group.scope_spans).flat_map(|group| &group.spans)
    }
}

/// A [`TracePiece`] on its way into the store, where nobody reads its spans. Clones share the bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedPiece {
    /// The trace.
    pub trace_id: TraceId,
    /// Its spans as a protobuf `TracesData`; the same request always gives the same bytes.
    pub body: Bytes,
    /// Number of spans.
    pub span_count: usize,
    /// Whether a span without parent has ended.
    pub root_ended: bool,
    /// Earliest start, as that of the piece.
    pub started_at: Option<Timestamp>,
}

impl EncodedPiece {
    /// The piece whose spans, which it need not hold itself, are these.
    pub(super) const fn new(piece: &TracePiece, body: Bytes) -> Self {
        let TracePiece { trace_id, span_count, root_ended, started_at, .. } = *piece;
        Self { trace_id, body, span_count, root_ended, started_at }
    }
}

impl TracePiece {
    /// The piece as the store takes it.
    #[must_use]
    pub fn encode(mut self) -> EncodedPiece {
        let spans = TracesData { resource_spans: mem::take(&mut self.resource_spans) };
        EncodedPiece::new(&self, spans.encode_to_vec().into())
    }
}

/// Reads the spans of an [`EncodedPiece`].
///
/// # Errors
/// The bytes are not a `TracesData`.
pub fn decode_piece(bytes: &[u8]) -> Result<Vec<ResourceSpans>, DecodeError> {
    decode_traces(bytes, Encoding::Protobuf)
}

/// Puts the pieces of one trace together, events that came as log records on their spans; of spans with the same id
/// the first seen stays.
///
/// Order the pieces by arrival for a stable answer. Parents are not followed here, so cycles cannot hang it.
#[must_use]
pub fn assemble(trace_id: TraceId, pieces: Vec<Vec<ResourceSpans>>) -> RawTrace {
    let mut seen = HashSet::new();
    let mut resource_spans: Vec<ResourceSpans> = pieces.into_iter().flatten().collect();
    deliver_events(&mut resource_spans);
    for group in resource_spans.iter_mut().flat_map(|group| &mut group.scope_spans) {
        group.spans.retain(|span| SpanId::from_bytes(&span.span_id).is_ok_and(|id| seen.insert(id)));
    }
    RawTrace { trace_id, resource_spans, pieces_left_out: 0 }
}

#[cfg(test)]
mod tests {
    use super::super::{ScopeSpans, split_by_trace};
    use super::*;

    fn piece(spans: &[(u8, &str)]) -> Vec<ResourceSpans> {
        let spans = spans.iter().map(|&(id, name)| Span {
            trace_id: vec![1; 16],
            span_id: vec![id; 8],
            name: name.to_owned(),
            ..Default::default()
        });
        let scope_spans = vec![ScopeSpans { spans: spans.collect(), ..Default::default() }];
        vec![ResourceSpans { scope_spans, ..Default::default() }]
    }

    #[test]
    fn of_spans_with_the_same_id_the_first_seen_stays() {
        let trace_id = TraceId::from_bytes(&[1; 16]).unwrap();
        let trace = assemble(trace_id, vec![piece(&[(1, "first"), (1, "twin")]), piece(&[(2, "b"), (1, "late")])]);
        assert_eq!(trace.spans().map(|span| span.name.as_str()).collect::<Vec<_>>(), ["first", "b"]);
    }

    #[test]
    fn a_piece_survives_the_store_byte_for_byte() {
        let spans = piece(&[(1, "a"), (2, "b")]);
        let stored = split_by_trace(spans.clone()).traces.remove(0).encode();
        assert_eq!(decode_piece(&stored.body).unwrap(), spans);
        assert_eq!(split_by_trace(spans).traces.remove(0).encode(), stored);
    }
}
