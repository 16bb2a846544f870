//! Partitions by day, which PostgreSQL has, and what stores of an earlier release bring with them.

use std::path::Path;
use std::time::Duration;

use driftline::backends::store::{Chunk, Store};
use driftline::domain::time::Timestamp;
use driftline::limits::budget::{NANOS_PER_DAY, day_of};
use sqlx::migrate::Migrator;
use sqlx::{AnyConnection, AssertSqlSafe, Connection as _, Executor as _, PgConnection};

use super::fixtures::{LEASE, POLICY, TestStore, chunk, recorded, seconds, trace_id};
use crate::support::services::postgres;

const WEEK: Duration = Duration::from_hours(7 * 24);

fn today() -> i64 {
    day_of(seconds(0))
}

/// So many days after the tests' own.
fn later(days: i64) -> Timestamp {
    Timestamp(seconds(0).0 + days * NANOS_PER_DAY)
}

fn piece(number: u64, day: i64) -> Chunk {
    Chunk { day, ..chunk(number, "piece", true) }
}

async fn partitions(url: &str) -> Vec<String> {
    let mut connection = PgConnection::connect(url).await.unwrap();
    let sql = "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'chunk'::regclass ORDER BY 1";
    sqlx::query_scalar(sql).fetch_all(&mut connection).await.unwrap()
}

/// Names of the partitions from one day to another, and of the one for all others.
fn named(days: std::ops::RangeInclusive<i64>) -> Vec<String> {
    days.map(|day| format!("chunk_{day}")).chain(["chunk_other".to_owned()]).collect()
}

/// Where the pieces lie, in the order of their traces.
async fn places(url: &str) -> Vec<String> {
    let mut connection = PgConnection::connect(url).await.unwrap();
    let sql = "SELECT tableoid::regclass::text FROM chunk ORDER BY trace_id";
    sqlx::query_scalar(sql).fetch_all(&mut connection).await.unwrap()
}

async fn inserted(store: &Store, pieces: &[Chunk]) -> usize {
    store.append_chunks(pieces, seconds(0), &POLICY).await.unwrap().inserted
}

