//! Erasure: what traces said and whose they were leaves the store and the archive; what was counted of them stays.

use std::collections::{BTreeMap, BTreeSet};

use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use sqlx::{AnyConnection, AssertSqlSafe, Row};

use super::archived::{erase_archived, places};
use super::chunks::read_trace_ids;
use super::columns::{json, limit, parse_json};
use super::dialect::Dialect;
use super::retry::retried;
use super::selection::Selection;
use super::statement::{Statement, for_keys};
use super::usage::{budgets_of, forget_budgets, uncharge};
use super::{Store, StoreError};
use crate::domain::access::{Action, NewLogEntry};
use crate::domain::ids::TraceId;
use crate::domain::measurement::TraceRecord;
use crate::domain::time::Timestamp;

/// Traces in one transaction.
const BATCH: usize = 200;

/// What was removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Erased {
    /// Traces of which something was removed.
    pub traces: u64,
    /// Pieces with their spans.
    pub pieces: u64,
    /// Traces in the archive.
    pub archived: u64,
    /// Reasons of evaluators and judges.
    pub explanations: u64,
    /// Verdicts that were remembered.
    pub verdicts: u64,
    /// Texts of feedback and of other tools' scores.
    pub feedback: u64,
    /// Notes beside labels.
    pub notes: u64,
    /// Judgements and messages that waited.
    pub waiting: u64,
}

/// A statement that removes something of traces.
struct Removal {
    /// Up to the list of traces.
    before: &'static str,
    /// After it.
    after: &'static str,
    /// Where what it removed is counted.
    counter: fn(&mut Erased) -> &mut u64,
}

const fn removal(before: &'static str, after: &'static str, counter: fn(&mut Erased) -> &mut u64) -> Removal {
    Removal { before, after, counter }
}

/// Removes everything that hangs on traces, each with what it counts as.
const REMOVALS: &[Removal] = &[
    removal("DELETE FROM chunk WHERE trace_id IN", "", |it| &mut it.pieces),
    removal("DELETE FROM pending WHERE trace_id IN", "", |it| &mut it.waiting),
    removal("DELETE FROM judge_job WHERE trace_id IN", "", |it| &mut it.waiting),
    removal(OUTBOX, "", |it| &mut it.waiting),
    removal("UPDATE evaluation SET explanation = NULL WHERE trace_id IN", " AND explanation IS NOT NULL", |it| {
        &mut it.explanations
    }),
    removal("UPDATE anchor_score SET reason = NULL WHERE trace_id IN", " AND reason IS NOT NULL", |it| {
        &mut it.explanations
    }),
    removal("DELETE FROM judge_cache WHERE key IN (SELECT key FROM judge_cache_trace WHERE trace_id IN", ")", |it| {
        &mut it.verdicts
    }),
    removal(
        "UPDATE external_score SET label = NULL, explanation = NULL, error = NULL WHERE trace_id IN",
        " AND (label IS NOT NULL OR explanation IS NOT NULL OR error IS NOT NULL)",
        |it| &mut it.feedback,
    ),
    removal("UPDATE label SET note = NULL WHERE trace_id IN", " AND note IS NOT NULL", |it| &mut it.notes),
];

/// The keys of what waits to be sent begin with the trace as it is written.
const OUTBOX: &str = "DELETE FROM outbox WHERE substr(key, 1, 32) IN";

/// The same, of which nothing is told.
const SILENT_REMOVALS: &[(&str, &str)] = &[
    ("DELETE FROM judge_cache_trace WHERE key IN (SELECT key FROM judge_cache_trace WHERE trace_id IN", ")"),
    ("DELETE FROM anchor WHERE trace_id IN", ""),
    ("DELETE FROM trace_attribute WHERE name <> 'failure_class' AND trace_id IN", ""),
];

impl Store {
    /// Erases every evaluated trace of a selection: spans, texts, names, in the store and in the archive. Later pieces
    /// of these traces, and feedback on them, are dropped. Counts, scores and labels stay. What is erased already is
    /// passed over. Noted in the audit log by a hash of `whose`.
    ///
    /// # Errors
    /// The database or the archive failed, or the log could not be emptied of what was erased; then call it again: what was
    /// erased by then is.
    pub async fn erase(&self, selection: &Selection, whose: &str, now: Timestamp) -> Result<Erased, StoreError> {
        let mut erased = Erased::default();
        loop {
            let trace_ids = self.to_erase(selection).await?;
            if trace_ids.is_empty() {
                break;
            }
            self.erase_traces(&trace_ids, &mut erased, now).await?;
        }
        self.erase_budgets(selection).await?;
        let subject = format!("sha256:{}", hex::encode(digest(&SHA256, whose.as_bytes())));
        let entry = NewLogEntry { action: Action::Erase, subject, detail: format!("{} traces", erased.traces) };
        self.note(&[entry], now).await?;
        self.forget_pages().await?;
        Ok(erased)
    }

