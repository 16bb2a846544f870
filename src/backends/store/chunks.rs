//! What was received: pieces of traces, when a trace is due, who has claimed it, and when its body may go.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Duration;

use sqlx::any::AnyRow;
use sqlx::{AnyConnection, AssertSqlSafe, Row};

use super::archived::Archived;
use super::bodies::{TraceBody, bodies};
use super::bounds::{Standing, bytes_of, put_off, standing, take_back_beyond};
use super::columns::{count, limit};
use super::dialect::Dialect;
use super::retry::{promptly, retried};
use super::statement::{for_keys, insert};
use super::{Store, StoreError};
use crate::domain::ids::TraceId;
use crate::domain::time::Timestamp;

/// Traces whose bodies one call of [`Store::purge`] deletes at most.
const PURGE_BATCH: usize = 500;

/// Bytes of bodies in one claim, unless its first trace alone has more.
const LARGEST_CLAIM_BYTES: usize = 32 * 1024 * 1024;

/// A received piece of one trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// The trace.
    pub trace_id: TraceId,
    /// Hash of the piece's content, by which a repeat is known.
    pub content_hash: [u8; 32],
    /// The piece, in whatever form the caller reads again.
    pub body: Vec<u8>,
    /// The day on which its spans began, in days since the Unix epoch, 0 when it is not known. It follows from the content
    /// like the hash, so that a repeat is looked for where the piece is.
    pub day: i64,
    /// Spans in the piece.
    pub span_count: u32,
    /// Whether the piece holds an ended root span.
    pub root_ended: bool,
}

/// When a trace counts as complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompletionPolicy {
    /// This long after the last piece, once the root has ended.
    pub root_grace: Duration,
    /// This long after the last piece, while the root has not.
    pub quiet_period: Duration,
    /// At the latest this long after the first piece.
    pub max_age: Duration,
    /// So many bytes of one trace are kept; of a piece that would make it more, nothing is. A piece counts 2 KiB besides
    /// its body.
    pub max_trace_bytes: usize,
}

/// What became of appended pieces; the four add up to what was given.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AppendReport {
    /// New pieces.
    pub inserted: usize,
    /// Pieces that were there already.
    pub duplicates: usize,
    /// Pieces of traces whose body has been purged. They are not kept: a trace that can no longer be read as a whole
    /// is not evaluated again.
    pub too_late: usize,
    /// Pieces of traces of which as much is kept as may be. They are not kept, and the trace is marked truncated.
    pub left_out: usize,
}

/// A complete trace, claimed for evaluation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DueTrace {
    /// The trace.
    pub trace_id: TraceId,
    /// Counts what arrived; goes back with the result.
    pub generation: i64,
    /// Version of the evaluation that stands, 0 when there is none.
    pub version: i64,
    /// How often this generation has been claimed, this claim included. A trace that takes its worker down shows here.
    pub attempts: u32,
    /// Its pieces.
    pub body: TraceBody,
}

/// What [`Store::purge`] deleted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PurgeReport {
    /// Traces that lost their body.
    pub traces: usize,
}

