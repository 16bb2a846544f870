//! The archive in a bucket.

use std::time::Duration;

use driftline::backends::archive::ArchivePlace;
use driftline::backends::store::{BodyPlace, StoreError};
use driftline::domain::time::Timestamp;

use super::contract;
use super::erasure::{SECRET, ann, fill};
use super::fixtures::{POLICY, TestStore, chunk, seconds, trace_id};
use crate::support::bucket::FakeBucket;

contract!(
    runs_are_read_from_a_bucket_and_erased_there,
    while_a_bucket_is_away_runs_stay_in_the_store,
    a_run_that_changes_while_it_is_archived_stays_and_leaves_no_copy,
    what_others_put_into_a_bucket_stays_and_the_archive_of_another_store_too,
);

async fn runs_are_read_from_a_bucket_and_erased_there(it: TestStore) {
    let bucket = FakeBucket::start().await;
    let store = it.store.clone().with_archive(Some(bucket.archive()));
    fill(&store).await;
    let before = store.chunks_of(trace_id(1)).await.unwrap().unpack(trace_id(1)).unwrap();
    assert_eq!(store.purge(seconds(2_000)).await.unwrap().traces, 3);
    assert_eq!(store.body_place(trace_id(1)).await.unwrap(), BodyPlace::Archive);
    assert_eq!(store.chunks_of(trace_id(1)).await.unwrap().unpack(trace_id(1)).unwrap(), before);
    let [(name, _)] = bucket.objects().into_iter().collect::<Vec<_>>().try_into().unwrap();
    assert!(name.starts_with("runs/kept/2024-10-04/") && name.ends_with(".jsonl.zst"), "{name}");

    assert_eq!(store.erase(&ann(), "user ann", seconds(3_000)).await.unwrap().archived, 1);
    let text = String::from_utf8(zstd::decode_all(bucket.objects()[&name].as_slice()).unwrap()).unwrap();
    assert!(text.contains("bob's") && !text.contains(SECRET), "{text}");
    assert!(!store.chunks_of(trace_id(2)).await.unwrap().chunks.is_empty(), "the other is still read");

    store.purge_archive(seconds(400_000), Timestamp(i64::MAX / 2)).await.unwrap();
    assert!(bucket.objects().is_empty(), "its time is over");
    assert!(store.chunks_of(trace_id(2)).await.unwrap().chunks.is_empty());
}

async fn while_a_bucket_is_away_runs_stay_in_the_store(it: TestStore) {
    let bucket = FakeBucket::start().await;
    let store = it.store.clone().with_archive(Some(bucket.archive()));
    fill(&store).await;
    bucket.archive().reach().await.unwrap();
    bucket.set_away(true);
    bucket.archive().reach().await.unwrap_err();
    let purging = store.purge(seconds(2_000));
    let others = async {
        // Nothing waits for the bucket but the purge itself.
        tokio::time::sleep(Duration::from_millis(200)).await;
        let piece = [chunk(9, "piece", true)];
        let storing = store.append_chunks(&piece, seconds(0), &POLICY);
        tokio::time::timeout(Duration::from_secs(5), storing).await.unwrap().unwrap();
    };
    let (purged, ()) = tokio::join!(purging, others);
    assert!(purged.unwrap_err().is_transient());
    for number in 1..=3 {
        assert_eq!(store.body_place(trace_id(number)).await.unwrap(), BodyPlace::Store);
    }
    bucket.set_away(false);
    assert_eq!(store.purge(seconds(2_000)).await.unwrap().traces, 3);
    assert_eq!(bucket.objects().len(), 1);
}

async fn a_run_that_changes_while_it_is_archived_stays_and_leaves_no_copy(it: TestStore) {
    let bucket = FakeBucket::start().await;
    let store = it.store.clone().with_archive(Some(bucket.archive()));
    fill(&store).await;
    bucket.hold_uploads().await;
    let change = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        store.append_chunks(&[chunk(1, "late", false)], seconds(2_000), &POLICY).await.unwrap();
        bucket.let_uploads_go();
    };
    let (purged, ()) = tokio::join!(store.purge(seconds(2_000)), change);
    assert_eq!(purged.unwrap().traces, 0);
    assert!(bucket.objects().is_empty());
    assert_eq!(store.chunks_of(trace_id(1)).await.unwrap().chunks.len(), 2);
    assert_eq!(store.purge(seconds(2_000)).await.unwrap().traces, 2, "the others go with the next");
    assert_eq!(store.body_place(trace_id(1)).await.unwrap(), BodyPlace::Store);
}

async fn what_others_put_into_a_bucket_stays_and_the_archive_of_another_store_too(it: TestStore) {
    let bucket = FakeBucket::start().await;
    bucket.insert("runs/kept/2024-10-04/notes.txt", "");
    let store = it.store.clone().with_archive(Some(bucket.archive()));
    store.purge_archive(seconds(0), Timestamp(i64::MAX / 2)).await.unwrap();
    assert_eq!(bucket.objects().len(), 1);
    let other = TestStore::sqlite().await;
    let theirs = other.store.clone().with_archive(Some(bucket.archive()));
    fill(&theirs).await;
    assert!(matches!(theirs.purge(seconds(2_000)).await, Err(StoreError::ForeignArchive)));
    assert_eq!(bucket.objects().len(), 1);
}

#[tokio::test]
async fn a_large_file_is_uploaded_in_parts_and_read_where_each_run_stands() {
    let bucket = FakeBucket::start().await;
    let archive = bucket.archive();
    assert!(!format!("{archive:?}").contains("not-to-be-seen"));
    let mut noise = fastrand::Rng::with_seed(7);
    let lines: Vec<Vec<u8>> = (0..3).map(|_| (0..6_000_000).map(|_| noise.u8(..)).collect()).collect();
    let mut writer = archive.begin("2026-01-31").unwrap();
    let places: Vec<ArchivePlace> = lines.iter().map(|line| writer.add(line).unwrap()).collect();
    let name = archive.finish(writer).await.unwrap();
    archive.erase(&places[1]).await.unwrap();
    archive.erase(&places[1]).await.unwrap();
    for (number, (line, place)) in lines.iter().zip(&places).enumerate() {
        let read = archive.read(place).await.unwrap().map(|frame| zstd::decode_all(frame.as_slice()).unwrap());
        let expected = (number != 1).then(|| [line.as_slice(), b"\n"].concat());
        assert!(read == expected, "line {number}");
    }
    archive.remove(&name).await.unwrap();
    archive.remove(&name).await.unwrap();
    assert_eq!(archive.read(&places[0]).await.unwrap(), None);
    archive.erase(&places[0]).await.unwrap();
}
