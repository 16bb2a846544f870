//! Scores as OpenTelemetry: one evaluation span and one `gen_ai.evaluation.result` log event for each.
//!
//! A span that has ended is immutable, so a score is a new span in the same trace: child of the span it judges and
//! linked to it. Its id follows from trace, version, evaluator and revision, so that a repeat is the same span. It
//! carries the names of three readers: ours, the GenAI semantic conventions, and OpenInference annotations.

use ring::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};

use super::judge_spans::CallSpan;
use crate::backends::store::NewOutboxItem;
use crate::domain::evaluation::{AnnotatorKind, Evaluation, Outcome};
use crate::domain::ids::{SpanId, TraceId};
use crate::domain::time::Timestamp;
use crate::domain::trace::Trace;
use crate::otlp::{
    AnyValue, ExportLogsServiceRequest, ExportTraceServiceRequest, InstrumentationScope, KeyValue, LogRecord,
    OWN_SCOPE, Resource, ResourceLogs, ResourceSpans, ScopeLogs, ScopeSpans, Span, any_value, span,
};

/// Name of the event (GenAI semantic conventions, events).
const EVENT: &str = "gen_ai.evaluation.result";
/// `SEVERITY_NUMBER_INFO` and `SEVERITY_NUMBER_WARN` (OpenTelemetry logs data model).
const SEVERITY_INFO: i32 = 9;
const SEVERITY_WARN: i32 = 13;

/// Scores of one trace that go back to where the traces live: what an outbox item holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WriteBack {
    /// Service of the trace.
    pub service: String,
    /// Version of the trace that was evaluated.
    pub trace_version: i64,
    /// When the scores were made.
    pub evaluated_at: Timestamp,
    /// Conversation of the trace.
    pub conversation_id: Option<String>,
    /// The scores, and judgements that failed.
    pub evaluations: Vec<Evaluation>,
    /// Requests to judge models.
    #[serde(default)]
    pub calls: Vec<CallSpan>,
}

impl WriteBack {
    /// What is worth telling of a trace's evaluations and of the requests to judges; `None` when that is nothing.
    #[must_use]
    pub fn new(
        trace: &Trace,
        trace_version: i64,
        evaluated_at: Timestamp,
        rows: &[Evaluation],
        calls: Vec<CallSpan>,
    ) -> Option<Self> {
        let is_told = |row: &&Evaluation| matches!(row.outcome, Outcome::Scored | Outcome::Failed);
        let evaluations: Vec<Evaluation> = rows.iter().filter(is_told).cloned().collect();
        (!evaluations.is_empty() || !calls.is_empty()).then(|| Self {
            service: trace.service.clone(),
            trace_version,
            evaluated_at,
            conversation_id: trace.conversation_id.clone(),
            evaluations,
            calls,
        })
    }

    /// One outbox item for each destination; rules and each judge of a trace version have a key of their own.
    #[must_use]
    pub fn items(&self, destinations: &[String]) -> Vec<NewOutboxItem> {
        let (Some(key), Ok(payload)) = (self.key(), serde_json::to_vec(self)) else { return Vec::new() };
        let item = |destination: &String| NewOutboxItem {
            destination: destination.clone(),
            key: key.clone(),
            payload: payload.clone(),
        };
        destinations.iter().map(item).collect()
    }

    /// The trace and its version that the scores are of; `None` where there are none.
    #[must_use]
    pub fn subject(&self) -> Option<(TraceId, i64)> {
        self.evaluations.first().map(|row| (row.trace_id, self.trace_version))
    }

    /// Begins with the trace, so that what is erased is not sent.
    fn key(&self) -> Option<String> {
        let Some(first) = self.evaluations.first() else {
            return self.calls.first().map(|call| format!("{}:call:{}", call.trace_id(), call.id()));
        };
        let part = match first.annotator_kind {
            AnnotatorKind::Code => "rules".to_owned(),
            AnnotatorKind::Llm | AnnotatorKind::Human | AnnotatorKind::External => {
                format!("{}@{}{}", first.evaluator, first.revision, failed(first))
            }
        };
        Some(format!("{}:{}:{part}", first.trace_id, self.trace_version))
    }
}

