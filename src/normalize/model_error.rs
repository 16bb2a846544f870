//! Why a model call failed, from what providers and SDKs write on its span.
//!
//! Every provider has words of its own: `context_length_exceeded`, `prompt is too long: 210000 tokens > 200000`,
//! `ThrottlingException`, `RESOURCE_EXHAUSTED`, `APITimeoutError`. All that the span says of its error is looked
//! through for such words: `error.type`, the status message, the exception, and the HTTP status. Names are taken apart
//! first (`APITimeoutError` is `api timeout error`), and whole words are compared, so that a quotation is no quota and
//! whoever generates limits has reached none. A number is a status only where it stands as one: alone on its line, in
//! brackets, or behind a word such as `status`. Words come before codes, since a prompt that is too long and a filter
//! that blocks both come as status 400.

use crate::domain::trace::ModelErrorClass;

use super::span_view::SpanView;

/// Characters of an error text that are looked at: a provider may quote the prompt in it.
const LOOKED_AT: usize = 1000;

/// Words that tell a class, tried in this order: one provider throttles with `Too many tokens, please wait`.
const PHRASES: [(ModelErrorClass, &[&str]); 4] = [
    (
        ModelErrorClass::RateLimit,
        &[
            "rate limit",
            "rate limited",
            "rate limits",
            "ratelimit",
            "too many requests",
            "throttled",
            "throttling",
            "quota",
            "resource exhausted",
            "resourceexhausted",
            "overloaded",
        ],
    ),
    (
        ModelErrorClass::ContextLength,
        &[
            "context length",
            "context window",
            "maximum context",
            "prompt is too long",
            "input is too long",
            "too many tokens",
            "token limit exceeded",
            "exceeds the maximum number of tokens",
            "request too large",
            "payload too large",
            "entity too large",
        ],
    ),
    (
        ModelErrorClass::ContentFilter,
        &[
            "content filter",
            "content filtered",
            "content filtering",
            "content policy",
            "content management policy",
            "responsible ai policy",
            "guardrail intervened",
            "blocked by safety",
            "prohibited content",
        ],
    ),
    (ModelErrorClass::Timeout, &["timeout", "timed out", "time out", "deadline exceeded"]),
];

/// HTTP statuses that tell a class; 529 is how one provider says that it is overloaded.
const CODES: [(ModelErrorClass, &[&str]); 3] = [
    (ModelErrorClass::RateLimit, &["429", "529"]),
    (ModelErrorClass::Timeout, &["408", "504"]),
    (ModelErrorClass::ContextLength, &["413"]),
];

/// Words behind which a number is a status.
const BEFORE_CODES: [&str; 6] = ["code", "status", "http", "error", "returned", "statuscode"];

/// The class of a span's error; `None` when it did not fail.
pub(super) fn class(view: &SpanView<'_>) -> Option<ModelErrorClass> {
    let error = view.error()?;
    let status = view.text(|names| names.http_status).unwrap_or_default();
    Some(class_of(&format!("{error}\n{}\n{status}", view.error_text().unwrap_or_default())))
}

fn class_of(error: &str) -> ModelErrorClass {
    let error: String = error.chars().take(LOOKED_AT).collect();
    let said = format!(" {} ", words(&error).join(" "));
    let says = |phrases: &[&str]| phrases.iter().any(|phrase| said.contains(&format!(" {phrase} ")));
    let has = |codes: &[&str]| codes.iter().any(|code| error.lines().any(|line| is_status(line, code)));
    let by_phrase = PHRASES.iter().find(|(_, phrases)| says(phrases)).map(|(class, _)| *class);
    let by_code = || CODES.iter().find(|(_, codes)| has(codes)).map(|(class, _)| *class);
    by_phrase.or_else(by_code).unwrap_or(ModelErrorClass::Other)
}

/// The words of a text in lower case; names are taken apart where their case changes.
fn words(text: &str) -> Vec<String> {
    let characters: Vec<char> = text.chars().collect();
    let mut words = vec![String::new()];
    for (index, character) in characters.iter().enumerate() {
        let before = index.checked_sub(1).map(|index| characters[index]);
        let after = characters.get(index + 1);
        let is_hump = character.is_uppercase()
            && before.is_some_and(|before| before.is_lowercase() || after.is_some_and(|after| after.is_lowercase()));
        if is_hump || !character.is_alphanumeric() {
            words.push(String::new());
        }
        if let (true, Some(word)) = (character.is_alphanumeric(), words.last_mut()) {
            word.extend(character.to_lowercase());
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// Whether a number stands in a line as a status.
fn is_status(line: &str, code: &str) -> bool {
    let bracketed = || line.contains(&format!("({code})")) || line.contains(&format!("[{code}]"));
    // The version of the protocol stands between its name and the status.
    let words = words(&line.replace("/1.0", "").replace("/1.1", "").replace("/2", ""));
    let follows = || words.windows(2).any(|pair| pair[1] == code && BEFORE_CODES.contains(&pair[0].as_str()));
    line.trim() == code || bracketed() || follows()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_providers_say_of_their_errors_is_told_apart() {
        use ModelErrorClass::{ContentFilter, ContextLength, Other, RateLimit, Timeout};
        for (error, class) in [
            ("BadRequestError\nError code: 400 - {'code': 'context_length_exceeded'}\n400", ContextLength),
            ("invalid_request_error: prompt is too long: 210000 tokens > 200000 maximum", ContextLength),
            ("litellm.ContextWindowExceededError", ContextLength),
            ("400 The response was filtered due to Azure's content management policy", ContentFilter),
            ("openai.RateLimitError", RateLimit),
            ("An error occurred (ThrottlingException) when calling InvokeModel", RateLimit),
            ("overloaded_error", RateLimit),
            ("ThrottlingException: Too many tokens, please wait before trying again.", RateLimit),
            ("ValidationException: Too many tokens in the prompt", ContextLength),
            ("429", RateLimit),
            ("anthropic.APITimeoutError: Request timed out.", Timeout),
            ("504", Timeout),
            ("500", Other),
            ("AuthenticationError: key 4290 is invalid", Other),
            ("google.api_core.exceptions.ResourceExhausted: 429", RateLimit),
            ("insufficient_quota", RateLimit),
            ("TooManyRequests", RateLimit),
            ("HTTP/1.1 504", Timeout),
            ("Error code: 429 - {'error': {}}", RateLimit),
            ("the gateway gave up (504)", Timeout),
            ("status_code=413", ContextLength),
            ("DeadlineExceeded", Timeout),
            ("ResponsibleAIPolicyViolation", ContentFilter),
        ] {
            assert_eq!(class_of(error), class, "{error}");
        }
    }

    #[test]
    fn parts_of_words_and_numbers_that_are_no_status_tell_nothing() {
        for error in [
            "the quotation could not be parsed",
            "cannot generate limits for this schema",
            "model claude-429 is not known",
            "order 413 of 504 is invalid",
            "the tool took 408 seconds",
        ] {
            assert_eq!(class_of(error), ModelErrorClass::Other, "{error}");
        }
    }

    #[test]
    fn words_of_a_quoted_prompt_far_into_the_text_do_not_count() {
        let error = format!("server_error: {} timeout", "x".repeat(LOOKED_AT));
        assert_eq!(class_of(&error), ModelErrorClass::Other);
    }
}
