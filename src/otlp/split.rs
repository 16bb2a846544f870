//! From a request, which may carry many traces, to pieces of single traces.

use std::collections::HashMap;
use std::mem;

use prost::Message as _;

use crate::domain::external_score::NewExternalScore;
use crate::domain::ids::{InvalidId, SpanId, TraceId};
use crate::domain::time::Timestamp;

use super::{InvalidEvaluation, ResourceSpans, ScopeSpans, Span, evaluation_events, is_own_span};

/// Bound on the bytes of resources and scopes repeated per trace, so that one large resource over many traces cannot
/// multiply in memory.
pub(super) const MAX_REPEATED_BYTES: usize = 64 * 1024 * 1024;

/// What one request holds of one trace.
#[derive(Debug, Clone, PartialEq)]
pub struct TracePiece {
    /// The trace.
    pub trace_id: TraceId,
    /// This trace's spans; each resource and scope stands once.
    pub resource_spans: Vec<ResourceSpans>,
    /// Number of spans.
    pub span_count: usize,
    /// Whether a span without parent has ended: the sign that the trace may be complete.
    pub root_ended: bool,
    /// Earliest span start, or of a piece of log records the earliest of them; `None` when none tells one.
    pub started_at: Option<Timestamp>,
    /// Latest span end; `None` when no span has ended.
    pub ended_at: Option<Timestamp>,
}