#[tokio::test]
async fn a_day_has_its_partition_before_it_begins_and_loses_it_when_it_has_gone() {
    let it = TestStore::postgres().await;
    it.store.turn_days(seconds(0), WEEK).await.unwrap();
    assert_eq!(partitions(&it.url).await, named(today() - 1..=today() + 3));
    it.store.turn_days(later(1), WEEK).await.unwrap();
    assert_eq!(partitions(&it.url).await, named(today() - 1..=today() + 4));
    it.store.turn_days(later(8), WEEK).await.unwrap();
    let kept = (today() + 1..=today() + 4).chain(today() + 7..=today() + 11).map(|day| format!("chunk_{day}"));
    assert_eq!(partitions(&it.url).await, kept.chain(["chunk_other".to_owned()]).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_repeat_is_known_wherever_its_piece_has_come_to_lie() {
    let it = TestStore::postgres().await;
    let pieces = [piece(1, today()), piece(2, 0), piece(3, today() + 40)];
    assert_eq!(inserted(&it.store, &pieces).await, 3);
    assert_eq!(places(&it.url).await, ["chunk_other", "chunk_0", "chunk_other"]);
    it.store.turn_days(seconds(0), WEEK).await.unwrap();
    assert_eq!(places(&it.url).await, [&format!("chunk_{}", today()), "chunk_other", "chunk_other"]);
    assert_eq!(inserted(&it.store, &pieces).await, 0, "in the partition of its day");
    it.store.turn_days(later(40), WEEK).await.unwrap();
    assert_eq!(places(&it.url).await, ["chunk_other", "chunk_other", &format!("chunk_{}", today() + 40)]);
    assert_eq!(inserted(&it.store, &pieces).await, 0, "and where it is kept longer than its day");
    for number in 1..=3 {
        assert_eq!(it.store.chunks_of(trace_id(number)).await.unwrap().chunks, [b"piece"]);
    }
}

#[tokio::test]
async fn a_day_of_which_much_is_left_stays_until_its_bodies_are_purged() {
    let it = TestStore::postgres().await;
    it.store.turn_days(seconds(0), WEEK).await.unwrap();
    let pieces: Vec<Chunk> = (1..=1_001).map(|number| piece(number, today())).collect();
    inserted(&it.store, &pieces).await;
    let day = format!("chunk_{}", today());
    it.store.turn_days(later(10), WEEK).await.unwrap();
    assert!(partitions(&it.url).await.contains(&day));

    let due = it.store.claim_due(seconds(10), LEASE, 2_000).await.unwrap();
    let recorded: Vec<_> = due.iter().map(recorded).collect();
    it.store.record_traces(&recorded, seconds(11)).await.unwrap();
    while it.store.purge(later(10)).await.unwrap().traces > 0 {}
    it.store.turn_days(later(10), WEEK).await.unwrap();
    assert!(!partitions(&it.url).await.contains(&day));
    assert_eq!(it.store.counts().await.unwrap().chunks, 0);
}

#[tokio::test]
async fn while_someone_reads_for_long_days_stay_and_pieces_are_stored() {
    let it = TestStore::postgres().await;
    it.store.turn_days(seconds(0), WEEK).await.unwrap();
    let mut other = PgConnection::connect(&it.url).await.unwrap();
    let mut reading = other.begin().await.unwrap();
    reading.execute("SELECT count(*) FROM chunk").await.unwrap();
    it.store.turn_days(later(11), WEEK).await.unwrap();
    assert_eq!(partitions(&it.url).await, named(today() - 1..=today() + 3));
    assert_eq!(inserted(&it.store, &[piece(1, today())]).await, 1);
    reading.commit().await.unwrap();
    it.store.turn_days(later(11), WEEK).await.unwrap();
    assert_eq!(partitions(&it.url).await, named(today() + 10..=today() + 14));
}

#[tokio::test(flavor = "multi_thread")]
async fn days_turn_under_load_and_no_piece_is_lost_or_refused() {
    let it = TestStore::postgres().await;
    let store = it.store.clone();
    let writing = tokio::spawn(async move {
        for number in 1..=300 {
            let day = today() - 2 + i64::try_from(number % 20).unwrap();
            assert_eq!(inserted(&store, &[piece(number, day)]).await, 1);
        }
    });
    let mut day = 0;
    while !writing.is_finished() {
        it.store.turn_days(later(day % 20), WEEK).await.unwrap();
        day += 1;
    }
    writing.await.unwrap();
    assert_eq!(it.store.counts().await.unwrap().chunks, 300);
}

/// A database as a release with so many changes left it, with a piece that waits for its evaluation.
async fn of_an_earlier_release(url: &str, dialect: &str, changes: i64) {
    sqlx::any::install_default_drivers();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations").join(dialect);
    let all = Migrator::new(folder.as_path()).await.unwrap();
    let earlier = all.iter().filter(|change| change.version <= changes).cloned().collect();
    let mut connection = AnyConnection::connect(url).await.unwrap();
    Migrator::with_migrations(earlier).run(&mut connection).await.unwrap();
    let id = if dialect == "sqlite" { format!("x'{}'", trace_id(1)) } else { format!("'\\x{}'", trace_id(1)) };
    let fill = format!(
        "INSERT INTO chunk (trace_id, content_hash, arrived_at, span_count, body) VALUES ({id}, {id}, 1, 1, {id}); \
         INSERT INTO pending (trace_id, first_seen_at, last_seen_at, due_at, root_ended, generation, attempts, \
         claimed_until, stored_bytes) VALUES ({id}, 1, 1, 1, 1, 1, 0, 0, 10)"
    );
    connection.execute(AssertSqlSafe(fill)).await.unwrap();
    connection.close().await.unwrap();
}

async fn what_waited_is_still_there_and_goes_its_way(url: &str) {
    let store = Store::open(url, false).await.unwrap();
    let body = trace_id(1).as_bytes().to_vec();
    assert_eq!(store.chunks_of(trace_id(1)).await.unwrap().chunks, [body]);
    store.turn_days(seconds(0), WEEK).await.unwrap();
    inserted(&store, &[piece(1, today())]).await;
    let due = store.claim_due(seconds(5), LEASE, 10).await.unwrap();
    assert_eq!((due.len(), due[0].body.chunks.len()), (1, 2));
    store.record_traces(&[recorded(&due[0])], seconds(6)).await.unwrap();
    assert_eq!(store.purge(later(10)).await.unwrap().traces, 1);
    store.turn_days(later(10), WEEK).await.unwrap();
    assert_eq!(store.counts().await.unwrap().chunks, 0);
}

#[tokio::test]
async fn a_filled_postgresql_store_of_an_earlier_release_keeps_what_is_in_it() {
    let url = postgres().database().await;
    of_an_earlier_release(&url, "postgres", 18).await;
    what_waited_is_still_there_and_goes_its_way(&url).await;
    assert!(!partitions(&url).await.contains(&"chunk_0".to_owned()), "what was stored before leaves as a whole too");
}

#[tokio::test]
async fn a_filled_sqlite_store_of_an_earlier_release_keeps_what_is_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}/driftline.db", folder.path().display());
    of_an_earlier_release(&format!("{url}?mode=rwc"), "sqlite", 18).await;
    what_waited_is_still_there_and_goes_its_way(&url).await;
}
