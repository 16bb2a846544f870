//! The archive: whole traces in files by day, for longer than the store keeps them, in a folder or in a bucket of S3 or
//! of what speaks like it.
//!
//! A file is one line of OTLP/JSON a trace, each line compressed (zstd) by itself. So a file is read by anything that
//! reads zstd, `driftline inspect` among it, and a single trace is read, or erased, where it stands.
//!
//! A file takes its name when it is whole and on the disk, and counts once the store knows it. What the store does not
//! know was left behind by a process that died, and is removed: of an archive that is this store's, as a file in it says,
//! and only what has a name that we give.

mod bucket;
mod folder;

use std::io::{self, Write as _};
use std::path::Path;
use std::time::Duration;

use crate::domain::time::Timestamp;
use bucket::Bucket;
use folder::Folder;

/// As small as it gets without costing more than evaluating the trace did.
const LEVEL: i32 = 6;
/// Before the frame of a zstd file that holds nothing; four bytes of length follow (RFC 8878, section 3.1.2).
const SKIPPABLE: [u8; 4] = 0x184D_2A50_u32.to_le_bytes();
const SKIPPABLE_HEADER: usize = 8;
/// The file that says whose an archive is.
const OWNER: &str = "driftline-store";
/// Largest such file that is read: anyone may have put one there.
const LONGEST_OWNER: u64 = 64;
/// How the files of traces end, and those that are not whole begin.
const ENDING: &str = ".jsonl.zst";
const PARTIAL: &str = ".partial-";

/// Where archived traces are.
#[derive(Debug, Clone)]
pub struct Archive(Place);

#[derive(Debug, Clone)]
enum Place {
    Folder(Folder),
    Bucket(Bucket),
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
    partial: tempfile::NamedTempFile,
    name: String,
    position: u64,
}

impl Archive {
    /// The archive in a folder, which is made when something is written to it.
    #[must_use]
    pub fn new(folder: &Path) -> Self {
        Self(Place::Folder(Folder::new(folder)))
    }

    /// The archive at an address: `s3://BUCKET/PREFIX`, or the path of a folder. Region, endpoint and keys of a bucket are
    /// in variables of the names that Amazon's own tools know (`AWS_REGION`, `AWS_ENDPOINT_URL`, `AWS_ACCESS_KEY_ID`, …).
    ///
    /// # Errors
    /// The bucket cannot be addressed so.
    pub fn at(address: &str, variables: impl Iterator<Item = (String, String)>) -> io::Result<Self> {
        match address.strip_prefix("s3://") {
            Some(bucket) => Ok(Self(Place::Bucket(Bucket::addressed(bucket, variables)?))),
            None => Ok(Self::new(Path::new(address))),
        }
    }

    /// Looks whether it can be read, and for a bucket whether files can be made on the way there; changes nothing. A
    /// folder that has yet to be made can be read.
    ///
    /// # Errors
    /// It cannot be read, or there is no place for temporary files.
    pub async fn reach(&self) -> io::Result<()> {
        match &self.0 {
            Place::Folder(folder) => folder.clone().reach().await,
            Place::Bucket(bucket) => {
                temporary()?.write_all(b"driftline")?;
                bucket.reach().await
            }
        }
    }

    /// Begins a file of traces that ended on this day, such as `2026-01-31`.
    ///
    /// # Errors
    /// It cannot be created.
    pub fn begin(&self, day: &str) -> io::Result<ArchiveWriter> {
        let name = format!("{day}/{:032x}{ENDING}", fastrand::u128(..));
        let partial = match &self.0 {
            Place::Folder(folder) => folder.partial(day)?,
            Place::Bucket(_) => temporary()?,
        };
        Ok(ArchiveWriter { partial, name, position: 0 })
    }

    /// Has a file where it stays, under its name, which it tells.
    ///
    /// # Errors
    /// It cannot be written.
    pub async fn finish(&self, ArchiveWriter { partial, name, .. }: ArchiveWriter) -> io::Result<String> {
        match &self.0 {
            Place::Folder(folder) => folder.clone().finish(partial, name.clone()).await?,
            Place::Bucket(bucket) => bucket.upload(partial.reopen()?, &name).await?,
        }
        Ok(name)
    }

    /// The line of a trace, compressed; `None` when it, or its file, is no longer there.
    ///
    /// # Errors
    /// The file cannot be read.
    pub async fn read(&self, place: &ArchivePlace) -> io::Result<Option<Vec<u8>>> {
        let frame = match &self.0 {
            Place::Folder(folder) => folder.clone().read(place.clone()).await?,
            Place::Bucket(bucket) => bucket.read(place).await?,
        };
        let is_whole = |frame: &Vec<u8>| u64::try_from(frame.len()).is_ok_and(|length| length == place.length);
        Ok(frame.filter(|frame| is_whole(frame) && !frame.starts_with(&SKIPPABLE)))
    }

    /// Writes nothing over a trace, and has that where it stays. What is erased already, or gone, stays so. Of one file one
    /// trace at a time: a bucket's is written anew.
    ///
    /// # Errors
    /// The file cannot be written.
    pub async fn erase(&self, place: &ArchivePlace) -> io::Result<()> {
        let nothing = nothing(place.length)?;
        match &self.0 {
            Place::Folder(folder) => folder.clone().write_over(place.clone(), nothing).await,
            Place::Bucket(bucket) => bucket.write_over(place, &nothing).await,
        }
    }

