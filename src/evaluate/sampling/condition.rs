//! Which traces a policy or a stratum is about: the `where` table.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

use crate::domain::trace::Trace;

/// Names that every trace can be asked for; all others are attributes.
const OWN_NAMES: [&str; 7] = ["service", "release", "environment", "agent", "model", "conversation", "user"];

/// What must hold of a trace, all of it; nothing at all holds of every trace.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(try_from = "BTreeMap<String, Scalar>")]
pub struct TraceCondition {
    error: Option<bool>,
    span_error: Option<bool>,
    min_duration: Option<Duration>,
    names: BTreeMap<String, String>,
}

/// A value as it is written.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum Scalar {
    Boolean(bool),
    Integer(i64),
    Number(f64),
    Text(String),
}

/// Why a `where` table means nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum InvalidCondition {
    #[error("where.{name} is either true or false")]
    NotABoolean { name: &'static str },
    #[error("where.min_duration is a duration such as \"30s\"")]
    NotADuration,
}

impl TryFrom<BTreeMap<String, Scalar>> for TraceCondition {
    type Error = InvalidCondition;

    fn try_from(mut written: BTreeMap<String, Scalar>) -> Result<Self, InvalidCondition> {
        Ok(Self {
            error: written.remove("error").map(|value| boolean("error", &value)).transpose()?,
            span_error: written.remove("span_error").map(|value| boolean("span_error", &value)).transpose()?,
            min_duration: written.remove("min_duration").map(|value| duration(&value)).transpose()?,
            names: written.into_iter().map(|(name, value)| (name, text(value))).collect(),
        })
    }
}

fn boolean(name: &'static str, value: &Scalar) -> Result<bool, InvalidCondition> {
    if let Scalar::Boolean(value) = value { Ok(*value) } else { Err(InvalidCondition::NotABoolean { name }) }
}

fn duration(value: &Scalar) -> Result<Duration, InvalidCondition> {
    let Scalar::Text(text) = value else { return Err(InvalidCondition::NotADuration) };
    humantime::parse_duration(text).map_err(|_| InvalidCondition::NotADuration)
}

/// As the text that an attribute of this value has.
fn text(value: Scalar) -> String {
    match value {
        Scalar::Boolean(value) => value.to_string(),
        Scalar::Integer(value) => value.to_string(),
        Scalar::Number(value) => value.to_string(),
        Scalar::Text(value) => value,
    }
}

impl TraceCondition {
    /// Whether all of it holds of a trace. A run whose clock is invented has no duration.
    #[must_use]
    pub fn holds(&self, trace: &Trace) -> bool {
        let is_so = |wanted: Option<bool>, found: bool| wanted.is_none_or(|wanted| wanted == found);
        let is_long = |least: Duration| trace.latency_seconds().is_some_and(|seconds| seconds >= least.as_secs_f64());
        is_so(self.error, trace.error.is_some())
            && is_so(self.span_error, trace.failed_spans > 0)
            && self.min_duration.is_none_or(is_long)
            && self.names.iter().all(|(name, value)| is_called(trace, name, value))
    }

    /// Attributes that it asks for.
    pub fn attributes(&self) -> impl Iterator<Item = &str> {
        self.names.keys().map(String::as_str).filter(|name| !OWN_NAMES.contains(name))
    }

    /// Whether it asks how the run as a whole ended.
    pub(super) const fn asks_for_error(&self) -> bool {
        self.error.is_some()
    }
}

fn is_called(trace: &Trace, name: &str, value: &str) -> bool {
    let found = match name {
        "service" => Some(trace.service.as_str()),
        "release" => trace.release.as_deref(),
        "environment" => trace.environment.as_deref(),
        "agent" => trace.agent.as_deref(),
        "conversation" => trace.conversation_id.as_deref(),
        "user" => trace.user_id.as_deref(),
        "model" => return trace.models().contains(&value),
        attribute => trace.attributes.get(attribute).map(String::as_str),
    };
    found == Some(value)
}
