//! What leaves the store: for the archive when its time is over, and for good when someone asks.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use driftline::backends::archive::Archive;
use driftline::backends::store::{
    AlertFilter, BodyPlace, Chunk, RecordedTrace, Selection, Store, StoreError, StoredTrace,
};
use driftline::domain::alert::{Alert, AlertState};
use driftline::domain::evaluation::AnnotatorKind;
use driftline::domain::external_score::{ExternalScore, NewExternalScore};
use driftline::domain::money::NanoUsd;
use driftline::domain::usage::{ModelUsage, Usage};
use driftline::limits::budget::{AGENT_BUDGET, alert_fingerprint};
use driftline::otlp::{ExportTraceServiceRequest, ResourceSpans, ScopeSpans, Span, pack, split_by_trace};
use sqlx::{AnyConnection, Connection as _, Executor as _};

use super::contract;
use super::external_scores::{new, score};
use super::fixtures::{
    LEASE, POLICY, TestStore, alert, judge_job, plain, recorded, seconds, stored_evaluation, trace_id,
};

contract!(
    flagged_runs_and_decisions_go_into_the_archive_and_are_read_from_it,
    a_purge_that_does_not_commit_archives_nothing_and_the_next_one_does_so_once,
    archived_traces_are_forgotten_after_their_time,
    a_run_that_came_late_is_in_the_archive_for_as_long_as_any_other,
    into_another_stores_archive_nothing_is_put_and_nothing_of_it_removed,
    an_archive_of_before_is_adopted_by_the_store_that_knows_its_files,
    what_someone_left_behind_is_erased_everywhere_and_what_was_counted_stays,
    of_whom_there_were_budgets_neither_sums_nor_alerts_are_left,
    of_what_is_erased_nothing_is_taken_in_again,
    archived_traces_are_not_erased_half_by_who_does_not_know_the_archive,
);

pub(super) const SECRET: &str = "the-secret-of-ann";

/// A piece of a real span.
fn piece(number: u64) -> Chunk {
    let id = trace_id(number);
    let span = Span {
        trace_id: id.as_bytes().to_vec(),
        span_id: vec![7; 8],
        name: if number == 2 { "a run of bob's" } else { SECRET }.to_owned(),
        end_time_unix_nano: 9,
        ..Span::default()
    };
    let scope_spans = vec![ScopeSpans { spans: vec![span], ..ScopeSpans::default() }];
    let groups = vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }];
    let piece = split_by_trace(groups).traces.remove(0);
    Chunk {
        trace_id: id,
        content_hash: [3; 32],
        day: 0,
        span_count: 1,
        root_ended: true,
        body: pack(&piece.encode().body),
    }
}

/// Evaluated traces 1 (flagged), 2 (decides) and 3 (neither), of which Ann's are 1 and 3.
pub(super) async fn fill(store: &Store) {
    store.append_chunks(&[piece(1), piece(2), piece(3)], seconds(0), &POLICY).await.unwrap();
    let due = store.claim_due(seconds(5), LEASE, 3).await.unwrap();
    let of = |number: usize, plain: RecordedTrace| {
        let user = if number == 1 { "bob" } else { "ann" };
        let trace = StoredTrace {
            failing: number == 0,
            reports_decision: number == 1,
            user_id: Some(user.to_owned()),
            conversation_id: Some(format!("c-{user}")),
            attributes: [("order.id".to_owned(), format!("o-{user}"))].into(),
            ..plain.trace
        };
        let evaluations = vec![stored_evaluation(trace.trace_id, "grounded", Some(0.0))];
        RecordedTrace { trace, evaluations, judge_jobs: vec![judge_job("tone")], ..plain }
    };
    let traces: Vec<RecordedTrace> = due.iter().enumerate().map(|(number, due)| of(number, recorded(due))).collect();
    assert_eq!(store.record_traces(&traces, seconds(6)).await.unwrap().recorded, 3);
}

fn feedback(number: u64) -> NewExternalScore {
    let annotator_kind = AnnotatorKind::Human;
    new(ExternalScore { annotator_kind, explanation: Some(SECRET.to_owned()), ..score(number, "thumbs", Some(1.0)) })
}

