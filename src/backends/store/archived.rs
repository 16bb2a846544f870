//! Traces that leave the store for the archive, and those that are there.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::time::Duration;

use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row};

use super::bodies::{LARGEST_TRACE_BYTES, TraceBody, bodies};
use super::dialect::Dialect;
use super::retry::retried;
use super::statement::{for_keys, insert};
use super::{Store, StoreError};
use crate::backends::archive::{Archive, ArchivePlace, ArchiveWriter};
use crate::backends::crash_point::crash_point;
use crate::domain::ids::TraceId;
use crate::domain::time::Timestamp;
use crate::otlp::{Compression, Encoding, ExportTraceServiceRequest, decode_traces, decompress, split_by_trace};

/// A file that the store has not come to know in this time never will be.
const LEFT_BEHIND: Duration = Duration::from_hours(1);
/// The shared value that tells this store from every other.
const STORE_ID: &str = "store id";
/// Largest line that is read back: the JSON of a trace is some times its protobuf.
const LARGEST_LINE: usize = 512 * 1024 * 1024;

impl Store {
    /// Whether there is an archive.
    #[must_use]
    pub const fn has_archive(&self) -> bool {
        self.archive.is_some()
    }

    /// The pieces of a trace that is in the archive.
    pub(super) async fn archived_body(&self, trace_id: TraceId) -> Result<Option<TraceBody>, StoreError> {
        let Some(archive) = self.archive.clone() else { return Ok(None) };
        retried("read an archived trace", || async {
            let connection = &mut *self.readers.acquire().await?;
            let Some(place) = places(connection, &[trace_id]).await?.pop() else { return Ok(None) };
            let Some(frame) = archive.read(&place).await? else { return Ok(None) };
            let reading = tokio::task::spawn_blocking(move || unfold(&frame));
            let chunks = reading.await.map_err(io::Error::other)??;
            Ok(Some(TraceBody { chunks, left_out: 0 }))
        })
        .await
    }

    /// Whether the archive, if there is one, is this store's or may become it; nothing is changed.
    ///
    /// # Errors
    /// The database or the archive failed.
    pub async fn owns_archive(&self) -> Result<bool, StoreError> {
        let Some(archive) = &self.archive else { return Ok(true) };
        let id: String = self.shared(STORE_ID).await?;
        retried("look whose the archive is", || async {
            let known = known_files(&mut *self.readers.acquire().await?).await?;
            Ok(archive.is_of(&id, |name| known.contains(name)).await?)
        })
        .await
    }

    /// Makes the archive this store's, unless it is another's; whether it is.
    async fn claim_archive(&self, archive: &Archive) -> Result<bool, StoreError> {
        let named = |id: &mut String| {
            if id.is_empty() {
                *id = format!("{:032x}", fastrand::u128(..));
            }
            id.clone()
        };
        let id = self.change_shared(STORE_ID, named).await?;
        retried("claim the archive", || async {
            let known = known_files(&mut *self.readers.acquire().await?).await?;
            Ok(archive.claim(&id, |name| known.contains(name)).await?)
        })
        .await
    }

    /// Forgets archived traces of the days before `before` that were also archived before then, and removes files that no
    /// one knows; whether it did anything. An archive that is not this store's is left alone.
    ///
    /// # Errors
    /// The database or the archive failed.
    pub async fn purge_archive(&self, before: Timestamp, now: Timestamp) -> Result<bool, StoreError> {
        let Some(archive) = self.archive.clone() else { return Ok(false) };
        if !self.claim_archive(&archive).await? {
            tracing::warn!(error = %StoreError::ForeignArchive, "the archive is not looked through");
            return Ok(false);
        }
        retried("purge the archive", || async {
            let mut transaction = self.begin().await?;
            // A day is what a sender says: what came late, or by a wrong clock, is not old yet.
            let traces = "DELETE FROM archived_trace WHERE file IN \
                          (SELECT name FROM archive_file WHERE day < $1 AND written_at < $2)";
            let files = "DELETE FROM archive_file WHERE day < $1 AND written_at < $2";
            sqlx::query(traces).bind(before.minus(DAY)).bind(before).execute(&mut *transaction).await?;
            let files = sqlx::query(files).bind(before.minus(DAY)).bind(before).execute(&mut *transaction).await?;
            let files = files.rows_affected();
            let known = known_files(&mut transaction).await?;
            transaction.commit().await?;
            let removed = archive.sweep(|name| known.contains(name), LEFT_BEHIND, now).await?;
            Ok(files > 0 || removed > 0)
        })
        .await
    }

