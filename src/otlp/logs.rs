//! Events that arrive as log records, brought back to the spans they belong to.
//!
//! Newer instrumentations send what was said to and by a model as log records of `/v1/logs`, which name their span. A
//! record becomes an event of that span: [`split_logs`] puts it into a piece of its trace, on a span that only carries
//! it, so that it is stored and counted like any piece; [`assemble`](super::assemble) moves it over. What other tools
//! scored is kept beside the spans and never on them: a late score must not make the trace be evaluated anew.

use std::collections::{HashMap, HashSet};

use prost::Message as _;

use crate::domain::external_score::NewExternalScore;
use crate::domain::ids::{InvalidId, SpanId, TraceId};

use super::evaluation_events::{self, Origin};
use super::{
    AnyValue, DecodeError, Encoding, ExportLogsServiceRequest, InstrumentationScope, KeyValue, KeyValueList, LogRecord,
    Rejection, ResourceLogs, ResourceSpans, ScopeLogs, ScopeSpans, Span, TracePiece, any_value, is_own_span, json_logs,
    span::Event, split::timestamp, weight,
};

/// Scope of spans that only carry events for the span with the same id.
const CARRIER_SCOPE: &str = "driftline.log_events";

/// Where loggers that do not know of `eventName` put the name of an event.
const EVENT_NAME: &str = "event.name";

/// Where the body of an event stands that is no map.
pub const LOG_BODY: &str = "body";

/// A request of log records taken apart.
#[derive(Debug, Default)]
pub struct SplitLogs {
    /// One piece a trace, in order of first appearance. It holds no span of its own: its span count is 0.
    pub traces: Vec<TracePiece>,
    /// Records that are no events of a span, and our own evaluations: nothing is kept of them.
    pub ignored: usize,
    /// What other tools scored.
    pub scores: Vec<NewExternalScore>,
    /// One entry a record whose trace or span id is none, though there is one, or that tells of a score and has none.
    pub rejected: Vec<Rejection>,
}

/// Reads an `ExportLogsServiceRequest`.
///
/// # Errors
/// The whole body is not a message of that encoding.
pub fn decode_logs(bytes: &[u8], encoding: Encoding) -> Result<Vec<ResourceLogs>, DecodeError> {
    match encoding {
        Encoding::Protobuf => {
            weight::weigh(bytes, &weight::LOGS)?;
            ExportLogsServiceRequest::decode(bytes).map(|request| request.resource_logs).map_err(DecodeError::Protobuf)
        }
        Encoding::Json => json_logs::decode(bytes).map_err(DecodeError::Json),
    }
}

/// Takes log records apart by trace. Kept are events that name their span, and scores that name at least their trace;
/// other records are none of our business. One with an id of a wrong length is rejected alone.
#[must_use]
pub fn split_logs(resource_logs: Vec<ResourceLogs>) -> SplitLogs {
    let mut split = SplitLogs::default();
    let mut index: HashMap<TraceId, usize> = HashMap::new();
    for ResourceLogs { resource, scope_logs, .. } in resource_logs {
        for ScopeLogs { scope, log_records, .. } in scope_logs {
            let origin = Origin { resource: resource.as_ref(), scope: scope.as_ref() };
            for record in log_records {
                match sort(origin, record) {
                    Ok(Sorted::Event(trace_id, carrier)) => {
                        let position = *index.entry(trace_id).or_insert_with(|| {
                            split.traces.push(carriers(trace_id));
                            split.traces.len() - 1
                        });
                        carry(&mut split.traces[position], *carrier);
                    }
                    Ok(Sorted::Score(score)) => split.scores.push(*score),
                    Ok(Sorted::Ignored) => split.ignored += 1,
                    Err(rejection) => split.rejected.push(rejection),
                }
            }
        }
    }
    split
}

/// What a log record is to us.
enum Sorted {
    /// An event of a span, on the span that carries it.
    Event(TraceId, Box<Span>),
    Score(Box<NewExternalScore>),
    Ignored,
}

fn sort(origin: Origin<'_>, record: LogRecord) -> Result<Sorted, Rejection> {
    check_ids(&record)?;
    if event_name(&record).is_some_and(|name| evaluation_events::is_evaluation(&name)) {
        return score(origin, record);
    }
    let carried = if is_own_span(origin.scope) { None } else { carrier(record) };
    Ok(carried.map_or(Sorted::Ignored, |(trace_id, carrier)| Sorted::Event(trace_id, Box::new(carrier))))
}

