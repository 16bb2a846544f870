//! Bodies of traces: as many of their pieces as fit into memory.
//!
//! A trace may grow without bound (an agent that has run away), and what reads it must not. Of one that is too large
//! the first and the last pieces are read: there are the question and, since a root ends last, the answer. How many lie
//! between them is said.

use std::collections::HashMap;

use sqlx::{AnyConnection, AssertSqlSafe, Row};

use super::columns::{count, limit};
use super::retry::retried;
use super::statement::for_keys;
use super::{Store, StoreError};
use crate::domain::ids::TraceId;
use crate::otlp::{RawTrace, UnpackError, unpack};

/// Largest part of one trace that is read: bytes of its pieces in the store, and of protobuf once they are unfolded.
pub const LARGEST_TRACE_BYTES: usize = 64 * 1024 * 1024;
/// Most pieces of one trace that are read, which are so small then that what surrounds each of them counts.
pub const MOST_PIECES: usize = 32_768;

/// The pieces of one trace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TraceBody {
    /// As they were stored, in order of arrival.
    pub chunks: Vec<Vec<u8>>,
    /// How many more there are, between the first and the last of these, or were not kept: the trace is too large.
    pub left_out: usize,
}

impl TraceBody {
    /// Puts the pieces together.
    ///
    /// # Errors
    /// A piece is damaged.
    pub fn unpack(&self, trace_id: TraceId) -> Result<RawTrace, UnpackError> {
        let mut raw = unpack(trace_id, &self.chunks, LARGEST_TRACE_BYTES)?;
        raw.pieces_left_out += self.left_out;
        Ok(raw)
    }
}

impl Store {
    /// The pieces of a trace, from the archive when they are there; none when it is unknown or its body was purged.
    ///
    /// # Errors
    /// The database failed.
    pub async fn chunks_of(&self, trace_id: TraceId) -> Result<TraceBody, StoreError> {
        let stored = retried("read a trace's body", || async {
            let connection = &mut *self.readers.acquire().await?;
            Ok(bodies(connection, &[trace_id], LARGEST_TRACE_BYTES).await?.1.into_values().next())
        });
        match stored.await? {
            Some(body) => Ok(body),
            None => Ok(self.archived_body(trace_id).await?.unwrap_or_default()),
        }
    }

    /// The bodies of the first of the traces that are in the store, as many as fit into `most_bytes` together, in one
    /// read.
    ///
    /// # Errors
    /// The database failed.
    pub async fn bodies_within(
        &self,
        trace_ids: &[TraceId],
        most_bytes: usize,
    ) -> Result<HashMap<TraceId, TraceBody>, StoreError> {
        retried("read the bodies of traces", || async {
            Ok(bodies(&mut *self.readers.acquire().await?, trace_ids, most_bytes).await?.1)
        })
        .await
    }

    /// Where the spans of a trace are.
    ///
    /// # Errors
    /// The database failed.
    pub async fn body_place(&self, trace_id: TraceId) -> Result<BodyPlace, StoreError> {
        retried("look for a trace's body", || async {
            let sql = "SELECT CASE WHEN EXISTS (SELECT 1 FROM trace WHERE trace_id = $1 AND erased_at IS NOT NULL) \
                       THEN 'erased' WHEN EXISTS (SELECT 1 FROM chunk WHERE trace_id = $1) THEN 'store' \
                       WHEN EXISTS (SELECT 1 FROM archived_trace WHERE trace_id = $1) THEN 'archive' ELSE 'gone' END AS place";
            let place: String = sqlx::query_scalar(sql).bind(trace_id).fetch_one(&self.readers).await?;
            Ok(match place.as_str() {
                "erased" => BodyPlace::Erased,
                "store" => BodyPlace::Store,
                "archive" if self.archive.is_some() => BodyPlace::Archive,
                _ => BodyPlace::Gone,
            })
        })
        .await
    }

    /// Whether any piece of a trace is kept, in the store or in the archive.
    ///
    /// # Errors
    /// The database failed.
    pub async fn has_body(&self, trace_id: TraceId) -> Result<bool, StoreError> {
        Ok(matches!(self.body_place(trace_id).await?, BodyPlace::Store | BodyPlace::Archive))
    }
}

