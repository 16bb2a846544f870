//! What kind of failure ended a tool call, from the error that its span or its result reports.

use crate::domain::trace::ToolStatus;

/// Characters of an error text that are looked at: a tool may dump anything into it.
const LOOKED_AT: usize = 1000;

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
            "validation error",
            "validationerror",
            "validation_error",
            "validation failed",
            "failed validation",
            "schema validation",
            "match the schema",
            "match schema",
            "invalid argument",
            "invalid_argument",
            "invalid_args",
            "invalid parameter",
            "invalid params",
            "-32602",
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

/// HTTP statuses that stand for a kind.
const CODES: [(ToolStatus, &[&str]); 3] = [
    (ToolStatus::RateLimited, &["429"]),
    (ToolStatus::Timeout, &["408", "504"]),
    (ToolStatus::InvalidArgs, &["400", "422"]),
];

/// What is in the word before a number that is a status, as in `status code 429`; any other may be a room or a price.
const BEFORE_CODES: [&str; 3] = ["status", "code", "http"];

/// The kind of a failure, from its error type and text.
pub(super) fn failure_kind(error: &str) -> ToolStatus {
    let error: String = error.chars().take(LOOKED_AT).flat_map(char::to_lowercase).collect();
    let says = |phrases: &[&str]| phrases.iter().any(|phrase| error.contains(phrase));
    let by_phrase = PHRASES.iter().find(|(_, phrases)| says(phrases)).map(|(status, _)| *status);
    let by_code = || CODES.iter().find(|(_, codes)| has_status(&error, codes)).map(|(status, _)| *status);
    by_phrase.or_else(by_code).unwrap_or(ToolStatus::Error)
}

/// Whether one of some codes is a line of its own, or follows a word that announces one.
fn has_status(error: &str, codes: &[&str]) -> bool {
    let words: Vec<&str> =
        error.split(|letter: char| !letter.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).collect();
    let announced = |word: &str| BEFORE_CODES.iter().any(|before| word.contains(before));
    error.lines().any(|line| codes.contains(&line.trim()))
        || words.windows(2).any(|pair| announced(pair[0]) && codes.contains(&pair[1]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_or_a_word_that_is_no_status_tells_no_kind() {
        for error in [
            "Error: room 429 is not available",
            "order 400 was not found",
            "payment validation service is down",
            "the schema registry cannot be reached",
        ] {
            assert_eq!(failure_kind(error), ToolStatus::Error, "{error}");
        }
    }

    #[test]
    fn a_status_is_told_by_the_word_before_it_or_by_standing_alone() {
        for (error, kind) in [
            ("429", ToolStatus::RateLimited),
            ("tool_error\n504", ToolStatus::Timeout),
            ("HTTPError: 429 for url", ToolStatus::RateLimited),
            (r#"{"statusCode":400,"message":"no"}"#, ToolStatus::InvalidArgs),
            ("failed with status code: 422", ToolStatus::InvalidArgs),
            ("mcp error -32602", ToolStatus::InvalidArgs),
            ("the order failed validation", ToolStatus::InvalidArgs),
        ] {
            assert_eq!(failure_kind(error), kind, "{error}");
        }
    }
}
