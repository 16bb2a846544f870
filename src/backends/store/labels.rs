//! What people say of judged traces, and which of these they are asked about.

use std::collections::{BTreeMap, BTreeSet};

use ring::digest::{SHA256, digest};
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row};

use super::audit_log::append;
use super::columns::{key, limit, parse_word, text};
use super::retry::retried;
use super::statement::{Statement, for_keys, insert};
use super::{Store, StoreError};
use crate::domain::access::{Action, NewLogEntry};
use crate::domain::ids::TraceId;
use crate::domain::label::{Draw, Label};
use crate::domain::time::Timestamp;

const LABELS: &str = "SELECT label.trace_id, label.evaluator, label.revision, label, reviewer, note, labelled_at, origin, \
     coalesce(label.probability, CASE WHEN is_drawn = 1 AND origin = 'review' THEN review_draw.probability END, \
     -1.0) AS probability FROM label LEFT JOIN review_draw ON review_draw.trace_id = label.trace_id \
     AND review_draw.evaluator = label.evaluator AND review_draw.revision = label.revision";
const LABEL_ORDER: &str = " ORDER BY labelled_at, label.trace_id, label.evaluator, label.id";

/// A label on its way into the log.
#[derive(Debug, Clone, PartialEq)]
pub struct NewLabel {
    /// The label.
    pub label: Label,
    /// When it was given, where the giver says so; a label that says the same and is given again is then known.
    pub said_at: Option<Timestamp>,
}

/// A judgement for which no draw was made yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undrawn {
    /// The trace.
    pub trace_id: TraceId,
    /// The judge.
    pub evaluator: String,
    /// Its revision.
    pub revision: String,
    /// Its verdict.
    pub passed: bool,
}

/// Each label with what is the same for the same label given twice. One without a time is told by its place among those
/// before it that say the same: who says pass, fail, pass has changed their mind back, also when all of it comes again.
fn identified(labels: &[NewLabel]) -> Vec<(Vec<u8>, &NewLabel)> {
    let mut times: BTreeMap<String, u64> = BTreeMap::new();
    let identify = |new| {
        let mut said = said(new);
        if new.said_at.is_none() {
            let before = times.entry(said.clone()).or_default();
            if *before > 0 {
                said = format!("{said} {before}");
            }
            *before += 1;
        }
        (digest(&SHA256, said.as_bytes()).as_ref()[..16].to_vec(), new)
    };
    labels.iter().map(identify).collect()
}

fn said(NewLabel { label, said_at }: &NewLabel) -> String {
    let Label { trace_id, evaluator, revision, label, reviewer, note, origin, .. } = label;
    let said_at = said_at.map(|at| at.0);
    format!("{trace_id} {evaluator:?} {revision:?} {label:?} {reviewer:?} {note:?} {origin:?} {said_at:?}")
}

fn logged(label: &Label) -> NewLogEntry {
    let detail = format!("{}={} by {}", label.evaluator, label.label.as_str(), label.reviewer);
    NewLogEntry { action: Action::Label, subject: label.trace_id.to_string(), detail }
}

impl Store {
    /// Adds labels to the log, and tells how many of them were new. What one giver says of one trace without a time comes
    /// in one call.
    ///
    /// # Errors
    /// The database failed; then none is added.
    pub async fn insert_labels(&self, labels: &[NewLabel], now: Timestamp) -> Result<u64, StoreError> {
        let labels = identified(labels);
        retried("keep labels", || async {
            let mut transaction = self.begin().await?;
            let inserted = insert(
                &mut transaction,
                "label (id, trace_id, evaluator, revision, label, reviewer, note, labelled_at, origin, probability)",
                &labels,
                |row, (id, new)| {
                    let label = &new.label;
                    row.bind(id.as_slice()).bind(label.trace_id).bind(key(&label.evaluator));
                    row.bind(label.revision.as_deref().map(key)).bind(label.label.as_str());
                    row.bind(text(&label.reviewer)).bind(label.note.as_deref().map(text)).bind(label.labelled_at);
                    row.bind(label.origin.as_str()).bind_score(label.probability);
                },
                "ON CONFLICT (id) DO NOTHING RETURNING id",
            );
            let inserted = inserted.await?;
            let ids: BTreeSet<Vec<u8>> = inserted.iter().map(|row| row.try_get("id")).collect::<Result<_, _>>()?;
            let new = labels.iter().filter(|(id, _)| ids.contains(id));
            let entries: Vec<NewLogEntry> = new.map(|(_, new)| logged(&new.label)).collect();
            append(&mut transaction, &entries, now).await?;
            transaction.commit().await?;
            Ok(inserted.len() as u64)
        })
        .await
    }

