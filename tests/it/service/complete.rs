//! When a trace counts as complete, and what is made of one that is broken, repeated, or larger than memory.

use std::collections::BTreeSet;
use std::time::Duration;

use driftline::domain::time::Timestamp;
use driftline::evaluate::run::Evaluators;
use driftline::normalize::{AttributeMapping, PriceTable};
use driftline::otlp::Span;
use driftline::queries::explain::explain;
use driftline::queries::inspection::inspection;

use super::fixtures::{Running, eventually, request, span, trace_id};

const MIB: usize = 1024 * 1024;
/// `SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK` and `SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK`: the parent is in another process.
const REMOTE_PARENT: u32 = 0x300;
const FAR_FUTURE: u64 = 4_000_000_000_000_000_000;

/// Each shape with the requests it comes in, and the span that stands for the run.
fn shapes() -> Vec<(&'static str, Vec<Vec<Span>>, u32)> {
    let elsewhere = vec![9; 8];
    let remote = |trace| Span { parent_span_id: elsewhere.clone(), flags: REMOTE_PARENT, ..span(trace, 0) };
    let early = |trace, number| Span { start_time_unix_nano: 5, end_time_unix_nano: 4, ..span(trace, number) };
    let orphan = |trace, number| Span { parent_span_id: elsewhere.clone(), ..span(trace, number) };
    let late = |trace, number| Span { end_time_unix_nano: FAR_FUTURE, ..span(trace, number) };
    let timeless = |trace, number| Span { start_time_unix_nano: 0, end_time_unix_nano: 0, ..span(trace, number) };
    vec![
        ("whole", vec![vec![span(0, 0), span(0, 1), span(0, 2)]], 0),
        ("of a remote parent", vec![vec![remote(1), span(1, 1), span(1, 2)]], 0),
        ("without its root", vec![vec![span(2, 1)], vec![span(2, 2), span(2, 3)]], 1),
        ("with an orphan", vec![vec![span(3, 0), span(3, 1)], vec![orphan(3, 2)]], 0),
        ("root first", vec![vec![span(4, 0)], vec![span(4, 1)], vec![span(4, 2)]], 0),
        ("root last", vec![vec![span(5, 1)], vec![span(5, 2)], vec![span(5, 0)]], 0),
        ("repeated in one request", vec![vec![span(6, 0), span(6, 1), span(6, 1), span(6, 2)]], 0),
        ("repeated in another request", vec![vec![span(7, 0), span(7, 1)], vec![span(7, 1), span(7, 2)]], 0),
        ("with a clock that lags", vec![vec![span(8, 0), early(8, 1), span(8, 2)]], 0),
        ("with a clock that is ahead", vec![vec![span(9, 0), late(9, 1), span(9, 2)]], 0),
        ("with no times", vec![vec![timeless(10, 0), timeless(10, 1), timeless(10, 2)]], 0),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_of_any_shape_is_evaluated_with_each_of_its_spans_once() {
    let running = Running::start(|_| {}).await;
    for ((shape, requests, root), trace) in shapes().into_iter().zip(0..) {
        let expected: BTreeSet<Vec<u8>> = requests.iter().flatten().map(|span| span.span_id.clone()).collect();
        for spans in requests {
            running.accept(&request("agent", spans)).await;
        }
        let whole = async || {
            let body = running.store.chunks_of(trace_id(trace)).await.unwrap();
            let raw = body.unpack(trace_id(trace)).unwrap();
            let spans: Vec<Vec<u8>> = raw.spans().map(|span| span.span_id.clone()).collect();
            assert_eq!(spans.iter().collect::<BTreeSet<_>>().len(), spans.len(), "{shape}: a span stands twice");
            let is_waiting = running.store.pending_trace(trace_id(trace)).await.unwrap().is_some();
            let stored = running.store.trace(trace_id(trace)).await.unwrap()?;
            (!is_waiting && spans.into_iter().collect::<BTreeSet<_>>() == expected).then_some(stored)
        };
        let stored = eventually(shape, whole).await;
        assert_eq!(stored.root_span_id.as_bytes().as_slice(), span(trace, root).span_id, "{shape}");
        let now = Timestamp(i64::try_from(FAR_FUTURE).unwrap());
        assert!(stored.ended_at < now, "{shape}: no run belongs to an hour that is yet to come");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_larger_than_memory_is_read_at_its_ends_and_everyone_is_told() {
    let running = Running::start(|settings| settings.complete.quiet_period = Duration::from_mins(2)).await;
    // The root comes last, as roots do: it tells what the run came to.
    for number in [5, 4, 3, 2, 1, 0] {
        let large = Span { name: "x".repeat(15 * MIB), ..span(0, number) };
        running.accept(&request("agent", vec![large])).await;
    }
    let stored = running.scored(trace_id(0), 1).await;
    assert_eq!(stored.attributes["truncated"], "true");
    assert_eq!(stored.root_span_id.as_bytes().as_slice(), span(0, 0).span_id);
    eventually("the metric", async || (running.metrics.truncated.get() == 1).then_some(())).await;
    let raw = running.store.chunks_of(trace_id(0)).await.unwrap().unpack(trace_id(0)).unwrap();
    assert_eq!((raw.spans().count(), raw.pieces_left_out), (4, 2));

    let inspected =
        inspection(&running.store, trace_id(0), &AttributeMapping::default(), &PriceTable::default()).await.unwrap();
    assert!(inspected.missing.contains(&"spans (too many to be read)"), "{:?}", inspected.missing);
    let evaluators = Evaluators::load(None, std::collections::BTreeMap::new()).unwrap();
    let explained = explain(&running.store, trace_id(0), &evaluators, Timestamp(0)).await.unwrap();
    assert!(explained.summary.contains("too large to be read whole"), "{}", explained.summary);

    running.accept(&request("agent", vec![span(1, 0)])).await;
    assert!(!running.scored(trace_id(1), 1).await.attributes.contains_key("truncated"));
}