/// Where the spans of a trace are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyPlace {
    /// In the store.
    Store,
    /// In the archive.
    Archive,
    /// Nowhere: they have expired, or never came.
    Gone,
    /// Nowhere: they were erased on request.
    Erased,
}

/// How much there is of a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct BodySize {
    trace_id: TraceId,
    pieces: usize,
    bytes: usize,
}

impl BodySize {
    /// Bytes that are read of it.
    fn read_bytes(&self) -> usize {
        self.bytes.min(LARGEST_TRACE_BYTES)
    }

    const fn is_too_large(&self) -> bool {
        self.bytes > LARGEST_TRACE_BYTES || self.pieces > MOST_PIECES
    }
}

/// The bodies of the first traces, as many as fit into `most_bytes` together, and how many traces that is: the first of them
/// always does.
pub(super) async fn bodies(
    connection: &mut AnyConnection,
    trace_ids: &[TraceId],
    most_bytes: usize,
) -> Result<(usize, HashMap<TraceId, TraceBody>), sqlx::Error> {
    // Nearly always all of them do, and one row says so.
    let (pieces, bytes) = total(connection, trace_ids).await?;
    if pieces <= MOST_PIECES && bytes <= most_bytes.min(LARGEST_TRACE_BYTES) {
        return Ok((trace_ids.len(), whole_bodies(connection, trace_ids).await?));
    }
    let sizes = sizes(connection, trace_ids).await?;
    let fitting = within(trace_ids, &sizes, most_bytes);
    let first = sizes.iter().filter(|size| trace_ids[..fitting].contains(&size.trace_id));
    let (too_large, whole): (Vec<&BodySize>, Vec<&BodySize>) = first.partition(|size| size.is_too_large());
    let whole: Vec<TraceId> = whole.into_iter().map(|size| size.trace_id).collect();
    let mut bodies = whole_bodies(connection, &whole).await?;
    for size in too_large {
        bodies.insert(size.trace_id, both_ends(connection, size).await?);
    }
    Ok((fitting, bodies))
}

/// How many pieces all of the traces have, and their bytes.
async fn total(connection: &mut AnyConnection, trace_ids: &[TraceId]) -> Result<(usize, usize), sqlx::Error> {
    let select = "SELECT COUNT(*) AS pieces, COALESCE(SUM(LENGTH(body)), 0) AS bytes FROM chunk WHERE trace_id IN";
    let rows = for_keys(connection, select, trace_ids, "").await?;
    let add = |(pieces, bytes): (usize, usize), row| -> Result<_, sqlx::Error> {
        Ok((pieces + count::<usize>(row, "pieces")?, bytes + count::<usize>(row, "bytes")?))
    };
    rows.iter().try_fold((0, 0), add)
}

/// Sizes of the traces that have a body, in no order.
async fn sizes(connection: &mut AnyConnection, trace_ids: &[TraceId]) -> Result<Vec<BodySize>, sqlx::Error> {
    let select = "SELECT trace_id, COUNT(*) AS pieces, SUM(LENGTH(body)) AS bytes FROM chunk WHERE trace_id IN";
    let rows = for_keys(connection, select, trace_ids, " GROUP BY trace_id").await?;
    let size = |row| {
        Ok(BodySize {
            trace_id: Row::try_get(row, "trace_id")?,
            pieces: count(row, "pieces")?,
            bytes: count(row, "bytes")?,
        })
    };
    rows.iter().map(size).collect()
}

/// How many of the first traces fit into `limit` bytes; one always does.
fn within(trace_ids: &[TraceId], sizes: &[BodySize], limit: usize) -> usize {
    let bytes: HashMap<TraceId, usize> = sizes.iter().map(|size| (size.trace_id, size.read_bytes())).collect();
    let mut total = 0;
    let fits = |trace_id: &&TraceId| {
        total += bytes.get(*trace_id).copied().unwrap_or(0);
        total <= limit
    };
    trace_ids.iter().take_while(fits).count().max(1)
}

