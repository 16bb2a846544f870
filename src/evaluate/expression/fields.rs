//! What an expression sees of a trace; the table in `evaluators/README.md` is made of these lists.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::Value as Json;

use crate::domain::trace::{ModelCall, Retrieval, Step, ToolCall, Trace};

/// A value during evaluation; texts and records are borrowed from the trace.
#[derive(Debug, Clone)]
pub(super) enum Value<'a> {
    /// A fact that is not there, by the path under which it was asked for.
    Absent(String),
    Boolean(bool),
    Number(f64),
    Text(Cow<'a, str>),
    List(Vec<Value<'a>>),
    Trace(&'a Trace),
    Tool(&'a ToolCall),
    Model(&'a ModelCall),
    Retrieval(&'a Retrieval),
    Attributes(&'a BTreeMap<String, String>),
}

/// One field: its name, and its value where the record has it.
pub(in crate::evaluate) struct Field<R: 'static> {
    pub(in crate::evaluate) name: &'static str,
    value: for<'a> fn(&'a R) -> Option<Value<'a>>,
}

macro_rules! fields {
    ($record:ty: $($name:literal => $value:expr),+ $(,)?) => {
        &[$(Field::<$record> { name: $name, value: $value }),+]
    };
}

pub(in crate::evaluate) const TRACE: &[Field<Trace>] = fields!(Trace:
    "service" => |trace| text(Some(&trace.service)),
    "release" => |trace| text(trace.release.as_ref()),
    "environment" => |trace| text(trace.environment.as_ref()),
    "agent" => |trace| text(trace.agent.as_ref()),
    "conversation_id" => |trace| text(trace.conversation_id.as_ref()),
    "user_id" => |trace| text(trace.user_id.as_ref()),
    "attributes" => |trace| Some(Value::Attributes(&trace.attributes)),
    "error" => |trace| text(trace.error.as_ref()),
    "input" => |trace| text(trace.input.as_ref()),
    "output" => |trace| text(trace.output.as_ref()),
    "system" => |trace| text(trace.system_instructions.as_ref()),
    "latency_seconds" => |trace| trace.latency_seconds().map(Value::Number),
    "input_tokens" => |trace| count(trace.input_tokens()),
    "output_tokens" => |trace| count(trace.output_tokens()),
    "reasoning_tokens" => |trace| count(trace.reasoning_tokens()),
    "cost_usd" => |trace| trace.cost_usd().map(Value::Number),
    "steps" => |trace| count(Some(trace.steps.len() as u64)),
    "tools" => |trace| list(trace, |step| match step { Step::Tool(call) => Some(Value::Tool(call)), _ => None }),
    "models" => |trace| list(trace, |step| match step { Step::Model(call) => Some(Value::Model(call)), _ => None }),
    "retrievals" => |trace| list(trace, |step| match step { Step::Retrieval(one) => Some(Value::Retrieval(one)), _ => None }),
);

pub(in crate::evaluate) const TOOL: &[Field<ToolCall>] = fields!(ToolCall:
    "name" => |call| text(Some(&call.name)),
    "arguments" => |call| text(call.arguments.as_ref()),
    "result" => |call| text(call.result.as_ref()),
    "status" => |call| Some(Value::Text(call.status.as_str().into())),
    "error" => |call| text(call.error.as_ref()),
    "result_empty" => |call| call.result_empty.map(Value::Boolean),
    "repeated" => |call| Some(Value::Boolean(call.repeat_of.is_some())),
);

pub(in crate::evaluate) const MODEL: &[Field<ModelCall>] = fields!(ModelCall:
    "model" => |call| text(call.model.as_ref()),
    "input_tokens" => |call| count(call.input_tokens),
    "output_tokens" => |call| count(call.output_tokens),
    "reasoning_tokens" => |call| count(call.reasoning_tokens),
    "cost_usd" => |call| call.cost_usd.map(Value::Number),
    "finish_reasons" => |call| texts(&call.finish_reasons),
    "error" => |call| text(call.error.as_ref()),
    "output" => |call| text(call.output_text.as_ref()),
);

pub(in crate::evaluate) const RETRIEVAL: &[Field<Retrieval>] = fields!(Retrieval:
    "query" => |retrieval| text(retrieval.query.as_ref()),
    "documents" => |retrieval| retrieval.documents_recorded.then(|| texts(&retrieval.documents)).flatten(),
);

fn text(text: Option<&String>) -> Option<Value<'_>> {
    text.map(|text| Value::Text(text.as_str().into()))
}

fn texts(texts: &[String]) -> Option<Value<'_>> {
    Some(Value::List(texts.iter().map(|text| Value::Text(text.as_str().into())).collect()))
}

fn count<'a>(count: Option<u64>) -> Option<Value<'a>> {
    count.map(|count| Value::Number(count as f64))
}

fn list(trace: &Trace, select: for<'a> fn(&'a Step) -> Option<Value<'a>>) -> Option<Value<'_>> {
    Some(Value::List(trace.steps.iter().filter_map(select).collect()))
}

/// A trace as JSON: every field of every record, absent facts as `null`.
pub(in crate::evaluate) fn subject(trace: &Trace) -> Json {
    Value::Trace(trace).to_json()
}

/// Whether any record has a field of that name.
pub(super) fn is_field(name: &str) -> bool {
    fn has<R>(fields: &[Field<R>], name: &str) -> bool {
        fields.iter().any(|field| field.name == name)
    }
    has(TRACE, name) || has(TOOL, name) || has(MODEL, name) || has(RETRIEVAL, name)
}

impl<'a> Value<'a> {
    /// A field of a record; `None` when it is no record or has no such field.
    pub(super) fn field(&self, name: &str) -> Option<Self> {
        fn of<'a, R>(record: &'a R, fields: &[Field<R>], name: &str) -> Option<Value<'a>> {
            let field = fields.iter().find(|field| field.name == name)?;
            Some((field.value)(record).unwrap_or_else(|| Value::Absent(name.to_owned())))
        }
        match self {
            Self::Trace(trace) => of(*trace, TRACE, name),
            Self::Tool(call) => of(*call, TOOL, name),
            Self::Model(call) => of(*call, MODEL, name),
            Self::Retrieval(retrieval) => of(*retrieval, RETRIEVAL, name),
            Self::Attributes(attributes) => {
                Some(attributes.get(name).map_or_else(
                    || Self::Absent(format!("attributes.{name}")),
                    |value| Self::Text(value.as_str().into()),
                ))
            }
            _ => None,
        }
    }

    fn to_json(&self) -> Json {
        fn of<R>(record: &R, fields: &[Field<R>]) -> Json {
            let entry = |field: &Field<R>| {
                let value = (field.value)(record).map_or(Json::Null, |value| value.to_json());
                (field.name.to_owned(), value)
            };
            fields.iter().map(entry).collect()
        }
        match self {
            Self::Absent(_) => Json::Null,
            Self::Boolean(value) => Json::from(*value),
            Self::Number(number) => Json::from(*number),
            Self::Text(text) => Json::from(text.as_ref()),
            Self::List(values) => values.iter().map(Value::to_json).collect(),
            Self::Trace(trace) => of(*trace, TRACE),
            Self::Tool(call) => of(*call, TOOL),
            Self::Model(call) => of(*call, MODEL),
            Self::Retrieval(retrieval) => of(*retrieval, RETRIEVAL),
            Self::Attributes(attributes) => {
                attributes.iter().map(|(name, value)| (name.clone(), Json::from(value.as_str()))).collect()
            }
        }
    }

    pub(super) const fn kind(&self) -> &'static str {
        match self {
            Self::Absent(_) => "null",
            Self::Boolean(_) => "true or false",
            Self::Number(_) => "a number",
            Self::Text(_) => "a text",
            Self::List(_) => "a list",
            Self::Trace(_) | Self::Tool(_) | Self::Model(_) | Self::Retrieval(_) | Self::Attributes(_) => "a record",
        }
    }
}