pub(super) fn ann() -> Selection {
    Selection { user: Some("ann".to_owned()), ..Selection::default() }
}

fn files(folder: &Path) -> Vec<Vec<u8>> {
    let days = fs::read_dir(folder).unwrap().map(|day| day.unwrap().path()).filter(|day| day.is_dir());
    days.flat_map(|day| fs::read_dir(day).unwrap()).map(|file| fs::read(file.unwrap().path()).unwrap()).collect()
}

async fn flagged_runs_and_decisions_go_into_the_archive_and_are_read_from_it(it: TestStore) {
    let folder = tempfile::tempdir().unwrap();
    let store = it.store.clone().with_archive(Some(Archive::new(folder.path())));
    fill(&store).await;
    let before = store.chunks_of(trace_id(1)).await.unwrap().unpack(trace_id(1)).unwrap();
    assert_eq!(store.purge(seconds(2_000)).await.unwrap().traces, 3);
    let mut places = Vec::new();
    for number in 1..=3 {
        places.push(store.body_place(trace_id(number)).await.unwrap());
    }
    assert_eq!(places, [BodyPlace::Archive, BodyPlace::Archive, BodyPlace::Gone]);
    assert_eq!(store.chunks_of(trace_id(1)).await.unwrap().unpack(trace_id(1)).unwrap(), before);
    assert!(store.has_body(trace_id(2)).await.unwrap() && !store.has_body(trace_id(3)).await.unwrap());
    let [file] = <[Vec<u8>; 1]>::try_from(files(folder.path())).unwrap();
    let text = String::from_utf8(zstd::decode_all(file.as_slice()).unwrap()).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<ExportTraceServiceRequest>(line).unwrap());
    assert_eq!(lines.count(), 2);
    assert_eq!(it.store.body_place(trace_id(1)).await.unwrap(), BodyPlace::Gone, "without the archive");
}

async fn a_purge_that_does_not_commit_archives_nothing_and_the_next_one_does_so_once(it: TestStore) {
    let folder = tempfile::tempdir().unwrap();
    fill(&it.store).await;
    // A folder that is a file fails as a full disk does: before the commit.
    let blocked = folder.path().join("blocked");
    fs::write(&blocked, "").unwrap();
    let failing = it.store.clone().with_archive(Some(Archive::new(&blocked)));
    failing.purge(seconds(2_000)).await.unwrap_err();
    assert!(it.store.has_body(trace_id(1)).await.unwrap(), "nothing is lost");
    // A process that died after it wrote its file, and before its commit, leaves a file that no one knows.
    let archive = Archive::new(&folder.path().join("archive"));
    it.store.clone().with_archive(Some(archive.clone())).purge_archive(seconds(0), seconds(0)).await.unwrap();
    let mut left_behind = archive.begin("2024-10-04").unwrap();
    left_behind.add(b"{}").unwrap();
    archive.finish(left_behind).await.unwrap();
    let store = it.store.clone().with_archive(Some(archive));
    store.purge(seconds(2_000)).await.unwrap();
    assert_eq!(store.purge(seconds(2_000)).await.unwrap().traces, 0);
    assert_eq!(files(&folder.path().join("archive")).len(), 2);
    let long_after = driftline::domain::time::Timestamp(i64::MAX / 2);
    store.purge_archive(seconds(0), long_after).await.unwrap();
    assert_eq!(files(&folder.path().join("archive")).len(), 1, "what no one knows is gone, and the other stays");
    assert!(store.has_body(trace_id(1)).await.unwrap());
}

async fn archived_traces_are_forgotten_after_their_time(it: TestStore) {
    let folder = tempfile::tempdir().unwrap();
    let store = it.store.clone().with_archive(Some(Archive::new(folder.path())));
    fill(&store).await;
    store.purge(seconds(2_000)).await.unwrap();
    let long_after = driftline::domain::time::Timestamp(i64::MAX / 2);
    store.purge_archive(seconds(0), long_after).await.unwrap();
    assert_eq!(store.body_place(trace_id(1)).await.unwrap(), BodyPlace::Archive);
    store.purge_archive(seconds(3 * 86_400), long_after).await.unwrap();
    assert_eq!(store.body_place(trace_id(1)).await.unwrap(), BodyPlace::Gone);
    assert!(files(folder.path()).is_empty());
}

