//! A stored trace: what it was, every span that is still kept, and its scores as attributes of their spans.

use serde::{Deserialize, Serialize};

use super::scores::{ScoreRow, rows};
use super::search::FoundTrace;
use super::span::{Attributes, StoredSpan, spans};
use super::{QueryError, body, not_evaluated};
use crate::backends::store::Store;
use crate::domain::evaluation::{Evaluation, Outcome};
use crate::domain::ids::{SpanId, TraceId};
use crate::domain::time::Timestamp;
use crate::domain::trace::Trace;
use crate::evaluate::sampling::SamplingDecision;
use crate::normalize::{AttributeMapping, PriceTable, normalize_priced};
use crate::otlp::RawTrace;

/// Everything that is kept of one evaluated trace.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TraceView {
    /// The trace in short.
    #[serde(flatten)]
    pub summary: FoundTrace,
    /// Counts evaluations of the whole trace, from 1.
    pub version: i64,
    /// The root span, or the earliest when the root never arrived.
    pub root_span_id: SpanId,
    /// Whether sampling chose the trace, with what probability, and why; absent when it cannot be read any more.
    pub decision: Option<SamplingDecision>,
    /// What is left of the spans.
    pub body: Body,
    /// Attributes of the resources that spans name.
    pub resources: Vec<Attributes>,
    /// The spans by start. When the body is gone: the root and the judged spans, with nothing but their scores.
    pub spans: Vec<StoredSpan>,
    /// A row for each evaluator, by name; then those of others, each with its `source`.
    pub scores: Vec<ScoreRow>,
}

/// Whether the spans of a trace are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub struct Body {
    /// Whether they are.
    pub kept: bool,
    /// Kept at least until, or gone since about, this instant; in nanoseconds since the Unix epoch.
    pub until: Timestamp,
}

/// Answers for one trace.
///
/// # Errors
/// The trace is not evaluated, its spans are damaged, or the store failed.
pub async fn trace(store: &Store, trace_id: TraceId) -> Result<TraceView, QueryError> {
    Ok(read(store, trace_id).await?.0)
}

/// A stored trace, and the run that its spans tell of while they are kept.
///
/// # Errors
/// The trace is not evaluated, its spans are damaged, or the store failed.
pub async fn trace_and_run(
    store: &Store,
    trace_id: TraceId,
    names: &AttributeMapping,
    prices: &PriceTable,
) -> Result<(TraceView, Option<Trace>), QueryError> {
    let (view, raw) = read(store, trace_id).await?;
    Ok((view, raw.and_then(|raw| normalize_priced(&raw, names, prices))))
}

async fn read(store: &Store, trace_id: TraceId) -> Result<(TraceView, Option<RawTrace>), QueryError> {
    let Some(stored) = store.trace(trace_id).await? else {
        return Err(not_evaluated(store, trace_id).await?);
    };
    let scores = rows(store, &stored).await?;
    let raw = body(store, trace_id).await?;
    let body = Body { kept: raw.is_some(), until: stored.keep_body_until };
    let (mut spans, resources) = raw.as_ref().map(spans).unwrap_or_default();
    for row in scores.iter().filter(|row| row.source.is_none()) {
        add_scores(&mut spans, stored.root_span_id, &row.evaluation);
    }
    let view = TraceView {
        version: stored.version,
        root_span_id: stored.root_span_id,
        decision: serde_json::from_str(&stored.decision).ok(),
        summary: FoundTrace::from(stored),
        body,
        resources,
        spans,
        scores,
    };
    Ok((view, raw))
}

/// Adds a score to the span it judges and to the root span; what a trace says of its own scores is replaced.
fn add_scores(spans: &mut Vec<StoredSpan>, root_span_id: SpanId, evaluation: &Evaluation) {
    if evaluation.outcome != Outcome::Scored {
        return;
    }
    for span_id in [root_span_id, evaluation.span_id] {
        let index = spans.iter().position(|span| span.span_id == span_id).unwrap_or_else(|| {
            spans.push(StoredSpan::unknown(span_id));
            spans.len() - 1
        });
        spans[index].attributes.extend(score_attributes(evaluation));
    }
}

/// `driftline.eval.<name>.score`, `.label`, `.explanation` and `.revision`, and `.truncated` where it is true.
fn score_attributes(evaluation: &Evaluation) -> Attributes {
    let values = [
        ("score", evaluation.value.map(Into::into)),
        ("label", evaluation.label.as_deref().map(Into::into)),
        ("explanation", evaluation.explanation.as_deref().map(Into::into)),
        ("revision", Some(evaluation.revision.as_str().into())),
        ("truncated", evaluation.truncated.then(|| true.into())),
    ];
    let name = |part| format!("driftline.eval.{}.{part}", evaluation.evaluator);
    values.into_iter().filter_map(|(part, value)| Some((name(part), value?))).collect()
}
