//! What leaves the store months after a trace: everything of it, and nothing of what was made of many.

use std::collections::BTreeSet;

use driftline::backends::archive::Archive;
use driftline::backends::store::{AgentDimension, RecordedTrace, Selection, Store};
use driftline::domain::evaluation::AnnotatorKind;
use driftline::domain::external_score::{ExternalScore, NewExternalScore};
use driftline::domain::money::NanoUsd;
use driftline::domain::usage::{ModelUsage, ToolUsage, Usage};
use driftline::otlp::{ResourceSpans, ScopeSpans, Span, pack, split_by_trace};

use super::contract;
use super::external_scores::{new, score};
use super::fixtures::{LEASE, POLICY, TestStore, chunk, plain, recorded, seconds, stored_evaluation, trace_id};

contract!(
    all_that_hangs_on_an_old_trace_goes_with_it_and_what_days_came_to_stays,
    a_trace_whose_body_is_kept_keeps_its_record,
    an_archived_trace_keeps_its_record_for_as_long_as_it_is_in_the_archive,
    what_was_erased_is_still_known_to_be,
    more_traces_than_one_call_takes_go_in_several,
);

const DAY: i64 = 20_000;
const SCOPE: &str = "feature=refunds";

/// A trace with a row in every table that hangs on traces.
fn full(number: u64) -> RecordedTrace {
    let mut it = plain(number);
    it.trace.attributes = [("order.id".to_owned(), format!("o-{number}"))].into();
    it.evaluations = vec![stored_evaluation(it.trace.trace_id, "grounded", Some(1.0))];
    let model = ModelUsage { calls: 1, cost: NanoUsd(5), ..ModelUsage::default() };
    let tool = ToolUsage { calls: 1, failed: 1, ..ToolUsage::default() };
    it.usage = Usage {
        models: [("m".to_owned(), model)].into(),
        tools: [("refund".to_owned(), tool)].into(),
        ..Usage::default()
    };
    it.budgets = BTreeSet::from([SCOPE.to_owned()]);
    it
}

fn feedback(number: u64) -> NewExternalScore {
    let annotator_kind = AnnotatorKind::Human;
    new(ExternalScore { annotator_kind, ..score(number, "thumbs", Some(1.0)) })
}

/// What there is of a trace: itself, scores, feedback, charges; and of all traces, models called and tools failed.
async fn rows(store: &Store, number: u64) -> [usize; 6] {
    let id = trace_id(number);
    let by_model = store.agent_costs(&AgentDimension::Model, &Selection::default(), 10).await.unwrap();
    [
        usize::from(store.trace(id).await.unwrap().is_some()),
        store.evaluations(id).await.unwrap().len(),
        store.external_scores(id).await.unwrap().len(),
        store.dearest_traces(DAY, SCOPE, 10).await.unwrap().iter().filter(|found| **found == id).count(),
        by_model.iter().map(|row| usize::try_from(row.traces).unwrap()).sum(),
        store.failing_tools(&Selection::default(), 10).await.unwrap().len(),
    ]
}

async fn all_that_hangs_on_an_old_trace_goes_with_it_and_what_days_came_to_stays(it: TestStore) {
    it.store.record_traces(&[full(1)], seconds(10)).await.unwrap();
    it.store.add_external_scores(&[feedback(1)], seconds(10)).await.unwrap();
    it.store.purge(seconds(2_000)).await.unwrap();
    assert!(!it.store.purge_records(seconds(10)).await.unwrap());
    assert_eq!(rows(&it.store, 1).await, [1; 6], "it is not older than that");
    it.store.purge_records(seconds(11)).await.unwrap();
    assert_eq!(rows(&it.store, 1).await, [0; 6]);
    let spent = it.store.agent_budget_day(DAY, Some(SCOPE), NanoUsd(0), 1).await.unwrap();
    assert_eq!(spent[0].spent, NanoUsd(10), "twice its cost: half of such traces come");
    assert_eq!(it.store.unwatched_hours(seconds(9_999)).await.unwrap().len(), 1, "and its hour is still there");
}

async fn a_trace_whose_body_is_kept_keeps_its_record(it: TestStore) {
    it.store.record_traces(&[full(1)], seconds(10)).await.unwrap();
    it.store.purge_records(seconds(9_999)).await.unwrap();
    assert_eq!(rows(&it.store, 1).await[0], 1);
    it.store.purge(seconds(2_000)).await.unwrap();
    it.store.append_chunks(&[chunk(2, "piece", true)], seconds(0), &POLICY).await.unwrap();
    it.store.purge_records(seconds(9_999)).await.unwrap();
    assert_eq!(rows(&it.store, 1).await[0], 0);
    assert_eq!(it.store.queue_depths(seconds(100)).await.unwrap().due, 1, "what waits is not looked at");
}

async fn an_archived_trace_keeps_its_record_for_as_long_as_it_is_in_the_archive(it: TestStore) {
    let folder = tempfile::tempdir().unwrap();
    let store = it.store.clone().with_archive(Some(Archive::new(folder.path())));
    let span = Span { trace_id: trace_id(1).as_bytes().to_vec(), span_id: vec![7; 8], ..Span::default() };
    let scope_spans = vec![ScopeSpans { spans: vec![span], ..ScopeSpans::default() }];
    let piece = split_by_trace(vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }]).traces.remove(0);
    let mut piece_of_1 = chunk(1, "piece", true);
    piece_of_1.body = pack(&piece.encode().body);
    store.append_chunks(&[piece_of_1], seconds(0), &POLICY).await.unwrap();
    let mut trace = recorded(&store.claim_due(seconds(5), LEASE, 1).await.unwrap()[0]);
    trace.trace.failing = true;
    store.record_traces(&[trace], seconds(6)).await.unwrap();
    store.purge(seconds(2_000)).await.unwrap();
    store.purge_records(seconds(9_999)).await.unwrap();
    assert!(store.has_body(trace_id(1)).await.unwrap() && store.trace(trace_id(1)).await.unwrap().is_some());
    store.purge_archive(seconds(400_000), seconds(400_000)).await.unwrap();
    store.purge_records(seconds(9_999)).await.unwrap();
    assert_eq!(store.trace(trace_id(1)).await.unwrap(), None);
}

async fn what_was_erased_is_still_known_to_be(it: TestStore) {
    it.store.record_traces(&[full(1)], seconds(10)).await.unwrap();
    it.store.erase(&Selection::default(), "whose", seconds(20)).await.unwrap();
    it.store.purge_records(seconds(9_999)).await.unwrap();
    let report = it.store.append_chunks(&[chunk(1, "late", true)], seconds(30), &POLICY).await.unwrap();
    assert_eq!((report.inserted, report.too_late), (0, 1));
}

async fn more_traces_than_one_call_takes_go_in_several(it: TestStore) {
    let traces: Vec<RecordedTrace> = (1..=700).map(plain).collect();
    it.store.record_traces(&traces, seconds(10)).await.unwrap();
    while it.store.purge(seconds(2_000)).await.unwrap().traces > 0 {}
    assert!(it.store.purge_records(seconds(11)).await.unwrap());
    assert_eq!(it.store.counts().await.unwrap().traces, 200);
    assert!(!it.store.purge_records(seconds(11)).await.unwrap());
    assert_eq!(it.store.counts().await.unwrap().traces, 0);
}