/// Tells a judgement that failed from the score that a later attempt makes of it.
const fn failed(row: &Evaluation) -> &'static str {
    match row.outcome {
        Outcome::Failed => ":failed",
        _ => "",
    }
}

/// The evaluation spans of many write-backs and the spans of their requests to judges, as one request.
#[must_use]
pub fn spans(write_backs: &[WriteBack]) -> ExportTraceServiceRequest {
    let evaluations = write_backs.iter().filter(|it| !it.evaluations.is_empty()).map(|write_back| {
        let spans = write_back.evaluations.iter().map(|row| evaluation_span(write_back, row)).collect();
        resource_spans(&write_back.service, spans)
    });
    // Under a name of our own: the agent's tokens and costs are not to grow by what its judges took.
    let calls: Vec<Span> = write_backs.iter().flat_map(|it| &it.calls).map(CallSpan::span).collect();
    let calls = (!calls.is_empty()).then(|| resource_spans(OWN_SCOPE, calls));
    ExportTraceServiceRequest { resource_spans: evaluations.chain(calls).collect() }
}

fn resource_spans(service: &str, spans: Vec<Span>) -> ResourceSpans {
    let scope_spans = ScopeSpans { scope: Some(scope()), spans, ..ScopeSpans::default() };
    ResourceSpans { resource: Some(resource(service)), scope_spans: vec![scope_spans], ..ResourceSpans::default() }
}

/// The log events of many write-backs, as one request.
#[must_use]
pub fn events(write_backs: &[WriteBack]) -> ExportLogsServiceRequest {
    let resource_logs = |write_back: &WriteBack| ResourceLogs {
        resource: Some(resource(&write_back.service)),
        scope_logs: vec![ScopeLogs {
            scope: Some(scope()),
            log_records: write_back.evaluations.iter().map(|row| evaluation_event(write_back, row)).collect(),
            ..ScopeLogs::default()
        }],
        ..ResourceLogs::default()
    };
    ExportLogsServiceRequest {
        resource_logs: write_backs.iter().filter(|it| !it.evaluations.is_empty()).map(resource_logs).collect(),
    }
}

fn resource(service: &str) -> Resource {
    Resource { attributes: vec![text("service.name", service)], ..Resource::default() }
}

fn scope() -> InstrumentationScope {
    InstrumentationScope {
        name: OWN_SCOPE.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..InstrumentationScope::default()
    }
}

fn evaluation_span(write_back: &WriteBack, row: &Evaluation) -> Span {
    let (trace_id, target) = (row.trace_id.as_bytes().to_vec(), row.span_id.as_bytes().to_vec());
    let at = nanos(write_back.evaluated_at);
    let mut attributes = vec![
        text("openinference.span.kind", "EVALUATOR"),
        text("gen_ai.operation.name", "evaluation"),
        text("driftline.annotator_kind", row.annotator_kind.as_str()),
    ];
    attributes.extend(write_back.conversation_id.iter().map(|id| text("gen_ai.conversation.id", id)));
    attributes.extend(own_attributes(row));
    attributes.extend(result_attributes(row));
    attributes.extend(annotation_attributes(row));
    Span {
        trace_id: trace_id.clone(),
        span_id: span_id(write_back, row).to_vec(),
        parent_span_id: target.clone(),
        name: format!("evaluation {}", row.evaluator),
        kind: span::SpanKind::Internal.into(),
        start_time_unix_nano: at,
        end_time_unix_nano: at,
        attributes,
        links: vec![span::Link { trace_id, span_id: target, ..span::Link::default() }],
        ..Span::default()
    }
}

fn evaluation_event(write_back: &WriteBack, row: &Evaluation) -> LogRecord {
    let at = nanos(write_back.evaluated_at);
    let mut attributes = vec![text("event.name", EVENT)];
    attributes.extend(result_attributes(row));
    attributes.extend(own_attributes(row));
    LogRecord {
        time_unix_nano: at,
        observed_time_unix_nano: at,
        severity_number: if row.outcome == Outcome::Failed { SEVERITY_WARN } else { SEVERITY_INFO },
        event_name: EVENT.to_owned(),
        attributes,
        trace_id: row.trace_id.as_bytes().to_vec(),
        span_id: row.span_id.as_bytes().to_vec(),
        ..LogRecord::default()
    }
}

