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

/// The start of a text, on one line, of at most so many characters; what is cut off is marked.
#[must_use]
pub fn clip_to(text: &str, longest: usize) -> String {
    let line = printable(&text.replace('\n', " "));
    match line.char_indices().nth(longest) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

/// A p-value; what is smaller than a person cares for says so.
#[must_use]
pub fn p_value(value: f64) -> String {
    if value < 1e-4 { "<0.0001".to_owned() } else { format!("{value:.4}") }
}

/// A number with as many digits as a person reads: three or four that count, so that neighbours are told apart.
#[must_use]
pub fn number(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        size if size >= 1e6 => format!("{value:.3e}"),
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        size if size >= 0.1 => format!("{value:.3}"),
        size if size >= 0.01 => format!("{value:.4}"),
        size if size >= 0.001 => format!("{value:.5}"),
        _ => format!("{value:.1e}"),
    }
}

#[cfg(test)]
mod tests {
    use super::{number, printable};

    #[test]
    fn escape_sequences_and_direction_overrides_lose_their_power() {
        assert_eq!(printable("a\u{1b}[2J\u{202e}b\r\nc"), "a\u{fffd}[2J\u{fffd}b\u{fffd}\nc");
    }

    #[test]
    fn numbers_keep_three_digits_that_count() {
        let texts = [0.0, 0.58123, 12.345, 1234.5, 0.000_012, -3.456, 0.009_123, 0.0456].map(number);
        assert_eq!(texts, ["0", "0.581", "12.3", "1234", "1.2e-5", "-3.46", "0.00912", "0.0456"]);
    }
}
