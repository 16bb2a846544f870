//! Bytes from the network or from a file.

use driftline::otlp::{
    Compression, Encoding, ResourceSpans, TraceReader, decode_logs, decode_traces, decompress, slice_by_trace,
    split_logs,
};
use prost::bytes::Bytes;

use super::invariants;

/// Bound on what a message may unfold to; small, so that the fuzzer spends its time elsewhere.
const LIMIT_BYTES: usize = 1 << 20;

/// A protobuf body of spans, decoded or not.
pub fn protobuf(bytes: &[u8]) {
    let spans = decode_traces(bytes, Encoding::Protobuf);
    if let Some(pieces) = slice_by_trace(&Bytes::copy_from_slice(bytes)) {
        invariants::of_slices(pieces, spans.as_ref().expect("what is taken apart undecoded can be decoded"));
    }
    if let Ok(spans) = spans {
        invariants::of_request(spans);
    }
}

/// A JSON body of spans.
pub fn json(bytes: &[u8]) {
    if let Ok(spans) = decode_traces(bytes, Encoding::Json) {
        invariants::of_request(spans);
    }
}

/// A protobuf body of log records.
pub fn logs_protobuf(bytes: &[u8]) {
    logs(bytes, Encoding::Protobuf);
}

/// A JSON body of log records.
pub fn logs_json(bytes: &[u8]) {
    logs(bytes, Encoding::Json);
}

fn logs(bytes: &[u8], encoding: Encoding) {
    let Ok(records) = decode_logs(bytes, encoding) else { return };
    let count: usize = records.iter().flat_map(|group| &group.scope_logs).map(|scope| scope.log_records.len()).sum();
    let split = split_logs(records);
    let kept = |groups: &[ResourceSpans]| -> usize {
        groups.iter().flat_map(|group| &group.scope_spans).map(|scope| scope.spans.len()).sum()
    };
    let carried: usize = split.traces.iter().map(|piece| kept(&piece.resource_spans)).sum();
    let scored = split.scores.len();
    assert_eq!(carried + scored + split.ignored + split.rejected.len(), count, "a record is carried or counted");
    split.traces.into_iter().for_each(invariants::of_piece);
}

/// A file of traces: lines of requests or of flat spans, or binary messages, compressed or not.
pub fn trace_file(bytes: &[u8]) {
    let Ok(reader) = TraceReader::new("file", std::io::Cursor::new(bytes.to_vec())) else { return };
    let mut requests = 0;
    for request in reader {
        requests += 1;
        assert!(requests <= bytes.len() * 2_000 + 1, "reading ends");
        match request {
            Ok(spans) => invariants::of_request(spans),
            Err(error) => assert!(!format!("{error}: {}", error.problem).is_empty()),
        }
    }
}

/// A message of a broker, which has no headers: compression and encoding are found from its first bytes.
pub fn compressed(bytes: &[u8]) {
    for compression in [Compression::sniff(bytes), Compression::Gzip, Compression::Zstd] {
        let Ok(body) = decompress(bytes, compression, LIMIT_BYTES) else { continue };
        assert!(body.len() <= LIMIT_BYTES);
        if let Ok(spans) = decode_traces(&body, Encoding::sniff(&body)) {
            invariants::of_request(spans);
        }
    }
}
