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
async fn what_has_no_name_of_ours_is_never_removed() {
    let folder = tempfile::tempdir().unwrap();
    let archive = Archive::new(folder.path());
    let foreign = [
        "photos/holiday.jpg",
        "2026-01-31/thesis.odt",
        "2026-01-31/0123456789abcdef0123456789abcdeg.jsonl.zst",
        "2026-01-31/0123456789abcdef.jsonl.zst",
        "2026-01-31/.partial-é",
        "20260131-x/0123456789abcdef0123456789abcdef.jsonl.zst",
    ];
    let ours = ["2026-01-31/0123456789abcdef0123456789abcdef.jsonl.zst", "2026-01-31/.partial-Ab3xYz"];
    for name in foreign.iter().chain(&ours) {
        fs::create_dir_all(folder.path().join(name).parent().unwrap()).unwrap();
        fs::write(folder.path().join(name), "").unwrap();
    }
    let long_after = SystemClock.now().plus(Duration::from_hours(2));
    assert_eq!(archive.sweep(|_| false, Duration::from_hours(1), long_after).await.unwrap(), ours.len());
    for name in foreign {
        assert!(folder.path().join(name).exists(), "{name}");
    }
}

#[tokio::test]
async fn an_archive_belongs_to_the_store_that_wrote_it_and_to_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| Archive::new(&folder.path().join(name));
    let nothing_known = |_: &str| false;
    let new = at("new");
    assert!(new.claim("one", nothing_known).await.unwrap() && new.claim("one", nothing_known).await.unwrap());
    assert!(!new.is_of("two", |_| true).await.unwrap() && !new.claim("two", |_| true).await.unwrap());
    let of_before = at("of before");
    let known = written(&of_before, &["{}"]).await.remove(0);
    written(&of_before, &["{}"]).await;
    assert!(!of_before.claim("two", nothing_known).await.unwrap(), "it may be anyone's");
    assert!(of_before.claim("one", |name| name == known.file).await.unwrap());
    assert!(!of_before.is_of("two", nothing_known).await.unwrap());
}

#[tokio::test]
async fn an_archive_that_is_not_there_holds_nothing() {
    let archive = Archive::new(Path::new("/nonexistent/archive"));
    let place = ArchivePlace { file: "2026-01-31/x".to_owned(), position: 0, length: 9 };
    assert_eq!(archive.read(&place).await.unwrap(), None);
    assert_eq!(archive.sweep(|_| false, Duration::ZERO, Timestamp(i64::MAX)).await.unwrap(), 0);
}
