//! How many tokens a text may take, before any tokenizer has seen it.
//!
//! Models differ in their tokenizers, and ours is not among them, so the estimate errs on the side of more: an ASCII
//! character is a third of a token, a letter of two bytes (Greek, Cyrillic, Hebrew, Arabic, accented Latin) is one token,
//! one of three bytes (Chinese, Japanese, Korean, Devanagari, Thai) two, and one of four (emoji) three. English prose
//! takes about a quarter of a token a character, so it is taken for a third longer than it is. Tokenizers that work on
//! bytes never take more than a token a byte, and the estimate never says more.

/// Parts of a token that sizes are counted in.
pub(super) const PARTS: usize = 3;

/// The size of a character, in thirds of a token.
pub(super) const fn size_of_char(character: char) -> usize {
    match character.len_utf8() {
        1 => 1,
        2 => PARTS,
        3 => 2 * PARTS,
        _ => 3 * PARTS,
    }
}

/// The size of a text, in thirds of a token.
pub(super) fn size(text: &str) -> usize {
    if text.is_ascii() { text.len() } else { text.chars().map(size_of_char).sum() }
}

/// Tokens that a text takes at most, as far as can be told.
#[must_use]
pub fn estimated_tokens(text: &str) -> usize {
    size(text).div_ceil(PARTS)
}

/// Where the longest beginning of a text ends that is no larger than `room`.
pub(super) fn head_end(text: &str, room: usize) -> usize {
    let mut left = room;
    let too_large = text.char_indices().find(|(_, character)| {
        let is_over = size_of_char(*character) > left;
        left = left.saturating_sub(size_of_char(*character));
        is_over
    });
    too_large.map_or(text.len(), |(at, _)| at)
}

/// Where the longest end of a text begins that is no larger than `room`.
pub(super) fn tail_start(text: &str, room: usize) -> usize {
    let mut left = room;
    let too_large = text.char_indices().rev().find(|(_, character)| {
        let is_over = size_of_char(*character) > left;
        left = left.saturating_sub(size_of_char(*character));
        is_over
    });
    too_large.map_or(0, |(at, character)| at + character.len_utf8())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_in_another_script_counts_a_token_a_letter_at_least_and_no_more_than_a_token_a_byte() {
        for sentence in [
            "Возврат занимает десять дней",
            "退款最多需要十个工作日",
            "रिफंड में दस दिन लगते हैं",
            "返金には最大で十営業日",
            "🦀🦀🦀",
        ] {
            let letters = sentence.chars().filter(|character| !character.is_ascii()).count();
            let tokens = estimated_tokens(sentence);
            assert!((letters..=sentence.len()).contains(&tokens), "{sentence}: {tokens}");
        }
        assert_eq!(estimated_tokens("The refund takes ten days."), 9);
        assert_eq!(estimated_tokens(""), 0);
    }

    #[test]
    fn head_and_tail_take_what_fits_and_never_half_a_character() {
        let text = "aä€🦀b";
        for room in 0..30 {
            let (head, tail) = (&text[..head_end(text, room)], &text[tail_start(text, room)..]);
            assert!(size(head) <= room && size(tail) <= room, "{room}: {head:?} {tail:?}");
        }
        assert_eq!((head_end(text, 4), tail_start(text, 1)), (3, text.len() - 1));
        assert_eq!((head_end(text, 99), tail_start(text, 99)), (text.len(), 0));
    }
}