    /// Traces whose owner is not known yet, because they wait for their evaluation.
    ///
    /// # Errors
    /// The database failed.
    pub async fn unevaluated(&self) -> Result<u64, StoreError> {
        retried("count what waits", || async {
            let sql = "SELECT count(*) FROM pending WHERE NOT EXISTS \
                       (SELECT 1 FROM trace WHERE trace.trace_id = pending.trace_id)";
            let count: i64 = sqlx::query_scalar(sql).fetch_one(&self.readers).await?;
            Ok(count.unsigned_abs())
        })
        .await
    }

    async fn to_erase(&self, selection: &Selection) -> Result<Vec<TraceId>, StoreError> {
        retried("look for what is to be erased", || async {
            let mut statement = Statement::new("SELECT trace_id FROM trace WHERE erased_at IS NULL");
            selection.narrow(&mut statement);
            statement.sql(" ORDER BY trace_id LIMIT ").bind(limit(BATCH));
            read_trace_ids(&statement.fetch(&self.readers).await?)
        })
        .await
    }

    async fn erase_traces(&self, trace_ids: &[TraceId], erased: &mut Erased, now: Timestamp) -> Result<(), StoreError> {
        let is_archived = retried("look for archived traces", || async {
            Ok(!places(&mut *self.readers.acquire().await?, trace_ids).await?.is_empty())
        });
        if is_archived.await? && self.archive.is_none() {
            return Err(StoreError::NoArchive);
        }
        let batch = retried("erase traces", || async {
            let mut transaction = self.begin().await?;
            let connection = &mut *transaction;
            write_over(connection, self.dialect, true).await?;
            let mut batch = Erased { traces: trace_ids.len() as u64, ..Erased::default() };
            remove(connection, trace_ids, &mut batch).await?;
            forget(connection, self.dialect, trace_ids, now).await?;
            forget_sums(connection).await?;
            let mut budgets = uncharge(connection, trace_ids).await?;
            budgets.retain(|(_, scope)| !scope.split_once('=').is_some_and(|(dimension, _)| is_of_many(dimension)));
            forget_budgets(connection, self.dialect, budgets).await?;
            if let Some(archive) = &self.archive {
                batch.archived = erase_archived(archive, connection, self.dialect, trace_ids).await?;
            }
            transaction.commit().await?;
            Ok(batch)
        });
        erased.add(batch.await?);
        Ok(())
    }

    /// Removes what was summed up for the budgets of those who are named, also of days whose traces have gone since.
    async fn erase_budgets(&self, selection: &Selection) -> Result<(), StoreError> {
        let owners = [("user", &selection.user), ("conversation", &selection.conversation)];
        let owners = owners.into_iter().filter_map(|(dimension, name)| Some((dimension, name.as_ref()?)));
        let further = selection.attributes.iter().map(|(dimension, name)| (dimension.as_str(), name));
        let named = owners.chain(further).filter(|(dimension, _)| !is_of_many(dimension));
        let scopes: Vec<String> = named.map(|(dimension, name)| format!("{dimension}={name}")).collect();
        retried("erase what was spent", || async {
            let mut transaction = self.begin().await?;
            let connection = &mut *transaction;
            write_over(connection, self.dialect, true).await?;
            let mut budgets = BTreeSet::new();
            for scope in &scopes {
                budgets.extend(budgets_of(connection, scope).await?);
            }
            forget_budgets(connection, self.dialect, budgets).await?;
            transaction.commit().await
        })
        .await
    }

    /// Writes the log of changes into the file, so that no old page is left in it.
    async fn forget_pages(&self) -> Result<(), StoreError> {
        if self.dialect != Dialect::Sqlite {
            return Ok(());
        }
        retried("end its care for what is deleted", || async {
            write_over(&mut *self.writers.acquire().await?, self.dialect, false).await
        })
        .await?;
        self.empty_log().await
    }
}

impl Erased {
    fn add(&mut self, other: Self) {
        self.traces += other.traces;
        self.pieces += other.pieces;
        self.archived += other.archived;
        self.explanations += other.explanations;
        self.verdicts += other.verdicts;
        self.feedback += other.feedback;
        self.notes += other.notes;
        self.waiting += other.waiting;
    }
}

