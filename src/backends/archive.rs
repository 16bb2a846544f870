//! The archive: whole traces in files by day, for longer than the store keeps them.
//!
//! A file is one line of OTLP/JSON a trace, each line compressed (zstd) by itself. So a file is read by anything that
//! reads zstd, `driftline inspect` among it, and a single trace is read, or erased, where it stands.
//!
//! A file takes its name when it is whole and on the disk, and counts once the store knows it. What the store does not
//! know was left behind by a process that died, and is removed.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use crate::domain::time::Timestamp;

/// As small as it gets without costing more than evaluating the trace did.
const LEVEL: i32 = 6;
/// Before the frame of a zstd file that holds nothing; four bytes of length follow (RFC 8878, section 3.1.2).
const SKIPPABLE: [u8; 4] = 0x184D_2A50_u32.to_le_bytes();
const SKIPPABLE_HEADER: usize = 8;

/// A folder of archived traces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archive {
    folder: PathBuf,
}

/// Where a trace stands in the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchivePlace {
    /// The file, as a path below the archive's folder.
    pub file: String,
    /// Its first byte.
    pub position: u64,
    /// Its bytes.
    pub length: u64,
}

/// A file on its way into the archive; dropped unfinished, nothing of it stays.
#[derive(Debug)]
pub struct ArchiveWriter {
    path: PathBuf,
    partial: tempfile::NamedTempFile,
    name: String,
    position: u64,
}

impl Archive {
    /// The archive in a folder, which is made when something is written to it.
    #[must_use]
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    /// Begins a file of traces that ended on this day, such as `2026-01-31`.
    ///
    /// # Errors
    /// It cannot be created.
    pub fn begin(&self, day: &str) -> io::Result<ArchiveWriter> {
        let name = format!("{day}/{:032x}.jsonl.zst", fastrand::u128(..));
        let path = self.folder.join(&name);
        let folder = self.folder.join(day);
        fs::create_dir_all(&folder)?;
        let partial = tempfile::Builder::new().prefix(".partial-").tempfile_in(&folder)?;
        Ok(ArchiveWriter { path, partial, name, position: 0 })
    }

    /// The line of a trace; `None` when it, or its file, is no longer there.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn read(&self, place: &ArchivePlace) -> io::Result<Option<Vec<u8>>> {
        let Some(mut file) = there(File::open(self.folder.join(&place.file)))? else { return Ok(None) };
        file.seek(SeekFrom::Start(place.position))?;
        let mut frame = Vec::new();
        file.take(place.length).read_to_end(&mut frame)?;
        let is_whole = u64::try_from(frame.len()).is_ok_and(|length| length == place.length);
        if !is_whole || frame.starts_with(&SKIPPABLE) {
            return Ok(None);
        }
        Ok(Some(frame))
    }

    /// Writes nothing over a trace, and has that on the disk. What is erased already, or gone, stays so.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn erase(&self, place: &ArchivePlace) -> io::Result<()> {
        let path = self.folder.join(&place.file);
        let Some(mut file) = there(OpenOptions::new().write(true).open(path))? else { return Ok(()) };
        let length = usize::try_from(place.length).map_err(io::Error::other)?;
        let rest = length.checked_sub(SKIPPABLE_HEADER).ok_or(io::ErrorKind::InvalidInput)?;
        let mut nothing = vec![0; length];
        nothing[..4].copy_from_slice(&SKIPPABLE);
        nothing[4..SKIPPABLE_HEADER].copy_from_slice(&u32::try_from(rest).map_err(io::Error::other)?.to_le_bytes());
        file.seek(SeekFrom::Start(place.position))?;
        file.write_all(&nothing)?;
        file.sync_all()
    }

    /// Removes files that have been there for `age` and are not among the known ones; gives how many.
    ///
    /// # Errors
    /// The folder cannot be read, or a file not be removed.
    pub fn sweep(&self, is_known: impl Fn(&str) -> bool, age: Duration, now: Timestamp) -> io::Result<usize> {
        let mut removed = 0;
        for day in entries(&self.folder)?.into_iter().filter(|path| path.is_dir()) {
            for path in entries(&day)? {
                let name = path.strip_prefix(&self.folder).unwrap_or(&path).to_string_lossy().into_owned();
                let Some(metadata) = there(fs::metadata(&path))? else { continue };
                let modified = metadata.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
                if Timestamp(0).plus(modified) <= now.minus(age) && !is_known(&name) {
                    there(fs::remove_file(&path))?;
                    removed += 1;
                }
            }
        }
        Ok(removed)
    }
}

