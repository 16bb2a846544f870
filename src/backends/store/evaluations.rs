//! What evaluators said of traces: a row for each that is looked for by itself, and a list for the rest of a trace.
//!
//! Most rules pass, or have nothing to say. That is read with its trace and counted, and nobody looks for it across
//! traces: one row holds all of it, where rows of their own were most of the rows that a trace wrote. What fails, what a
//! judge scored and what may still be replaced has a row of its own in `evaluation`. In SQL a list's items are the rows
//! of `listed_evaluation`.

use std::borrow::Cow;
use std::collections::BTreeSet;

use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row};

use super::columns::{clean, cut, flag, json, key, limit, parse_json, parse_word, text};
use super::retry::retried;
use super::statement::insert;
use super::traces::RecordedTrace;
use super::{Store, StoreError};
use crate::domain::evaluation::{AnnotatorKind, Evaluation, Outcome};
use crate::domain::ids::{SpanId, TraceId};
use crate::domain::time::Timestamp;

/// One evaluation with what statistics must know of it.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredEvaluation {
    /// The evaluation.
    pub evaluation: Evaluation,
    /// Version of the trace that was evaluated.
    pub trace_version: i64,
    /// Probability with which the trace was chosen for this evaluator.
    pub probability: f64,
}

impl Store {
    /// The evaluations of a trace, by evaluator and revision.
    ///
    /// # Errors
    /// The database failed.
    pub async fn evaluations(&self, trace_id: TraceId) -> Result<Vec<StoredEvaluation>, StoreError> {
        retried("read evaluations", || async {
            let mut transaction = self.begin_read().await?;
            let own = "SELECT trace_id, evaluator, revision, trace_version, span_id, annotator_kind, outcome, value, label, \
                       explanation, probability, truncated, split FROM evaluation WHERE trace_id = $1";
            let own = sqlx::query(own).bind(trace_id).fetch_all(&mut *transaction).await?;
            let listed = "SELECT trace_version, span_id, evaluations, explanations FROM evaluation_list WHERE trace_id = $1";
            let listed = sqlx::query(listed).bind(trace_id).fetch_optional(&mut *transaction).await?;
            transaction.commit().await?;
            let mut evaluations: Vec<StoredEvaluation> = own.iter().map(read_evaluation).collect::<Result<_, _>>()?;
            if let Some(row) = listed {
                evaluations.extend(read_list(trace_id, &row)?);
            }
            evaluations.sort_by(|one, other| {
                let (one, other) = (&one.evaluation, &other.evaluation);
                (&one.evaluator, &one.revision).cmp(&(&other.evaluator, &other.revision))
            });
            Ok(evaluations)
        })
        .await
    }
}

/// One of a list: evaluator, revision, annotator kind, outcome, value, label.
type Listed<'a> = (Cow<'a, str>, Cow<'a, str>, AnnotatorKind, Outcome, Option<f64>, Option<Cow<'a, str>>);

/// Whether an evaluation stands in its trace's list: nobody looks for it by itself, nothing comes in place of it while
/// the trace's version stands, and it is of the whole run.
fn is_listed(recorded: &RecordedTrace, stored: &StoredEvaluation) -> bool {
    let of = &stored.evaluation;
    let is_final = match (of.annotator_kind, of.outcome) {
        (_, Outcome::Failed | Outcome::SkippedBudget) | (AnnotatorKind::Human | AnnotatorKind::External, _) => false,
        (AnnotatorKind::Llm, Outcome::Scored) => false,
        (AnnotatorKind::Code | AnnotatorKind::Llm, _) => !of.is_failing(),
    };
    let is_of_run = of.span_id == recorded.trace.root_span_id && stored.trace_version == recorded.trace.version;
    is_final && is_of_run && stored.probability >= 1.0 && !of.truncated && !of.split
}

/// Writes the evaluations that are known when a trace is recorded: lists, and rows of their own.
pub(super) async fn insert_recorded(
    connection: &mut AnyConnection,
    recorded: &[&RecordedTrace],
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    let (mut own, mut lists) = (Vec::new(), Vec::new());
    for it in recorded {
        let (listed, others): (Vec<&StoredEvaluation>, Vec<_>) =
            it.evaluations.iter().partition(|one| is_listed(it, one));
        own.extend(others);
        if !listed.is_empty() {
            lists.push((*it, listed.len(), labels(&listed), write_list(&listed)?));
        }
    }
    insert(
        connection,
        "evaluation_list (trace_id, trace_version, span_id, evaluated_at, listed, labels, evaluations, explanations)",
        &lists,
        |row, (it, listed, labels, (evaluations, explanations))| {
            row.bind(it.trace.trace_id).bind(it.trace.version).bind(it.trace.root_span_id).bind(now);
            row.bind(limit(*listed)).bind(labels.as_str());
            row.bind(evaluations.as_str()).bind(explanations.as_str());
        },
        "",
    )
    .await?;
    insert_evaluations(connection, &own, now, Scored::WithTrace).await
}

/// The labels of scores, each on a line of its own; see [`line()`].
fn labels(listed: &[&StoredEvaluation]) -> String {
    let scored = listed.iter().filter(|stored| stored.evaluation.outcome == Outcome::Scored);
    let labels: BTreeSet<String> = scored
        .filter_map(|stored| stored.evaluation.label.as_deref())
        .map(|label| text(&label.to_lowercase()))
        .collect();
    labels.iter().map(|label| line(label)).collect()
}

