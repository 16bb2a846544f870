//! The archive in a bucket of S3, or of what speaks like it. An object is there when it was uploaded whole, and is never
//! changed in place: what is erased of it is left out of a new one under the same name.

use std::fmt;
use std::fs::File;
use std::io::{self, SeekFrom};
use std::sync::Arc;
use std::time::Duration;

use futures_util::TryStreamExt as _;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::buffered::BufWriter;
use object_store::path::Path;
use object_store::{Error, ObjectStore, ObjectStoreExt as _, PutMode, RetryConfig};
use tokio::io::{AsyncSeekExt as _, AsyncWriteExt as _};

use super::{ArchivePlace, temporary};
use crate::domain::time::Timestamp;

/// A bucket that is away is tried again with the next purge: until then what belongs there stays in the store.
const MOST_RETRIES: usize = 2;
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Clone)]
pub(super) struct Bucket {
    objects: Arc<dyn ObjectStore>,
    prefix: Path,
}

impl fmt::Debug for Bucket {
    /// Without what the client knows of keys.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Bucket").field(&self.prefix).finish()
    }
}

impl Bucket {
    /// The bucket and prefix of `BUCKET/PREFIX`; variables of others are passed over.
    pub(super) fn addressed(place: &str, variables: impl Iterator<Item = (String, String)>) -> io::Result<Self> {
        let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
        let mut builder = AmazonS3Builder::new().with_bucket_name(bucket);
        for (name, value) in variables.filter(|(name, _)| name.starts_with("AWS_")) {
            if let Ok(key) = name.to_ascii_lowercase().parse() {
                builder = builder.with_config(key, value);
            }
        }
        // Whoever writes http:// means it.
        let endpoint = builder.get_config_value(&AmazonS3ConfigKey::Endpoint);
        let is_plain = endpoint.is_some_and(|endpoint| endpoint.starts_with("http://"));
        let builder = if is_plain { builder.with_allow_http(true) } else { builder };
        let retry = RetryConfig { max_retries: MOST_RETRIES, retry_timeout: PATIENCE, ..RetryConfig::default() };
        let objects = builder.with_retry(retry).build().map_err(failed)?;
        Ok(Self { objects: Arc::new(objects), prefix: Path::from(prefix) })
    }

    fn path(&self, file: &str) -> Path {
        Path::from(format!("{}/{file}", self.prefix))
    }

    /// Puts a file there, from its first byte on; a large one in parts.
    pub(super) async fn upload(&self, file: File, name: &str) -> io::Result<()> {
        let mut file = tokio::fs::File::from_std(file);
        file.rewind().await?;
        let mut object = BufWriter::new(Arc::clone(&self.objects), self.path(name));
        match tokio::io::copy(&mut file, &mut object).await {
            Ok(_) => object.shutdown().await,
            Err(error) => {
                if let Err(error) = object.abort().await {
                    tracing::warn!(%error, "parts of an upload stay in the bucket until its own rules remove them");
                }
                Err(error)
            }
        }
    }

    /// Puts a small object there, unless there is one of that name.
    pub(super) async fn create(&self, name: &str, text: String) -> io::Result<()> {
        match self.objects.put_opts(&self.path(name), text.into(), PutMode::Create.into()).await {
            Ok(_) | Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => Ok(()),
            Err(error) => Err(failed(error)),
        }
    }

    /// The first bytes of an object, if there is one.
    pub(super) async fn start_of(&self, name: &str, bytes: u64) -> io::Result<Option<Vec<u8>>> {
        let Some(object) = there(self.objects.get(&self.path(name)).await)? else { return Ok(None) };
        let mut start = Vec::new();
        let mut parts = object.into_stream();
        while (start.len() as u64) < bytes
            && let Some(part) = parts.try_next().await.map_err(failed)?
        {
            start.extend_from_slice(&part);
        }
        Ok(Some(start))
    }

    pub(super) async fn read(&self, place: &ArchivePlace) -> io::Result<Option<Vec<u8>>> {
        let range = place.position..place.position.saturating_add(place.length);
        Ok(there(self.objects.get_range(&self.path(&place.file), range).await)?.map(Into::into))
    }

    pub(super) async fn write_over(&self, place: &ArchivePlace, bytes: &[u8]) -> io::Result<()> {
        let Some(object) = there(self.objects.get(&self.path(&place.file)).await)? else { return Ok(()) };
        let mut copy = tokio::fs::File::from_std(temporary()?.into_file());
        let mut parts = object.into_stream();
        while let Some(part) = parts.try_next().await.map_err(failed)? {
            copy.write_all(&part).await?;
        }
        copy.seek(SeekFrom::Start(place.position)).await?;
        copy.write_all(bytes).await?;
        copy.flush().await?;
        self.upload(copy.into_std().await, &place.file).await
    }

    pub(super) async fn remove(&self, file: &str) -> io::Result<()> {
        there(self.objects.delete(&self.path(file)).await).map(drop)
    }

    /// Asks for the first object.
    pub(super) async fn reach(&self) -> io::Result<()> {
        self.objects.list(Some(&self.prefix)).try_next().await.map(drop).map_err(failed)
    }

    /// Every object, with when it was written.
    pub(super) async fn files(&self) -> io::Result<Vec<(String, Timestamp)>> {
        let mut files = Vec::new();
        let mut objects = self.objects.list(Some(&self.prefix));
        while let Some(object) = objects.try_next().await.map_err(failed)? {
            let written_at = Timestamp(object.last_modified.timestamp_nanos_opt().unwrap_or(i64::MAX));
            let Some(parts) = object.location.prefix_match(&self.prefix) else { continue };
            let file = parts.map(|part| part.as_ref().to_owned()).collect::<Vec<_>>().join("/");
            files.push((file, written_at));
        }
        Ok(files)
    }
}

/// What is not there is no error.
fn there<T>(result: Result<T, Error>) -> io::Result<Option<T>> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(failed(error)),
    }
}

fn failed(error: Error) -> io::Error {
    io::Error::other(error)
}
