//! The archive in a folder; in a bucket it is held to the same in the tests of the store.

use std::fs;

use super::*;
use crate::backends::clock::{Clock as _, SystemClock};

async fn written(archive: &Archive, lines: &[&str]) -> Vec<ArchivePlace> {
    let mut writer = archive.begin("2026-01-31").unwrap();
    let places = lines.iter().map(|line| writer.add(line.as_bytes()).unwrap()).collect();
    archive.finish(writer).await.unwrap();
    places
}

async fn text(archive: &Archive, place: &ArchivePlace) -> Option<String> {
    let frame = archive.read(place).await.unwrap()?;
    Some(String::from_utf8(zstd::decode_all(frame.as_slice()).unwrap()).unwrap())
}

#[tokio::test]
async fn each_trace_is_read_where_it_stands_and_the_file_as_a_whole_by_anyone() {
    let folder = tempfile::tempdir().unwrap();
    let archive = Archive::new(folder.path());
    let places = written(&archive, &["{\"a\":1}", "{\"b\":2}"]).await;
    assert_eq!(text(&archive, &places[1]).await.unwrap(), "{\"b\":2}\n");
    let file = fs::read(folder.path().join(&places[0].file)).unwrap();
    assert_eq!(zstd::decode_all(file.as_slice()).unwrap(), b"{\"a\":1}\n{\"b\":2}\n");
}

#[tokio::test]
async fn what_is_erased_leaves_the_others_and_a_readable_file_and_may_be_erased_again() {
    let folder = tempfile::tempdir().unwrap();
    let archive = Archive::new(folder.path());
    let places = written(&archive, &["{\"secret\":1}", "{\"b\":2}"]).await;
    archive.erase(&places[0]).await.unwrap();
    archive.erase(&places[0]).await.unwrap();
    assert_eq!(text(&archive, &places[0]).await, None);
    let file = fs::read(folder.path().join(&places[0].file)).unwrap();
    assert_eq!(zstd::decode_all(file.as_slice()).unwrap(), b"{\"b\":2}\n");
    assert!(!file.windows(6).any(|window| window == b"secret"));
}

#[tokio::test]
async fn what_was_left_behind_is_removed_when_it_is_old_and_what_is_known_never() {
    let folder = tempfile::tempdir().unwrap();
    let archive = Archive::new(folder.path());
    let known = written(&archive, &["{}"]).await.remove(0);
    written(&archive, &["{}"]).await;
    drop(archive.begin("2026-01-31").unwrap());
    let sweep = async |now| archive.sweep(|name| name == known.file, Duration::from_hours(1), now).await.unwrap();
    assert_eq!(sweep(SystemClock.now()).await, 0);
    assert_eq!(sweep(SystemClock.now().plus(Duration::from_hours(2))).await, 1);
    assert!(text(&archive, &known).await.is_some());
}

#[tokio::test]
async fn an_archive_that_is_not_there_holds_nothing() {
    let archive = Archive::new(Path::new("/nonexistent/archive"));
    let place = ArchivePlace { file: "2026-01-31/x".to_owned(), position: 0, length: 9 };
    assert_eq!(archive.read(&place).await.unwrap(), None);
    assert_eq!(archive.sweep(|_| false, Duration::ZERO, Timestamp(i64::MAX)).await.unwrap(), 0);
}