impl Store {
    /// Stores pieces and makes their traces pending: due `root_grace` or `quiet_period` after `now`, and no later than
    /// `max_age` after the first piece. A piece that is there already changes nothing. A new piece of a trace that was
    /// evaluated makes it pending again; from its third version on, it waits twice as long each time.
    ///
    /// # Errors
    /// The database failed; then nothing is stored.
    pub async fn append_chunks(
        &self,
        chunks: &[Chunk],
        now: Timestamp,
        policy: &CompletionPolicy,
    ) -> Result<AppendReport, StoreError> {
        let mut ordered: Vec<&Chunk> = chunks.iter().collect();
        ordered.sort_by_key(|chunk| (chunk.trace_id, chunk.content_hash));
        promptly("store received traces", || async {
            let mut transaction = self.begin().await?;
            let connection = &mut *transaction;
            let inserted = insert_chunks(connection, &ordered, now).await?;
            let mut arrivals = arrivals(&ordered, &inserted);
            let waiting = upsert_pending(connection, self.dialect, &arrivals, now, policy).await?;
            // Asked last, and held, so that a purge that runs at the same time either sees the trace pending or is seen.
            let standing = standing(connection, self.dialect, &arrivals).await?;
            let (closed, open): (Vec<Standing>, Vec<Standing>) = standing.into_iter().partition(|it| it.body_purged);
            let closed = take_back_closed(connection, &closed).await?;
            arrivals.retain(|arrival| !closed.contains(&arrival.trace_id));
            let grown = (arrivals.as_slice(), &waiting);
            let full = take_back_beyond(connection, policy.max_trace_bytes, grown, &open, &inserted).await?;
            put_off(connection, self.dialect, &open, now).await?;
            transaction.commit().await?;
            let count = |traces: &BTreeSet<TraceId>| inserted.iter().filter(|(it, _)| traces.contains(it)).count();
            let (too_late, left_out) = (count(&closed), count(&full));
            let duplicates = chunks.len() - inserted.len();
            Ok(AppendReport { inserted: inserted.len() - too_late - left_out, duplicates, too_late, left_out })
        })
        .await
    }

    /// Claims due traces, longest due first: at most `limit`, and no more than fit into memory together. No one else gets
    /// them before `now + lease`. A trace whose claim was not finished is claimed alone: one that takes its worker down
    /// takes no other with it.
    ///
    /// # Errors
    /// The database failed; then nothing is claimed.
    pub async fn claim_due(&self, now: Timestamp, lease: Duration, limit: usize) -> Result<Vec<DueTrace>, StoreError> {
        promptly("claim due traces", || async {
            let mut transaction = self.begin().await?;
            let connection = &mut *transaction;
            let mut due = claim(connection, self.dialect, now, lease, "attempts > 0", limit.min(1)).await?;
            if due.is_empty() {
                due = claim(connection, self.dialect, now, lease, "attempts = 0", limit).await?;
            }
            if due.is_empty() {
                return Ok(due);
            }
            let (fitting, mut bodies) = bodies(connection, &trace_ids(&due), LARGEST_CLAIM_BYTES).await?;
            unclaim(connection, &due.split_off(fitting)).await?;
            let versions = versions(connection, &trace_ids(&due)).await?;
            for trace in &mut due {
                trace.version = versions.get(&trace.trace_id).copied().unwrap_or(0);
                let body = bodies.remove(&trace.trace_id).unwrap_or_default();
                trace.body = TraceBody { left_out: body.left_out + trace.body.left_out, ..body };
            }
            transaction.commit().await?;
            Ok(due)
        })
        .await
    }

    /// Gives claimed traces back as if they had not been claimed, for when it was not their fault.
    ///
    /// # Errors
    /// The database failed; then they come due when their lease ends.
    pub async fn give_back(&self, due: &[DueTrace]) -> Result<(), StoreError> {
        promptly("give back due traces", || async {
            let mut transaction = self.begin().await?;
            unclaim(&mut transaction, due).await?;
            transaction.commit().await
        })
        .await
    }

    /// Lets claimed traces that hold no span yet wait for one: until `max_age` after their first piece, and then no
    /// longer. Gives how many were dropped so, with all their pieces. One that has grown since it was claimed stays as
    /// it is.
    ///
    /// # Errors
    /// The database failed; then they come due when their lease ends.
    pub async fn await_spans(&self, due: &[&DueTrace], now: Timestamp, max_age: Duration) -> Result<usize, StoreError> {
        let deadline = format!("first_seen_at + {}", nanos(max_age));
        promptly("let traces wait for their spans", || async {
            let mut transaction = self.begin().await?;
            let connection = &mut *transaction;
            let mut dropped = Vec::new();
            for trace in due {
                dropped.append(&mut drop_overdue(connection, trace, &deadline, now).await?);
                let wait = format!(
                    "UPDATE pending SET due_at = {deadline}, claimed_until = 0, attempts = 0 \
                     WHERE trace_id = $1 AND generation = $2"
                );
                let query = sqlx::query(AssertSqlSafe(wait)).bind(trace.trace_id).bind(trace.generation);
                query.execute(&mut *connection).await?;
            }
            for_keys(connection, "DELETE FROM chunk WHERE trace_id IN", &dropped, "").await?;
            transaction.commit().await?;
            Ok(dropped.len())
        })
        .await
    }

