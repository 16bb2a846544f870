//! The pure part of a user's own service: what it is sent, and what its answer means. It is called elsewhere.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::expression::subject;
use crate::domain::trace::Trace;

/// Longest label and explanation that are kept, in characters.
const LONGEST_LABEL: usize = 40;
const LONGEST_EXPLANATION: usize = 1_000;

/// A user's own service.
#[derive(Debug, Clone, PartialEq)]
pub struct Service {
    /// Where runs are posted.
    pub url: String,
    /// Longest wait for an answer.
    pub timeout: Duration,
    /// Attempts at one answer before it counts as failed; at least 1.
    pub attempts: u32,
    /// A header and the environment variable that holds its value.
    pub header: Option<(String, String)>,
}

/// A service's score of one run.
#[derive(Debug, Clone, PartialEq)]
pub struct ServiceScore {
    /// In [0, 1], higher is better.
    pub value: f64,
    /// Short verdict.
    pub label: String,
    /// One sentence for a person.
    pub explanation: String,
}

/// Why an answer is no score.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAnswer {
    /// Not the JSON that was asked for.
    #[error("the answer is not {{\"value\"?, \"label\"?, \"explanation\"?}}: {0}")]
    Shape(String),
    /// The value is no share.
    #[error("the value of the answer does not lie between 0 and 1")]
    Value,
    /// The label is empty or too long.
    #[error("the label of the answer is blank or longer than {LONGEST_LABEL} characters")]
    Label,
    /// Neither a value nor a label that stands for one.
    #[error("the answer has no value, and its label is none of pass, fail, yes and no")]
    NoScore,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Answer {
    value: Option<f64>,
    label: Option<String>,
    explanation: Option<String>,
}

impl Service {
    /// What is posted for a run: the record that conditions see.
    #[must_use]
    pub fn subject(trace: &Trace) -> Value {
        subject(trace)
    }
}

/// Reads an answer.
///
/// # Errors
/// It is not of the form that was asked for.
pub fn parse_answer(body: &[u8]) -> Result<ServiceScore, InvalidAnswer> {
    let answer: Answer = serde_json::from_slice(body).map_err(|error| InvalidAnswer::Shape(error.to_string()))?;
    let label = answer.label.map(|label| label.trim().to_owned());
    let is_label = |label: &String| !label.is_empty() && label.chars().count() <= LONGEST_LABEL;
    if !label.as_ref().is_none_or(is_label) || label.as_ref().is_some_and(|label| label.contains(char::is_control)) {
        return Err(InvalidAnswer::Label);
    }
    let value = match (answer.value, label.as_deref()) {
        (Some(value), _) if (0.0..=1.0).contains(&value) => value,
        (Some(_), _) => return Err(InvalidAnswer::Value),
        (None, Some("pass" | "yes")) => 1.0,
        (None, Some("fail" | "no")) => 0.0,
        (None, _) => return Err(InvalidAnswer::NoScore),
    };
    let explanation = answer.explanation.filter(|text| !text.trim().is_empty());
    let explanation = explanation.unwrap_or_else(|| "the service gave no explanation".to_owned());
    Ok(ServiceScore {
        value,
        label: label.unwrap_or_else(|| if value < 0.5 { "fail" } else { "pass" }.to_owned()),
        explanation: explanation.chars().take(LONGEST_EXPLANATION).collect(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::cases::trace_of;
    use super::*;

    fn score(answer: &str) -> Result<(f64, String), InvalidAnswer> {
        parse_answer(answer.as_bytes()).map(|score| (score.value, score.label))
    }

    #[test]
    fn a_value_or_a_known_label_is_a_score() {
        assert_eq!(score(r#"{"value": 0.25}"#), Ok((0.25, "fail".to_owned())));
        assert_eq!(score(r#"{"value": 1, "label": "polite", "explanation": "e"}"#), Ok((1.0, "polite".to_owned())));
        assert_eq!(score(r#"{"label": "no"}"#), Ok((0.0, "no".to_owned())));
        let explained = parse_answer(br#"{"label": "pass"}"#).unwrap();
        assert_eq!(explained.explanation, "the service gave no explanation");
    }

    #[test]
    fn anything_else_is_refused_and_never_guessed() {
        for answer in ["", "1", "[]", "{\"value\": \"1\"}", "{\"value\": 1, \"score\": 2}", "{\"value\": 1} {}"] {
            assert!(matches!(score(answer), Err(InvalidAnswer::Shape(_))), "{answer}");
        }
        for answer in [r#"{"value": 1.5}"#, r#"{"value": -0.1, "label": "pass"}"#] {
            assert_eq!(score(answer), Err(InvalidAnswer::Value), "{answer}");
        }
        for answer in ["{}", r#"{"label": "fine"}"#, r#"{"explanation": "good"}"#] {
            assert_eq!(score(answer), Err(InvalidAnswer::NoScore), "{answer}");
        }
        for label in ["  ", &"x".repeat(41), "a\\u001b[2J"] {
            assert_eq!(score(&format!("{{\"value\": 1, \"label\": \"{label}\"}}")), Err(InvalidAnswer::Label));
        }
    }

    #[test]
    fn a_run_is_sent_as_conditions_see_it_with_absent_facts_as_null() {
        let description = json!({"input": "q", "steps": [
            {"tool": "t", "arguments": {"a": 1}, "result": "r"}, {"retrieval": "find", "documents": ["d"]}
        ]});
        let sent = Service::subject(&trace_of(&serde_json::from_value(description).unwrap()));
        assert_eq!((&sent["input"], &sent["output"], &sent["steps"]), (&json!("q"), &Value::Null, &json!(2.0)));
        assert_eq!((&sent["tools"][0]["name"], &sent["tools"][0]["repeated"]), (&json!("t"), &json!(false)));
        assert_eq!(sent["retrievals"][0]["documents"], json!(["d"]));
        assert_eq!((&sent["cost_usd"], &sent["attributes"]), (&Value::Null, &json!({})));
    }
}