async fn a_run_that_came_late_is_in_the_archive_for_as_long_as_any_other(it: TestStore) {
    let folder = tempfile::tempdir().unwrap();
    let store = it.store.clone().with_archive(Some(Archive::new(folder.path())));
    fill(&store).await;
    let day = |number: i64| seconds(number * 86_400);
    store.purge(day(400)).await.unwrap();
    store.purge_archive(day(400), day(765)).await.unwrap();
    assert_eq!(store.body_place(trace_id(1)).await.unwrap(), BodyPlace::Archive, "archived a year ago, not longer");
    store.purge_archive(day(401), day(766)).await.unwrap();
    assert_eq!(store.body_place(trace_id(1)).await.unwrap(), BodyPlace::Gone);
}

async fn into_another_stores_archive_nothing_is_put_and_nothing_of_it_removed(it: TestStore) {
    let folder = tempfile::tempdir().unwrap();
    let other = TestStore::sqlite().await;
    let archive = Archive::new(folder.path());
    let theirs = other.store.clone().with_archive(Some(archive.clone()));
    fill(&theirs).await;
    theirs.purge(seconds(2_000)).await.unwrap();
    let long_after = driftline::domain::time::Timestamp(i64::MAX / 2);
    let ours = it.store.clone().with_archive(Some(archive));
    fill(&ours).await;
    // Also when no file says whose it is, as in archives of before.
    for is_unmarked in [false, true] {
        if is_unmarked {
            fs::remove_file(folder.path().join("driftline-store")).unwrap();
        }
        assert!(!ours.owns_archive().await.unwrap());
        assert!(matches!(ours.purge(seconds(2_000)).await, Err(StoreError::ForeignArchive)));
        assert!(!ours.purge_archive(long_after, long_after).await.unwrap());
        assert!(ours.has_body(trace_id(1)).await.unwrap(), "nothing is lost");
        assert!(theirs.has_body(trace_id(1)).await.unwrap() && files(folder.path()).len() == 1);
    }
}

async fn an_archive_of_before_is_adopted_by_the_store_that_knows_its_files(it: TestStore) {
    let folder = tempfile::tempdir().unwrap();
    let archive = Archive::new(folder.path());
    let store = it.store.clone().with_archive(Some(archive.clone()));
    fill(&store).await;
    store.purge(seconds(2_000)).await.unwrap();
    let owner = folder.path().join("driftline-store");
    let id = fs::read(&owner).unwrap();
    fs::remove_file(&owner).unwrap();
    archive.finish(archive.begin("2024-10-04").unwrap()).await.unwrap();
    assert!(store.owns_archive().await.unwrap() && !owner.exists());
    let long_after = driftline::domain::time::Timestamp(i64::MAX / 2);
    assert!(store.purge_archive(seconds(0), long_after).await.unwrap());
    assert_eq!((fs::read(&owner).unwrap(), files(folder.path()).len()), (id, 1));
}

async fn what_someone_left_behind_is_erased_everywhere_and_what_was_counted_stays(it: TestStore) {
    let folder = tempfile::tempdir().unwrap();
    let store = it.store.clone().with_archive(Some(Archive::new(folder.path())));
    fill(&store).await;
    store.add_external_scores(&[feedback(1), feedback(2)], seconds(7)).await.unwrap();
    store.purge(seconds(2_000)).await.unwrap();
    let counted = store.counts().await.unwrap();

    let erased = store.erase(&ann(), "user=ann", seconds(3_000)).await.unwrap();
    assert_eq!((erased.traces, erased.archived, erased.explanations, erased.feedback), (2, 1, 2, 1));
    assert_eq!(erased.waiting, 2, "her judge jobs");
    assert_eq!(store.erase(&ann(), "user=ann", seconds(3_001)).await.unwrap(), Default::default());

    assert_eq!(store.body_place(trace_id(1)).await.unwrap(), BodyPlace::Erased);
    assert_eq!(store.body_place(trace_id(2)).await.unwrap(), BodyPlace::Archive, "bob's stays");
    let trace = store.trace(trace_id(1)).await.unwrap().unwrap();
    assert_eq!((trace.user_id, trace.conversation_id, trace.attributes.len()), (None, None, 0));
    let row = store.evaluations(trace_id(1)).await.unwrap().remove(0).evaluation;
    assert_eq!((row.value, row.explanation), (Some(0.0), None), "what was counted stays");
    assert_eq!(store.external_scores(trace_id(1)).await.unwrap()[0].explanation, None);
    assert_eq!(store.counts().await.unwrap().evaluations, counted.evaluations);
    let log = store.audit_log(seconds(0), 10).await.unwrap();
    assert_eq!(log.len(), 2);
    assert!(log.iter().all(|line| line.subject.starts_with("sha256:") && !line.subject.contains("ann")));
    let [file] = <[Vec<u8>; 1]>::try_from(files(folder.path())).unwrap();
    let text = String::from_utf8(zstd::decode_all(file.as_slice()).unwrap()).unwrap();
    assert_eq!(text.lines().count(), 1, "the archive is readable, and holds bob's alone");
}

