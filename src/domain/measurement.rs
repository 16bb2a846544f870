//! What is measured on every trace without anyone configuring it, and the record that statistics read.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::ids::TraceId;
use super::time::Timestamp;

/// Ends a category of `tool_results`: calls of the tool before it that succeeded and returned nothing.
pub const EMPTY_RESULT: &str = ": empty";
/// Ends a category of `tool_results`: calls of the tool before it that succeeded and returned something.
pub const FILLED_RESULT: &str = ": filled";
/// The series that counts, by evaluator, the runs that lack what the evaluator needs.
pub const NOT_EVALUABLE: &str = "not_evaluable";

/// The kind of a series decides its summary, its test and its detector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SeriesKind {
    /// True or false per trace.
    Boolean,
    /// A few ordered levels per trace.
    Ordinal,
    /// A non-negative number per trace.
    Numeric,
    /// One or more categories per trace.
    Categorical,
    /// An ordered list of tool names per trace.
    Sequence,
}

impl SeriesKind {
    /// The kind as it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Boolean => "boolean",
            Self::Ordinal => "ordinal",
            Self::Numeric => "numeric",
            Self::Categorical => "categorical",
            Self::Sequence => "sequence",
        }
    }
}

/// One trace's value in one series.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Value {
    /// For [`SeriesKind::Boolean`].
    Boolean(bool),
    /// For [`SeriesKind::Numeric`] and [`SeriesKind::Ordinal`]; finite.
    Number(f64),
    /// For [`SeriesKind::Sequence`]: tool names in order, repeats kept.
    Sequence(Vec<String>),
    /// For [`SeriesKind::Categorical`]: how often each category occurred in the trace.
    Counts(BTreeMap<String, u32>),
}

/// By hand: what is derived tries one kind after the other, and makes an error with its text for each that it is not.
impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ValueVisitor;
        impl<'de> Visitor<'de> for ValueVisitor {
            type Value = Value;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("true, false, a number, a list of names or counts by category")
            }

            fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
                Ok(Value::Boolean(value))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
                Ok(Value::Number(value as f64))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
                Ok(Value::Number(value as f64))
            }

            fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
                Ok(Value::Number(value))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, names: A) -> Result<Value, A::Error> {
                Deserialize::deserialize(SeqAccessDeserializer::new(names)).map(Value::Sequence)
            }

            fn visit_map<A: MapAccess<'de>>(self, counts: A) -> Result<Value, A::Error> {
                Deserialize::deserialize(MapAccessDeserializer::new(counts)).map(Value::Counts)
            }
        }
        deserializer.deserialize_any(ValueVisitor)
    }
}

/// One named measurement of one trace.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measurement {
    /// The series' name: a measurement (`output_tokens`), an evaluator (`loop`) or a label column (`success`).
    pub series: String,
    /// The series' kind.
    pub kind: SeriesKind,
    /// The value.
    pub value: Value,
    /// Probability with which this value was observed, given that the trace was received; 1 for what every trace
    /// gets, the judging rate for what a judge scored.
    pub probability: f64,
    /// Revision of the evaluator that scored; `None` for what is measured, and for records of an earlier release. Scores
    /// of different revisions are different series.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
}

/// Everything statistics need to know of one trace: it is what baselines, drift reports, gates and detectors read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TraceRecord {
    /// The trace, so that every number opens into what made it.
    pub trace_id: TraceId,
    /// Cluster of the trace: its conversation, else itself.
    pub conversation: String,
    /// `service.name`.
    pub service: String,
    /// Dimensions to split by: `model`, `release`, `environment`, `agent`, and configured attributes.
    pub segments: BTreeMap<String, String>,
    /// When the run ended; it belongs to the window of this hour.
    pub ended_at: Timestamp,
    /// Probability of upstream sampling; `None` when unknown.
    pub upstream_probability: Option<f64>,
    /// The trace's values.
    pub measurements: Vec<Measurement>,
    /// What limits them, in plain words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

impl TraceRecord {
    /// The trace's value in a series, if it has one.
    #[must_use]
    pub fn measurement(&self, series: &str) -> Option<&Measurement> {
        self.measurements.iter().find(|measurement| measurement.series == series)
    }

    /// Leaves out the values of all other series.
    pub fn keep_only(&mut self, series: &str) {
        self.measurements.retain(|measurement| measurement.series == series);
    }

    /// Inverse probability of upstream sampling: how many traces this one stands for. Unknown is taken as 1, and reports
    /// say so.
    #[must_use]
    pub fn upstream_weight(&self) -> f64 {
        1.0 / self.upstream_probability.unwrap_or(1.0)
    }

    /// Inverse inclusion probability of a value.
    #[must_use]
    pub fn weight(&self, measurement: &Measurement) -> f64 {
        self.upstream_weight() / measurement.probability
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_read_as_what_it_was_written_as() {
        let names = ["search", "search"].map(str::to_owned);
        for (value, text) in [
            (Value::Boolean(true), "true"),
            (Value::Number(0.1), "0.1"),
            (Value::Number(1e300), "1e300"),
            (Value::Sequence(Vec::new()), "[]"),
            (Value::Sequence(names.to_vec()), r#"["search","search"]"#),
            (Value::Counts(BTreeMap::new()), "{}"),
            (Value::Counts([("stop".to_owned(), 3)].into()), r#"{"stop":3}"#),
        ] {
            assert_eq!(serde_json::from_str::<Value>(text).unwrap(), value);
            assert_eq!(serde_json::from_str::<Value>(&serde_json::to_string(&value).unwrap()).unwrap(), value);
        }
        for (text, number) in [("7", 7.0), ("-7", -7.0), ("18446744073709551616", 18_446_744_073_709_551_616.0)] {
            assert_eq!(serde_json::from_str::<Value>(text).unwrap(), Value::Number(number));
        }
        for text in ["null", r#""text""#, "[1]", r#"{"stop":-1}"#, r#"{"stop":1.5}"#, r#"{"stop":null}"#] {
            assert!(serde_json::from_str::<Value>(text).is_err(), "{text}");
        }
    }
}