/// `driftline.eval.<name>.*`.
pub(super) fn own_attributes(row: &Evaluation) -> Vec<KeyValue> {
    let key = |field: &str| format!("driftline.eval.{}.{field}", row.evaluator);
    let mut attributes = vec![text(&key("revision"), &row.revision), text(&key("outcome"), row.outcome.as_str())];
    attributes.extend(row.value.map(|value| number(&key("score"), value)));
    attributes.extend(row.label.iter().map(|label| text(&key("label"), label)));
    attributes.extend(row.explanation.iter().map(|explanation| text(&key("explanation"), explanation)));
    if row.truncated {
        attributes.push(attribute(&key("truncated"), any_value::Value::BoolValue(true)));
    }
    attributes
}

/// `gen_ai.evaluation.*` (GenAI semantic conventions, evaluation result event).
fn result_attributes(row: &Evaluation) -> Vec<KeyValue> {
    let mut attributes = vec![text("gen_ai.evaluation.name", &row.evaluator)];
    attributes.extend(row.value.map(|value| number("gen_ai.evaluation.score.value", value)));
    attributes.extend(row.label.iter().map(|label| text("gen_ai.evaluation.score.label", label)));
    attributes.extend(row.explanation.iter().map(|reason| text("gen_ai.evaluation.explanation", reason)));
    if row.outcome == Outcome::Failed {
        attributes.push(text("error.type", "evaluation_failed"));
    }
    attributes
}

/// `evaluations.0.evaluation.*` (OpenInference annotations on spans).
fn annotation_attributes(row: &Evaluation) -> Vec<KeyValue> {
    let key = |field: &str| format!("evaluations.0.evaluation.{field}");
    let mut attributes = vec![
        text(&key("name"), &row.evaluator),
        text(&key("annotator_kind"), &row.annotator_kind.as_str().to_uppercase()),
        text(&key("identifier"), &row.revision),
    ];
    attributes.extend(row.value.map(|value| number(&key("score"), value)));
    attributes.extend(row.label.iter().map(|label| text(&key("label"), label)));
    attributes.extend(row.explanation.iter().map(|explanation| text(&key("explanation"), explanation)));
    attributes
}

/// The first eight bytes of a hash of what the evaluation is.
fn span_id(write_back: &WriteBack, row: &Evaluation) -> [u8; 8] {
    let mut context = Context::new(&SHA256);
    context.update(row.trace_id.as_bytes());
    context.update(&write_back.trace_version.to_be_bytes());
    for name in [&row.evaluator, &row.revision] {
        context.update(&(name.len() as u64).to_be_bytes());
        context.update(name.as_bytes());
    }
    context.update(failed(row).as_bytes());
    let hash = context.finish();
    let mut id = [0; 8];
    id.copy_from_slice(&hash.as_ref()[..8]);
    // All zero would be no span id.
    if SpanId::from_bytes(&id).is_err() {
        id[7] = 1;
    }
    id
}

pub(super) fn nanos(at: Timestamp) -> u64 {
    u64::try_from(at.0).unwrap_or_default()
}

pub(super) fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, any_value::Value::StringValue(value.to_owned()))
}

pub(super) fn number(key: &str, value: f64) -> KeyValue {
    attribute(key, any_value::Value::DoubleValue(value))
}