    /// Deletes the bodies of evaluated traces that need not be kept beyond `now`, a bounded number at a time: call again
    /// while the report is not empty. What the archive is for is in it, and on the disk, before it leaves the store.
    ///
    /// # Errors
    /// The database failed; then nothing is deleted.
    pub async fn purge(&self, now: Timestamp) -> Result<PurgeReport, StoreError> {
        let expired =
            retried("look for bodies to purge", || async { expired(&mut *self.readers.acquire().await?, now).await });
        let expired = expired.await?;
        let archived = self.write_archive(&expired).await?;
        let purged = retried("purge bodies", || self.let_go(&expired, &archived, now)).await?;
        if purged.is_none() {
            self.discard(&archived).await;
        }
        Ok(PurgeReport { traces: purged.unwrap_or(0) })
    }

    /// Closes expired traces and deletes their bodies, and tells how many; `None` when one of them is not in the archive as
    /// it is now. Then nothing is deleted.
    async fn let_go(
        &self,
        expired: &[TraceId],
        archived: &Archived,
        now: Timestamp,
    ) -> Result<Option<usize>, sqlx::Error> {
        let mut transaction = self.begin().await?;
        let connection = &mut *transaction;
        if archived.is_known(connection).await? {
            return Ok(Some(expired.len()));
        }
        let expired = lock_expired(connection, self.dialect, expired, now).await?;
        // A new statement, now that the rows are locked: a piece may have been added while we waited for them.
        let closed = for_keys(
            connection,
            "UPDATE trace SET body_purged = 1 WHERE trace_id IN",
            &expired,
            " AND NOT EXISTS (SELECT 1 FROM pending WHERE pending.trace_id = trace.trace_id) RETURNING trace_id",
        );
        let closed = read_trace_ids(&closed.await?)?;
        if !self.is_archived(connection, archived, &closed).await? {
            return Ok(None);
        }
        archived.make_known(connection, now).await?;
        for_keys(connection, "DELETE FROM chunk WHERE trace_id IN", &closed, "").await?;
        transaction.commit().await?;
        Ok(Some(closed.len()))
    }
}

pub(super) type ChunkKey = (TraceId, Vec<u8>);

/// What is new of one trace.
pub(super) struct Arrival {
    pub(super) trace_id: TraceId,
    pub(super) pieces: i64,
    /// What they count.
    pub(super) bytes: i64,
    /// Whether an ended root is among them.
    root_ended: bool,
}

/// Stores what is not there yet, and tells which that was.
async fn insert_chunks(
    connection: &mut AnyConnection,
    chunks: &[&Chunk],
    now: Timestamp,
) -> Result<HashSet<ChunkKey>, sqlx::Error> {
    let rows = insert(
        connection,
        "chunk (trace_id, content_hash, arrived_at, span_count, body, day)",
        chunks,
        |row, chunk| {
            row.bind(chunk.trace_id).bind(chunk.content_hash.as_slice());
            row.bind(now).bind(i64::from(chunk.span_count)).bind(chunk.body.as_slice()).bind(chunk.day);
        },
        "ON CONFLICT DO NOTHING RETURNING trace_id, content_hash",
    );
    rows.await?.iter().map(|row| Ok((row.try_get("trace_id")?, row.try_get("content_hash")?))).collect()
}

