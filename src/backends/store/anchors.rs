//! Anchors: labelled traces that judges are asked about again and again, so that a judge that changes is told apart from
//! an agent that does. Their scores are kept apart from those of traffic.

use std::time::Duration;

use sqlx::Row;
use sqlx::any::AnyRow;

use super::columns::{flag, key, limit, parse_word, text};
use super::ledger::{JudgeCall, settle};
use super::retry::retried;
use super::statement::{Statement, for_keys, insert};
use super::{Store, StoreError};
use crate::domain::ids::TraceId;
use crate::domain::label::{AnchorScore, Answer};
use crate::domain::time::Timestamp;

/// An anchor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Anchor {
    /// The trace.
    pub trace_id: TraceId,
    /// The judge.
    pub evaluator: String,
    /// What people say: pass or fail.
    pub label: Answer,
}

/// An anchor that a worker is to ask about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DueAnchor {
    /// The anchor.
    pub anchor: Anchor,
    /// Version of its trace, 0 where that is gone.
    pub trace_version: i64,
    /// Service of its trace, empty where that is gone.
    pub service: String,
}

/// What became of a claimed anchor.
#[derive(Debug, Clone, PartialEq)]
pub struct FinishedAnchor {
    /// The anchor.
    pub anchor: Anchor,
    /// The verdict, if there was one.
    pub score: Option<AnchorScore>,
    /// When it is asked about again.
    pub due_at: Timestamp,
    /// Its requests, settled.
    pub calls: Vec<JudgeCall>,
}

impl Store {
    /// Makes traces anchors, and keeps their bodies for good. One that is an anchor already takes on the new label.
    ///
    /// # Errors
    /// The database failed; then none is made.
    pub async fn add_anchors(&self, anchors: &[Anchor], now: Timestamp) -> Result<(), StoreError> {
        retried("keep anchors", || async {
            let mut transaction = self.begin().await?;
            let connection = &mut *transaction;
            let trace_ids: Vec<TraceId> = anchors.iter().map(|anchor| anchor.trace_id).collect();
            let keep = format!("UPDATE trace SET keep_body_until = {} WHERE trace_id IN", i64::MAX);
            for_keys(connection, &keep, &trace_ids, " AND body_purged = 0").await?;
            insert(
                connection,
                "anchor (trace_id, evaluator, label, due_at)",
                anchors,
                |row, anchor| {
                    row.bind(anchor.trace_id).bind(key(&anchor.evaluator)).bind(anchor.label.as_str()).bind(now);
                },
                "ON CONFLICT (trace_id, evaluator) DO UPDATE SET label = excluded.label",
            )
            .await?;
            transaction.commit().await
        })
        .await
    }

    /// Lets go of a judge's anchors, without any named of all; their spans are kept until `keep_until` where they are no
    /// other judge's anchors.
    ///
    /// # Errors
    /// The database failed; then none is let go.
    pub async fn remove_anchors(
        &self,
        evaluator: &str,
        traces: &[TraceId],
        keep_until: Timestamp,
    ) -> Result<(), StoreError> {
        let all = if traces.is_empty() { self.anchors(evaluator).await? } else { Vec::new() };
        let traces: Vec<TraceId> = all.iter().map(|anchor| anchor.trace_id).chain(traces.iter().copied()).collect();
        retried("remove anchors", || async {
            let mut transaction = self.begin().await?;
            for trace_id in &traces {
                let remove = "DELETE FROM anchor WHERE trace_id = $1 AND evaluator = $2";
                sqlx::query(remove).bind(*trace_id).bind(key(evaluator)).execute(&mut *transaction).await?;
            }
            let keep = format!("UPDATE trace SET keep_body_until = {} WHERE trace_id IN", keep_until.0);
            let after = format!(
                " AND keep_body_until = {} AND NOT EXISTS (SELECT 1 FROM anchor WHERE anchor.trace_id = trace.trace_id)",
                i64::MAX
            );
            for_keys(&mut transaction, &keep, &traces, &after).await?;
            transaction.commit().await
        })
        .await
    }

    /// The anchors of a judge.
    ///
    /// # Errors
    /// The database failed.
    pub async fn anchors(&self, evaluator: &str) -> Result<Vec<Anchor>, StoreError> {
        retried("read anchors", || async {
            let sql = "SELECT trace_id, evaluator, label FROM anchor WHERE evaluator = $1 ORDER BY trace_id";
            let rows = sqlx::query(sql).bind(key(evaluator)).fetch_all(&self.readers).await?;
            rows.iter().map(read_anchor).collect()
        })
        .await
    }

