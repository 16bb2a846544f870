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
    "i have no ",
    "we have no ",
    "do not have",
    "don't have",
    "do not see",
    "don't see",
    "went wrong",
    "timed out",
    "not respond",
    "try again",
    "sorry",
    "apolog",
    "unfortunately",
    "double-check",
    "double check",
    "provide a valid",
    "please confirm the",
    "could you confirm the",
    "can you confirm the",
];

/// Beginnings of words for what went wrong, unless it is said that nothing did.
const FAULTS: &[&str] = &["error", "fail", "trouble", "an issue", "a problem"];
const DENIALS: &[&str] = &["no", "without", "any", "zero", "0", "not", "never"];

/// Whether an answer says that something failed, was not found or cannot be done.
pub(super) fn admits_failure(answer: &str) -> bool {
    let answer = answer.to_lowercase().replace('’', "'");
    ADMISSIONS.iter().any(|words| answer.contains(words)) || FAULTS.iter().any(|fault| names_fault(&answer, fault))
}

/// Whether a fault stands somewhere in a text without a denial before it: `without any errors` names none.
fn names_fault(answer: &str, fault: &str) -> bool {
    answer.match_indices(fault).any(|(at, _)| {
        let before = &answer[..at];
        let is_article = |word: &&str| ["a", "an", "single"].contains(word);
        let word = before.split_whitespace().rev().find(|word| !is_article(word)).unwrap_or_default();
        !before.ends_with(char::is_alphanumeric) && !DENIALS.contains(&word.trim_start_matches(['(', '"', '*']))
    })
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

    #[test]
    fn a_confident_answer_with_the_words_of_a_confession_owns_up_to_nothing() {
        for answer in [
            "I can confirm the refund of $4312 was issued.",
            "Refund issued without any errors.",
            "The check found 0 errors.",
            "It went through without a problem, no failed items.",
            "The payment did not fail.",
            "You have no further payments to make.",
        ] {
            assert!(!admits_failure(answer), "{answer}");
        }
        for answer in
            ["Please confirm the order number.", "No refund was issued: an error occurred.", "I have no access to it."]
        {
            assert!(admits_failure(answer), "{answer}");
        }
    }
}
