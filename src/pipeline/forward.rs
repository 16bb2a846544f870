//! Traces on their way through driftline to the backend behind it, with the scores of rules on their root span.
//!
//! A span that has ended is immutable: only before its first export can a score stand on the span itself. So the whole
//! trace waits here until it is complete and evaluated, and goes on from the outbox. It costs that wait, its bytes once
//! more in the store until they are delivered, and, when spans come late, the whole trace again under the same ids.

use prost::Message as _;

use super::write_back::own_attributes;
use crate::backends::store::NewOutboxItem;
use crate::domain::evaluation::{AnnotatorKind, Evaluation, Outcome};
use crate::domain::trace::Trace;
use crate::otlp::{ExportTraceServiceRequest, KeyValue, RawTrace};

/// The trace with what rules scored on its root span, as an item of the outbox.
pub(super) fn item(
    raw: RawTrace,
    trace: &Trace,
    trace_version: i64,
    rows: &[Evaluation],
    destination: &str,
) -> NewOutboxItem {
    let is_of_rule = |row: &&Evaluation| row.annotator_kind == AnnotatorKind::Code && row.outcome == Outcome::Scored;
    let attributes: Vec<KeyValue> = rows.iter().filter(is_of_rule).flat_map(own_attributes).collect();
    let mut request = ExportTraceServiceRequest { resource_spans: raw.resource_spans };
    let groups = request.resource_spans.iter_mut().flat_map(|group| &mut group.scope_spans);
    let root = groups.flat_map(|group| &mut group.spans).find(|span| span.span_id == trace.root_span_id.as_bytes());
    if let Some(root) = root {
        // What the sender put there under our names would be taken for ours.
        root.attributes.retain(|attribute| attributes.iter().all(|ours| ours.key != attribute.key));
        root.attributes.extend(attributes);
    }
    NewOutboxItem {
        destination: destination.to_owned(),
        key: format!("{}:{trace_version}:forward", trace.trace_id),
        payload: request.encode_to_vec(),
    }
}

/// Many traces as one request: messages of protobuf written one behind another are one message.
pub(super) fn together<'a>(payloads: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    payloads.flatten().copied().collect()
}
