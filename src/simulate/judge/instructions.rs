//! Whether an answer keeps the explicit, checkable instructions that the judge was shown.

/// The instruction that the answer breaks; `None` when it keeps every one that can be checked.
pub(crate) fn objection(answer: &str, instructions: &str) -> Option<String> {
    too_long(answer, instructions)
        .or_else(|| promised_date(answer, instructions))
        .or_else(|| (!is_finished(answer)).then(|| "the answer breaks off in the middle".to_owned()))
}

/// Whether the last sentence has an end.
fn is_finished(answer: &str) -> bool {
    answer.trim_end().trim_end_matches(['"', '”', ')', ']']).ends_with(['.', '!', '?'])
}

/// "at most N sentences"
fn too_long(answer: &str, instructions: &str) -> Option<String> {
    let limit = sentence_limit(instructions)?;
    let sentences = sentences(answer).count();
    (sentences > limit).then(|| format!("the answer has {sentences} sentences, at most {limit} are allowed"))
}

fn sentence_limit(instructions: &str) -> Option<usize> {
    let lower = instructions.to_lowercase();
    let mut limits = lower.split("at most ").skip(1).filter_map(|rest| {
        let (number, rest) = rest.split_once(' ')?;
        rest.starts_with("sentence").then(|| number.parse().ok())?
    });
    limits.next()
}

/// "never promise a date"
fn promised_date(answer: &str, instructions: &str) -> Option<String> {
    if !instructions.to_lowercase().contains("never promise a date") {
        return None;
    }
    let promise = sentences(answer).find(|sentence| sentence.contains(" will ") && has_date(sentence))?;
    Some(format!("the answer promises a date: {promise}"))
}

fn has_date(sentence: &str) -> bool {
    sentence.split_whitespace().any(is_date)
}

/// `2026-05-14`, with punctuation around it.
fn is_date(word: &str) -> bool {
    let word = word.trim_matches(|character: char| !character.is_ascii_digit());
    let parts: Vec<&str> = word.split('-').collect();
    let is_number = |part: &&str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    parts.len() == 3 && parts[0].len() == 4 && parts.iter().all(is_number)
}

/// Sentences end at `.`, `!` or `?` before a space or the end, so that `412.30` is no end.
fn sentences(answer: &str) -> impl Iterator<Item = &str> {
    let mut ends_sentence = false;
    answer
        .split(move |character: char| {
            let is_end = ends_sentence && character.is_whitespace();
            ends_sentence = matches!(character, '.' | '!' | '?');
            is_end
        })
        .filter(|sentence| !sentence.trim().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_over_the_limit_are_counted() {
        let told = "Be kind. Answer in at most 2 sentences.";
        assert_eq!(objection("It costs 412.30. Have a good day!", told), None);
        assert!(objection("One. Two. Three.", told).unwrap().contains("3 sentences"));
    }

    #[test]
    fn a_promised_date_is_seen_and_a_mentioned_one_is_not() {
        let told = "Never promise a date.";
        assert!(objection("The money will arrive on 2026-05-14.", told).is_some());
        assert_eq!(objection("Your flight of 2026-05-14 is cancelled.", told), None);
        assert_eq!(objection("The money will arrive soon.", told), None);
    }

    #[test]
    fn an_answer_that_breaks_off_follows_nothing() {
        assert!(objection("The fee is", "Be kind.").unwrap().contains("breaks off"));
        assert_eq!(objection("See \"the fee.\"", "Be kind."), None);
    }

    #[test]
    fn instructions_that_cannot_be_checked_are_kept() {
        assert_eq!(objection("Anything at all.", "Be polite and at most friendly."), None);
    }
}
