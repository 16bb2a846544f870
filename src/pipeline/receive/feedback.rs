//! `POST /api/v1/feedback` beside the traces that it is about, for applications that reach this listener alone. The web
//! listener takes the same.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use super::Receiver;
use super::http::answer;
use super::refusal::Refusal;
use crate::domain::external_score::NewExternalScore;
use crate::domain::feedback::{LARGEST_BODY, parse};
use crate::otlp::{Compression, Encoding};
use crate::pipeline::intake::Received;
use crate::pipeline::publish::{Content, Sent};

pub(super) async fn feedback(State(receiver): State<Arc<Receiver>>, body: Body) -> Response {
    match take(&receiver, body).await {
        Ok(new) => Json(json!({ "trace_id": new.score.trace_id })).into_response(),
        Err(refusal) => answer(&refusal, None),
    }
}

async fn take(receiver: &Receiver, body: Body) -> Result<NewExternalScore, Refusal> {
    let (body, room) = receiver.read(body, LARGEST_BODY).await?;
    let object: Map<String, Value> = serde_json::from_slice(&body)
        .map_err(|error| Refusal::Invalid(format!("the body is no JSON object: {error}")))?;
    let new = parse(&object)?;
    let received = Received { scores: vec![new.clone()], ..Received::default() };
    let content_type = Encoding::Json.content_type();
    let sent = Sent { content: Content::Feedback, content_type, compression: Compression::None, body };
    let redacted = receiver.way_in.redaction().map(|redaction| redaction.of_feedback(object, &new.score));
    receiver.metrics.redacted.inc_by(redacted.as_ref().map_or(0, |redacted| redacted.count));
    let sent = sent.replaced_by(redacted, content_type);
    receiver.way_in.take(received, sent, room).await.map_err(|error| receiver.not_stored(error))?;
    Ok(new)
}