    /// Puts those of the traces into the archive that belong there, if it is ours: flagged ones, those that tell of a
    /// decision, and those that people labelled. Their files are where they stay when this returns, and count when the store
    /// knows them. No transaction waits meanwhile: an archive may be slow, or away.
    pub(super) async fn write_archive(&self, trace_ids: &[TraceId]) -> Result<Archived, StoreError> {
        let Some(archive) = &self.archive else { return Ok(Archived::default()) };
        let wanted = retried("look for what the archive is for", || async {
            wanted(&mut *self.readers.acquire().await?, trace_ids).await
        });
        let wanted = wanted.await?;
        if wanted.is_empty() {
            return Ok(Archived::default());
        }
        // What is put into another store's archive would be swept away there.
        if !self.claim_archive(archive).await? {
            return Err(StoreError::ForeignArchive);
        }
        retried("archive bodies", || async {
            let connection = &mut *self.readers.acquire().await?;
            let mut writers: BTreeMap<Timestamp, ArchiveWriter> = BTreeMap::new();
            let mut archived = Archived { traces: wanted.clone(), ..Archived::default() };
            for Wanted { trace_id, ended_at, .. } in &wanted {
                let (_, mut bodies) = bodies(connection, &[*trace_id], LARGEST_TRACE_BYTES).await?;
                let Some(body) = bodies.remove(trace_id) else { continue };
                let (trace_id, day) = (*trace_id, ended_at.floor(DAY));
                let writer = match writers.remove(&day) {
                    Some(writer) => writer,
                    None => archive.begin(&day.to_string()[..10])?,
                };
                let adding = tokio::task::spawn_blocking(move || add(writer, trace_id, &body));
                let (writer, place) = adding.await.map_err(io::Error::other)??;
                writers.insert(day, writer);
                archived.places.extend(place.map(|place| (trace_id, place)));
            }
            if !writers.is_empty() {
                crash_point("archive.write");
                for (day, writer) in writers {
                    archived.files.push((archive.finish(writer).await?, day));
                }
                crash_point("archive.written");
            }
            Ok(archived)
        })
        .await
    }

    /// Whether the traces that leave the store are in what was archived, as they are now: one that has changed meanwhile
    /// is not.
    pub(super) async fn is_archived(
        &self,
        connection: &mut AnyConnection,
        archived: &Archived,
        leaving: &[TraceId],
    ) -> Result<bool, sqlx::Error> {
        Ok(self.archive.is_none() || wanted(connection, leaving).await? == archived.traces)
    }

    /// Removes files that do not count after all; what cannot be removed now is left behind.
    pub(super) async fn discard(&self, archived: &Archived) {
        let Some(archive) = &self.archive else { return };
        for (file, _) in &archived.files {
            if let Err(error) = archive.remove(file).await {
                tracing::warn!(file, %error, "a file of the archive that does not count is removed later");
            }
        }
    }
}

/// What was put into the archive and is not known to the store yet.
#[derive(Default)]
pub(super) struct Archived {
    /// The traces that the archive is for, as they were then; a damaged one is in no file.
    traces: Vec<Wanted>,
    files: Vec<(String, Timestamp)>,
    places: Vec<(TraceId, ArchivePlace)>,
}

impl Archived {
    /// Whether the store knows the files: a commit that seemed to fail did not.
    pub(super) async fn is_known(&self, connection: &mut AnyConnection) -> Result<bool, sqlx::Error> {
        let names: Vec<&str> = self.files.iter().map(|(name, _)| name.as_str()).collect();
        Ok(!for_keys(connection, "SELECT name FROM archive_file WHERE name IN", &names, "").await?.is_empty())
    }

    /// Makes the files count when the transaction ends.
    pub(super) async fn make_known(&self, connection: &mut AnyConnection, now: Timestamp) -> Result<(), sqlx::Error> {
        insert_files(connection, &self.files, now).await?;
        insert_places(connection, &self.places).await
    }
}

/// A trace that the archive is for.
#[derive(Clone, PartialEq, Eq)]
struct Wanted {
    trace_id: TraceId,
    version: i64,
    ended_at: Timestamp,
}

/// Where archived traces stand; those that are not archived are left out.
pub(super) async fn places(
    connection: &mut AnyConnection,
    trace_ids: &[TraceId],
) -> Result<Vec<ArchivePlace>, sqlx::Error> {
    let select = "SELECT file, position, length FROM archived_trace WHERE trace_id IN";
    let number = |row: &AnyRow, column| Ok::<_, sqlx::Error>(row.try_get::<i64, _>(column)?.unsigned_abs());
    let place = |row: &AnyRow| {
        let (position, length) = (number(row, "position")?, number(row, "length")?);
        Ok(ArchivePlace { file: row.try_get("file")?, position, length })
    };
    for_keys(connection, select, trace_ids, "").await?.iter().map(place).collect()
}