    /// Claims due anchors of these judges, longest due first. No one else gets them before `now + lease`.
    ///
    /// # Errors
    /// The database failed; then none is claimed.
    pub async fn claim_anchors(
        &self,
        evaluators: &[&str],
        now: Timestamp,
        lease: Duration,
        most: usize,
    ) -> Result<Vec<DueAnchor>, StoreError> {
        retried("claim anchors", || async {
            let mut statement = Statement::new("UPDATE anchor SET due_at = ");
            statement
                .bind(now.plus(lease))
                .sql(" WHERE (trace_id, evaluator) IN (SELECT anchor.trace_id, evaluator FROM anchor WHERE due_at <= ");
            statement.bind(now).sql(" AND (1 = 0");
            for evaluator in evaluators {
                statement.sql(" OR evaluator = ").bind(key(evaluator));
            }
            statement.sql(") ORDER BY due_at LIMIT ").bind(limit(most)).sql(self.dialect.claim());
            statement.sql(
                ") RETURNING trace_id, evaluator, label, \
                 coalesce((SELECT version FROM trace WHERE trace.trace_id = anchor.trace_id), 0) AS version, \
                 coalesce((SELECT service FROM trace WHERE trace.trace_id = anchor.trace_id), '') AS service",
            );
            statement.fetch(&self.writers).await?.iter().map(read_due).collect()
        })
        .await
    }

    /// Ends a claim: keeps the verdict, says when the anchor is due again, and settles its requests, all at once. A round
    /// has one verdict of each anchor, the first.
    ///
    /// # Errors
    /// The database failed; then nothing is changed.
    pub async fn finish_anchor(&self, finished: &FinishedAnchor) -> Result<(), StoreError> {
        retried("record an anchor's score", || async {
            let mut transaction = self.begin().await?;
            let connection = &mut *transaction;
            insert(
                connection,
                "anchor_score (trace_id, evaluator, revision, round_at, passed, reason)",
                finished.score.as_slice(),
                |row, score| {
                    row.bind(score.trace_id).bind(key(&score.evaluator)).bind(key(&score.revision));
                    row.bind(score.round_at).bind(i64::from(score.passed)).bind(score.reason.as_deref().map(text));
                },
                "ON CONFLICT (trace_id, evaluator, revision, round_at) DO NOTHING",
            )
            .await?;
            let mut statement = Statement::new("UPDATE anchor SET due_at = ");
            statement.bind(finished.due_at).sql(" WHERE trace_id = ").bind(finished.anchor.trace_id);
            statement.sql(" AND evaluator = ").bind(key(&finished.anchor.evaluator));
            statement.fetch(&mut *connection).await?;
            settle(connection, &finished.calls.iter().collect::<Vec<_>>()).await?;
            transaction.commit().await
        })
        .await
    }

    /// What judges said of anchors, round by round, of one judge or of all.
    ///
    /// # Errors
    /// The database failed.
    pub async fn anchor_scores(&self, evaluator: Option<&str>) -> Result<Vec<AnchorScore>, StoreError> {
        retried("read scores of anchors", || async {
            let mut statement = Statement::new(
                "SELECT anchor_score.trace_id, anchor_score.evaluator, revision, round_at, passed, reason, label \
                 FROM anchor_score JOIN anchor ON anchor.trace_id = anchor_score.trace_id \
                 AND anchor.evaluator = anchor_score.evaluator",
            );
            if let Some(evaluator) = evaluator {
                statement.sql(" WHERE anchor_score.evaluator = ").bind(key(evaluator));
            }
            statement.sql(" ORDER BY anchor_score.evaluator, revision, round_at, anchor_score.trace_id");
            statement.fetch(&self.readers).await?.iter().map(read_score).collect()
        })
        .await
    }
}

fn read_anchor(row: &AnyRow) -> Result<Anchor, sqlx::Error> {
    Ok(Anchor {
        trace_id: row.try_get("trace_id")?,
        evaluator: row.try_get("evaluator")?,
        label: parse_word(row.try_get("label")?)?,
    })
}

fn read_due(row: &AnyRow) -> Result<DueAnchor, sqlx::Error> {
    Ok(DueAnchor {
        anchor: read_anchor(row)?,
        trace_version: row.try_get("version")?,
        service: row.try_get("service")?,
    })
}

fn read_score(row: &AnyRow) -> Result<AnchorScore, sqlx::Error> {
    Ok(AnchorScore {
        trace_id: row.try_get("trace_id")?,
        evaluator: row.try_get("evaluator")?,
        revision: row.try_get("revision")?,
        round_at: row.try_get("round_at")?,
        passed: flag(row, "passed")?,
        reason: row.try_get("reason")?,
        label: parse_word(row.try_get("label")?)?,
    })
}
