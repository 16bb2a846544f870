//! How a tool call ended, from what its span carries: a status, an error type, or a result that reads as an error.

use std::borrow::Cow;

use crate::domain::trace::ToolStatus;

use super::json::Json;

/// Characters of an error text that are looked at: a tool may dump anything into it.
const LOOKED_AT: usize = 1000;

/// Members under which tools put the list of what they found.
const RESULT_LISTS: [&str; 12] = [
    "results",
    "result",
    "items",
    "data",
    "documents",
    "hits",
    "matches",
    "records",
    "rows",
    "entries",
    "content",
    "output",
];

/// Phrases in an error that tell its kind, tried in this order.
const PHRASES: [(ToolStatus, &[&str]); 3] = [
    (
        ToolStatus::RateLimited,
        &[
            "rate limit",
            "rate_limit",
            "ratelimit",
            "too many requests",
            "throttl",
            "quota exceeded",
            "resource_exhausted",
        ],
    ),
    (ToolStatus::Timeout, &["timeout", "timed out", "time out", "timed_out", "deadline exceeded", "deadline_exceeded"]),
    (
        ToolStatus::InvalidArgs,
        &[
            "validation",
            "schema",
            "invalid argument",
            "invalid_argument",
            "invalid_args",
            "invalid parameter",
            "invalid params",
            "invalid input",
            "missing argument",
            "missing required",
            "missing parameter",
            "required argument",
            "required property",
            "required parameter",
            "required positional argument",
            "unexpected keyword argument",
            "field required",
            "bad request",
            "unprocessable",
        ],
    ),
];

/// HTTP and JSON-RPC codes that stand for a kind when they are a word of the error.
const CODES: [(ToolStatus, &[&str]); 3] = [
    (ToolStatus::RateLimited, &["429"]),
    (ToolStatus::Timeout, &["408", "504"]),
    (ToolStatus::InvalidArgs, &["400", "422", "-32602"]),
];

/// The kind of a failure, from its error type and text.
pub(super) fn failure_kind(error: &str) -> ToolStatus {
    let error: String = error.chars().take(LOOKED_AT).flat_map(char::to_lowercase).collect();
    let says = |phrases: &[&str]| phrases.iter().any(|phrase| error.contains(phrase));
    let has_word = |codes: &[&str]| {
        error.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '-').any(|word| codes.contains(&word))
    };
    let by_phrase = PHRASES.iter().find(|(_, phrases)| says(phrases)).map(|(status, _)| *status);
    let by_code = || CODES.iter().find(|(_, codes)| has_word(codes)).map(|(status, _)| *status);
    by_phrase.or_else(by_code).unwrap_or(ToolStatus::Error)
}

/// The error that a result reports although its span may say that all went well.
pub(super) fn error_in_result(result: &Json<'_>) -> Option<String> {
    match result {
        Json::Object(_) => error_member(result),
        Json::Text(text) if starts_as_error(text.trim_start()) => Some(text.trim().to_owned()),
        _ => None,
    }
}

fn error_member(result: &Json<'_>) -> Option<String> {
    let flagged = ["isError", "is_error"].iter().any(|key| result.get(key) == Some(&Json::Bool(true)));
    let error = result.get("error").filter(|error| !is_nothing(error));
    match error {
        Some(Json::Bool(_)) => Some(result.to_text()),
        Some(error) => Some(error.get("message").unwrap_or(error).to_text()),
        None => flagged.then(|| result.to_text()),
    }
}

/// `Error`, as a word, or `error:` in any case; not a text that merely speaks of errors.
fn starts_as_error(text: &str) -> bool {
    let (Some(word), Some(rest)) = (text.get(..5), text.get(5..)) else { return false };
    let ends_word = !rest.starts_with(|next: char| next.is_alphanumeric() || next == '-');
    (word == "Error" && ends_word)
        || (word.eq_ignore_ascii_case("error") && rest.starts_with(':'))
        || text.starts_with("Traceback (most recent call last)")
}

/// Whether a result holds no data: nothing, an empty list, or an object of which that is all.
pub(super) fn is_empty(result: &Json<'_>) -> bool {
    match result {
        Json::Null => true,
        Json::Bool(_) | Json::Number(_) => false,
        Json::Text(text) => matches!(text.trim(), "" | "null" | "None" | "[]" | "{}"),
        Json::Array(items) => items.is_empty(),
        Json::Object(members) => {
            let all_nothing = members.iter().all(|(_, value)| is_nothing(value));
            let some_empty = members.is_empty() || members.iter().any(|(_, value)| is_empty(value));
            (all_nothing && some_empty) || is_empty_answer(result, members)
        }
    }
}

/// An empty list of results among nothing but remarks, such as the query or a message.
fn is_empty_answer(result: &Json<'_>, members: &[(Cow<'_, str>, Json<'_>)]) -> bool {
    let empty_list = |key: &str| matches!(result.get(key), Some(Json::Array(items)) if items.is_empty());
    RESULT_LISTS.iter().any(|key| empty_list(key)) && !members.iter().any(|(_, value)| holds_structure(value))
}

/// Empty, or a count or flag that says so.
fn is_nothing(value: &Json<'_>) -> bool {
    match value {
        Json::Bool(value) => !value,
        Json::Number(number) => number.as_f64() == Some(0.0),
        Json::Object(members) => members.is_empty(),
        Json::Null | Json::Text(_) | Json::Array(_) => is_empty(value),
    }
}

fn holds_structure(value: &Json<'_>) -> bool {
    matches!(value, Json::Array(items) if !items.is_empty()) || matches!(value, Json::Object(it) if !it.is_empty())
}
