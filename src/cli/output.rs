//! The one place that writes to standard output and standard error.
//!
//! Text of traces is untrusted: what goes to a terminal passes [`printable`], so that no answer of an agent can move
//! the cursor, change the title or hide a line.

use std::io::{self, BufWriter, StdoutLock, Write};

use serde::Serialize;

use super::failure::Failure;

/// Standard output, buffered; ends quietly when the reader has gone.
pub(super) struct Output(BufWriter<StdoutLock<'static>>);

impl Output {
    pub(super) fn new() -> Self {
        Self(BufWriter::new(io::stdout().lock()))
    }

    /// One line of text for a person; control characters are made visible.
    pub(super) fn line(&mut self, text: &str) -> Result<(), Failure> {
        self.write(printable(text).as_bytes())
    }

    /// One line of JSON.
    pub(super) fn json(&mut self, value: &impl Serialize) -> Result<(), Failure> {
        let line = serde_json::to_vec(value).map_err(|error| Failure::could_not("write JSON", &error))?;
        self.write(&line)
    }

    /// Hands on what is buffered; nothing is lost silently.
    pub(super) fn finish(mut self) -> Result<(), Failure> {
        self.0.flush().map_err(|error| Failure::write("standard output", &error))
    }

    fn write(&mut self, line: &[u8]) -> Result<(), Failure> {
        let written = self.0.write_all(line).and_then(|()| self.0.write_all(b"\n"));
        written.map_err(|error| Failure::write("standard output", &error))
    }
}

/// One line on standard error, for a person.
pub(super) fn warn(text: &str) {
    // Nothing is left to do when even standard error is closed.
    let _closed = writeln!(io::stderr().lock(), "{}", printable(text));
}

/// Text with its control characters made visible; line feeds stay.
pub(super) fn printable(text: &str) -> String {
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
