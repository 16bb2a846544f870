//! Pieces as the store keeps them: compressed protobuf `TracesData`.

use std::borrow::Cow;
use std::cell::RefCell;
use std::io;

use zstd::bulk::{Compressor, Decompressor};
use zstd::zstd_safe::get_frame_content_size;

use crate::domain::ids::TraceId;

use super::weight::{is_light, size_of_piece};
use super::{Compression, DecodeError, DecompressError, RawTrace, ResourceSpans, assemble, decode_piece, decompress};

/// The level at which packing costs less than reading the piece did.
const LEVEL: i32 = 1;

thread_local! {
    // To make them anew for each piece would cost a fifth of the work that they do.
    static COMPRESSOR: RefCell<io::Result<Compressor<'static>>> = RefCell::new(Compressor::new(LEVEL));
    static DECOMPRESSOR: RefCell<io::Result<Decompressor<'static>>> = RefCell::new(Decompressor::new());
}

/// Why the stored pieces of a trace are not one.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// A piece does not unfold.
    #[error("cannot unfold a stored piece of trace {trace_id}")]
    Decompress {
        /// The trace.
        trace_id: TraceId,
        /// What is wrong with the piece.
        source: DecompressError,
    },
    /// A piece does not hold spans.
    #[error("cannot read a stored piece of trace {trace_id}")]
    Decode {
        /// The trace.
        trace_id: TraceId,
        /// What is wrong with the piece.
        source: DecodeError,
    },
}

/// Compresses the body of an [`EncodedPiece`](super::EncodedPiece); the same body always gives the same bytes.
#[must_use]
pub fn pack(piece: &[u8]) -> Vec<u8> {
    // A piece that cannot be compressed is kept as it is: protobuf never starts with the magic number of zstd.
    let compressed = COMPRESSOR.with_borrow_mut(|compressor| compressor.as_mut().ok()?.compress(piece).ok());
    compressed.unwrap_or_else(|| piece.to_vec())
}

/// Puts packed pieces together, in order of arrival, to a trace of at most `limit_bytes` of protobuf. Of more than that
/// the first and the last pieces are taken, by turns until the next one does not fit, and the others are counted.
///
/// # Errors
/// A piece is damaged.
pub fn unpack(trace_id: TraceId, bodies: &[Vec<u8>], limit_bytes: usize) -> Result<RawTrace, UnpackError> {
    let (mut rest, mut left_bytes) = (bodies, limit_bytes);
    let mut ends = [Vec::new(), Vec::new()];
    let mut is_open = [true, true];
    let all_bytes = bodies.iter().try_fold(0_usize, |sum, body| sum.checked_add(unfolded_bytes(body)?));
    let is_light = all_bytes.is_some_and(|bytes| is_light(bytes, limit_bytes));
    let counted = if is_light { <[u8]>::len } else { size_of_piece };
    while is_open.contains(&true) {
        for (end, pieces) in ends.iter_mut().enumerate() {
            let next = if end == 0 { rest.split_first() } else { rest.split_last() };
            let Some((body, others)) = next.filter(|_| is_open[end]) else {
                is_open[end] = false;
                continue;
            };
            match unfold(trace_id, body, left_bytes, counted)? {
                Some((piece, bytes)) => {
                    pieces.push(piece);
                    left_bytes -= bytes;
                    rest = others;
                }
                None => is_open[end] = false,
            }
        }
    }
    let [mut pieces, last] = ends;
    pieces.extend(last.into_iter().rev());
    Ok(RawTrace { pieces_left_out: rest.len(), ..assemble(trace_id, pieces) })
}

/// A piece and what it counts of the limit; `None` when that is more.
fn unfold(
    trace_id: TraceId,
    body: &[u8],
    limit_bytes: usize,
    counted: fn(&[u8]) -> usize,
) -> Result<Option<(Vec<ResourceSpans>, usize)>, UnpackError> {
    let piece = match decompress_known(body, limit_bytes) {
        Ok(piece) => piece,
        Err(DecompressError::TooLarge { .. }) => return Ok(None),
        Err(source) => return Err(UnpackError::Decompress { trace_id, source }),
    };
    let bytes = counted(&piece);
    if bytes > limit_bytes {
        return Ok(None);
    }
    let spans = decode_piece(&piece).map_err(|source| UnpackError::Decode { trace_id, source })?;
    Ok(Some((spans, bytes)))
}