async fn whole_bodies(
    connection: &mut AnyConnection,
    trace_ids: &[TraceId],
) -> Result<HashMap<TraceId, TraceBody>, sqlx::Error> {
    let order = " ORDER BY trace_id, arrived_at, content_hash";
    let rows = for_keys(connection, "SELECT trace_id, body FROM chunk WHERE trace_id IN", trace_ids, order).await?;
    let mut bodies: HashMap<TraceId, TraceBody> = HashMap::new();
    for row in rows {
        bodies.entry(row.try_get("trace_id")?).or_default().chunks.push(row.try_get("body")?);
    }
    Ok(bodies)
}

/// The first and the last pieces of a trace that is too large.
async fn both_ends(connection: &mut AnyConnection, size: &BodySize) -> Result<TraceBody, sqlx::Error> {
    let most_first = size.pieces.min(MOST_PIECES).div_ceil(2);
    let most_last = (size.pieces - most_first).min(MOST_PIECES / 2);
    let first = lengths(connection, size.trace_id, FORWARDS, most_first).await?;
    let last = lengths(connection, size.trace_id, BACKWARDS, most_last).await?;
    let (first, last) = ends_within(&first, &last, LARGEST_TRACE_BYTES);
    let mut chunks = read(connection, size.trace_id, FORWARDS, first).await?;
    let mut after = read(connection, size.trace_id, BACKWARDS, last).await?;
    after.reverse();
    chunks.append(&mut after);
    Ok(TraceBody { left_out: size.pieces.saturating_sub(chunks.len()), chunks })
}

const FORWARDS: &str = "ORDER BY arrived_at, content_hash";
const BACKWARDS: &str = "ORDER BY arrived_at DESC, content_hash DESC";

async fn lengths(
    connection: &mut AnyConnection,
    trace_id: TraceId,
    order: &str,
    pieces: usize,
) -> Result<Vec<usize>, sqlx::Error> {
    let sql = format!("SELECT CAST(LENGTH(body) AS BIGINT) AS bytes FROM chunk WHERE trace_id = $1 {order} LIMIT $2");
    let rows = sqlx::query(AssertSqlSafe(sql)).bind(trace_id).bind(limit(pieces)).fetch_all(connection).await?;
    rows.iter().map(|row| count(row, "bytes")).collect()
}

async fn read(
    connection: &mut AnyConnection,
    trace_id: TraceId,
    order: &str,
    pieces: usize,
) -> Result<Vec<Vec<u8>>, sqlx::Error> {
    let sql = format!("SELECT body FROM chunk WHERE trace_id = $1 {order} LIMIT $2");
    let rows = sqlx::query(AssertSqlSafe(sql)).bind(trace_id).bind(limit(pieces)).fetch_all(connection).await?;
    rows.iter().map(|row| row.try_get("body")).collect()
}

/// How many pieces from the beginning and how many from the end fit into `limit` bytes, taken by turns until the next
/// one does not fit.
fn ends_within(first: &[usize], last: &[usize], limit: usize) -> (usize, usize) {
    let (mut taken, mut left) = ([0, 0], limit);
    let mut is_open = [true, true];
    while is_open.contains(&true) {
        for (end, lengths) in [first, last].into_iter().enumerate() {
            match lengths.get(taken[end]).filter(|length| is_open[end] && **length <= left) {
                Some(length) => {
                    left -= length;
                    taken[end] += 1;
                }
                None => is_open[end] = false,
            }
        }
    }
    (taken[0], taken[1])
}

#[cfg(test)]
mod tests {
    use super::ends_within;

    #[test]
    fn pieces_are_taken_from_both_ends_until_no_more_fit() {
        assert_eq!(ends_within(&[1, 1, 1, 1], &[1, 1, 1], 100), (4, 3));
        assert_eq!(ends_within(&[10, 10, 10, 10], &[10, 10, 10], 50), (3, 2));
        assert_eq!(ends_within(&[60, 1], &[50, 1], 100), (2, 0));
        assert_eq!(ends_within(&[200], &[30, 30, 200], 100), (0, 2), "one that never fits does not stand in the way");
        assert_eq!(ends_within(&[], &[], 100), (0, 0));
    }
}
