//! Pieces as the store keeps them: compressed protobuf `TracesData`.

use crate::domain::ids::TraceId;

use super::{Compression, DecodeError, DecompressError, RawTrace, assemble, decode_piece, decompress};

/// The level at which packing costs less than reading the piece did.
const LEVEL: i32 = 1;

/// Why the stored pieces of a trace are not one.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// A piece does not unfold within the limit.
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

/// Compresses what [`TracePiece::encode`](super::TracePiece::encode) wrote; the same piece always gives the same bytes.
#[must_use]
pub fn pack(piece: &[u8]) -> Vec<u8> {
    // A piece that cannot be compressed is kept as it is: protobuf never starts with the magic number of zstd.
    zstd::bulk::compress(piece, LEVEL).unwrap_or_else(|_| piece.to_vec())
}

/// Puts packed pieces together, in order of arrival, to a trace of at most `limit_bytes` of protobuf.
///
/// # Errors
/// A piece is damaged, or all of them are larger than the limit.
pub fn unpack(trace_id: TraceId, bodies: &[Vec<u8>], limit_bytes: usize) -> Result<RawTrace, UnpackError> {
    let mut left_bytes = limit_bytes;
    let mut pieces = Vec::with_capacity(bodies.len());
    for body in bodies {
        let piece = decompress(body, Compression::sniff(body), left_bytes).map_err(|error| {
            let source = match error {
                DecompressError::TooLarge { .. } => DecompressError::TooLarge { limit_bytes },
                error => error,
            };
            UnpackError::Decompress { trace_id, source }
        })?;
        left_bytes -= piece.len();
        pieces.push(decode_piece(&piece).map_err(|source| UnpackError::Decode { trace_id, source })?);
    }
    Ok(assemble(trace_id, pieces))
}

#[cfg(test)]
mod tests {
    use super::super::{ResourceSpans, ScopeSpans, Span, split_by_trace};
    use super::*;

    fn packed(id: u8) -> (TraceId, Vec<u8>) {
        let span =
            Span { trace_id: vec![7; 16], span_id: vec![id; 8], name: "name ".repeat(200), ..Default::default() };
        let scope_spans = vec![ScopeSpans { spans: vec![span], ..Default::default() }];
        let piece = split_by_trace(vec![ResourceSpans { scope_spans, ..Default::default() }]).traces.remove(0);
        (piece.trace_id, pack(&piece.encode()))
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
    fn the_limit_holds_over_all_pieces() {
        let ((trace_id, first), (_, second)) = (packed(1), packed(2));
        assert!(unpack(trace_id, std::slice::from_ref(&first), 1500).is_ok());
        let error = unpack(trace_id, &[first, second], 1500).unwrap_err();
        let UnpackError::Decompress { source: DecompressError::TooLarge { limit_bytes }, .. } = error else {
            panic!("{error}")
        };
        assert_eq!(limit_bytes, 1500);
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
