//! The archive in a folder. Files are read and written where that may block.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use tempfile::NamedTempFile;
use tokio::task::spawn_blocking;

use super::{ArchivePlace, PARTIAL};
use crate::domain::time::Timestamp;

#[derive(Debug, Clone)]
pub(super) struct Folder(PathBuf);

impl Folder {
    pub(super) fn new(folder: &Path) -> Self {
        Self(folder.to_owned())
    }

    /// A file of a day that has no name yet.
    pub(super) fn partial(&self, day: &str) -> io::Result<NamedTempFile> {
        let folder = self.0.join(day);
        fs::create_dir_all(&folder)?;
        tempfile::Builder::new().prefix(PARTIAL).tempfile_in(&folder)
    }

    /// Has a file on the disk under its name.
    pub(super) async fn finish(self, partial: NamedTempFile, name: String) -> io::Result<()> {
        blocking(move || {
            let path = self.0.join(name);
            partial.as_file().sync_all()?;
            partial.persist(&path).map_err(|error| error.error)?;
            // The names too: of the file in its day, and of the day in the archive.
            path.ancestors().skip(1).take(2).try_for_each(|folder| File::open(folder)?.sync_all())
        })
        .await
    }

    /// Has a small file on the disk, unless there is one of that name.
    pub(super) async fn create(self, name: &'static str, text: String) -> io::Result<()> {
        blocking(move || {
            fs::create_dir_all(&self.0)?;
            let mut partial = tempfile::Builder::new().prefix(PARTIAL).tempfile_in(&self.0)?;
            partial.write_all(text.as_bytes())?;
            partial.as_file().sync_all()?;
            match partial.persist_noclobber(self.0.join(name)) {
                Err(error) if error.error.kind() != io::ErrorKind::AlreadyExists => Err(error.error),
                _ => File::open(&self.0)?.sync_all(),
            }
        })
        .await
    }

    /// The first bytes of a file, if there is one.
    pub(super) async fn start_of(self, name: &'static str, bytes: u64) -> io::Result<Option<Vec<u8>>> {
        blocking(move || {
            let Some(file) = there(File::open(self.0.join(name)))? else { return Ok(None) };
            let mut start = Vec::new();
            file.take(bytes).read_to_end(&mut start)?;
            Ok(Some(start))
        })
        .await
    }

    pub(super) async fn read(self, place: ArchivePlace) -> io::Result<Option<Vec<u8>>> {
        blocking(move || {
            let Some(mut file) = there(File::open(self.0.join(&place.file)))? else { return Ok(None) };
            file.seek(SeekFrom::Start(place.position))?;
            let mut frame = Vec::new();
            file.take(place.length).read_to_end(&mut frame)?;
            Ok(Some(frame))
        })
        .await
    }

    pub(super) async fn write_over(self, place: ArchivePlace, bytes: Vec<u8>) -> io::Result<()> {
        blocking(move || {
            let path = self.0.join(&place.file);
            let Some(mut file) = there(OpenOptions::new().write(true).open(path))? else { return Ok(()) };
            file.seek(SeekFrom::Start(place.position))?;
            file.write_all(&bytes)?;
            file.sync_all()
        })
        .await
    }

    pub(super) async fn remove(self, file: String) -> io::Result<()> {
        blocking(move || there(fs::remove_file(self.0.join(file))).map(drop)).await
    }

    pub(super) async fn reach(self) -> io::Result<()> {
        blocking(move || entries(&self.0).map(drop)).await
    }

    /// Every file, unfinished ones too, with when it was last written.
    pub(super) async fn files(self) -> io::Result<Vec<(String, Timestamp)>> {
        blocking(move || {
            let mut files = Vec::new();
            for day in entries(&self.0)?.into_iter().filter(|path| path.is_dir()) {
                for path in entries(&day)? {
                    let Some(metadata) = there(fs::metadata(&path))? else { continue };
                    let name = path.strip_prefix(&self.0).unwrap_or(&path).to_string_lossy().into_owned();
                    let age = metadata.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
                    files.push((name, Timestamp(0).plus(age)));
                }
            }
            Ok(files)
        })
        .await
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    spawn_blocking(work).await.map_err(io::Error::other)?
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