fn score(origin: Origin<'_>, record: LogRecord) -> Result<Sorted, Rejection> {
    let time = time_unix_nano(&record);
    let attributes = with_body(record.attributes, record.body);
    let Ok(trace_id) = TraceId::from_bytes(&record.trace_id) else { return Ok(Sorted::Ignored) };
    if evaluation_events::is_own(origin, &attributes) {
        return Ok(Sorted::Ignored);
    }
    let target = (trace_id, SpanId::from_bytes(&record.span_id).ok());
    Ok(Sorted::Score(Box::new(evaluation_events::read(origin, target, time, &attributes)?)))
}

/// A piece to hold the carriers of a trace.
fn carriers(trace_id: TraceId) -> TracePiece {
    let scope = InstrumentationScope { name: CARRIER_SCOPE.to_owned(), ..Default::default() };
    let scope_spans = vec![ScopeSpans { scope: Some(scope), ..Default::default() }];
    let resource_spans = vec![ResourceSpans { scope_spans, ..Default::default() }];
    TracePiece { trace_id, resource_spans, span_count: 0, root_ended: false, started_at: None, ended_at: None }
}

/// Adds a carrier to the others of its trace.
fn carry(piece: &mut TracePiece, carrier: Span) {
    let happened_at = carrier.events.iter().filter_map(|event| timestamp(event.time_unix_nano));
    piece.started_at = happened_at.chain(piece.started_at).min();
    piece.resource_spans[0].scope_spans[0].spans.push(carrier);
}

/// An id that is empty or zero is not set, which a log record may leave so (OpenTelemetry logs data model).
fn check_ids(record: &LogRecord) -> Result<(), InvalidId> {
    let is_unset = |id: &[u8]| id.iter().all(|byte| *byte == 0);
    if !is_unset(&record.trace_id) {
        TraceId::from_bytes(&record.trace_id)?;
    }
    if !is_unset(&record.span_id) {
        SpanId::from_bytes(&record.span_id)?;
    }
    Ok(())
}

/// The span that carries a record, if that is an event of a span.
fn carrier(record: LogRecord) -> Option<(TraceId, Span)> {
    let trace_id = TraceId::from_bytes(&record.trace_id).ok()?;
    SpanId::from_bytes(&record.span_id).ok()?;
    let name = event_name(&record)?;
    let event = Event {
        time_unix_nano: time_unix_nano(&record),
        name,
        attributes: with_body(record.attributes, record.body),
        dropped_attributes_count: record.dropped_attributes_count,
    };
    let (trace, span_id) = (record.trace_id, record.span_id);
    Some((trace_id, Span { trace_id: trace, span_id, events: vec![event], ..Default::default() }))
}

/// When it happened, else when it was seen; zero when neither is said.
const fn time_unix_nano(record: &LogRecord) -> u64 {
    if record.time_unix_nano > 0 { record.time_unix_nano } else { record.observed_time_unix_nano }
}

fn event_name(record: &LogRecord) -> Option<String> {
    if !record.event_name.is_empty() {
        return Some(record.event_name.clone());
    }
    let attribute = record.attributes.iter().find(|attribute| attribute.key == EVENT_NAME)?;
    match attribute.value.as_ref()?.value.as_ref()? {
        any_value::Value::StringValue(name) if !name.is_empty() => Some(name.clone()),
        _ => None,
    }
}

/// The members of the body, or the body as one, after the attributes: an event of a span has no body.
fn with_body(mut attributes: Vec<KeyValue>, body: Option<AnyValue>) -> Vec<KeyValue> {
    match body.and_then(|body| body.value) {
        Some(any_value::Value::KvlistValue(KeyValueList { values })) => attributes.extend(values),
        Some(value) => attributes.push(KeyValue {
            key: LOG_BODY.to_owned(),
            value: Some(AnyValue { value: Some(value) }),
            ..Default::default()
        }),
        None => {}
    }
    attributes
}

