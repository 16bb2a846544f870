//! What a tool's result says of itself, whatever the tool is: that it failed, or that nothing was found.

use std::borrow::Cow;

use super::json::Json;

/// Members of an MCP answer; its content is what the tool says, the rest is about it.
const MCP_MEMBERS: [&str; 5] = ["content", "isError", "is_error", "structuredContent", "_meta"];

/// Members that say by `false` that a call failed, and those that say it by `true`.
const SUCCESS_FLAGS: [&str; 2] = ["success", "ok"];
const FAILURE_FLAGS: [&str; 2] = ["isError", "is_error"];

/// Members that hold a word or an HTTP status for how a call ended.
const STATUSES: [&str; 4] = ["status", "state", "statusCode", "status_code"];
const FAILED: [&str; 3] = ["error", "failed", "failure"];

/// Members that say why a call failed. A `failed` without any may be the state of what was looked up.
const REASONS: [&str; 10] = [
    "message",
    "msg",
    "reason",
    "detail",
    "details",
    "description",
    "code",
    "error_code",
    "error_message",
    "errorMessage",
];

/// What stands in an `error` when there was none.
const NO_ERROR: [&str; 6] = ["none", "ok", "success", "no error", "false", "0"];

/// How texts start that are errors, beside those that name one before a colon.
const ERROR_OPENINGS: [&str; 8] = [
    "traceback (most recent call last)",
    "error code:",
    "error executing ",
    "error invoking ",
    "error calling ",
    "error running ",
    "error occurred",
    "an error occurred",
];

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

/// Members that tell how much was found; a `total` may also be a sum of money, so alone it tells nothing.
const COUNTS: [&str; 6] = ["count", "total_count", "totalCount", "total_results", "totalResults", "total"];

/// Members that speak of the search and not of what it found, however much they hold.
const REMARKS: [&str; 13] = [
    "filter",
    "filters",
    "query",
    "search",
    "criteria",
    "params",
    "pagination",
    "paging",
    "page",
    "meta",
    "metadata",
    "_meta",
    "_links",
];

/// What a text says was not found, and how it goes on.
const FOUND: [&str; 12] = [
    "result",
    "results",
    "record",
    "records",
    "match",
    "matches",
    "document",
    "documents",
    "item",
    "items",
    "entries",
    "rows",
];
const GOES_ON: [&str; 7] = ["found", "were found", "returned", "were returned", "matched", "match ", "for "];

/// Longest text that says no more than that nothing was found, in bytes.
const LONGEST_REMARK: usize = 160;

/// The error that a result reports although its span may say that all went well.
pub(super) fn error_in_result(result: &Json<'_>) -> Option<String> {
    reported_error(result).or_else(|| reported_error(&mcp_answer(result)?))
}

fn reported_error(result: &Json<'_>) -> Option<String> {
    match result {
        Json::Object(_) => error_member(result),
        Json::Text(text) if starts_as_error(text.trim_start()) => Some(text.trim().to_owned()),
        _ => None,
    }
}

fn error_member(result: &Json<'_>) -> Option<String> {
    let mut errors = ["error", "errors"].into_iter().filter_map(|key| result.get(key));
    match errors.find(|error| !is_no_error(error)) {
        Some(Json::Bool(_)) => Some(result.to_text()),
        Some(error) => {
            let error = error.items().first().unwrap_or(error);
            Some(error.get("message").unwrap_or(error).to_text())
        }
        None => says_it_failed(result).then(|| result.to_text()),
    }
}

/// Nothing, a word for that, or an object of such: `{"code":0,"message":""}`.
fn is_no_error(error: &Json<'_>) -> bool {
    let is_word = |value: &Json<'_>| value.as_text().is_some_and(|text| is_one_of(text, &NO_ERROR));
    let says_none = |value: &Json<'_>| is_nothing(value) || is_word(value);
    match error {
        Json::Object(members) => members.iter().all(|(_, value)| says_none(value)),
        _ => says_none(error),
    }
}

fn is_one_of(text: &str, words: &[&str]) -> bool {
    words.iter().any(|word| text.trim().eq_ignore_ascii_case(word))
}

fn says_it_failed(result: &Json<'_>) -> bool {
    let is = |keys: &[&str], flag| keys.iter().any(|key| result.get(key) == Some(&Json::Bool(flag)));
    let has_reason =
        || matches!(result, Json::Object(members) if members.len() == 1) || result.get_any(&REASONS).is_some();
    let failed = |status: &Json<'_>| match status {
        Json::Number(status) => status.as_u64().is_some_and(|status| (400..600).contains(&status)),
        Json::Text(status) => is_one_of(status, &FAILED) && has_reason(),
        _ => false,
    };
    is(&SUCCESS_FLAGS, false)
        || is(&FAILURE_FLAGS, true)
        || STATUSES.iter().filter_map(|key| result.get(key)).any(failed)
}

