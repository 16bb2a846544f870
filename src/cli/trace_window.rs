//! Traces whose pieces lie on several lines, put together in bounded memory.
//!
//! A trace is closed when its root has ended and enough later traces have begun, or when the window is full. Of closed
//! traces the id remains, so that a piece which comes too late is told and never taken for a trace of its own.

use std::collections::{HashMap, HashSet, VecDeque};

use prost::Message as _;

use crate::domain::ids::TraceId;
use crate::otlp::{RawTrace, ResourceSpans, TracePiece, assemble};

/// How much a window may hold.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Traces that begin after a trace's root has ended, before it is closed.
    pub(super) later_traces: u64,
    /// Traces that are open at once.
    pub(super) traces: usize,
    /// Bytes of open traces, as protobuf; in memory they take a few times as much.
    pub(super) bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { later_traces: 64, traces: 4096, bytes: 64 * 1024 * 1024 }
    }
}

/// The piece belongs to a trace that is closed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooLate;

#[derive(Debug, Default)]
pub(super) struct Window {
    limits: Limits,
    open: HashMap<TraceId, OpenTrace>,
    closed: HashSet<TraceId>,
    /// In order of first piece; ids of closed traces are passed over.
    arrived: VecDeque<TraceId>,
    /// Traces whose root has ended, with the number of traces that had begun by then.
    ended: VecDeque<(u64, TraceId)>,
    begun: u64,
    bytes: usize,
}

#[derive(Debug, Default)]
struct OpenTrace {
    pieces: Vec<Vec<ResourceSpans>>,
    bytes: usize,
    root_ended: bool,
}

impl Window {
    #[cfg(test)]
    fn new(limits: Limits) -> Self {
        Self { limits, ..Self::default() }
    }

    pub(super) fn add(&mut self, piece: TracePiece) -> Result<(), TooLate> {
        let trace_id = piece.trace_id;
        if self.closed.contains(&trace_id) {
            return Err(TooLate);
        }
        let open = self.open.entry(trace_id).or_default();
        if open.pieces.is_empty() {
            self.begun += 1;
            self.arrived.push_back(trace_id);
        }
        if piece.root_ended && !open.root_ended {
            open.root_ended = true;
            self.ended.push_back((self.begun, trace_id));
        }
        let bytes: usize = piece.resource_spans.iter().map(ResourceSpans::encoded_len).sum();
        open.bytes += bytes;
        self.bytes += bytes;
        open.pieces.push(piece.resource_spans);
        Ok(())
    }

    /// The next trace that need not, or cannot, be held any longer.
    pub(super) fn close_due(&mut self) -> Option<RawTrace> {
        while let Some((begun, trace_id)) = self.ended.front().copied() {
            if self.begun < begun + self.limits.later_traces {
                break;
            }
            self.ended.pop_front();
            if let Some(trace) = self.close(trace_id) {
                return Some(trace);
            }
        }
        let is_full = self.open.len() > self.limits.traces || self.bytes > self.limits.bytes;
        if is_full { self.close_oldest() } else { None }
    }

    /// The oldest open trace.
    pub(super) fn close_oldest(&mut self) -> Option<RawTrace> {
        while let Some(trace_id) = self.arrived.pop_front() {
            if let Some(trace) = self.close(trace_id) {
                return Some(trace);
            }
        }
        None
    }

    fn close(&mut self, trace_id: TraceId) -> Option<RawTrace> {
        let open = self.open.remove(&trace_id)?;
        self.bytes -= open.bytes;
        self.closed.insert(trace_id);
        while self.arrived.front().is_some_and(|first| self.closed.contains(first)) {
            self.arrived.pop_front();
        }
        Some(assemble(trace_id, open.pieces))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::otlp::{ScopeSpans, Span, split_by_trace};

    fn piece(trace: u8, span: u8, is_root: bool) -> TracePiece {
        let parent_span_id = if is_root { Vec::new() } else { vec![9; 8] };
        let span = Span {
            trace_id: vec![trace; 16],
            span_id: vec![span; 8],
            parent_span_id,
            end_time_unix_nano: 1,
            ..Span::default()
        };
        let scope_spans = vec![ScopeSpans { spans: vec![span], ..ScopeSpans::default() }];
        split_by_trace(vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }]).traces.remove(0)
    }

    fn numbers(trace: &RawTrace) -> (u8, usize) {
        (trace.trace_id.as_bytes()[0], trace.spans().count())
    }

    fn closed(window: &mut Window) -> Vec<(u8, usize)> {
        std::iter::from_fn(|| window.close_due()).map(|trace| numbers(&trace)).collect()
    }

    #[test]
    fn a_trace_waits_for_its_pieces_until_enough_later_traces_have_begun() {
        let mut window = Window::new(Limits { later_traces: 2, ..Limits::default() });
        for (trace, span, is_root) in [(1, 1, true), (2, 1, true), (1, 2, false)] {
            window.add(piece(trace, span, is_root)).unwrap();
            assert!(closed(&mut window).is_empty());
        }
        window.add(piece(3, 1, true)).unwrap();
        assert_eq!(closed(&mut window), [(1, 2)]);
        assert_eq!(window.add(piece(1, 3, false)), Err(TooLate));
        let rest: Vec<_> = std::iter::from_fn(|| window.close_oldest()).map(|trace| numbers(&trace)).collect();
        assert_eq!(rest, [(2, 1), (3, 1)]);
    }

    #[test]
    fn traces_without_a_root_leave_when_the_window_is_full() {
        let mut window = Window::new(Limits { traces: 3, ..Limits::default() });
        (1..=4).for_each(|trace| window.add(piece(trace, 1, false)).unwrap());
        assert_eq!(closed(&mut window), [(1, 1)]);
    }

    #[test]
    fn the_bytes_of_open_traces_are_bounded() {
        let mut window = Window::new(Limits { bytes: 100, ..Limits::default() });
        (1..=4).for_each(|trace| window.add(piece(trace, 1, false)).unwrap());
        let closed = closed(&mut window);
        assert!(!closed.is_empty() && window.bytes <= 100, "{closed:?}");
    }

    #[test]
    fn what_is_remembered_of_closed_traces_is_their_id_alone() {
        let mut window = Window::new(Limits { later_traces: 1, ..Limits::default() });
        for trace in 1..=200 {
            window.add(piece(trace, 1, true)).unwrap();
            closed(&mut window);
        }
        assert!(window.open.len() <= 1 && window.arrived.len() <= 1 && window.ended.len() <= 1);
    }
}