/// The traces that grew.
fn arrivals(chunks: &[&Chunk], inserted: &HashSet<ChunkKey>) -> Vec<Arrival> {
    let mut traces: BTreeMap<TraceId, Arrival> = BTreeMap::new();
    for chunk in chunks {
        let Chunk { trace_id, content_hash, .. } = **chunk;
        if inserted.contains(&(trace_id, content_hash.to_vec())) {
            let none = Arrival { trace_id, pieces: 0, bytes: 0, root_ended: false };
            let arrival = traces.entry(trace_id).or_insert(none);
            arrival.pieces += 1;
            arrival.bytes = arrival.bytes.saturating_add(bytes_of(&chunk.body));
            arrival.root_ended |= chunk.root_ended;
        }
    }
    traces.into_values().collect()
}

/// Makes traces pending, and tells what their pieces count that are not evaluated yet.
async fn upsert_pending(
    connection: &mut AnyConnection,
    dialect: Dialect,
    arrivals: &[Arrival],
    now: Timestamp,
    policy: &CompletionPolicy,
) -> Result<HashMap<TraceId, i64>, sqlx::Error> {
    let [grace, quiet, max_age] = [policy.root_grace, policy.quiet_period, policy.max_age].map(nanos);
    // The policy is part of the text: it is ours, and the same for as long as the process lives.
    let grow = format!(
        "ON CONFLICT (trace_id) DO UPDATE SET generation = pending.generation + 1, attempts = 0, \
         last_seen_at = excluded.last_seen_at, \
         root_ended = CASE WHEN pending.root_ended + excluded.root_ended > 0 THEN 1 ELSE 0 END, \
         stored_bytes = pending.stored_bytes + excluded.stored_bytes, \
         due_at = {greatest}(pending.not_before, {least}(pending.first_seen_at + {max_age}, excluded.last_seen_at \
         + CASE WHEN pending.root_ended + excluded.root_ended > 0 THEN {grace} ELSE {quiet} END)) \
         RETURNING trace_id, stored_bytes",
        least = dialect.least(),
        greatest = dialect.greatest(),
    );
    let rows = insert(
        connection,
        "pending (trace_id, first_seen_at, last_seen_at, due_at, root_ended, generation, attempts, claimed_until, \
         stored_bytes)",
        arrivals,
        |row, arrival| {
            let wait = max_age.min(if arrival.root_ended { grace } else { quiet });
            row.bind(arrival.trace_id).bind(now).bind(now).bind(now.0.saturating_add(wait));
            row.bind(i64::from(arrival.root_ended)).bind(1_i64).bind(0_i64).bind(0_i64).bind(arrival.bytes);
        },
        &grow,
    );
    rows.await?.iter().map(|row| Ok((row.try_get("trace_id")?, row.try_get("stored_bytes")?))).collect()
}

/// A duration as the text of a statement takes it: a century is forever, and two of them still add up.
fn nanos(duration: Duration) -> i64 {
    const CENTURY: i64 = 100 * 365 * 24 * Timestamp::NANOS_PER_HOUR;
    i64::try_from(duration.as_nanos()).unwrap_or(CENTURY).min(CENTURY)
}

/// Deletes what was just added to traces whose body is gone.
async fn take_back_closed(
    connection: &mut AnyConnection,
    closed: &[Standing],
) -> Result<BTreeSet<TraceId>, sqlx::Error> {
    let closed: Vec<TraceId> = closed.iter().map(|trace| trace.trace_id).collect();
    for_keys(connection, "DELETE FROM chunk WHERE trace_id IN", &closed, "").await?;
    for_keys(connection, "DELETE FROM pending WHERE trace_id IN", &closed, "").await?;
    Ok(closed.into_iter().collect())
}

