//! Assessments in MLflow: `POST /api/3.0/mlflow/traces/{trace}/assessments`, else `PATCH` of the one that is there.
//!
//! MLflow takes an id of ours, and answers a second assessment of the same id with status 500. What is there is then
//! brought up to date.

use serde_json::{Value, json};

use super::{LARGEST_ANSWER, Score};
use crate::backends::http::{HttpSender, Method, SendError};
use crate::domain::evaluation::AnnotatorKind;

/// What of an assessment can change; its source and span cannot.
const CHANGEABLE: &str = "feedback,rationale,metadata";

/// Tells MLflow the scores, one after another.
pub(super) async fn send(sender: &HttpSender, scores: &[Score<'_>]) -> Result<(), SendError> {
    for score in scores {
        put(sender, score).await?;
    }
    Ok(())
}

async fn put(sender: &HttpSender, score: &Score<'_>) -> Result<(), SendError> {
    let (path, assessment) =
        (format!("api/3.0/mlflow/traces/tr-{}/assessments", score.row.trace_id), assessment(score));
    let body = json!({ "assessment": assessment }).to_string().into_bytes();
    let Err(error) = sender.call_below(Method::POST, &path, body, LARGEST_ANSWER).await else { return Ok(()) };
    if !may_be_there(&error) {
        return Err(error);
    }
    let path = format!("{path}/{}", assessment_id(score));
    let body = json!({ "assessment": assessment, "update_mask": CHANGEABLE }).to_string().into_bytes();
    let updated = sender.call_below(Method::PATCH, &path, body, LARGEST_ANSWER).await;
    // Where there is none to bring up to date, the first answer says what is wrong.
    updated.map(drop).map_err(|_| error)
}

/// Whether this is how an assessment is refused that exists: 500 today, and what it should be otherwise.
const fn may_be_there(error: &SendError) -> bool {
    matches!(error, SendError::Later { status: 500, .. } | SendError::Refused { status: 400 | 409, .. })
}

fn assessment_id(score: &Score<'_>) -> String {
    format!("a-{}", score.id())
}

fn assessment(score: &Score<'_>) -> Value {
    let row = score.row;
    json!({
        "assessment_id": assessment_id(score),
        "assessment_name": row.evaluator,
        "trace_id": format!("tr-{}", row.trace_id),
        "span_id": row.span_id,
        "source": { "source_type": source_type(row.annotator_kind), "source_id": format!("driftline:{}", row.revision) },
        "feedback": { "value": row.value },
        "rationale": row.explanation,
        "metadata": score.metadata(),
    })
}

const fn source_type(kind: AnnotatorKind) -> &'static str {
    match kind {
        AnnotatorKind::Code | AnnotatorKind::External => "CODE",
        AnnotatorKind::Llm => "LLM_JUDGE",
        AnnotatorKind::Human => "HUMAN",
    }
}
