//! Scores in Langfuse: `POST /api/public/ingestion` with `score-create` events.
//!
//! Langfuse merges events about one score by its id, within one day of the event's time. So the time is that of the
//! evaluation, and not of the request: a repeat on the next day is still the same score.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{LARGEST_ANSWER, Score};
use crate::backends::http::{HttpSender, Method, SendError};

const PATH: &str = "api/public/ingestion";

/// The answer, of which the status is 207 whatever became of the events.
#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    errors: Vec<Rejection>,
}

/// An event that was not taken.
#[derive(Deserialize)]
struct Rejection {
    status: u16,
    #[serde(default)]
    message: Option<String>,
}

/// Tells Langfuse the scores.
pub(super) async fn send(sender: &HttpSender, scores: &[Score<'_>]) -> Result<(), SendError> {
    let events: Vec<Value> = scores.iter().map(event).collect();
    let body = json!({ "batch": events }).to_string().into_bytes();
    let answer = sender.call_below(Method::POST, PATH, body, LARGEST_ANSWER).await?;
    let Ok(answer) = serde_json::from_slice::<Answer>(&answer) else {
        return Err(sender.refusal(502, "the answer is none of Langfuse"));
    };
    // One that asks to come back makes all come back: a repeat changes nothing.
    match answer.errors.into_iter().max_by_key(|rejection| rejection.status) {
        Some(Rejection { status, message }) => Err(sender.refusal(status, &message.unwrap_or_default())),
        None => Ok(()),
    }
}

fn event(score: &Score<'_>) -> Value {
    let (row, id) = (score.row, score.id());
    json!({
        // Events of one id are taken once: a later version is another event about the same score.
        "id": format!("{id}-{}", score.write_back.trace_version),
        "type": "score-create",
        "timestamp": score.write_back.evaluated_at.to_string(),
        "body": {
            "id": id,
            "traceId": row.trace_id,
            "observationId": row.span_id,
            "name": row.evaluator,
            "value": row.value,
            "dataType": "NUMERIC",
            "comment": row.explanation,
            "metadata": score.metadata(),
        },
    })
}