/// Says whether what is deleted from here on is written over, and not only given back to the file.
pub(super) async fn write_over(
    connection: &mut AnyConnection,
    dialect: Dialect,
    is_wanted: bool,
) -> Result<(), sqlx::Error> {
    let pragma = if is_wanted { "PRAGMA secure_delete = ON" } else { "PRAGMA secure_delete = OFF" };
    match dialect {
        Dialect::Sqlite => sqlx::query(pragma).execute(connection).await.map(drop),
        Dialect::Postgres => Ok(()),
    }
}

async fn remove(connection: &mut AnyConnection, trace_ids: &[TraceId], erased: &mut Erased) -> Result<(), sqlx::Error> {
    let written: Vec<String> = trace_ids.iter().map(ToString::to_string).collect();
    let written: Vec<&str> = written.iter().map(String::as_str).collect();
    for Removal { before, after, counter } in REMOVALS {
        let after = format!("{after} RETURNING 1 AS one");
        let removed = if *before == OUTBOX {
            for_keys(connection, before, &written, &after).await?
        } else {
            for_keys(connection, before, trace_ids, &after).await?
        };
        *counter(erased) += removed.len() as u64;
    }
    for (before, after) in SILENT_REMOVALS {
        for_keys(connection, before, trace_ids, after).await?;
    }
    // These go when the trace is marked erased, by a trigger.
    let listed = "SELECT 1 AS one FROM listed_evaluation WHERE trace_id IN";
    erased.explanations += for_keys(connection, listed, trace_ids, " AND explanation IS NOT NULL").await?.len() as u64;
    Ok(())
}

/// Takes their owners off the traces themselves, and closes them.
async fn forget(
    connection: &mut AnyConnection,
    dialect: Dialect,
    trace_ids: &[TraceId],
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    let lock = format!(" ORDER BY trace_id{}", dialect.lock());
    let rows = for_keys(connection, "SELECT trace_id, record FROM trace WHERE trace_id IN", trace_ids, &lock).await?;
    for row in rows {
        let record: TraceRecord = parse_json(row.try_get("record")?)?;
        let sql = "UPDATE trace SET erased_at = $1, body_purged = 1, conversation_id = NULL, user_id = NULL, record = $2 \
                   WHERE trace_id = $3";
        let query = sqlx::query(sql).bind(now).bind(json(&without_owner(record))?).bind(row.try_get::<TraceId, _>(0)?);
        query.execute(&mut *connection).await?;
    }
    Ok(())
}

/// Removes the sums that do not hold, which tell users apart and which nobody reads: of the hours that the traces ended
/// in, now that these are marked and nobody keeps sums of them meanwhile, and of those that earlier versions ended in.
async fn forget_sums(connection: &mut AnyConnection) -> Result<(), sqlx::Error> {
    // The sums of calls of tools go with their dimensions.
    for table in ["used_sum", "used_dimension"] {
        let marked = format!("DELETE FROM {table} WHERE hour IN (SELECT hour FROM used_hour WHERE state <> 1)");
        sqlx::query(AssertSqlSafe(marked)).execute(&mut *connection).await?;
    }
    Ok(())
}

/// Whether a dimension splits many traces into few parts, so that its values are no one's name.
fn is_of_many(dimension: &str) -> bool {
    matches!(
        dimension,
        "service" | "model" | "release" | "environment" | "agent" | "prompt_version" | "agent_version" | "tier"
    )
}

/// A record of which only what is counted is left.
fn without_owner(record: TraceRecord) -> TraceRecord {
    let segments: BTreeMap<String, String> =
        record.segments.into_iter().filter(|(dimension, _)| is_of_many(dimension)).collect();
    TraceRecord { conversation: record.trace_id.to_string(), segments, notes: Vec::new(), ..record }
}

/// Those of the traces that were erased; what comes of them later is dropped.
pub(super) async fn erased_among(
    connection: &mut AnyConnection,
    trace_ids: impl Iterator<Item = TraceId>,
) -> Result<BTreeSet<TraceId>, sqlx::Error> {
    let trace_ids: Vec<TraceId> = trace_ids.collect::<BTreeSet<_>>().into_iter().collect();
    let select = "SELECT trace_id FROM trace WHERE erased_at IS NOT NULL AND trace_id IN";
    Ok(read_trace_ids(&for_keys(connection, select, &trace_ids, "").await?)?.into_iter().collect())
}
