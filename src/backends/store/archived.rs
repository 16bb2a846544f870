//! Traces that leave the store for the archive, and those that are there.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::time::Duration;

use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row};

use super::bodies::{TraceBody, bodies, sizes};
use super::retry::retried;
use super::statement::{for_keys, insert};
use super::{Store, StoreError};
use crate::backends::archive::{Archive, ArchivePlace, ArchiveWriter};
use crate::backends::crash_point::crash_point;
use crate::domain::ids::TraceId;
use crate::domain::time::Timestamp;
use crate::otlp::{
    Compression, Encoding, ExportTraceServiceRequest, TracePiece, decode_traces, decompress, split_by_trace,
};

/// A file that the store has not come to know in this time never will be.
const LEFT_BEHIND: Duration = Duration::from_hours(1);
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
            let archive = archive.clone();
            let reading = tokio::task::spawn_blocking(move || read(&archive, &place));
            let chunks = reading.await.map_err(io::Error::other)??;
            Ok(chunks.map(|chunks| TraceBody { chunks, left_out: 0 }))
        })
        .await
    }

    /// Forgets archived traces of the days before `before`, and removes files that no one knows; whether it did anything.
    ///
    /// # Errors
    /// The database or the folder failed.
    pub async fn purge_archive(&self, before: Timestamp, now: Timestamp) -> Result<bool, StoreError> {
        let Some(archive) = self.archive.clone() else { return Ok(false) };
        retried("purge the archive", || async {
            let mut transaction = self.begin().await?;
            let old = "DELETE FROM archived_trace WHERE file IN (SELECT name FROM archive_file WHERE day < $1)";
            sqlx::query(old).bind(before.minus(DAY)).execute(&mut *transaction).await?;
            let files = sqlx::query("DELETE FROM archive_file WHERE day < $1").bind(before.minus(DAY));
            let files = files.execute(&mut *transaction).await?.rows_affected();
            let rows = sqlx::query("SELECT name FROM archive_file").fetch_all(&mut *transaction).await?;
            let known = rows.iter().map(|row| row.try_get("name")).collect::<Result<BTreeSet<String>, _>>()?;
            transaction.commit().await?;
            let archive = archive.clone();
            let sweeping =
                tokio::task::spawn_blocking(move || archive.sweep(|name| known.contains(name), LEFT_BEHIND, now));
            let removed = sweeping.await.map_err(io::Error::other)??;
            Ok(files > 0 || removed > 0)
        })
        .await
    }

    /// Puts those of the traces into the archive that belong there: flagged ones, those that tell of a decision, and
    /// those that people labelled. Their files are on the disk when this returns, and count when the transaction ends.
    pub(super) async fn archive_bodies(
        &self,
        connection: &mut AnyConnection,
        trace_ids: &[TraceId],
        now: Timestamp,
    ) -> Result<(), sqlx::Error> {
        let Some(archive) = &self.archive else { return Ok(()) };
        let mut writers: BTreeMap<Timestamp, ArchiveWriter> = BTreeMap::new();
        let mut written = Vec::new();
        for (trace_id, ended_at) in wanted(connection, trace_ids).await? {
            let sizes = sizes(connection, &[trace_id]).await?;
            let Some(body) = bodies(connection, &sizes).await?.remove(&trace_id) else { continue };
            let day = ended_at.floor(DAY);
            let writer = match writers.remove(&day) {
                Some(writer) => writer,
                None => archive.begin(&day.to_string()[..10])?,
            };
            let adding = tokio::task::spawn_blocking(move || add(writer, trace_id, &body));
            let (writer, place) = adding.await.map_err(io::Error::other)??;
            writers.insert(day, writer);
            written.extend(place.map(|place| (trace_id, place)));
        }
        if writers.is_empty() {
            return Ok(());
        }
        crash_point("archive.write");
        let finishing = tokio::task::spawn_blocking(move || {
            writers.into_iter().map(|(day, writer)| Ok((writer.finish()?, day))).collect::<io::Result<Vec<_>>>()
        });
        let files = finishing.await.map_err(io::Error::other)??;
        crash_point("archive.written");
        insert_files(connection, &files, now).await?;
        insert_places(connection, &written).await
    }
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

/// Those of the traces that the archive takes, with their ends.
async fn wanted(
    connection: &mut AnyConnection,
    trace_ids: &[TraceId],
) -> Result<Vec<(TraceId, Timestamp)>, sqlx::Error> {
    let select = "SELECT trace_id, ended_at FROM trace WHERE trace_id IN";
    let which = " AND erased_at IS NULL AND (failing = 1 OR error = 1 OR reports_decision = 1 \
                 OR EXISTS (SELECT 1 FROM label WHERE label.trace_id = trace.trace_id)) ORDER BY trace_id";
    let rows = for_keys(connection, select, trace_ids, which).await?;
    rows.iter().map(|row| Ok((row.try_get("trace_id")?, row.try_get("ended_at")?))).collect()
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

/// The trace at a place as the pieces that the store would have.
fn read(archive: &Archive, place: &ArchivePlace) -> io::Result<Option<Vec<Vec<u8>>>> {
    let Some(frame) = archive.read(place)? else { return Ok(None) };
    let line = decompress(&frame, Compression::Zstd, LARGEST_LINE).map_err(io::Error::other)?;
    let groups = decode_traces(&line, Encoding::Json).map_err(io::Error::other)?;
    Ok(Some(split_by_trace(groups).traces.into_iter().map(TracePiece::encode).collect()))
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
    trace_ids: &[TraceId],
) -> Result<u64, sqlx::Error> {
    let places = places(connection, trace_ids).await?;
    let (archive, erased) = (archive.clone(), places.len() as u64);
    let erasing = tokio::task::spawn_blocking(move || places.iter().try_for_each(|place| archive.erase(place)));
    erasing.await.map_err(io::Error::other)??;
    for_keys(connection, "DELETE FROM archived_trace WHERE trace_id IN", trace_ids, "").await?;
    Ok(erased)
}
