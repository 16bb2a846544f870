//! Feedback as applications send it: one JSON object for each score that a person or another tool gave.

use serde_json::{Map, Value};

use super::evaluation::AnnotatorKind;
use super::external_score::{ExternalScore, LONGEST_NAME, LONGEST_TEXT, NewExternalScore, ScoreIdentity};

/// Largest body, in bytes: several times what the longest texts take.
pub const LARGEST_BODY: usize = 64 * 1024;

/// The members that feedback may have.
const FIELDS: [&str; 9] =
    ["trace_id", "span_id", "name", "value", "label", "explanation", "source", "id", "annotator_kind"];

/// Why an object is no feedback.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct InvalidFeedback {
    /// The member that is wrong.
    pub field: String,
    /// What is wrong with it.
    pub problem: String,
}

/// Reads feedback: `{trace_id, span_id?, name, value?, label?, explanation?, source, id?, annotator_kind?}`, of which
/// at least one of value, label and explanation must be there. A member that is null is absent.
///
/// # Errors
/// The first member that is missing, of another type, too long or not known.
pub fn parse(object: &Map<String, Value>) -> Result<NewExternalScore, InvalidFeedback> {
    if let Some(unknown) = object.keys().find(|key| !FIELDS.contains(&key.as_str())) {
        return Err(invalid(unknown, format!("is not known; known are {}", FIELDS.join(", "))));
    }
    let score = ExternalScore {
        trace_id: id(object, "trace_id")?.ok_or_else(|| missing("trace_id"))?,
        span_id: id(object, "span_id")?,
        name: short(object, "name")?.ok_or_else(|| missing("name"))?,
        annotator_kind: annotator_kind(object)?,
        source: short(object, "source")?.ok_or_else(|| missing("source"))?,
        value: value(object)?,
        label: short(object, "label")?,
        explanation: text(object, "explanation", LONGEST_TEXT)?,
        error: None,
        scored_at: None,
    };
    if !score.says_something() {
        return Err(invalid("value", "is missing, and so are label and explanation: send one of them"));
    }
    let identity = short(object, "id")?.map_or(ScoreIdentity::Separate, ScoreIdentity::Given);
    Ok(NewExternalScore { score, identity })
}

fn invalid(field: &str, problem: impl Into<String>) -> InvalidFeedback {
    let field = field.chars().take(LONGEST_NAME).collect();
    InvalidFeedback { field, problem: problem.into() }
}

fn missing(field: &str) -> InvalidFeedback {
    invalid(field, "is missing")
}

fn member<'a>(object: &'a Map<String, Value>, field: &str) -> Option<&'a Value> {
    object.get(field).filter(|value| !value.is_null())
}

fn text(object: &Map<String, Value>, field: &str, longest: usize) -> Result<Option<String>, InvalidFeedback> {
    match member(object, field) {
        None => Ok(None),
        Some(Value::String(text)) if text.trim().is_empty() => Err(invalid(field, "is blank")),
        Some(Value::String(text)) if text.len() > longest => {
            Err(invalid(field, format!("has {} bytes, at most {longest} are kept", text.len())))
        }
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(invalid(field, "is no text")),
    }
}

/// A text of one line.
fn short(object: &Map<String, Value>, field: &str) -> Result<Option<String>, InvalidFeedback> {
    let text = text(object, field, LONGEST_NAME)?;
    match text {
        Some(text) if text.contains(char::is_control) => Err(invalid(field, "holds control characters")),
        text => Ok(text),
    }
}

fn id<T: std::str::FromStr<Err: std::fmt::Display>>(
    object: &Map<String, Value>,
    field: &str,
) -> Result<Option<T>, InvalidFeedback> {
    let parsed = |text: String| text.parse().map_err(|error: T::Err| invalid(field, error.to_string()));
    short(object, field)?.map(parsed).transpose()
}

/// A number; true is 1 and false is 0.
fn value(object: &Map<String, Value>) -> Result<Option<f64>, InvalidFeedback> {
    match member(object, "value") {
        None => Ok(None),
        Some(Value::Bool(value)) => Ok(Some(f64::from(u8::from(*value)))),
        Some(Value::Number(number)) => {
            let finite = number.as_f64().filter(|value| value.is_finite());
            finite.map(Some).ok_or_else(|| invalid("value", "is not finite"))
        }
        Some(_) => Err(invalid("value", "is neither a number nor true or false")),
    }
}

/// A person, unless it is said otherwise.
fn annotator_kind(object: &Map<String, Value>) -> Result<AnnotatorKind, InvalidFeedback> {
    let Some(word) = short(object, "annotator_kind")? else { return Ok(AnnotatorKind::Human) };
    let known = || invalid("annotator_kind", "is none of human, llm, code and external");
    AnnotatorKind::parse(&word).ok_or_else(known)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn whole() -> Value {
        json!({
            "trace_id": "65888dddb25592422df09b0e4b474df2", "span_id": "2df09b0e4b474df2", "name": "thumbs",
            "value": true, "label": "up", "explanation": "it\nhelped", "source": "app", "id": "f-1",
        })
    }

    fn with(field: &str, value: Value) -> Result<NewExternalScore, InvalidFeedback> {
        let mut object = whole();
        object[field] = value;
        parse(object.as_object().unwrap())
    }

    #[test]
    fn feedback_is_a_persons_unless_it_says_otherwise() {
        let read = parse(whole().as_object().unwrap()).unwrap();
        assert_eq!((read.score.value, read.score.annotator_kind), (Some(1.0), AnnotatorKind::Human));
        assert_eq!(read.identity, ScoreIdentity::Given("f-1".to_owned()));
        assert_eq!(with("id", Value::Null).unwrap().identity, ScoreIdentity::Separate);
        assert_eq!(with("value", json!(4)).unwrap().score.value, Some(4.0));
        assert_eq!(with("annotator_kind", json!("llm")).unwrap().score.annotator_kind, AnnotatorKind::Llm);
    }

    #[test]
    fn what_is_wrong_is_named_by_its_member() {
        for (field, value) in [
            ("trace_id", Value::Null),
            ("trace_id", json!("xyz")),
            ("trace_id", json!("00000000000000000000000000000000")),
            ("span_id", json!("12")),
            ("span_id", json!(12)),
            ("name", Value::Null),
            ("name", json!(" ")),
            ("name", json!("a\u{1b}[2J")),
            ("name", json!("x".repeat(201))),
            ("value", json!("1")),
            ("value", json!([1])),
            ("label", json!(1)),
            ("explanation", json!("x".repeat(4_001))),
            ("source", Value::Null),
            ("id", json!("")),
            ("annotator_kind", json!("robot")),
            ("score", json!(1)),
        ] {
            let error = with(field, value.clone()).unwrap_err();
            assert_eq!(error.field, field, "{value} {error}");
        }
    }

    #[test]
    fn feedback_that_says_nothing_is_refused() {
        let object = json!({"trace_id": "65888dddb25592422df09b0e4b474df2", "name": "thumbs", "source": "app"});
        let error = parse(object.as_object().unwrap()).unwrap_err();
        assert_eq!(error.to_string(), "value: is missing, and so are label and explanation: send one of them");
    }
}