/// `HTTPError: 503`, `error: none left` or the like; not a text that merely speaks of errors.
fn starts_as_error(text: &str) -> bool {
    let name_ends = text.find(|letter: char| !letter.is_alphanumeric() && !matches!(letter, '_' | '.'));
    let (name, rest) = text.split_at(name_ends.unwrap_or(text.len()));
    let is_error = name.ends_with("Error") || name.ends_with("Exception") || name.eq_ignore_ascii_case("error");
    let is_alone = || matches!(name, "Error" | "Exception") && rest.trim().is_empty();
    let opens_as = |opening: &str| text.get(..opening.len()).is_some_and(|start| start.eq_ignore_ascii_case(opening));
    (is_error && (rest.trim_start().starts_with(':') || is_alone()))
        || ERROR_OPENINGS.iter().any(|opening| opens_as(opening))
}

/// What the text parts of an MCP answer say; `None` for any other result.
fn mcp_answer<'r>(result: &'r Json<'_>) -> Option<Json<'r>> {
    let is_envelope =
        |members: &[(Cow<'_, str>, Json<'_>)]| members.iter().all(|(key, _)| MCP_MEMBERS.contains(&key.as_ref()));
    let parts = match result {
        Json::Object(members) if is_envelope(members) => result.get("content")?,
        _ => result,
    };
    let texts: Vec<&str> = parts.items().iter().map(mcp_text).collect::<Option<_>>()?;
    match texts.as_slice() {
        [] => None,
        [text] => Some(Json::from_text(text)),
        texts => Some(Json::Text(Cow::Owned(texts.join("\n")))),
    }
}

fn mcp_text<'r>(part: &'r Json<'_>) -> Option<&'r str> {
    let is_text = part.get("type")?.as_text()? == "text";
    part.get("text").filter(|_| is_text)?.as_text().map(AsRef::as_ref)
}

/// Whether a result holds no data: nothing, an empty list, an object of which that is all, or words for that.
pub(super) fn is_empty(result: &Json<'_>) -> bool {
    holds_no_data(result) || mcp_answer(result).is_some_and(|answer| holds_no_data(&answer))
}

fn holds_no_data(result: &Json<'_>) -> bool {
    match result {
        Json::Object(members) => is_empty_answer(members),
        Json::Text(text) => is_blank(text) || says_nothing_found(text),
        _ => is_blank_value(result),
    }
}

/// Nothing but blanks, zeros and remarks, with a list or a count among them; or an empty list of results among what
/// holds no more than a value each.
fn is_empty_answer(members: &[(Cow<'_, str>, Json<'_>)]) -> bool {
    let data = || members.iter().filter(|(key, _)| !REMARKS.contains(&key.as_ref()));
    let is_zero_count = |key: &str, value: &Json<'_>| COUNTS.contains(&key) && is_zero(value);
    let counts_none = members.iter().any(|(key, value)| is_zero_count(key, value));
    let says_so = |(key, value): &(Cow<'_, str>, Json<'_>)| {
        is_blank_value(value) || (key != "total" && is_zero_count(key, value))
    };
    let lists_none = |(key, value): &(Cow<'_, str>, Json<'_>)| {
        matches!(value, Json::Array(items) if items.is_empty()) && (counts_none || RESULT_LISTS.contains(&key.as_ref()))
    };
    let all_nothing = data().all(|(_, value)| is_nothing(value)) && (members.is_empty() || data().any(says_so));
    all_nothing || (data().any(lists_none) && !data().any(|(_, value)| holds_structure(value)))
}

/// `No results found.` and its like.
fn says_nothing_found(text: &str) -> bool {
    let text = text.trim().trim_end_matches(['.', '!']);
    if text.len() > LONGEST_REMARK {
        return false;
    }
    let text = text.to_lowercase();
    let Some(rest) = text.strip_prefix("no ").or_else(|| text.strip_prefix("0 ")) else { return false };
    let rest = rest.strip_prefix("matching ").unwrap_or(rest);
    let (found, rest) = rest.split_once(' ').unwrap_or((rest, ""));
    FOUND.contains(&found) && (rest.is_empty() || GOES_ON.iter().any(|start| rest.starts_with(start)))
}

fn is_blank(text: &str) -> bool {
    matches!(text.trim(), "" | "null" | "None" | "[]" | "{}")
}

/// Nothing, an empty list, or an object of nothing else.
fn is_blank_value(value: &Json<'_>) -> bool {
    match value {
        Json::Null => true,
        Json::Bool(_) | Json::Number(_) => false,
        Json::Text(text) => is_blank(text),
        Json::Array(items) => items.is_empty(),
        Json::Object(members) => is_empty_answer(members),
    }
}

/// Blank, or a count or flag that says so.
fn is_nothing(value: &Json<'_>) -> bool {
    match value {
        Json::Bool(value) => !value,
        Json::Object(members) => members.is_empty(),
        _ => is_zero(value) || is_blank_value(value),
    }
}

fn is_zero(value: &Json<'_>) -> bool {
    matches!(value, Json::Number(number) if number.as_f64() == Some(0.0))
}

fn holds_structure(value: &Json<'_>) -> bool {
    matches!(value, Json::Array(items) if !items.is_empty()) || matches!(value, Json::Object(it) if !it.is_empty())
}