/// How large a body is once it is decompressed, where it says so: every packed piece does.
fn unfolded_bytes(body: &[u8]) -> Option<usize> {
    match Compression::sniff(body) {
        Compression::None => Some(body.len()),
        Compression::Zstd => get_frame_content_size(body).ok()??.try_into().ok(),
        Compression::Gzip => None,
    }
}

/// Decompresses at once what says how large it is; anything else bit by bit.
fn decompress_known(body: &[u8], limit_bytes: usize) -> Result<Cow<'_, [u8]>, DecompressError> {
    let is_zstd = Compression::sniff(body) == Compression::Zstd;
    let size = unfolded_bytes(body).filter(|size| is_zstd && *size <= limit_bytes);
    let known = size.and_then(|size| {
        DECOMPRESSOR.with_borrow_mut(|decompressor| decompressor.as_mut().ok()?.decompress(body, size).ok())
    });
    known.map_or_else(|| decompress(body, Compression::sniff(body), limit_bytes), |bytes| Ok(Cow::Owned(bytes)))
}

#[cfg(test)]
mod tests {
    use super::super::{ExportTraceServiceRequest, ScopeSpans, Span, split_by_trace};
    use super::*;
    use prost::Message as _;

    fn packed(id: u8) -> (TraceId, Vec<u8>) {
        let span =
            Span { trace_id: vec![7; 16], span_id: vec![id; 8], name: "name ".repeat(200), ..Default::default() };
        let scope_spans = vec![ScopeSpans { spans: vec![span], ..Default::default() }];
        let piece = split_by_trace(vec![ResourceSpans { scope_spans, ..Default::default() }]).traces.remove(0);
        (piece.trace_id, pack(&piece.encode().body))
    }

    #[test]
    fn packed_pieces_become_the_trace_again() {
        let ((trace_id, first), (_, second)) = (packed(1), packed(2));
        assert!(first.len() < 200);
        let trace = unpack(trace_id, &[first, second], 10_000).unwrap();
        assert_eq!(trace.spans().map(|span| span.span_id[0]).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(unpack(trace_id, &[], 10_000).unwrap().spans().count(), 0);
    }

    #[test]
    fn pieces_of_many_empty_parts_count_what_they_take_unless_the_limit_is_far_away() {
        let span = Span { trace_id: vec![7; 16], attributes: vec![Default::default(); 10_000], ..Default::default() };
        let scope_spans = vec![ScopeSpans { spans: vec![span], ..Default::default() }];
        let piece =
            ExportTraceServiceRequest { resource_spans: vec![ResourceSpans { scope_spans, ..Default::default() }] };
        let piece = piece.encode_to_vec();
        let (bytes, counted) = (piece.len(), size_of_piece(&piece));
        assert!(counted > 4 * bytes);
        let (trace_id, bodies) = (packed(1).0, [pack(&piece), pack(&piece)]);
        let left_out = |limit_bytes| unpack(trace_id, &bodies, limit_bytes).unwrap().pieces_left_out;
        assert_eq!(left_out(2 * counted - 1), 1, "by their bytes alone both would fit");
        assert_eq!(left_out(2 * counted), 0);
        assert_eq!(left_out(1_000 * bytes), 0);
    }

    #[test]
    fn of_a_trace_that_is_too_large_the_first_and_last_pieces_are_taken_and_the_others_counted() {
        let pieces: Vec<Vec<u8>> = (1..=7).map(|id| packed(id).1).collect();
        let trace_id = packed(1).0;
        let unpacked = |pieces: &[Vec<u8>], limit_bytes| {
            let trace = unpack(trace_id, pieces, limit_bytes).unwrap();
            (trace.spans().map(|span| span.span_id[0]).collect::<Vec<_>>(), trace.pieces_left_out)
        };
        assert_eq!(unpacked(&pieces, 10_000), (vec![1, 2, 3, 4, 5, 6, 7], 0));
        assert_eq!(unpacked(&pieces, 3_500), (vec![1, 2, 7], 4));
        assert_eq!(unpacked(&pieces[..2], 1_500), (vec![1], 1));
        assert_eq!(unpacked(&pieces, 500), (vec![], 7));
    }

    #[test]
    fn a_damaged_piece_names_its_trace() {
        let (trace_id, mut body) = packed(1);
        body.truncate(body.len() / 2);
        let error = unpack(trace_id, &[body], 10_000).unwrap_err();
        assert!(error.to_string().ends_with(&trace_id.to_string()), "{error}");
        assert!(matches!(unpack(trace_id, &[pack(b"text")], 100), Err(UnpackError::Decode { .. })));
    }
}