/// How a label stands among those of a list, and is looked for there.
pub(super) fn line(label: &str) -> String {
    format!("\n{label}\n")
}

/// Evaluations and their explanations as JSON.
fn write_list(listed: &[&StoredEvaluation]) -> Result<(String, String), sqlx::Error> {
    let of = listed.iter().map(|stored| &stored.evaluation);
    let name = |name| clean(cut(name));
    let evaluations = of.clone().map(|it| {
        (
            name(&it.evaluator),
            name(&it.revision),
            it.annotator_kind,
            it.outcome,
            it.value,
            it.label.as_deref().map(clean),
        )
    });
    let explanations = of.map(|it| it.explanation.as_deref().map(clean));
    Ok((json(&evaluations.collect::<Vec<Listed<'_>>>())?, json(&explanations.collect::<Vec<_>>())?))
}

fn read_list(trace_id: TraceId, row: &AnyRow) -> Result<Vec<StoredEvaluation>, sqlx::Error> {
    let (trace_version, span_id): (i64, SpanId) = (row.try_get("trace_version")?, row.try_get("span_id")?);
    let listed: Vec<Listed<'_>> = parse_json(row.try_get("evaluations")?)?;
    let explanations: Option<&str> = row.try_get("explanations")?;
    let mut explanations: Vec<Option<String>> = explanations.map(parse_json).transpose()?.unwrap_or_default();
    explanations.resize(listed.len(), None);
    let stored = |((evaluator, revision, annotator_kind, outcome, value, label), explanation): (Listed<'_>, _)| {
        let (evaluator, revision) = (evaluator.into_owned(), revision.into_owned());
        let label = label.map(Cow::into_owned);
        let (truncated, split) = (false, false);
        let evaluation = Evaluation {
            trace_id,
            span_id,
            evaluator,
            revision,
            annotator_kind,
            outcome,
            value,
            label,
            explanation,
            truncated,
            split,
        };
        StoredEvaluation { evaluation, trace_version, probability: 1.0 }
    };
    Ok(listed.into_iter().zip(explanations).map(stored).collect())
}

/// When a trace is scored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scored {
    /// With its record.
    WithTrace,
    /// After it. A score of the same trace version stands in for the one before.
    Later,
}

const REPLACE_EVALUATION: &str = "ON CONFLICT (trace_id, evaluator, revision) DO UPDATE SET \
     trace_version = excluded.trace_version, span_id = excluded.span_id, annotator_kind = excluded.annotator_kind, \
     outcome = excluded.outcome, value = excluded.value, label = excluded.label, explanation = excluded.explanation, \
     probability = excluded.probability, evaluated_at = excluded.evaluated_at, truncated = excluded.truncated, \
     after_record = excluded.after_record, split = excluded.split";

/// Writes evaluations.
pub(super) async fn insert_evaluations(
    connection: &mut AnyConnection,
    evaluations: &[&StoredEvaluation],
    now: Timestamp,
    scored: Scored,
) -> Result<(), sqlx::Error> {
    insert(
        connection,
        "evaluation (trace_id, evaluator, revision, trace_version, span_id, annotator_kind, outcome, value, label, \
         explanation, probability, evaluated_at, truncated, after_record, split)",
        evaluations,
        |row, stored| {
            let evaluation = &stored.evaluation;
            row.bind(evaluation.trace_id).bind(key(&evaluation.evaluator)).bind(key(&evaluation.revision));
            row.bind(stored.trace_version).bind(evaluation.span_id);
            row.bind(evaluation.annotator_kind.as_str());
            row.bind(evaluation.outcome.as_str()).bind_score(evaluation.value);
            row.bind(evaluation.label.as_deref().map(text)).bind(evaluation.explanation.as_deref().map(text));
            row.bind(stored.probability).bind(now).bind(i64::from(evaluation.truncated));
            // A record has what rules scored with it.
            let is_later = scored == Scored::Later || evaluation.annotator_kind == AnnotatorKind::Llm;
            row.bind(i64::from(is_later && evaluation.outcome == Outcome::Scored)).bind(i64::from(evaluation.split));
        },
        if scored == Scored::Later { REPLACE_EVALUATION } else { "" },
    )
    .await
    .map(drop)
}

/// Reads a row of `evaluation`.
pub(super) fn read_evaluation(row: &AnyRow) -> Result<StoredEvaluation, sqlx::Error> {
    let outcome: &str = row.try_get("outcome")?;
    let unknown = || sqlx::Error::Decode(format!("unknown outcome {outcome:?}").into());
    let evaluation = Evaluation {
        trace_id: row.try_get("trace_id")?,
        span_id: row.try_get("span_id")?,
        evaluator: row.try_get("evaluator")?,
        revision: row.try_get("revision")?,
        annotator_kind: parse_word(row.try_get("annotator_kind")?)?,
        outcome: Outcome::parse(outcome).ok_or_else(unknown)?,
        value: row.try_get("value")?,
        label: row.try_get("label")?,
        explanation: row.try_get("explanation")?,
        truncated: flag(row, "truncated")?,
        split: flag(row, "split")?,
    };
    Ok(StoredEvaluation {
        evaluation,
        trace_version: row.try_get("trace_version")?,
        probability: row.try_get("probability")?,
    })
}
