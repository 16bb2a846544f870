//! The store: what was received, what came of it, and what still has to be done.
//!
//! [`Store`] is one concrete type over SQLite (one process, one file) and PostgreSQL (a fleet). Every public method is
//! one transaction that is safe to repeat, and is repeated when the database says that trying again may help. The SQL is
//! the same text for both; what differs is in `dialect`.
//!
//! Rows are locked in one order everywhere, so that transactions queue up instead of deadlocking: chunk, pending, trace,
//! then what hangs on a trace, then hours, alerts and the outbox.

mod agent_costs;
mod alerts;
mod anchors;
mod answers;
mod archived;
mod audit_log;
mod baselines;
mod bodies;
mod bounds;
mod checkpoint;
mod chunks;
mod columns;
mod connect;
mod controls;
mod costs;
mod days;
mod dialect;
mod erasure;
mod error;
mod evaluations;
mod expiry;
mod external_scores;
mod flags;
mod judge_jobs;
mod judge_models;
mod judged_hours;
mod judgements;
mod labels;
mod lag;
mod leases;
mod ledger;
mod message_attempts;
mod migrations;
mod outbox;
mod outcomes;
mod read;
mod releases;
mod retry;
mod review;
mod sampling;
mod selection;
mod shared;
mod silences;
mod statement;
mod summed_hours;
mod tokens;
mod tool_calls;
mod traces;
mod usage;
mod used_hours;
mod waiting;
mod watch;

use std::fs::File;
use std::sync::Arc;

use sqlx::{Any, AnyPool, Transaction};
use tokio::sync::Mutex;

pub use agent_costs::{AgentCostRow, AgentDimension};
pub use alerts::{AlertFilter, Notice, NoticeCommit, Noticing};
pub use anchors::{Anchor, DueAnchor, FinishedAnchor};
pub use answers::ServiceAnswer;
pub use audit_log::{acting_as, actor};
pub use baselines::StoredBaseline;
pub use bodies::{BodyPlace, LARGEST_TRACE_BYTES, MOST_PIECES, TraceBody};
pub use chunks::{AppendReport, Chunk, CompletionPolicy, DueTrace, PurgeReport};
pub use controls::JudgeControls;
pub use costs::{CostDimension, CostRow, CostSelection};
pub use erasure::Erased;
pub use error::StoreError;
pub use evaluations::StoredEvaluation;
pub use flags::{Flag, Offered, Unflagged};
pub use judge_jobs::{Backfill, FinishedJob, JobEnd, JudgeJob, Lane};
pub use judge_models::JudgeModelSeen;
pub use labels::{NewLabel, Undrawn};
pub use lag::Lag;
pub use ledger::{BudgetDay, JudgeCall, NOT_SENT, Reservations, Settled};
pub use outbox::{ExpiredItem, NewOutboxItem, OutboxItem};
pub use outcomes::OutcomeCount;
pub use read::{Counts, Place, QueueDepths, ServiceCount, WeightSums};
pub use review::{MOST_COUNTED, ReviewFilter, ReviewItem, Stream};
pub use sampling::{AgentVersion, StratumCount};
pub use selection::{Selection, Verdict};
pub(crate) use tokens::id_of;
pub use tool_calls::{ConversationUse, ToolFailures};
pub use traces::{NewJudgeJob, RecordReport, RecordedTrace, StoredTrace};
pub use usage::AgentBudgetDay;
pub use waiting::{PendingTrace, WaitingJudgement};
pub use watch::{HourCommit, WatchedHour};

use super::archive::Archive;
use connect::Address;
use dialect::Dialect;
use retry::retried;

/// Connections to PostgreSQL that a command opens at most, and no more than it has statements under way.
const CONNECTIONS: u32 = 10;

/// A handle on the database; clones share its connections.
#[derive(Debug, Clone)]
pub struct Store {
    dialect: Dialect,
    /// One connection for SQLite, which has one writer; the same pool as `readers` for PostgreSQL.
    writers: AnyPool,
    readers: AnyPool,
    /// Held by whoever moves the log: SQLite has one at a time do it, and tells the other only that it did not.
    moving: Arc<Mutex<()>>,
    /// Where traces go that are kept longer than the store keeps them.
    archive: Option<Archive>,
    /// Of a store that is open for reading only, where the audit log is written to all the same.
    beside: Option<Address>,
    /// Held for as long as any clone lives, so that a second process is refused.
    _lock: Option<Arc<File>>,
}

impl Store {
    /// Opens `sqlite://PATH` or `postgres://…` and brings its schema up to date. A SQLite file and its folder are
    /// created. With `read_only` nothing is created, migrated or locked, and every write fails.
    ///
    /// # Errors
    /// The address is not one of ours, another process has the file open, the schema is newer than this program (or,
    /// with `read_only`, older), or the database cannot be reached.
    pub async fn open(url: &str, read_only: bool) -> Result<Self, StoreError> {
        connect::open(url, read_only, CONNECTIONS).await
    }

    /// The same for a service, which writes, and opens so many connections to PostgreSQL at most.
    ///
    /// # Errors
    /// As of [`Store::open`].
    pub async fn open_for_service(url: &str, connections: u32) -> Result<Self, StoreError> {
        connect::open(url, false, connections).await
    }

    /// The same store with an archive beside it.
    #[must_use]
    pub fn with_archive(self, archive: Option<Archive>) -> Self {
        Self { archive, ..self }
    }

    /// Asks the database for an answer.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn ping(&self) -> Result<(), StoreError> {
        retried("answer", || async { sqlx::query("SELECT 1").execute(&self.readers).await.map(drop) }).await
    }

    /// Version of the schema.
    ///
    /// # Errors
    /// The database failed.
    pub async fn schema_version(&self) -> Result<i64, StoreError> {
        migrations::version(&self.readers).await
    }

    /// Closes every connection and lets running statements finish.
    pub async fn close(&self) {
        self.writers.close().await;
        self.readers.close().await;
    }

    /// Begins a transaction that writes; it is undone unless it is committed.
    async fn begin(&self) -> Result<Transaction<'static, Any>, sqlx::Error> {
        self.writers.begin().await
    }

    /// Begins a transaction that reads an unchanging view, for reads of more than one statement.
    async fn begin_read(&self) -> Result<Transaction<'static, Any>, sqlx::Error> {
        self.readers.begin_with(self.dialect.begin_read()).await
    }
}
