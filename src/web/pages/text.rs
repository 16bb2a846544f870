//! Untrusted text made fit to show.

pub(super) use crate::domain::text::printable;

/// Text of at most so many characters, with what was left out counted.
pub(super) fn clipped(text: &str, characters: usize) -> String {
    let Some((end, _)) = text.char_indices().nth(characters) else { return printable(text) };
    let left = text[end..].chars().count();
    format!("{}… ({left} more characters)", printable(&text[..end]))
}

/// The characters that one page may still show, so that a huge trace cannot make a huge page.
pub(super) struct Budget(usize);

impl Budget {
    pub(super) const fn new(characters: usize) -> Self {
        Self(characters)
    }

    /// Text within both its own limit and what is left of the page's.
    pub(super) fn clip(&mut self, text: &str, characters: usize) -> String {
        let clipped = clipped(text, characters.min(self.0));
        self.0 = self.0.saturating_sub(clipped.chars().count());
        clipped
    }

    pub(super) const fn is_spent(&self) -> bool {
        self.0 == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_text_is_cut_between_characters_and_says_by_how_much() {
        assert_eq!(clipped("größe", 5), "größe");
        assert_eq!(clipped("größe", 3), "grö… (2 more characters)");
        assert_eq!(clipped("a\u{202e}b", 9), "a\u{fffd}b");
    }

    #[test]
    fn a_page_shows_no_more_than_its_budget() {
        let mut budget = Budget::new(4);
        assert_eq!(budget.clip("abc", 9), "abc");
        assert_eq!(budget.clip("def", 9), "d… (2 more characters)");
        assert!(budget.is_spent());
    }
}