/// Moves events from their carriers to the spans they belong to; one that was delivered twice stands once.
pub(super) fn deliver_events(resource_spans: &mut [ResourceSpans]) {
    let mut events: HashMap<Vec<u8>, Vec<Event>> = HashMap::new();
    for scope in resource_spans.iter_mut().flat_map(|group| &mut group.scope_spans) {
        if scope.scope.as_ref().is_some_and(|scope| scope.name == CARRIER_SCOPE) {
            for carrier in std::mem::take(&mut scope.spans) {
                events.entry(carrier.span_id).or_default().extend(carrier.events);
            }
        }
    }
    if events.is_empty() {
        return;
    }
    let spans = resource_spans.iter_mut().flat_map(|group| &mut group.scope_spans).flat_map(|scope| &mut scope.spans);
    for span in spans {
        let mut delivered = events.remove(&span.span_id).unwrap_or_default();
        let mut seen = HashSet::new();
        delivered.retain(|event| seen.insert(event.encode_to_vec()));
        delivered.sort_by_key(|event| event.time_unix_nano);
        span.events.append(&mut delivered);
    }
}

#[cfg(test)]
mod tests {
    use super::super::{assemble, decode_piece, split_by_trace};
    use super::*;

    const IDS: &str = r#""traceId":"0af7651916cd43dd8448eb211c80319c","spanId":"b7ad6b7169203331""#;

    fn logs(records: &[String]) -> Vec<ResourceLogs> {
        let request = format!(
            r#"{{"resourceLogs":[null,{{"scopeLogs":[{{"scope":{{"name":"s"}},"logRecords":[{}]}}]}}]}}"#,
            records.join(",")
        );
        decode_logs(request.as_bytes(), Encoding::Json).unwrap()
    }