/// The day of plain traces.
const DAY: i64 = 20_000;
const BUDGETS: [&str; 4] = ["user=ann", "user=bob", "conversation=shared", "service=shop"];

/// A run that counts for the budgets of its user, of a conversation and of its service.
fn charged(number: u64, user: &str) -> RecordedTrace {
    let RecordedTrace { trace, .. } = plain(number);
    let trace = StoredTrace { user_id: Some(user.to_owned()), ..trace };
    let model = ModelUsage { calls: 1, cost: NanoUsd(5), ..ModelUsage::default() };
    let usage = Usage { models: [("m".to_owned(), model)].into(), ..Usage::default() };
    let budgets = [&format!("user={user}"), BUDGETS[2], BUDGETS[3]].map(str::to_owned).into();
    RecordedTrace { trace, usage, budgets, ..plain(number) }
}

/// Of which budgets there is a sum, and of which an alert.
async fn budgets_left(store: &Store) -> [Vec<&'static str>; 2] {
    let days = store.agent_budget_day(DAY, None, NanoUsd(0), 10).await.unwrap();
    let alerts = store.alerts(&AlertFilter::default()).await.unwrap();
    let has_sum = |scope: &&str| days.iter().any(|day| day.scope == *scope);
    let has_alert = |scope: &&str| alerts.iter().any(|alert| alert.segment == *scope);
    [BUDGETS.into_iter().filter(has_sum).collect(), BUDGETS.into_iter().filter(has_alert).collect()]
}

async fn of_whom_there_were_budgets_neither_sums_nor_alerts_are_left(it: TestStore) {
    it.store.record_traces(&[charged(1, "ann"), charged(2, "bob")], seconds(6)).await.unwrap();
    for scope in BUDGETS {
        let alert = alert(&alert_fingerprint(AGENT_BUDGET, scope, DAY), "all", AlertState::Firing, seconds(6));
        it.store.put_alert(&Alert { segment: scope.to_owned(), ..alert }, seconds(6)).await.unwrap();
    }
    assert_eq!(budgets_left(&it.store).await, [&BUDGETS; 2]);
    it.store.erase(&ann(), "user=ann", seconds(7)).await.unwrap();
    assert_eq!(budgets_left(&it.store).await, [&BUDGETS[1..]; 2], "others count for the conversation");
    assert_eq!(it.store.dearest_traces(DAY, BUDGETS[2], 10).await.unwrap(), [trace_id(2)]);

    // Bob's trace goes by itself; what it came to does not.
    it.store.purge(seconds(2_000)).await.unwrap();
    it.store.purge_records(seconds(9_999)).await.unwrap();
    let bob = Selection { user: Some("bob".to_owned()), ..Selection::default() };
    it.store.erase(&bob, "user=bob", seconds(10_000)).await.unwrap();
    assert_eq!(budgets_left(&it.store).await, [&BUDGETS[2..]; 2]);
}