async fn claim(
    connection: &mut AnyConnection,
    dialect: Dialect,
    now: Timestamp,
    lease: Duration,
    which: &str,
    traces: usize,
) -> Result<Vec<DueTrace>, sqlx::Error> {
    let sql = format!(
        "UPDATE pending SET claimed_until = $1, attempts = attempts + 1 WHERE trace_id IN (\
         SELECT trace_id FROM pending WHERE due_at <= $2 AND claimed_until <= $2 AND {which} ORDER BY due_at, trace_id LIMIT $3{}) \
         RETURNING trace_id, generation, attempts, due_at, left_out",
        dialect.claim()
    );
    let query = sqlx::query(AssertSqlSafe(sql)).bind(now.plus(lease)).bind(now).bind(limit(traces));
    let mut claimed = Vec::new();
    for row in query.fetch_all(connection).await? {
        let due_at: Timestamp = row.try_get("due_at")?;
        let trace = DueTrace {
            trace_id: row.try_get("trace_id")?,
            generation: row.try_get("generation")?,
            version: 0,
            attempts: count(&row, "attempts")?,
            body: TraceBody { chunks: Vec::new(), left_out: count(&row, "left_out")? },
        };
        claimed.push((due_at, trace));
    }
    claimed.sort_by_key(|(due_at, trace)| (*due_at, trace.trace_id));
    Ok(claimed.into_iter().map(|(_, trace)| trace).collect())
}

async fn unclaim(connection: &mut AnyConnection, due: &[DueTrace]) -> Result<(), sqlx::Error> {
    for trace in due {
        let sql = "UPDATE pending SET claimed_until = 0, attempts = attempts - 1 \
                   WHERE trace_id = $1 AND generation = $2 AND attempts = $3";
        let query = sqlx::query(sql).bind(trace.trace_id).bind(trace.generation);
        query.bind(i64::from(trace.attempts)).execute(&mut *connection).await?;
    }
    Ok(())
}

/// Ends the wait of a trace whose deadline has passed.
async fn drop_overdue(
    connection: &mut AnyConnection,
    trace: &DueTrace,
    deadline: &str,
    now: Timestamp,
) -> Result<Vec<TraceId>, sqlx::Error> {
    let sql =
        format!("DELETE FROM pending WHERE trace_id = $1 AND generation = $2 AND {deadline} <= $3 RETURNING trace_id");
    let query = sqlx::query(AssertSqlSafe(sql)).bind(trace.trace_id).bind(trace.generation).bind(now);
    read_trace_ids(&query.fetch_all(connection).await?)
}

fn trace_ids(due: &[DueTrace]) -> Vec<TraceId> {
    due.iter().map(|trace| trace.trace_id).collect()
}

async fn versions(connection: &mut AnyConnection, trace_ids: &[TraceId]) -> Result<HashMap<TraceId, i64>, sqlx::Error> {
    let rows = for_keys(connection, "SELECT trace_id, version FROM trace WHERE trace_id IN", trace_ids, "").await?;
    rows.iter().map(|row| Ok((row.try_get("trace_id")?, row.try_get("version")?))).collect()
}

/// Evaluated traces whose body need not be kept, longest expired first.
async fn expired(connection: &mut AnyConnection, now: Timestamp) -> Result<Vec<TraceId>, sqlx::Error> {
    let sql = "SELECT trace_id FROM trace WHERE body_purged = 0 AND keep_body_until <= $1 \
               AND NOT EXISTS (SELECT 1 FROM pending WHERE pending.trace_id = trace.trace_id) \
               ORDER BY keep_body_until LIMIT $2";
    read_trace_ids(&sqlx::query(sql).bind(now).bind(limit(PURGE_BATCH)).fetch_all(connection).await?)
}

/// Locks those of the traces that are still expired, passing over those that are being read or added to.
async fn lock_expired(
    connection: &mut AnyConnection,
    dialect: Dialect,
    expired: &[TraceId],
    now: Timestamp,
) -> Result<Vec<TraceId>, sqlx::Error> {
    let still = format!(
        " AND body_purged = 0 AND keep_body_until <= {} \
         AND NOT EXISTS (SELECT 1 FROM pending WHERE pending.trace_id = trace.trace_id) ORDER BY trace_id{}",
        now.0,
        dialect.claim()
    );
    read_trace_ids(&for_keys(connection, "SELECT trace_id FROM trace WHERE trace_id IN", expired, &still).await?)
}

pub(super) fn read_trace_ids(rows: &[AnyRow]) -> Result<Vec<TraceId>, sqlx::Error> {
    rows.iter().map(|row| row.try_get("trace_id")).collect()
}
