//! Requests to judge models as spans of our own: apart from the judged trace, so that what a judge costs is not counted
//! as the agent's, and linked to the span that was judged.

use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

use super::write_back::{attribute, nanos, number, text};
use crate::backends::store::JudgeCall;
use crate::domain::ids::{SpanId, TraceId};
use crate::domain::time::Timestamp;
use crate::otlp::{KeyValue, Span, Status, any_value, span, status};

/// One request, as it is told of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CallSpan {
    id: String,
    sent_at: Timestamp,
    ended_at: Timestamp,
    trace_id: TraceId,
    target: SpanId,
    service: String,
    evaluator: String,
    revision: String,
    model: String,
    response_model: Option<String>,
    input_tokens: u64,
    output_tokens: u64,
    cost_usd: f64,
    outcome: String,
}

impl CallSpan {
    /// The span of a request that has ended, `model` being the one that was asked for; `None` when it was not sent.
    #[must_use]
    pub fn new(call: &JudgeCall, model: &str, target: SpanId) -> Option<Self> {
        let settled = call.settled.as_ref().filter(|_| call.was_sent())?;
        Some(Self {
            id: hex::encode(call.id),
            sent_at: settled.sent_at,
            ended_at: settled.at,
            trace_id: call.trace_id,
            target,
            service: call.service.clone(),
            evaluator: call.evaluator.clone(),
            revision: call.revision.clone(),
            model: model.to_owned(),
            response_model: settled.response_model.clone(),
            input_tokens: settled.usage.input,
            output_tokens: settled.usage.output,
            cost_usd: settled.charged.usd(),
            outcome: settled.outcome.clone(),
        })
    }

    /// The trace that was judged.
    pub(super) const fn trace_id(&self) -> TraceId {
        self.trace_id
    }

    /// What tells this request from every other.
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// The span (GenAI semantic conventions, inference). Requests about one trace share a trace of their own.
    pub(super) fn span(&self) -> Span {
        let (judged, call) = (format!("driftline.judging.{}", self.trace_id), format!("driftline.call.{}", self.id));
        let is_answered = self.outcome == "answered";
        let status = Status { code: status::StatusCode::Error.into(), ..Status::default() };
        Span {
            trace_id: digest(&SHA256, judged.as_bytes()).as_ref()[..16].to_vec(),
            span_id: digest(&SHA256, call.as_bytes()).as_ref()[..8].to_vec(),
            name: format!("chat {}", self.model),
            kind: span::SpanKind::Client.into(),
            start_time_unix_nano: nanos(self.sent_at),
            end_time_unix_nano: nanos(self.ended_at),
            attributes: self.attributes(is_answered),
            links: vec![span::Link {
                trace_id: self.trace_id.as_bytes().to_vec(),
                span_id: self.target.as_bytes().to_vec(),
                ..span::Link::default()
            }],
            status: (!is_answered).then_some(status),
            ..Span::default()
        }
    }

    fn attributes(&self, is_answered: bool) -> Vec<KeyValue> {
        let tokens = |count: u64| any_value::Value::IntValue(i64::try_from(count).unwrap_or(i64::MAX));
        let mut attributes = vec![
            text("openinference.span.kind", "LLM"),
            text("gen_ai.operation.name", "chat"),
            text("gen_ai.request.model", &self.model),
            attribute("gen_ai.usage.input_tokens", tokens(self.input_tokens)),
            attribute("gen_ai.usage.output_tokens", tokens(self.output_tokens)),
            number("driftline.judge.cost_usd", self.cost_usd),
            text("driftline.judge.evaluator", &self.evaluator),
            text("driftline.judge.revision", &self.revision),
            text("driftline.judge.service", &self.service),
        ];
        attributes.extend(self.response_model.iter().map(|model| text("gen_ai.response.model", model)));
        if !is_answered {
            attributes.push(text("error.type", &self.outcome));
        }
        attributes
    }
}
