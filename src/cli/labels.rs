//! Label files: JSON lines keyed by `trace_id`. Boolean and number columns become series; any column can select and
//! pair.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value as Json};

use super::failure::{Failure, chain};
use crate::domain::ids::TraceId;
use crate::domain::measurement::{Measurement, SeriesKind, TraceRecord, Value};

const KEY: &str = "trace_id";
/// Longest line of a label file.
const LONGEST_LINE: u64 = 16 * 1024 * 1024;

/// The columns of all label files by trace; of two values for one column the last one read stays.
#[derive(Debug, Default)]
pub(super) struct Labels {
    by_trace: HashMap<TraceId, Map<String, Json>>,
    columns: BTreeMap<String, Option<SeriesKind>>,
}

impl Labels {
    /// Reads label files.
    ///
    /// # Errors
    /// A file cannot be read, or a line is no JSON object with a trace id: labels are never half there.
    pub(super) fn read(files: &[PathBuf]) -> Result<Self, Failure> {
        let mut labels = Self::default();
        for file in files {
            labels.read_file(file)?;
        }
        Ok(labels)
    }

    fn read_file(&mut self, path: &Path) -> Result<(), Failure> {
        let cannot = |error: &dyn std::error::Error| {
            Failure::CouldNot(format!(
                "cannot read labels from {}: {}; check --labels-file",
                path.display(),
                chain(error)
            ))
        };
        let mut reader = BufReader::new(File::open(path).map_err(|error| cannot(&error))?);
        for number in 1_u64.. {
            let mut line = String::new();
            let read = (&mut reader).take(LONGEST_LINE).read_line(&mut line);
            if read.map_err(|error| cannot(&error))? == 0 {
                break;
            }
            if !line.trim().is_empty() {
                let place = || format!("{} line {number}", path.display());
                self.read_line(&line).map_err(|problem| Failure::CouldNot(format!("{}: {problem}", place())))?;
            }
        }
        Ok(())
    }

    fn read_line(&mut self, line: &str) -> Result<(), String> {
        let mut row: Map<String, Json> =
            serde_json::from_str(line).map_err(|error| format!("not a JSON object: {error}"))?;
        let trace_id = match row.remove(KEY) {
            Some(Json::String(text)) => text.parse::<TraceId>().map_err(|error| error.to_string())?,
            _ => return Err(format!("the object has no text under {KEY:?}, by which labels are joined")),
        };
        for (column, value) in &row {
            let kind = self.columns.entry(column.clone()).or_default();
            *kind = kind.or(kind_of(value));
        }
        self.by_trace.entry(trace_id).or_default().extend(row);
        Ok(())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_trace.is_empty()
    }

    /// Names of every column.
    pub(super) fn columns(&self) -> impl Iterator<Item = &str> {
        self.columns.keys().map(String::as_str)
    }

    /// A trace's value in a column, as text; absent and null are `None`.
    pub(super) fn text(&self, trace_id: TraceId, column: &str) -> Option<String> {
        match self.by_trace.get(&trace_id)?.get(column)? {
            Json::Null => None,
            Json::String(text) => Some(text.clone()),
            other => Some(other.to_string()),
        }
    }

    /// Adds each boolean or number column as a series, but for those in `apart`, which select or pair. A series that
    /// is measured under the same name gives way, for all traces alike.
    pub(super) fn join(&self, records: &mut [TraceRecord], apart: &BTreeSet<String>) {
        let is_series = |column: &str| self.columns.get(column).is_some_and(Option::is_some) && !apart.contains(column);
        for record in records {
            record.measurements.retain(|measurement| !is_series(&measurement.series));
            let row = self.by_trace.get(&record.trace_id);
            let wanted = row.into_iter().flatten().filter(|(column, _)| is_series(column));
            record.measurements.extend(wanted.filter_map(|(column, value)| measurement(column, value)));
        }
    }
}

fn kind_of(value: &Json) -> Option<SeriesKind> {
    match value {
        Json::Bool(_) => Some(SeriesKind::Boolean),
        Json::Number(_) => Some(SeriesKind::Numeric),
        Json::Null | Json::String(_) | Json::Array(_) | Json::Object(_) => None,
    }
}

fn measurement(column: &str, value: &Json) -> Option<Measurement> {
    let kind = kind_of(value)?;
    let value = match value {
        Json::Bool(value) => Value::Boolean(*value),
        value => Value::Number(value.as_f64()?),
    };
    Some(Measurement { series: column.to_owned(), kind, value, probability: 1.0, revision: None })
}