pub(super) fn attribute(key: &str, value: any_value::Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::otlp::is_own_span;

    fn write_back() -> WriteBack {
        let evaluation = Evaluation {
            trace_id: "65888dddb25592422df09b0e4b474df2".parse().unwrap(),
            span_id: "2df09b0e4b474df2".parse().unwrap(),
            evaluator: "loop".to_owned(),
            revision: "r1".to_owned(),
            annotator_kind: AnnotatorKind::Code,
            outcome: Outcome::Scored,
            value: Some(0.0),
            label: Some("fail".to_owned()),
            explanation: Some("three times the same".to_owned()),
            truncated: false,
            split: false,
        };
        WriteBack {
            service: "support".to_owned(),
            trace_version: 1,
            evaluated_at: Timestamp(5),
            conversation_id: None,
            evaluations: vec![evaluation],
            calls: Vec::new(),
        }
    }

    fn value<'a>(attributes: &'a [KeyValue], key: &str) -> &'a any_value::Value {
        let found = attributes.iter().find(|attribute| attribute.key == key).unwrap();
        found.value.as_ref().unwrap().value.as_ref().unwrap()
    }

    #[test]
    fn the_span_hangs_on_its_target_is_linked_to_it_and_is_known_as_our_own() {
        let request = spans(&[write_back()]);
        let group = &request.resource_spans[0].scope_spans[0];
        assert!(is_own_span(group.scope.as_ref()));
        let span = &group.spans[0];
        let target = write_back().evaluations[0].span_id.as_bytes().to_vec();
        assert_eq!((&span.parent_span_id, &span.links[0].span_id), (&target, &target));
        assert_ne!(span.span_id, target);
    }

    #[test]
    fn all_three_readers_find_the_score() {
        let request = spans(&[write_back()]);
        let attributes = &request.resource_spans[0].scope_spans[0].spans[0].attributes;
        for key in ["driftline.eval.loop.score", "gen_ai.evaluation.score.value", "evaluations.0.evaluation.score"] {
            assert_eq!(value(attributes, key), &any_value::Value::DoubleValue(0.0), "{key}");
        }
    }

    #[test]
    fn a_score_on_a_shortened_input_says_so() {
        let attributes = |write_back| spans(&[write_back]).resource_spans[0].scope_spans[0].spans[0].attributes.clone();
        let mut cut = write_back();
        cut.evaluations[0].truncated = true;
        let key = "driftline.eval.loop.truncated";
        assert_eq!(value(&attributes(cut), key), &any_value::Value::BoolValue(true));
        assert!(attributes(write_back()).iter().all(|attribute| attribute.key != key));
    }

    #[test]
    fn a_repeat_is_the_same_span_and_a_new_version_another() {
        let row = write_back().evaluations[0].clone();
        let later = WriteBack { trace_version: 2, ..write_back() };
        assert_eq!(span_id(&write_back(), &row), span_id(&write_back(), &row));
        assert_ne!(span_id(&write_back(), &row), span_id(&later, &row));
    }

    #[test]
    fn a_judgement_that_failed_and_the_score_that_a_later_attempt_makes_are_both_told() {
        let of = |outcome| {
            let row = &write_back().evaluations[0];
            let row = Evaluation { annotator_kind: AnnotatorKind::Llm, outcome, ..row.clone() };
            WriteBack { evaluations: vec![row], ..write_back() }
        };
        let (failed, scored) = (of(Outcome::Failed), of(Outcome::Scored));
        assert_eq!(scored.key().unwrap(), "65888dddb25592422df09b0e4b474df2:1:loop@r1");
        assert_ne!(failed.key(), scored.key());
        assert_ne!(span_id(&failed, &failed.evaluations[0]), span_id(&scored, &scored.evaluations[0]));
    }

    #[test]
    fn the_event_carries_the_evaluated_span_and_its_name_in_both_places() {
        let request = events(&[write_back()]);
        let record = &request.resource_logs[0].scope_logs[0].log_records[0];
        assert_eq!(record.span_id, write_back().evaluations[0].span_id.as_bytes());
        assert_eq!(record.event_name, EVENT);
        assert_eq!(value(&record.attributes, "event.name"), &any_value::Value::StringValue(EVENT.to_owned()));
    }

    #[test]
    fn each_destination_gets_the_item_under_the_same_key() {
        let items = write_back().items(&["a".to_owned(), "b".to_owned()]);
        assert_eq!(items.len(), 2);
        assert_eq!(items[0].key, "65888dddb25592422df09b0e4b474df2:1:rules");
        assert_eq!(items[0].key, items[1].key);
    }
}
