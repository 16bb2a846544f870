//! Opening, migrating, refusing.

use driftline::backends::store::{Selection, Store, StoreError};
use sqlx::{AnyConnection, Connection};

use super::contract;
use super::fixtures::{POLICY, TestStore, chunk, plain, recorded, seconds, stored_evaluation, trace_id};
use crate::support::services::postgres;

contract!(
    a_store_that_is_opened_again_has_everything,
    a_filled_store_is_migrated_again_without_a_change,
    a_store_from_a_newer_program_is_refused,
    a_read_only_store_reads_beside_the_writer_and_writes_nothing,
    a_store_answers,
);

async fn a_store_that_is_opened_again_has_everything(it: TestStore) {
    let due = it.claimed(&[1]).await;
    let mut trace = recorded(&due[0]);
    trace.evaluations = vec![stored_evaluation(trace_id(1), "loop", Some(1.0))];
    it.store.record_traces(std::slice::from_ref(&trace), seconds(6)).await.unwrap();
    it.store.append_chunks(&[chunk(2, "waiting", false)], seconds(6), &POLICY).await.unwrap();
    let it = it.reopened().await;
    assert_eq!(it.store.trace(trace_id(1)).await.unwrap(), Some(trace.trace));
    assert_eq!(it.store.evaluations(trace_id(1)).await.unwrap(), trace.evaluations);
    assert_eq!(it.store.chunks_of(trace_id(2)).await.unwrap().chunks, [b"waiting"]);
    assert_eq!(it.store.queue_depths(seconds(100)).await.unwrap().due, 1);
}

async fn a_filled_store_is_migrated_again_without_a_change(it: TestStore) {
    it.store.record_traces(&[plain(1), plain(2)], seconds(6)).await.unwrap();
    let before = it.store.counts().await.unwrap();
    let it = it.reopened().await.reopened().await;
    assert_eq!(it.store.counts().await.unwrap(), before);
}

async fn a_store_from_a_newer_program_is_refused(it: TestStore) {
    let mut connection = AnyConnection::connect(&it.url).await.unwrap();
    sqlx::query(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
         VALUES (99, 'from the future', TRUE, $1, 0)",
    )
    .bind([0_u8].as_slice())
    .execute(&mut connection)
    .await
    .unwrap();
    connection.close().await.unwrap();
    let url = it.url.clone();
    drop(it.store);
    for read_only in [false, true] {
        let error = Store::open(&url, read_only).await.unwrap_err();
        assert!(matches!(error, StoreError::SchemaNewer { found: 99, .. }), "{error:?}");
        assert!(error.to_string().ends_with("use a newer driftline"), "{error}");
    }
}

async fn a_read_only_store_reads_beside_the_writer_and_writes_nothing(it: TestStore) {
    let reader = Store::open(&it.url, true).await.unwrap();
    it.store.record_traces(&[plain(1)], seconds(6)).await.unwrap();
    assert_eq!(reader.search(&Selection::default(), 10).await.unwrap().len(), 1);
    let error = reader.record_traces(&[plain(2)], seconds(6)).await.unwrap_err();
    assert!(!error.is_transient(), "{error:?}");
    assert_eq!(it.store.counts().await.unwrap().traces, 1);
}

async fn a_store_answers(it: TestStore) {
    it.store.ping().await.unwrap();
    it.store.close().await;
    assert!(it.store.ping().await.is_err());
}

#[tokio::test]
async fn a_second_process_is_refused_and_may_read() {
    let it = TestStore::sqlite().await;
    // A second handle on the lock stands for a second process: the system makes no difference between the two.
    let error = Store::open(&it.url, false).await.unwrap_err();
    assert!(matches!(error, StoreError::InUse { .. }), "{error:?}");
    Store::open(&it.url, true).await.unwrap();
    it.reopened().await;
}

#[tokio::test]
async fn a_read_only_store_is_neither_created_nor_migrated() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("none.db");
    let error = Store::open(&format!("sqlite://{}", path.display()), true).await.unwrap_err();
    assert!(matches!(error, StoreError::Missing { .. }), "{error:?}");
    assert!(!path.exists());

    std::fs::write(&path, "").unwrap();
    for url in [format!("sqlite://{}", path.display()), postgres().database().await] {
        let error = Store::open(&url, true).await.unwrap_err();
        assert!(matches!(error, StoreError::SchemaOlder { found: 0, .. }), "{error:?}");
    }
}

#[tokio::test]
async fn several_programs_may_migrate_one_database_at_once() {
    let url = postgres().database().await;
    let open = || {
        let url = url.clone();
        tokio::spawn(async move { Store::open(&url, false).await.map(drop) })
    };
    for opened in [open(), open(), open(), open()] {
        opened.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn an_address_of_another_kind_is_refused_without_its_password() {
    let error = Store::open("mysql://root:secret@host/db", false).await.unwrap_err();
    assert!(error.to_string().contains("sqlite://PATH") && !error.to_string().contains("secret"), "{error}");
}
