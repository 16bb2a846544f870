//! Text of traces as people may see it: it is untrusted, and must not act on what shows it.

/// Text with its control characters made visible; line feeds stay.
#[must_use]
pub fn printable(text: &str) -> String {
    let visible = |character: char| match character {
        '\n' => '\n',
        '\t' => ' ',
        // Besides controls, the characters that reorder the text around them.
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => '\u{fffd}',
        character if character.is_control() => '\u{fffd}',
        character => character,
    };
    text.chars().map(visible).collect()
}

#[cfg(test)]
mod tests {
    use super::printable;

    #[test]
    fn escape_sequences_and_direction_overrides_lose_their_power() {
        assert_eq!(printable("a\u{1b}[2J\u{202e}b\r\nc"), "a\u{fffd}[2J\u{fffd}b\u{fffd}\nc");
    }
}