    /// The log in the order of its times, of one judge or of all. Labels that were given here to traces of the audit
    /// sample have its probabilities.
    ///
    /// # Errors
    /// The database failed.
    pub async fn labels(&self, evaluator: Option<&str>) -> Result<Vec<Label>, StoreError> {
        retried("read labels", || async {
            let mut statement = Statement::new(LABELS);
            if let Some(evaluator) = evaluator {
                statement.sql(" WHERE label.evaluator = ").bind(key(evaluator));
            }
            statement.sql(LABEL_ORDER);
            statement.fetch(&self.readers).await?.iter().map(read_label).collect()
        })
        .await
    }

    /// What people said of one trace, in the order of its times.
    ///
    /// # Errors
    /// The database failed.
    pub async fn labels_of(&self, trace_id: TraceId) -> Result<Vec<Label>, StoreError> {
        retried("read labels", || async {
            let mut statement = Statement::new(LABELS);
            statement.sql(" WHERE label.trace_id = ").bind(trace_id).sql(LABEL_ORDER);
            statement.fetch(&self.readers).await?.iter().map(read_label).collect()
        })
        .await
    }

    /// Judgements that were recorded at or after `since` and have had no draw, oldest first.
    ///
    /// # Errors
    /// The database failed.
    pub async fn undrawn(&self, since: Timestamp, most: usize) -> Result<Vec<Undrawn>, StoreError> {
        retried("look for judgements to draw from", || async {
            let mut statement = Statement::new(
                "SELECT evaluation.trace_id, evaluation.evaluator, evaluation.revision, evaluation.value FROM evaluation \
                 LEFT JOIN review_draw ON review_draw.trace_id = evaluation.trace_id \
                 AND review_draw.evaluator = evaluation.evaluator AND review_draw.revision = evaluation.revision \
                 WHERE annotator_kind = 'llm' AND outcome = 'scored' AND review_draw.trace_id IS NULL \
                 AND evaluated_at >= ",
            );
            statement.bind(since).sql(" ORDER BY evaluated_at LIMIT ").bind(limit(most));
            let read = |row: &AnyRow| {
                Ok(Undrawn {
                    trace_id: row.try_get("trace_id")?,
                    evaluator: row.try_get("evaluator")?,
                    revision: row.try_get("revision")?,
                    passed: row.try_get::<f64, _>("value")? >= 0.5,
                })
            };
            statement.fetch(&self.readers).await?.iter().map(read).collect()
        })
        .await
    }
}

/// Keeps draws; the first draw of a judgement stands. What is drawn keeps its spans until `keep_until` at least.
pub(super) async fn insert_draws(
    connection: &mut AnyConnection,
    draws: &[(Undrawn, Draw)],
    now: Timestamp,
    keep_until: Timestamp,
) -> Result<(), sqlx::Error> {
    insert(
        connection,
        "review_draw (trace_id, evaluator, revision, probability, is_drawn, drawn_at)",
        draws,
        |row, (of, draw)| {
            row.bind(of.trace_id).bind(key(&of.evaluator)).bind(key(&of.revision));
            row.bind(draw.probability).bind(i64::from(draw.is_drawn)).bind(now);
        },
        "ON CONFLICT (trace_id, evaluator, revision) DO NOTHING",
    )
    .await?;
    let drawn: BTreeSet<TraceId> = draws.iter().filter(|(_, draw)| draw.is_drawn).map(|(of, _)| of.trace_id).collect();
    let keep = format!("UPDATE trace SET keep_body_until = {} WHERE trace_id IN", keep_until.0);
    let after = format!(" AND body_purged = 0 AND keep_body_until < {}", keep_until.0);
    for_keys(connection, &keep, &drawn.into_iter().collect::<Vec<_>>(), &after).await.map(drop)
}

pub(super) fn read_label(row: &AnyRow) -> Result<Label, sqlx::Error> {
    Ok(Label {
        trace_id: row.try_get("trace_id")?,
        evaluator: row.try_get("evaluator")?,
        revision: row.try_get("revision")?,
        label: parse_word(row.try_get("label")?)?,
        reviewer: row.try_get("reviewer")?,
        note: row.try_get("note")?,
        labelled_at: row.try_get("labelled_at")?,
        origin: parse_word(row.try_get("origin")?)?,
        probability: Some(row.try_get("probability")?).filter(|probability| *probability >= 0.0),
    })
}
