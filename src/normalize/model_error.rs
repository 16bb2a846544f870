//! Why a model call failed, from what providers and SDKs write on its span.
//!
//! Every provider has words of its own: `context_length_exceeded`, `prompt is too long: 210000 tokens > 200000`,
//! `ThrottlingException`, `RESOURCE_EXHAUSTED`, `APITimeoutError`. All that the span says of its error is looked
//! through for such words: `error.type`, the status message, the exception, and the HTTP status. Words come before codes,
//! since a prompt that is too long and a filter that blocks both come as status 400.

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
            "rate_limit",
            "ratelimit",
            "too many requests",
            "throttl",
            "quota",
            "resource_exhausted",
            "resourceexhausted",
            "overloaded",
        ],
    ),
    (
        ModelErrorClass::ContextLength,
        &[
            "context_length",
            "context length",
            "contextwindow",
            "context_window",
            "context window",
            "maximum context",
            "prompt is too long",
            "input is too long",
            "too many tokens",
            "token limit exceeded",
            "exceeds the maximum number of tokens",
            "request_too_large",
        ],
    ),
    (
        ModelErrorClass::ContentFilter,
        &[
            "content_filter",
            "content filter",
            "contentfilter",
            "content_policy",
            "content policy",
            "contentpolicy",
            "content management policy",
            "responsibleaipolicy",
            "guardrail_intervened",
            "blocked by safety",
            "prohibited_content",
        ],
    ),
    (
        ModelErrorClass::Timeout,
        &[
            "timeout",
            "timed out",
            "time out",
            "timed_out",
            "deadline exceeded",
            "deadline_exceeded",
            "deadlineexceeded",
        ],
    ),
];

/// HTTP statuses that tell a class; 529 is how one provider says that it is overloaded.
const CODES: [(ModelErrorClass, &[&str]); 3] = [
    (ModelErrorClass::RateLimit, &["429", "529"]),
    (ModelErrorClass::Timeout, &["408", "504"]),
    (ModelErrorClass::ContextLength, &["413"]),
];

/// The class of a span's error; `None` when it did not fail.
pub(super) fn class(view: &SpanView<'_>) -> Option<ModelErrorClass> {
    let error = view.error()?;
    let status = view.text(|names| names.http_status).unwrap_or_default();
    Some(class_of(&format!("{error}\n{}\n{status}", view.error_text().unwrap_or_default())))
}

fn class_of(error: &str) -> ModelErrorClass {
    let error: String = error.chars().take(LOOKED_AT).flat_map(char::to_lowercase).collect();
    let says = |phrases: &[&str]| phrases.iter().any(|phrase| error.contains(phrase));
    let has_word =
        |codes: &[&str]| error.split(|letter: char| !letter.is_alphanumeric()).any(|word| codes.contains(&word));
    let by_phrase = PHRASES.iter().find(|(_, phrases)| says(phrases)).map(|(class, _)| *class);
    let by_code = || CODES.iter().find(|(_, codes)| has_word(codes)).map(|(class, _)| *class);
    by_phrase.or_else(by_code).unwrap_or(ModelErrorClass::Other)
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
        ] {
            assert_eq!(class_of(error), class, "{error}");
        }
    }

    #[test]
    fn words_of_a_quoted_prompt_far_into_the_text_do_not_count() {
        let error = format!("server_error: {} timeout", "x".repeat(LOOKED_AT));
        assert_eq!(class_of(&error), ModelErrorClass::Other);
    }
}