/// Why one span or log record was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// Its trace or span id is not one.
    #[error(transparent)]
    Id(#[from] InvalidId),
    /// Its resource and scope are too large to be repeated for each trace of the request.
    #[error("resource of {bytes} bytes is shared by too many traces in one request")]
    SharedResource {
        /// Encoded size of the resource and scope.
        bytes: usize,
    },
    /// It is an evaluation result that tells of no score.
    #[error(transparent)]
    Evaluation(#[from] InvalidEvaluation),
}

/// A request taken apart.
#[derive(Debug, Default)]
pub struct SplitTraces {
    /// One piece a trace, in order of first appearance.
    pub traces: Vec<TracePiece>,
    /// One entry a span that was not accepted.
    pub rejected: Vec<Rejection>,
    /// Spans left out because they are our own evaluations.
    pub own_spans: usize,
    /// What other tools scored, by events of the spans.
    pub scores: Vec<NewExternalScore>,
}

/// Takes a request apart by trace. A span with an invalid id is rejected alone.
#[must_use]
pub fn split_by_trace(resource_spans: Vec<ResourceSpans>) -> SplitTraces {
    let scores = evaluation_events::of_spans(&resource_spans);
    match only_trace(&resource_spans) {
        Some(trace_id) => {
            SplitTraces { traces: vec![whole_piece(trace_id, resource_spans)], scores, ..Default::default() }
        }
        None => SplitTraces { scores, ..Splitter::default().split(resource_spans) },
    }
}

/// The trace of a span, whose ids are both valid.
pub(super) fn ids(trace_id: &[u8], span_id: &[u8]) -> Result<TraceId, InvalidId> {
    SpanId::from_bytes(span_id)?;
    TraceId::from_bytes(trace_id)
}

/// The trace of every span of the request, when they share one and none must be left out.
fn only_trace(resource_spans: &[ResourceSpans]) -> Option<TraceId> {
    let mut scopes = resource_spans.iter().flat_map(|group| &group.scope_spans);
    if scopes.any(|group| is_own_span(group.scope.as_ref())) {
        return None;
    }
    let mut spans = spans(resource_spans);
    let ids = |span: &Span| ids(&span.trace_id, &span.span_id);
    let trace_id = ids(spans.next()?).ok()?;
    spans.all(|span| ids(span) == Ok(trace_id)).then_some(trace_id)
}

fn spans(resource_spans: &[ResourceSpans]) -> impl Iterator<Item = &Span> {
    resource_spans.iter().flat_map(|group| &group.scope_spans).flat_map(|group| &group.spans)
}

fn whole_piece(trace_id: TraceId, resource_spans: Vec<ResourceSpans>) -> TracePiece {
    let mut piece = TracePiece::empty(trace_id);
    for span in spans(&resource_spans) {
        piece.count_span(span);
    }
    TracePiece { resource_spans, ..piece }
}

impl TracePiece {
    pub(super) const fn empty(trace_id: TraceId) -> Self {
        Self {
            trace_id,
            resource_spans: Vec::new(),
            span_count: 0,
            root_ended: false,
            started_at: None,
            ended_at: None,
        }
    }

    /// Adds a span to the resource and scope opened last.
    fn push(&mut self, span: Span) {
        self.count_span(&span);
        if let Some(scope) = self.resource_spans.last_mut().and_then(|group| group.scope_spans.last_mut()) {
            scope.spans.push(span);
        }
    }

    fn count_span(&mut self, span: &Span) {
        self.count(span.parent_span_id.is_empty(), span.start_time_unix_nano, span.end_time_unix_nano);
    }

    /// Counts a span that started and ended then, in OTLP's nanoseconds.
    pub(super) fn count(&mut self, is_root: bool, started: u64, ended: u64) {
        let ended_at = timestamp(ended);
        self.span_count += 1;
        self.root_ended |= is_root && ended_at.is_some();
        self.started_at = [self.started_at, timestamp(started)].into_iter().flatten().min();
        self.ended_at = self.ended_at.max(ended_at);
    }
}

/// OTLP's unsigned nanoseconds, of which zero means unset; saturates in the year 2262.
pub(super) fn timestamp(nanos: u64) -> Option<Timestamp> {
    (nanos != 0).then(|| Timestamp(i64::try_from(nanos).unwrap_or(i64::MAX)))
}

#[derive(Default)]
struct Splitter {
    split: SplitTraces,
    /// Beside each piece, the positions in the request of the resource and scope opened in it last.
    opened: Vec<(usize, usize)>,
    index: HashMap<TraceId, usize>,
    repeated_bytes: usize,
}

/// Resource and scope of the spans being dealt out, without their spans, and their positions in the request.
struct Header {
    position: (usize, usize),
    resource_spans: ResourceSpans,
    scope_spans: ScopeSpans,
    bytes: usize,
}

impl Splitter {
    fn split(mut self, resource_spans: Vec<ResourceSpans>) -> SplitTraces {
        for (resource, mut group) in resource_spans.into_iter().enumerate() {
            let scopes = mem::take(&mut group.scope_spans);
            for (scope, mut scope_spans) in scopes.into_iter().enumerate() {
                let spans = mem::take(&mut scope_spans.spans);
                let bytes = group.encoded_len() + scope_spans.encoded_len();
                let resource_spans = group.clone();
                self.deal(&Header { position: (resource, scope), resource_spans, scope_spans, bytes }, spans);
            }
        }
        self.split
    }

    fn deal(&mut self, header: &Header, spans: Vec<Span>) {
        if is_own_span(header.scope_spans.scope.as_ref()) {
            self.split.own_spans += spans.len();
            return;
        }
        for span in spans {
            if let Err(rejection) = self.place(header, span) {
                self.split.rejected.push(rejection);
            }
        }
    }

    fn place(&mut self, header: &Header, span: Span) -> Result<(), Rejection> {
        let trace_id = ids(&span.trace_id, &span.span_id)?;
        let index = match self.index.get(&trace_id) {
            Some(&index) if self.opened[index] == header.position => index,
            found => self.open(header, trace_id, found.copied())?,
        };
        self.split.traces[index].push(span);
        Ok(())
    }

    /// Opens the header's resource, unless it already is, and scope in the trace's piece.
    fn open(&mut self, header: &Header, trace_id: TraceId, found: Option<usize>) -> Result<usize, Rejection> {
        self.repeated_bytes += header.bytes;
        if self.repeated_bytes > MAX_REPEATED_BYTES {
            return Err(Rejection::SharedResource { bytes: header.bytes });
        }
        let same_resource = found.is_some_and(|index| self.opened[index].0 == header.position.0);
        let index = found.unwrap_or(self.opened.len());
        if found.is_none() {
            self.index.insert(trace_id, index);
            self.split.traces.push(TracePiece::empty(trace_id));
            self.opened.push(header.position);
        }
        self.opened[index] = header.position;
        let groups = &mut self.split.traces[index].resource_spans;
        if !same_resource {
            groups.push(header.resource_spans.clone());
        }
        if let Some(group) = groups.last_mut() {
            group.scope_spans.push(header.scope_spans.clone());
        }
        Ok(index)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{AnyValue, InstrumentationScope, KeyValue, OWN_SCOPE, Resource, any_value};
    use super::*;

    fn span(trace: u8, span: u8) -> Span {
        Span {
            trace_id: vec![trace; 16],
            span_id: vec![span; 8],
            parent_span_id: vec![9; 8],
            start_time_unix_nano: u64::from(span),
            end_time_unix_nano: u64::from(span) + 100,
            ..Default::default()
        }
    }

    fn group(service: &str, scope: &str, spans: Vec<Span>) -> ResourceSpans {
        let name = AnyValue { value: Some(any_value::Value::StringValue(service.to_owned())) };
        let attribute = KeyValue { key: "service.name".to_owned(), value: Some(name), key_strindex: 0 };
        let scope = InstrumentationScope { name: scope.to_owned(), ..Default::default() };
        ResourceSpans {
            resource: Some(Resource { attributes: vec![attribute], ..Default::default() }),
            scope_spans: vec![ScopeSpans { scope: Some(scope), spans, ..Default::default() }],
            ..Default::default()
        }
    }

    #[test]
    fn a_request_of_one_trace_is_passed_on_as_it_came() {
        let root = Span { parent_span_id: Vec::new(), ..span(1, 1) };
        let request = vec![group("a", "s", vec![root, span(1, 2)]), group("b", "s", vec![span(1, 3)])];
        let split = split_by_trace(request.clone());
        let piece = &split.traces[0];
        assert_eq!(piece.resource_spans, request);
        assert_eq!((piece.span_count, piece.root_ended), (3, true));
        assert_eq!((piece.started_at, piece.ended_at), (Some(Timestamp(1)), Some(Timestamp(103))));
    }

    #[test]
    fn interleaved_traces_come_apart_with_each_resource_and_scope_once() {
        let request = vec![
            group("a", "s", vec![span(1, 1), span(2, 2), span(1, 3), span(2, 4)]),
            group("b", "s", vec![span(1, 5)]),
        ];
        let split = split_by_trace(request);
        let services: Vec<usize> = split.traces.iter().map(|piece| piece.resource_spans.len()).collect();
        assert_eq!(services, [2, 1]);
        assert_eq!(split.traces[0].resource_spans[0].scope_spans.len(), 1);
        assert_eq!(split.traces[0].resource_spans[0].scope_spans[0].spans, [span(1, 1), span(1, 3)]);
        assert_eq!(split.traces.iter().map(|piece| piece.span_count).sum::<usize>(), 5);
    }

    #[test]
    fn a_span_with_a_wrong_id_is_rejected_alone_and_with_its_reason() {
        let bad = Span { span_id: vec![1; 4], ..span(1, 1) };
        let zero = Span { trace_id: vec![0; 16], ..span(1, 1) };
        let split = split_by_trace(vec![group("a", "s", vec![bad, span(1, 2), zero])]);
        let reasons: Vec<String> = split.rejected.iter().map(ToString::to_string).collect();
        assert_eq!(reasons, ["span id has 4 bytes, expected 8", "trace id is all zero"]);
        assert_eq!(split.traces[0].span_count, 1);
    }

    #[test]
    fn our_own_evaluations_are_counted_and_left_out() {
        let split = split_by_trace(vec![group("a", OWN_SCOPE, vec![span(1, 1)]), group("a", "s", vec![span(1, 2)])]);
        assert_eq!((split.own_spans, split.traces[0].span_count), (1, 1));
    }

    #[test]
    fn a_trace_whose_root_has_not_ended_is_not_called_ended() {
        let root = Span { parent_span_id: Vec::new(), end_time_unix_nano: 0, ..span(1, 1) };
        assert!(!split_by_trace(vec![group("a", "s", vec![root, span(1, 2)])]).traces[0].root_ended);
    }

    #[test]
    fn a_huge_resource_over_many_traces_does_not_multiply_in_memory() {
        let spans = (1..=200).map(|trace| span(trace, 1)).collect();
        let split = split_by_trace(vec![group(&"x".repeat(1 << 20), "s", spans)]);
        assert!(split.traces.len() < 64, "{}", split.traces.len());
        assert_eq!(split.traces.len() + split.rejected.len(), 200);
    }
}
