//! What other tools scored: `gen_ai.evaluation.result` events (GenAI semantic conventions), as log records and on spans.
//!
//! An event hangs on the span that was scored or, in some tools, on one that only tells of the scoring; both are of the
//! trace. Of one name, kind, scope and span the newest result stands, so that an event counts once however often, and over
//! whichever way, it comes. Our own results come back from backends and collectors: they are known by their scope and
//! by their attributes, and never read.

use crate::domain::evaluation::AnnotatorKind;
use crate::domain::external_score::{ExternalScore, NewExternalScore, ScoreIdentity};
use crate::domain::ids::{SpanId, TraceId};
use crate::domain::time::Timestamp;

use super::{AnyValue, InstrumentationScope, KeyValue, Resource, ResourceSpans, Span, any_value::Value, is_own_span};

/// Name of the event.
pub(super) const EVENT: &str = "gen_ai.evaluation.result";
const NAME: &str = "gen_ai.evaluation.name";
const VALUE: &str = "gen_ai.evaluation.score.value";
const LABEL: &str = "gen_ai.evaluation.score.label";
const EXPLANATION: &str = "gen_ai.evaluation.explanation";
const ERROR: &str = "error.type";
/// `llm_judge`, `deterministic` or `human` (proposed), and the name that OpenInference has for it.
const ANNOTATOR: [&str; 2] = ["gen_ai.evaluation.evaluator.type", "annotator_kind"];
/// How attributes begin that only our own results carry.
const OWN_ATTRIBUTES: &str = "driftline.eval.";

/// Why an event of that name tells of no score.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidEvaluation {
    /// It does not say what was scored.
    #[error("evaluation result has no gen_ai.evaluation.name")]
    Unnamed,
    /// It holds nothing but the name.
    #[error("evaluation result has no score value, label, explanation or error type")]
    Empty,
}

/// Where an event was found.
#[derive(Debug, Clone, Copy)]
pub(super) struct Origin<'a> {
    pub(super) resource: Option<&'a Resource>,
    pub(super) scope: Option<&'a InstrumentationScope>,
}

/// Whether an event of this name tells of a score.
pub(super) fn is_evaluation(name: &str) -> bool {
    name == EVENT
}

/// Whether such an event is one of ours that has come back.
pub(super) fn is_own(origin: Origin<'_>, attributes: &[KeyValue]) -> bool {
    is_own_span(origin.scope) || attributes.iter().any(|attribute| attribute.key.starts_with(OWN_ATTRIBUTES))
}

/// Reads such an event; `span_id` is absent where it is about the whole run.
pub(super) fn read(
    origin: Origin<'_>,
    (trace_id, span_id): (TraceId, Option<SpanId>),
    time_unix_nano: u64,
    attributes: &[KeyValue],
) -> Result<NewExternalScore, InvalidEvaluation> {
    let score = ExternalScore {
        trace_id,
        span_id,
        name: text(attributes, NAME).ok_or(InvalidEvaluation::Unnamed)?,
        annotator_kind: annotator_kind(attributes),
        source: source(origin),
        value: value(attributes, VALUE).and_then(number),
        label: text(attributes, LABEL),
        explanation: text(attributes, EXPLANATION),
        error: text(attributes, ERROR),
        scored_at: i64::try_from(time_unix_nano).ok().filter(|time| *time > 0).map(Timestamp),
    };
    let score = score.bounded();
    if !score.says_something() {
        return Err(InvalidEvaluation::Empty);
    }
    Ok(NewExternalScore { score, identity: ScoreIdentity::Target })
}

/// What the events of spans tell. What cannot be read is passed over, as it stays on its span.
pub(super) fn of_spans(groups: &[ResourceSpans]) -> Vec<NewExternalScore> {
    let scopes = groups.iter().flat_map(|group| group.scope_spans.iter().map(move |scope| (group, scope)));
    let spans = scopes.flat_map(|(group, scope)| {
        let origin = Origin { resource: group.resource.as_ref(), scope: scope.scope.as_ref() };
        scope.spans.iter().map(move |span| (origin, span))
    });
    spans.filter(|(_, span)| !span.events.is_empty()).flat_map(|(origin, span)| of_span(origin, span)).collect()
}

fn of_span<'a>(origin: Origin<'a>, span: &'a Span) -> impl Iterator<Item = NewExternalScore> + use<'a> {
    let results = span.events.iter().filter(|event| is_evaluation(&event.name));
    results.filter(move |event| !is_own(origin, &event.attributes)).filter_map(move |event| {
        let target = (TraceId::from_bytes(&span.trace_id).ok()?, Some(SpanId::from_bytes(&span.span_id).ok()?));
        read(origin, target, event.time_unix_nano, &event.attributes).ok()
    })
}

/// The tool's scope, else the service that it runs in.
fn source(Origin { resource, scope }: Origin<'_>) -> String {
    let service = || text(&resource?.attributes, "service.name");
    let scope = scope.map(|scope| scope.name.clone()).filter(|name| !name.trim().is_empty());
    scope.or_else(service).unwrap_or_else(|| "unknown".to_owned())
}

fn annotator_kind(attributes: &[KeyValue]) -> AnnotatorKind {
    let said = ANNOTATOR.iter().find_map(|key| text(attributes, key)).unwrap_or_default().to_ascii_lowercase();
    match said.as_str() {
        "llm_judge" => AnnotatorKind::Llm,
        "deterministic" => AnnotatorKind::Code,
        said => AnnotatorKind::parse(said).unwrap_or(AnnotatorKind::External),
    }
}

