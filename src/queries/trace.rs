//! A stored trace: what it was, every span that is still kept, and its scores as attributes of their spans.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::scores::ScoreRow;
use super::search::latency_seconds;
use super::span::{Attributes, StoredSpan, spans};
use super::{QueryError, body, not_evaluated};
use crate::backends::store::{Store, StoredTrace};
use crate::domain::evaluation::{Evaluation, Outcome};
use crate::domain::ids::{SpanId, TraceId};
use crate::domain::time::Timestamp;
use crate::domain::trace::Trace;
use crate::evaluate::sampling::SamplingDecision;
use crate::normalize::{AttributeMapping, normalize};
use crate::otlp::RawTrace;

/// Everything that is kept of one evaluated trace.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TraceView {
    /// The trace.
    pub trace_id: TraceId,
    /// Counts evaluations of the whole trace, from 1.
    pub version: i64,
    /// The root span, or the earliest when the root never arrived.
    pub root_span_id: SpanId,
    /// `service.name`.
    pub service: String,
    /// The release.
    pub release: Option<String>,
    /// The model; several are joined by `+`.
    pub model: Option<String>,
    /// The deployment environment.
    pub environment: Option<String>,
    /// The conversation.
    pub conversation_id: Option<String>,
    /// The end user.
    pub user_id: Option<String>,
    /// Configured attributes and business ids.
    pub attributes: BTreeMap<String, String>,
    /// Earliest span start, in nanoseconds since the Unix epoch.
    pub started_at: Timestamp,
    /// Latest span end, in nanoseconds since the Unix epoch.
    pub ended_at: Timestamp,
    /// Wall time; `null` when the sender's clock is invented.
    pub latency_seconds: Option<f64>,
    /// Whether a rule or a judge flags the trace.
    pub failing: bool,
    /// Whether the run as a whole ended in an error.
    pub error: bool,
    /// Whether sampling chose the trace, with what probability, and why; absent when it cannot be read any more.
    pub decision: Option<SamplingDecision>,
    /// What is left of the spans.
    pub body: Body,
    /// Attributes of the resources that spans name.
    pub resources: Vec<Attributes>,
    /// The spans by start. When the body is gone: the root and the judged spans, with nothing but their scores.
    pub spans: Vec<StoredSpan>,
    /// A row for each evaluator, by name.
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
) -> Result<(TraceView, Option<Trace>), QueryError> {
    let (view, raw) = read(store, trace_id).await?;
    Ok((view, raw.and_then(|raw| normalize(&raw, names))))
}

async fn read(store: &Store, trace_id: TraceId) -> Result<(TraceView, Option<RawTrace>), QueryError> {
    let Some(stored) = store.trace(trace_id).await? else {
        return Err(not_evaluated(store, trace_id).await?);
    };
    let scores: Vec<ScoreRow> = store.evaluations(trace_id).await?.into_iter().map(ScoreRow::from).collect();
    let raw = body(store, trace_id).await?;
    let body = Body { kept: raw.is_some(), until: stored.keep_body_until };
    let (mut spans, resources) = raw.as_ref().map(spans).unwrap_or_default();
    for row in &scores {
        add_scores(&mut spans, stored.root_span_id, &row.evaluation);
    }
    Ok((view(stored, body, resources, spans, scores), raw))
}

fn view(
    stored: StoredTrace,
    body: Body,
    resources: Vec<Attributes>,
    spans: Vec<StoredSpan>,
    scores: Vec<ScoreRow>,
) -> TraceView {
    TraceView {
        trace_id: stored.trace_id,
        version: stored.version,
        root_span_id: stored.root_span_id,
        service: stored.service,
        release: stored.release,
        model: stored.model,
        environment: stored.environment,
        conversation_id: stored.conversation_id,
        user_id: stored.user_id,
        attributes: stored.attributes,
        started_at: stored.started_at,
        ended_at: stored.ended_at,
        latency_seconds: latency_seconds(&stored.record),
        failing: stored.failing,
        error: stored.error,
        decision: serde_json::from_str(&stored.decision).ok(),
        body,
        resources,
        spans,
        scores,
    }
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

/// `driftline.eval.<name>.score`, `.label`, `.explanation` and `.revision`.
fn score_attributes(evaluation: &Evaluation) -> Attributes {
    let values = [
        ("score", evaluation.value.map(Into::into)),
        ("label", evaluation.label.as_deref().map(Into::into)),
        ("explanation", evaluation.explanation.as_deref().map(Into::into)),
        ("revision", Some(evaluation.revision.as_str().into())),
    ];
    let name = |part| format!("driftline.eval.{}.{part}", evaluation.evaluator);
    values.into_iter().filter_map(|(part, value)| Some((name(part), value?))).collect()
}