const DAY: Duration = Duration::from_hours(24);

/// The names of all files that count.
async fn known_files(connection: &mut AnyConnection) -> Result<BTreeSet<String>, sqlx::Error> {
    let rows = sqlx::query("SELECT name FROM archive_file").fetch_all(connection).await?;
    rows.iter().map(|row| row.try_get("name")).collect()
}

/// Those of the traces that the archive takes, by their ids.
async fn wanted(connection: &mut AnyConnection, trace_ids: &[TraceId]) -> Result<Vec<Wanted>, sqlx::Error> {
    let select = "SELECT trace_id, version, ended_at FROM trace WHERE trace_id IN";
    let which = " AND erased_at IS NULL AND (failing = 1 OR error = 1 OR reports_decision = 1 \
                 OR EXISTS (SELECT 1 FROM label WHERE label.trace_id = trace.trace_id))";
    let wanted = |row: &AnyRow| {
        let (version, ended_at) = (row.try_get("version")?, row.try_get("ended_at")?);
        Ok(Wanted { trace_id: row.try_get("trace_id")?, version, ended_at })
    };
    let rows = for_keys(connection, select, trace_ids, which).await?;
    let mut wanted = rows.iter().map(wanted).collect::<Result<Vec<Wanted>, sqlx::Error>>()?;
    wanted.sort_by_key(|wanted| wanted.trace_id);
    Ok(wanted)
}

/// Adds a trace to a file; one that cannot be read is not worth keeping longer, and is said.
fn add(
    mut writer: ArchiveWriter,
    trace_id: TraceId,
    body: &TraceBody,
) -> io::Result<(ArchiveWriter, Option<ArchivePlace>)> {
    let raw = match body.unpack(trace_id) {
        Ok(raw) => raw,
        Err(error) => {
            tracing::error!(%trace_id, %error, "a trace is damaged and cannot be archived");
            return Ok((writer, None));
        }
    };
    let line = serde_json::to_vec(&ExportTraceServiceRequest { resource_spans: raw.resource_spans })?;
    let place = writer.add(&line)?;
    Ok((writer, Some(place)))
}

/// An archived line as the pieces that the store would have.
fn unfold(frame: &[u8]) -> io::Result<Vec<Vec<u8>>> {
    let line = decompress(frame, Compression::Zstd, LARGEST_LINE).map_err(io::Error::other)?;
    let groups = decode_traces(&line, Encoding::Json).map_err(io::Error::other)?;
    Ok(split_by_trace(groups).traces.into_iter().map(|piece| piece.encode().body.into()).collect())
}

async fn insert_files(
    connection: &mut AnyConnection,
    files: &[(String, Timestamp)],
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    insert(
        connection,
        "archive_file (name, day, written_at)",
        files,
        |row, (name, day)| {
            row.bind(name.as_str()).bind(*day).bind(now);
        },
        "",
    )
    .await
    .map(drop)
}

async fn insert_places(connection: &mut AnyConnection, written: &[(TraceId, ArchivePlace)]) -> Result<(), sqlx::Error> {
    let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    insert(
        connection,
        "archived_trace (trace_id, file, position, length)",
        written,
        |row, (trace_id, place)| {
            row.bind(*trace_id).bind(place.file.as_str()).bind(signed(place.position)).bind(signed(place.length));
        },
        "ON CONFLICT (trace_id) DO NOTHING",
    )
    .await
    .map(drop)
}

/// Writes nothing over archived traces, forgets where they stood, and gives how many there were.
pub(super) async fn erase_archived(
    archive: &Archive,
    connection: &mut AnyConnection,
    dialect: Dialect,
    trace_ids: &[TraceId],
) -> Result<u64, sqlx::Error> {
    let places = places(connection, trace_ids).await?;
    let files: BTreeSet<&str> = places.iter().map(|place| place.file.as_str()).collect();
    let files: Vec<&str> = files.into_iter().collect();
    // Of one file one at a time, whoever erases: it may have to be written anew.
    let lock = format!(" ORDER BY name{}", dialect.lock());
    for_keys(connection, "SELECT name FROM archive_file WHERE name IN", &files, &lock).await?;
    for place in &places {
        archive.erase(place).await?;
    }
    for_keys(connection, "DELETE FROM archived_trace WHERE trace_id IN", trace_ids, "").await?;
    Ok(places.len() as u64)
}
