//! How much of one trace is kept, and how often it is evaluated again: an agent that has run away sends spans for days,
//! and neither the disk nor the workers may be its own.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Duration;

use sqlx::{AnyConnection, AssertSqlSafe, Row};

use super::chunks::{Arrival, ChunkKey};
use super::columns::flag;
use super::dialect::Dialect;
use super::statement::{Values, for_keys, for_rows, insert};
use crate::domain::ids::TraceId;
use crate::domain::time::Timestamp;
use crate::domain::trace::TRUNCATED;

/// What a stored piece counts beside its body.
const PIECE_BYTES: usize = 2_048;
/// Versions of a trace that follow each other as soon as they are complete: late spans are usual.
const PROMPT_VERSIONS: i64 = 2;
/// How long the next version waits at least; each further one waits twice as long as the one before.
const FIRST_WAIT: Duration = Duration::from_secs(30);
/// No version waits longer.
const LONGEST_WAIT: Duration = Duration::from_hours(24);

/// What stands of a trace that was evaluated.
pub(super) struct Standing {
    pub(super) trace_id: TraceId,
    pub(super) body_purged: bool,
    version: i64,
    stored_bytes: i64,
}

/// What a piece counts.
pub(super) fn bytes_of(body: &[u8]) -> i64 {
    i64::try_from(body.len().saturating_add(PIECE_BYTES)).unwrap_or(i64::MAX)
}

/// The traces among the arrivals that were evaluated. The answer is held until the transaction ends.
pub(super) async fn standing(
    connection: &mut AnyConnection,
    dialect: Dialect,
    arrivals: &[Arrival],
) -> Result<Vec<Standing>, sqlx::Error> {
    let trace_ids: Vec<TraceId> = arrivals.iter().map(|arrival| arrival.trace_id).collect();
    let select = "SELECT trace_id, body_purged, version, stored_bytes FROM trace WHERE trace_id IN";
    let hold = format!(" ORDER BY trace_id{}", dialect.hold());
    let rows = for_keys(connection, select, &trace_ids, &hold).await?;
    rows.iter()
        .map(|row| {
            Ok(Standing {
                trace_id: row.try_get("trace_id")?,
                body_purged: flag(row, "body_purged")?,
                version: row.try_get("version")?,
                stored_bytes: row.try_get("stored_bytes")?,
            })
        })
        .collect()
}

/// Deletes what was just added to traces of which `most_bytes` are kept already, and tells which those are. One that
/// waits for its evaluation is told how many pieces it lacks; one that has had it is not evaluated again.
pub(super) async fn take_back_beyond(
    connection: &mut AnyConnection,
    most_bytes: usize,
    (arrivals, waiting): (&[Arrival], &HashMap<TraceId, i64>),
    standing: &[Standing],
    inserted: &HashSet<ChunkKey>,
) -> Result<BTreeSet<TraceId>, sqlx::Error> {
    let most = i64::try_from(most_bytes).unwrap_or(i64::MAX);
    let stored: HashMap<TraceId, i64> = standing.iter().map(|trace| (trace.trace_id, trace.stored_bytes)).collect();
    let bytes = |trace_id: &TraceId| [waiting, &stored].iter().filter_map(|of| of.get(trace_id)).sum::<i64>();
    let full: Vec<&Arrival> = arrivals.iter().filter(|arrival| bytes(&arrival.trace_id) > most).collect();
    let full_ids: BTreeSet<TraceId> = full.iter().map(|arrival| arrival.trace_id).collect();
    if full.is_empty() {
        return Ok(full_ids);
    }
    let pieces: Vec<&ChunkKey> = inserted.iter().filter(|(trace_id, _)| full_ids.contains(trace_id)).collect();
    let write = |row: &mut Values<'_>, piece: &&ChunkKey| {
        row.bind(piece.0).bind(piece.1.as_slice());
    };
    for_rows(connection, "DELETE FROM chunk WHERE (trace_id, content_hash) IN", &pieces, write, "").await?;
    for arrival in full {
        let lacks = "UPDATE pending SET stored_bytes = stored_bytes - $2, left_out = left_out + $3 WHERE trace_id = $1";
        let query = sqlx::query(lacks).bind(arrival.trace_id).bind(arrival.bytes).bind(arrival.pieces);
        query.execute(&mut *connection).await?;
    }
    let evaluated: Vec<TraceId> = stored.into_keys().filter(|trace_id| full_ids.contains(trace_id)).collect();
    for_keys(connection, "DELETE FROM pending WHERE stored_bytes = 0 AND trace_id IN", &evaluated, "").await?;
    mark_truncated(connection, &evaluated).await?;
    Ok(full_ids)
}

async fn mark_truncated(connection: &mut AnyConnection, trace_ids: &[TraceId]) -> Result<(), sqlx::Error> {
    insert(
        connection,
        "trace_attribute (trace_id, name, value)",
        trace_ids,
        |row, trace_id| {
            row.bind(*trace_id).bind(TRUNCATED).bind("true");
        },
        "ON CONFLICT (trace_id, name) DO NOTHING",
    )
    .await
    .map(drop)
}

/// Lets traces that were evaluated often wait for their next version.
pub(super) async fn put_off(
    connection: &mut AnyConnection,
    dialect: Dialect,
    standing: &[Standing],
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    for trace in standing.iter().filter(|trace| trace.version > PROMPT_VERSIONS) {
        hold_back(connection, dialect, trace.trace_id, now.plus(wait(trace.version)), " AND not_before = 0").await?;
    }
    Ok(())
}

/// Lets a trace that grew while its version was made wait for the next.
pub(super) async fn put_off_grown(
    connection: &mut AnyConnection,
    dialect: Dialect,
    (trace_id, version): (TraceId, i64),
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    if version <= PROMPT_VERSIONS {
        return Ok(());
    }
    hold_back(connection, dialect, trace_id, now.plus(wait(version)), "").await
}

async fn hold_back(
    connection: &mut AnyConnection,
    dialect: Dialect,
    trace_id: TraceId,
    not_before: Timestamp,
    only: &str,
) -> Result<(), sqlx::Error> {
    let greatest = dialect.greatest();
    let sql = format!("UPDATE pending SET not_before = $2, due_at = {greatest}(due_at, $2) WHERE trace_id = $1{only}");
    let query = sqlx::query(AssertSqlSafe(sql)).bind(trace_id).bind(not_before);
    query.execute(connection).await.map(drop)
}

/// How long the version after this one waits.
fn wait(version: i64) -> Duration {
    let doublings = u32::try_from(version - PROMPT_VERSIONS - 1).unwrap_or(u32::MAX).min(32);
    FIRST_WAIT.saturating_mul(2_u32.saturating_pow(doublings)).min(LONGEST_WAIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_version_waits_twice_as_long_as_the_one_before_and_none_longer_than_a_day() {
        let minutes = |version| wait(version).as_secs_f64() / 60.0;
        assert_eq!([3, 4, 5, 6].map(minutes), [0.5, 1.0, 2.0, 4.0]);
        assert_eq!([15, 1_000, i64::MAX].map(minutes), [1_440.0; 3]);
    }
}
