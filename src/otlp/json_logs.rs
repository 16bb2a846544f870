//! OTLP/JSON log records to the prost types, as tolerant as the decoder of spans.

use serde::Deserialize;

use super::json::{KeyValueShape, ResourceShape, ScopeShape, ValueShape, convert, id, integer, text};
use super::json_values::{Id, Integer, List, Text};
use super::weight::weighing;
use super::{AnyValue, InstrumentationScope, LogRecord, Resource, ResourceLogs, ScopeLogs};

/// Reads one `ExportLogsServiceRequest`; without `resourceLogs` it is empty.
pub(super) fn decode(bytes: &[u8]) -> Result<Vec<ResourceLogs>, serde_json::Error> {
    let request: RequestShape = weighing(|| serde_json::from_slice(bytes))?;
    Ok(convert(request.resource_logs))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RequestShape {
    resource_logs: Option<List<ResourceLogsShape>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ResourceLogsShape {
    resource: Option<ResourceShape>,
    scope_logs: Option<List<ScopeLogsShape>>,
    schema_url: Option<Text>,
}

impl From<ResourceLogsShape> for ResourceLogs {
    fn from(shape: ResourceLogsShape) -> Self {
        Self {
            resource: shape.resource.map(Resource::from),
            scope_logs: convert(shape.scope_logs),
            schema_url: text(shape.schema_url),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ScopeLogsShape {
    scope: Option<ScopeShape>,
    log_records: Option<List<LogRecordShape>>,
    schema_url: Option<Text>,
}

impl From<ScopeLogsShape> for ScopeLogs {
    fn from(shape: ScopeLogsShape) -> Self {
        Self {
            scope: shape.scope.map(InstrumentationScope::from),
            log_records: convert(shape.log_records),
            schema_url: text(shape.schema_url),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LogRecordShape {
    time_unix_nano: Option<Integer>,
    observed_time_unix_nano: Option<Integer>,
    severity_number: Option<Integer>,
    severity_text: Option<Text>,
    body: Option<ValueShape>,
    attributes: Option<List<KeyValueShape>>,
    dropped_attributes_count: Option<Integer>,
    flags: Option<Integer>,
    trace_id: Option<Id>,
    span_id: Option<Id>,
    event_name: Option<Text>,
}

impl From<LogRecordShape> for LogRecord {
    fn from(shape: LogRecordShape) -> Self {
        Self {
            time_unix_nano: integer(shape.time_unix_nano),
            observed_time_unix_nano: integer(shape.observed_time_unix_nano),
            severity_number: integer(shape.severity_number),
            severity_text: text(shape.severity_text),
            body: shape.body.map(AnyValue::from),
            attributes: convert(shape.attributes),
            dropped_attributes_count: integer(shape.dropped_attributes_count),
            flags: integer(shape.flags),
            trace_id: id(shape.trace_id),
            span_id: id(shape.span_id),
            event_name: text(shape.event_name),
        }
    }
}