async fn of_what_is_erased_nothing_is_taken_in_again(it: TestStore) {
    fill(&it.store).await;
    it.store.append_chunks(&[Chunk { content_hash: [4; 32], ..piece(1) }], seconds(7), &POLICY).await.unwrap();
    let due = it.store.claim_due(seconds(100), LEASE, 1).await.unwrap();
    it.store.erase(&ann(), "user=ann", seconds(101)).await.unwrap();
    // A worker that had claimed the trace, a late piece, and late feedback.
    let again = StoredTrace { user_id: Some("ann".to_owned()), ..recorded(&due[0]).trace };
    let report = it.store.record_traces(&[RecordedTrace { trace: again, ..recorded(&due[0]) }], seconds(102)).await;
    assert_eq!((report.unwrap().recorded, it.store.trace(trace_id(1)).await.unwrap().unwrap().user_id), (0, None));
    let late = Chunk { content_hash: [5; 32], ..piece(1) };
    assert_eq!(it.store.append_chunks(&[late], seconds(103), &POLICY).await.unwrap().too_late, 1);
    it.store.add_external_scores(&[feedback(1)], seconds(104)).await.unwrap();
    assert!(it.store.external_scores(trace_id(1)).await.unwrap().is_empty());
    assert!(!it.store.has_body(trace_id(1)).await.unwrap());
}

async fn archived_traces_are_not_erased_half_by_who_does_not_know_the_archive(it: TestStore) {
    let folder = tempfile::tempdir().unwrap();
    let store = it.store.clone().with_archive(Some(Archive::new(folder.path())));
    fill(&store).await;
    store.purge(seconds(2_000)).await.unwrap();
    let error = it.store.erase(&ann(), "user=ann", seconds(3_000)).await.unwrap_err();
    assert!(matches!(error, StoreError::NoArchive), "{error:?}");
    assert_eq!(it.store.trace(trace_id(1)).await.unwrap().unwrap().user_id.as_deref(), Some("ann"));
}

#[tokio::test]
async fn nothing_of_what_was_erased_is_left_in_the_file_of_the_store() {
    let it = TestStore::sqlite().await;
    fill(&it.store).await;
    it.store.add_external_scores(&[feedback(1)], seconds(7)).await.unwrap();
    it.store.erase(&ann(), "user=ann", seconds(8)).await.unwrap();
    let path = it.url.strip_prefix("sqlite://").unwrap();
    for file in [path.to_owned(), format!("{path}-wal")] {
        let bytes = fs::read(&file).unwrap_or_default();
        assert!(!bytes.windows(SECRET.len()).any(|window| window == SECRET.as_bytes()), "{file}");
    }
}

#[tokio::test]
async fn what_a_reader_keeps_in_the_log_is_not_said_to_be_erased() {
    let it = TestStore::sqlite().await;
    fill(&it.store).await;
    let mut other = AnyConnection::connect(&it.url).await.unwrap();
    let mut reading = other.begin().await.unwrap();
    reading.execute("SELECT count(*) FROM chunk").await.unwrap();
    let error = it.store.erase(&ann(), "user=ann", seconds(8)).await.unwrap_err();
    assert!(matches!(error, StoreError::LogHeld), "{error:?}");
    let log = format!("{}-wal", it.url.strip_prefix("sqlite://").unwrap());
    assert!(fs::metadata(&log).unwrap().len() > 0);
    reading.commit().await.unwrap();
    assert_eq!(it.store.erase(&ann(), "user=ann", seconds(9)).await.unwrap(), Default::default());
    assert_eq!(fs::metadata(&log).unwrap().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_moves_the_log_meanwhile_leaves_nothing_of_what_was_erased_in_it() {
    let it = TestStore::sqlite().await;
    fill(&it.store).await;
    let is_over = Arc::new(AtomicBool::new(false));
    let moving = tokio::spawn({
        let (store, is_over) = (it.store.clone(), Arc::clone(&is_over));
        async move {
            while !is_over.load(Ordering::Relaxed) {
                store.checkpoint().await.unwrap();
            }
        }
    });
    let log = format!("{}-wal", it.url.strip_prefix("sqlite://").unwrap());
    for _ in 0..20 {
        it.forge("UPDATE trace SET erased_at = NULL").await;
        it.store.erase(&Selection::default(), "all", seconds(8)).await.unwrap();
        assert_eq!(fs::metadata(&log).unwrap().len(), 0);
    }
    is_over.store(true, Ordering::Relaxed);
    moving.await.unwrap();
}