    /// Removes a file; one that is not there is gone already.
    ///
    /// # Errors
    /// It cannot be removed.
    pub async fn remove(&self, file: &str) -> io::Result<()> {
        match &self.0 {
            Place::Folder(folder) => folder.clone().remove(file.to_owned()).await,
            Place::Bucket(bucket) => bucket.remove(file).await,
        }
    }

    /// Whether the archive is this store's. While no file says whose it is, it is when it holds no traces, or files that
    /// the store knows.
    ///
    /// # Errors
    /// It cannot be read.
    pub async fn is_of(&self, store: &str, is_known: impl Fn(&str) -> bool) -> io::Result<bool> {
        if let Some(owner) = self.owner().await? {
            return Ok(owner == store);
        }
        let files = self.files().await?;
        let mut traces = files.iter().map(|(file, _)| file).filter(|file| is_of_traces(file)).peekable();
        Ok(traces.peek().is_none() || traces.any(|file| is_known(file)))
    }

    /// Says for good that the archive is this store's, if it is; gives whether it is.
    ///
    /// # Errors
    /// It cannot be read or written.
    pub async fn claim(&self, store: &str, is_known: impl Fn(&str) -> bool) -> io::Result<bool> {
        let owner = self.owner().await?;
        if owner.is_some() || !self.is_of(store, is_known).await? {
            return Ok(owner.as_deref() == Some(store));
        }
        match &self.0 {
            Place::Folder(folder) => folder.clone().create(OWNER, store.to_owned()).await?,
            Place::Bucket(bucket) => bucket.create(OWNER, store.to_owned()).await?,
        }
        // Another store may have been as quick, and one of them was first.
        Ok(self.owner().await?.as_deref() == Some(store))
    }

    /// The store whose archive this is, when a file says so.
    async fn owner(&self) -> io::Result<Option<String>> {
        let owner = match &self.0 {
            Place::Folder(folder) => folder.clone().start_of(OWNER, LONGEST_OWNER).await?,
            Place::Bucket(bucket) => bucket.start_of(OWNER, LONGEST_OWNER).await?,
        };
        Ok(owner.map(|owner| String::from_utf8_lossy(&owner).trim().to_owned()))
    }

    async fn files(&self) -> io::Result<Vec<(String, Timestamp)>> {
        match &self.0 {
            Place::Folder(folder) => folder.clone().files().await,
            Place::Bucket(bucket) => bucket.files().await,
        }
    }

    /// Removes files of ours, whole or not, that have been there for `age` and are not among the known ones; gives how
    /// many. Only for whom the archive belongs to.
    ///
    /// # Errors
    /// The files cannot be listed, or one not be removed.
    pub async fn sweep(&self, is_known: impl Fn(&str) -> bool, age: Duration, now: Timestamp) -> io::Result<usize> {
        let mut removed = 0;
        for (file, written_at) in self.files().await? {
            let is_ours = is_of_traces(&file) || is_partial(&file);
            if is_ours && written_at <= now.minus(age) && !is_known(&file) {
                self.remove(&file).await?;
                removed += 1;
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
}

/// A file on its way to a bucket, or from there.
fn temporary() -> io::Result<tempfile::NamedTempFile> {
    let explained = |error: io::Error| io::Error::new(error.kind(), format!("no temporary file (TMPDIR): {error}"));
    tempfile::NamedTempFile::new().map_err(explained)
}

/// Whether a file is one of traces by its name: `2026-01-31/`, 32 digits of a number, and the ending.
fn is_of_traces(name: &str) -> bool {
    let is_digit = |digit: u8| matches!(digit, b'0'..=b'9' | b'a'..=b'f');
    of_a_day(name)
        .and_then(|file| file.strip_suffix(ENDING))
        .is_some_and(|number| number.len() == 32 && number.bytes().all(is_digit))
}

/// Whether a file is one that is not whole.
fn is_partial(name: &str) -> bool {
    let random = of_a_day(name).and_then(|file| file.strip_prefix(PARTIAL));
    random.is_some_and(|random| random.bytes().all(|byte| byte.is_ascii_alphanumeric()))
}

/// The rest of a name that begins with a day.
fn of_a_day(name: &str) -> Option<&str> {
    let (day, file) = name.split_once('/')?;
    let is_day = day.len() == 10
        && day.bytes().enumerate().all(|(place, byte)| match place {
            4 | 7 => byte == b'-',
            _ => byte.is_ascii_digit(),
        });
    is_day.then_some(file)
}

/// A frame of so many bytes that holds nothing.
fn nothing(length: u64) -> io::Result<Vec<u8>> {
    let length = usize::try_from(length).map_err(io::Error::other)?;
    let rest = length.checked_sub(SKIPPABLE_HEADER).ok_or(io::ErrorKind::InvalidInput)?;
    let mut nothing = vec![0; length];
    nothing[..4].copy_from_slice(&SKIPPABLE);
    nothing[4..SKIPPABLE_HEADER].copy_from_slice(&u32::try_from(rest).map_err(io::Error::other)?.to_le_bytes());
    Ok(nothing)
}

#[cfg(test)]
mod tests;
