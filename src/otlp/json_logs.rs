//! OTLP/JSON log records to the prost types, as tolerant as the decoder of spans.

use serde::de::MapAccess;

use super::json_values::{Object, essential, field, id, read_message, skip, value};
use super::{LogRecord, ResourceLogs, ScopeLogs};

/// Reads one `ExportLogsServiceRequest`; without `resourceLogs` it is empty.
pub(super) fn decode(bytes: &[u8]) -> Result<Vec<ResourceLogs>, serde_json::Error> {
    Ok(read_message::<Request>(bytes)?.unwrap_or_default().resource_logs)
}

#[derive(Default)]
struct Request {
    resource_logs: Vec<ResourceLogs>,
}

impl Object for Request {
    fn read<'de, A: MapAccess<'de>>(&mut self, name: &str, members: &mut A) -> Result<(), A::Error> {
        match name {
            "resourceLogs" => self.resource_logs = essential(members)?.unwrap_or_default(),
            _ => skip(members)?,
        }
        Ok(())
    }
}

impl Object for ResourceLogs {
    fn read<'de, A: MapAccess<'de>>(&mut self, name: &str, members: &mut A) -> Result<(), A::Error> {
        match name {
            "resource" => self.resource = value(members)?,
            "scopeLogs" => self.scope_logs = essential(members)?.unwrap_or_default(),
            "schemaUrl" => self.schema_url = field(members)?,
            _ => skip(members)?,
        }
        Ok(())
    }
}

impl Object for ScopeLogs {
    fn read<'de, A: MapAccess<'de>>(&mut self, name: &str, members: &mut A) -> Result<(), A::Error> {
        match name {
            "scope" => self.scope = value(members)?,
            "logRecords" => self.log_records = essential(members)?.unwrap_or_default(),
            "schemaUrl" => self.schema_url = field(members)?,
            _ => skip(members)?,
        }
        Ok(())
    }
}

impl Object for LogRecord {
    fn read<'de, A: MapAccess<'de>>(&mut self, name: &str, members: &mut A) -> Result<(), A::Error> {
        match name {
            "timeUnixNano" => self.time_unix_nano = field(members)?,
            "observedTimeUnixNano" => self.observed_time_unix_nano = field(members)?,
            "severityNumber" => self.severity_number = field(members)?,
            "severityText" => self.severity_text = field(members)?,
            "body" => self.body = value(members)?,
            "attributes" => self.attributes = field(members)?,
            "droppedAttributesCount" => self.dropped_attributes_count = field(members)?,
            "flags" => self.flags = field(members)?,
            "traceId" => self.trace_id = id(members)?,
            "spanId" => self.span_id = id(members)?,
            "eventName" => self.event_name = field(members)?,
            _ => skip(members)?,
        }
        Ok(())
    }
}