/// The value of a key; of duplicates the last.
fn value<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a Value> {
    let found = attributes.iter().rev().find(|attribute| attribute.key == key)?;
    found.value.as_ref().and_then(|AnyValue { value }| value.as_ref())
}

fn text(attributes: &[KeyValue], key: &str) -> Option<String> {
    match value(attributes, key)? {
        Value::StringValue(text) if !text.trim().is_empty() => Some(text.clone()),
        Value::BoolValue(value) => Some(value.to_string()),
        _ => None,
    }
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::DoubleValue(number) => Some(*number),
        Value::IntValue(number) => Some(*number as f64),
        Value::BoolValue(value) => Some(f64::from(u8::from(*value))),
        Value::StringValue(text) => text.trim().parse().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Encoding, OWN_SCOPE, decode_traces, split_by_trace};
    use super::*;

    fn keyed(key: &str, value: Value) -> KeyValue {
        KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
    }

    fn texts(pairs: &[(&str, &str)]) -> Vec<KeyValue> {
        pairs.iter().map(|(key, value)| keyed(key, Value::StringValue((*value).to_owned()))).collect()
    }

    fn score(attributes: &[KeyValue]) -> Result<ExternalScore, InvalidEvaluation> {
        let scope = InstrumentationScope { name: "pydantic-evals".to_owned(), ..Default::default() };
        let target = (TraceId::from_bytes(&[1; 16]).unwrap(), None);
        read(Origin { resource: None, scope: Some(&scope) }, target, 7, attributes).map(|new| new.score)
    }

    #[test]
    fn a_result_is_read_with_who_scored_as_far_as_it_says() {
        let mut attributes = texts(&[(NAME, "relevance"), (LABEL, "pass"), (EXPLANATION, "on topic")]);
        attributes.push(keyed(VALUE, Value::IntValue(1)));
        let read = score(&attributes).unwrap();
        assert_eq!(
            (read.value, read.label.as_deref(), read.source.as_str()),
            (Some(1.0), Some("pass"), "pydantic-evals")
        );
        assert_eq!(
            (read.annotator_kind, read.span_id, read.scored_at),
            (AnnotatorKind::External, None, Some(Timestamp(7)))
        );
        for (said, kind) in [
            ("llm_judge", AnnotatorKind::Llm),
            ("LLM", AnnotatorKind::Llm),
            ("deterministic", AnnotatorKind::Code),
            ("human", AnnotatorKind::Human),
            ("oracle", AnnotatorKind::External),
        ] {
            let attributes = texts(&[(NAME, "n"), (LABEL, "l"), (ANNOTATOR[0], said)]);
            assert_eq!(score(&attributes).unwrap().annotator_kind, kind, "{said}");
        }
    }

    #[test]
    fn a_failed_evaluation_is_kept_as_such_and_one_that_says_nothing_is_none() {
        let failed = score(&texts(&[(NAME, "n"), (ERROR, "timeout")])).unwrap();
        assert_eq!((failed.value, failed.error.as_deref()), (None, Some("timeout")));
        assert_eq!(score(&texts(&[(LABEL, "pass")])), Err(InvalidEvaluation::Unnamed));
        assert_eq!(score(&texts(&[(NAME, "n")])), Err(InvalidEvaluation::Empty));
        let mut attributes = texts(&[(NAME, "n")]);
        attributes.push(keyed(VALUE, Value::DoubleValue(f64::INFINITY)));
        assert_eq!(score(&attributes), Err(InvalidEvaluation::Empty));
    }

    fn spans(scope: &str, key: &str) -> Vec<ResourceSpans> {
        let event = format!(
            r#"{{"timeUnixNano":"5","name":"{EVENT}","attributes":[{{"key":"{NAME}","value":{{"stringValue":"n"}}}},
            {{"key":"{VALUE}","value":{{"doubleValue":0.25}}}},{{"key":"{key}","value":{{"stringValue":"x"}}}}]}}"#
        );
        let span = format!(
            r#"{{"traceId":"0af7651916cd43dd8448eb211c80319c","spanId":"b7ad6b7169203331",
            "events":[{{"name":"other"}},{event}]}}"#
        );
        let request =
            format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"scope":{{"name":"{scope}"}},"spans":[{span}]}}]}}]}}"#);
        decode_traces(request.as_bytes(), Encoding::Json).unwrap()
    }

    #[test]
    fn events_of_spans_are_scores_of_their_span_and_stay_on_it() {
        let split = split_by_trace(spans("eval-tool", "other"));
        assert_eq!(split.scores.len(), 1);
        let score = &split.scores[0].score;
        assert_eq!(
            (score.value, score.span_id.map(|id| id.to_string())),
            (Some(0.25), Some("b7ad6b7169203331".into()))
        );
        assert_eq!(split.traces[0].resource_spans[0].scope_spans[0].spans[0].events.len(), 2);
    }

    #[test]
    fn our_own_results_are_known_by_scope_and_by_attributes() {
        for groups in [spans(OWN_SCOPE, "other"), spans("renamed-by-a-collector", "driftline.eval.loop.revision")] {
            assert!(split_by_trace(groups).scores.is_empty());
        }
    }
}