impl ArchiveWriter {
    /// Adds the line of one trace, and tells where it stands.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn add(&mut self, line: &[u8]) -> io::Result<ArchivePlace> {
        let frame = zstd::bulk::compress(&[line, b"\n"].concat(), LEVEL)?;
        self.partial.write_all(&frame)?;
        let length = u64::try_from(frame.len()).map_err(io::Error::other)?;
        let place = ArchivePlace { file: self.name.clone(), position: self.position, length };
        self.position += length;
        Ok(place)
    }

    /// Has the file on the disk under its name, which it tells.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn finish(self) -> io::Result<String> {
        self.partial.as_file().sync_all()?;
        self.partial.persist(&self.path).map_err(|error| error.error)?;
        // The names too: of the file in its day, and of the day in the archive.
        for folder in self.path.ancestors().skip(1).take(2) {
            File::open(folder)?.sync_all()?;
        }
        Ok(self.name)
    }
}

fn entries(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let Some(found) = there(fs::read_dir(folder))? else { return Ok(Vec::new()) };
    found.map(|entry| entry.map(|entry| entry.path())).collect()
}

/// What is not there is no error.
fn there<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backends::clock::{Clock as _, SystemClock};

    fn written(archive: &Archive, lines: &[&str]) -> Vec<ArchivePlace> {
        let mut writer = archive.begin("2026-01-31").unwrap();
        let places = lines.iter().map(|line| writer.add(line.as_bytes()).unwrap()).collect();
        writer.finish().unwrap();
        places
    }

    fn text(archive: &Archive, place: &ArchivePlace) -> Option<String> {
        let frame = archive.read(place).unwrap()?;
        Some(String::from_utf8(zstd::decode_all(frame.as_slice()).unwrap()).unwrap())
    }

    #[test]
    fn each_trace_is_read_where_it_stands_and_the_file_as_a_whole_by_anyone() {
        let folder = tempfile::tempdir().unwrap();
        let archive = Archive::new(folder.path());
        let places = written(&archive, &["{\"a\":1}", "{\"b\":2}"]);
        assert_eq!(text(&archive, &places[1]).unwrap(), "{\"b\":2}\n");
        let file = fs::read(folder.path().join(&places[0].file)).unwrap();
        assert_eq!(zstd::decode_all(file.as_slice()).unwrap(), b"{\"a\":1}\n{\"b\":2}\n");
    }

    #[test]
    fn what_is_erased_leaves_the_others_and_a_readable_file_and_may_be_erased_again() {
        let folder = tempfile::tempdir().unwrap();
        let archive = Archive::new(folder.path());
        let places = written(&archive, &["{\"secret\":1}", "{\"b\":2}"]);
        archive.erase(&places[0]).unwrap();
        archive.erase(&places[0]).unwrap();
        assert_eq!(text(&archive, &places[0]), None);
        let file = fs::read(folder.path().join(&places[0].file)).unwrap();
        assert_eq!(zstd::decode_all(file.as_slice()).unwrap(), b"{\"b\":2}\n");
        assert!(!file.windows(6).any(|window| window == b"secret"));
    }

    #[test]
    fn what_was_left_behind_is_removed_when_it_is_old_and_what_is_known_never() {
        let folder = tempfile::tempdir().unwrap();
        let archive = Archive::new(folder.path());
        let known = written(&archive, &["{}"]).remove(0);
        written(&archive, &["{}"]);
        drop(archive.begin("2026-01-31").unwrap());
        let sweep = |now| archive.sweep(|name| name == known.file, Duration::from_hours(1), now).unwrap();
        assert_eq!(sweep(SystemClock.now()), 0);
        assert_eq!(sweep(SystemClock.now().plus(Duration::from_hours(2))), 1);
        assert!(text(&archive, &known).is_some());
    }

    #[test]
    fn an_archive_that_is_not_there_holds_nothing() {
        let archive = Archive::new(Path::new("/nonexistent/archive"));
        let place = ArchivePlace { file: "2026-01-31/x".to_owned(), position: 0, length: 9 };
        assert_eq!(archive.read(&place).unwrap(), None);
        assert_eq!(archive.sweep(|_| false, Duration::ZERO, Timestamp(i64::MAX)).unwrap(), 0);
    }
}