    fn user(time: u64, text: &str) -> String {
        format!(
            r#"{{{IDS},"timeUnixNano":"{time}","eventName":"gen_ai.user.message","attributes":null,
            "body":{{"kvlistValue":{{"values":[{{"key":"content","value":{{"stringValue":"{text}"}}}}]}}}}}}"#
        )
    }

    fn span() -> Vec<ResourceSpans> {
        let span = format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{{IDS},"name":"chat"}}]}}]}}]}}"#);
        super::super::decode_traces(span.as_bytes(), Encoding::Json).unwrap()
    }

    #[test]
    fn events_reach_their_span_through_the_store_in_order_of_time_and_once() {
        let piece = split_logs(logs(&[user(7, "second"), user(5, "first"), user(7, "second")])).traces.remove(0);
        assert_eq!((piece.span_count, piece.root_ended), (0, false));
        let trace_id = piece.trace_id;
        let stored = decode_piece(&piece.encode().body).unwrap();
        for pieces in [vec![stored.clone(), span()], vec![span(), stored.clone(), stored.clone()]] {
            let raw = assemble(trace_id, pieces);
            let spans: Vec<_> = raw.spans().collect();
            assert_eq!(spans.len(), 1, "carriers are no spans");
            let events: Vec<_> =
                spans[0].events.iter().map(|event| (event.time_unix_nano, event.name.as_str())).collect();
            assert_eq!(events, [(5, "gen_ai.user.message"), (7, "gen_ai.user.message")]);
            assert_eq!(spans[0].events[0].attributes[0].key, "content");
        }
    }

    #[test]
    fn events_of_a_span_that_never_came_are_no_span() {
        let piece = split_logs(logs(&[user(5, "lost")])).traces.remove(0);
        assert_eq!(assemble(piece.trace_id, vec![piece.resource_spans]).spans().count(), 0);
    }

    #[test]
    fn a_record_without_a_span_or_an_event_name_is_ignored_and_one_with_half_an_id_rejected() {
        let records = [
            format!(r#"{{{IDS},"body":{{"stringValue":"a plain line"}}}}"#),
            r#"{"eventName":"gen_ai.choice"}"#.to_owned(),
            r#"{"traceId":"00","spanId":"b7ad6b7169203331","eventName":"gen_ai.choice"}"#.to_owned(),
            r#"{"traceId":"0102","spanId":"b7ad6b7169203331","eventName":"gen_ai.choice"}"#.to_owned(),
            r#"{"traceId":"0af7651916cd43dd8448eb211c80319c","spanId":"01","eventName":"gen_ai.choice"}"#.to_owned(),
            format!(
                r#"{{{IDS},"observedTimeUnixNano":9,"body":{{"stringValue":"hi"}},
                "attributes":[{{"key":"event.name","value":{{"stringValue":"gen_ai.choice"}}}}]}}"#
            ),
        ];
        let split = split_logs(logs(&records));
        assert_eq!((split.ignored, split.traces.len()), (3, 1));
        let rejected: Vec<String> = split.rejected.iter().map(ToString::to_string).collect();
        assert_eq!(rejected, ["trace id has 2 bytes, expected 16", "span id has 1 bytes, expected 8"]);
        let event = &split.traces[0].resource_spans[0].scope_spans[0].spans[0].events[0];
        assert_eq!((event.name.as_str(), event.time_unix_nano), ("gen_ai.choice", 9));
        assert_eq!(event.attributes[1].key, "body");
    }

    #[test]
    fn our_own_evaluations_are_ignored() {
        let mut own = logs(&[user(5, "x")]);
        own[0].scope_logs[0].scope =
            Some(InstrumentationScope { name: super::super::OWN_SCOPE.to_owned(), ..Default::default() });
        let split = split_logs(own);
        assert_eq!((split.ignored, split.traces.len()), (1, 0));
    }

    fn result(time: u64, ids: &str, attributes: &str) -> String {
        format!(
            r#"{{{ids},"timeUnixNano":"{time}","eventName":"gen_ai.evaluation.result",
            "attributes":[{{"key":"gen_ai.evaluation.score.value","value":{{"doubleValue":0.5}}}}{attributes}]}}"#
        )
    }

    const NAMED: &str = r#",{"key":"gen_ai.evaluation.name","value":{"stringValue":"relevance"}}"#;

    #[test]
    fn what_others_scored_is_kept_beside_the_spans_and_one_without_a_name_is_rejected() {
        let whole_run = r#""traceId":"0af7651916cd43dd8448eb211c80319c""#;
        let records = [
            result(5, IDS, NAMED),
            result(6, whole_run, NAMED),
            result(7, IDS, ""),
            result(8, r#""severityNumber":9"#, NAMED),
            user(6, "y"),
        ];
        let split = split_logs(logs(&records));
        assert_eq!((split.scores.len(), split.ignored, split.rejected.len(), split.traces.len()), (2, 1, 1, 1));
        let spans: Vec<bool> = split.scores.iter().map(|new| new.score.span_id.is_some()).collect();
        assert_eq!((spans, split.scores[0].score.source.as_str()), (vec![true, false], "s"));
        assert_eq!(split.rejected[0].to_string(), "evaluation result has no gen_ai.evaluation.name");
        assert_eq!(split.traces[0].resource_spans[0].scope_spans[0].spans.len(), 1);
    }

    #[test]
    fn our_own_results_are_ignored_also_under_another_scope() {
        let own = r#",{"key":"driftline.eval.loop.revision","value":{"stringValue":"r1"}}"#;
        let split = split_logs(logs(&[result(5, IDS, &format!("{NAMED}{own}"))]));
        assert_eq!((split.scores.len(), split.ignored), (0, 1));
    }

    #[test]
    fn protobuf_reads_as_json_does_and_bytes_flipped_anywhere_are_refused_or_read() {
        let resource_logs = logs(&[user(7, "second"), user(5, "first")]);
        let binary = ExportLogsServiceRequest { resource_logs: resource_logs.clone() }.encode_to_vec();
        assert_eq!(decode_logs(&binary, Encoding::Protobuf).unwrap(), resource_logs);
        let mut random = fastrand::Rng::with_seed(3);
        for _ in 0..2000 {
            let mut bytes = binary.clone();
            (0..random.usize(1..4)).for_each(|_| bytes[random.usize(0..binary.len())] = random.u8(..));
            for piece in decode_logs(&bytes, Encoding::Protobuf).map(split_logs).unwrap_or_default().traces {
                assert!(assemble(piece.trace_id, vec![piece.resource_spans, span()]).spans().count() <= 1);
            }
        }
    }

    #[test]
    fn a_carrier_that_a_sender_makes_up_is_no_span_either() {
        let mut made_up = span();
        made_up[0].scope_spans[0].scope =
            Some(InstrumentationScope { name: CARRIER_SCOPE.to_owned(), ..Default::default() });
        let piece = split_by_trace(made_up).traces.remove(0);
        assert_eq!(assemble(piece.trace_id, vec![piece.resource_spans]).spans().count(), 0);
    }
}
