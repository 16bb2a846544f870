//! Annotations of spans in Phoenix: `POST /v1/span_annotations`.
//!
//! Phoenix keeps one annotation for each name, span and identifier. It is asked to answer when the annotations are
//! stored (`sync`): it would hold them in memory otherwise, and lose them with its process.

use serde_json::{Value, json};

use super::{LARGEST_ANSWER, Score};
use crate::backends::http::{HttpSender, Method, SendError};
use crate::domain::evaluation::AnnotatorKind;

const PATH: &str = "v1/span_annotations?sync=true";

/// Tells Phoenix the scores; it takes all of them or, when it does not know a span, none.
pub(super) async fn send(sender: &HttpSender, scores: &[Score<'_>]) -> Result<(), SendError> {
    let annotations: Vec<Value> = scores.iter().map(annotation).collect();
    let body = json!({ "data": annotations }).to_string().into_bytes();
    sender.call_below(Method::POST, PATH, body, LARGEST_ANSWER).await.map(drop)
}

fn annotation(score: &Score<'_>) -> Value {
    let row = score.row;
    json!({
        "span_id": row.span_id,
        "name": row.evaluator,
        "annotator_kind": annotator_kind(row.annotator_kind),
        "identifier": format!("driftline:{}", row.revision),
        "result": { "score": row.value, "label": row.label, "explanation": row.explanation },
        "metadata": score.metadata(),
    })
}

const fn annotator_kind(kind: AnnotatorKind) -> &'static str {
    match kind {
        AnnotatorKind::Code | AnnotatorKind::External => "CODE",
        AnnotatorKind::Llm => "LLM",
        AnnotatorKind::Human => "HUMAN",
    }
}
