//! Whether an answer owns up to a failure. A heuristic on English words, used only to be lenient: an answer that says
//! somewhere that something went wrong, was not found or cannot be done is taken at its word.

/// Words of an answer that owns up, in lower case, with straight apostrophes.
const ADMISSIONS: &[&str] = &[
    "unable",
    "not able",
    "could not",
    "couldn't",
    "cannot",
    "can't",
    "can not",
    "did not find",
    "didn't find",
    "not found",
    "no longer available",
    "not available",
    "unavailable",
    "no result",
    "no record",
    "no match",
    "no information",
    "no data",
    "nothing was found",
    "found nothing",
    "nothing found",
    "does not exist",
    "doesn't exist",
    "there is no ",
    "there are no ",
    "there were no ",
    "have no ",
    "has no ",
    "do not have",
    "don't have",
    "do not see",
    "don't see",
    "error",
    "fail",
    "went wrong",
    "timed out",
    "not respond",
    "try again",
    "trouble",
    "an issue",
    "a problem",
    "sorry",
    "apolog",
    "unfortunately",
    "double-check",
    "double check",
    "provide a valid",
    "confirm the",
];

/// Whether an answer says that something failed, was not found or cannot be done.
pub(super) fn admits_failure(answer: &str) -> bool {
    let answer = answer.to_lowercase().replace('’', "'");
    ADMISSIONS.iter().any(|words| answer.contains(words))
}

#[cfg(test)]
mod tests {
    use super::admits_failure;

    #[test]
    fn an_answer_that_owns_up_is_told_from_one_that_does_not() {
        for answer in ["I’m sorry, the search failed.", "I couldn’t find order 7.", "There are no flights on that day."]
        {
            assert!(admits_failure(answer), "{answer}");
        }
        for answer in ["Your refund of 40 EUR is on its way.", "", "Done!"] {
            assert!(!admits_failure(answer), "{answer}");
        }
    }
}
