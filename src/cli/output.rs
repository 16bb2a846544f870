//! The one place that writes to standard output and standard error.
//!
//! Text of traces is untrusted: what goes to a terminal passes [`printable`], so that no answer of an agent can move
//! the cursor, change the title or hide a line.

use std::io::{self, BufWriter, StdoutLock, Write};

use serde::Serialize;

use super::failure::Failure;
use crate::domain::text::printable;
use crate::domain::time::Timestamp;

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
        self.write(json_line(value)?.as_bytes())
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

/// `1 trace`, `2 traces`.
pub(super) fn counted(count: u64, thing: &str) -> String {
    if count == 1 { format!("1 {thing}") } else { format!("{count} {thing}s") }
}

/// Which time an answer is about: `from 2026-03-01T00:00:00Z on`.
pub(super) fn window(since: Option<Timestamp>, until: Option<Timestamp>) -> String {
    match (since, until) {
        (None, None) => "of all time".to_owned(),
        (Some(since), None) => format!("from {since} on"),
        (None, Some(until)) => format!("before {until}"),
        (Some(since), Some(until)) => format!("from {since} to {until}"),
    }
}

/// A value as JSON on one line, every control character escaped: JSON itself asks it only of those below U+0020.
pub(super) fn json_line(value: &impl Serialize) -> Result<String, Failure> {
    let line = serde_json::to_string(value).map_err(|error| Failure::could_not("write JSON", &error))?;
    if !line.contains(is_disruptive) {
        return Ok(line);
    }
    let escaped = |character: char| match character {
        character if is_disruptive(character) => format!("\\u{:04x}", u32::from(character)),
        character => character.to_string(),
    };
    Ok(line.chars().map(escaped).collect())
}

/// Whether a terminal obeys a character instead of showing it.
fn is_disruptive(character: char) -> bool {
    // As in `domain::text::printable`.
    character.is_control() || matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::json_line;

    #[test]
    fn json_keeps_every_character_and_shows_none_that_a_terminal_obeys() {
        let text = "a\u{1b}[2J\u{9b}2J\u{7f}\u{202e}é";
        let line = json_line(&text).ok().unwrap();
        assert_eq!(line, r#""a\u001b[2J\u009b2J\u007f\u202eé""#);
        assert_eq!(serde_json::from_str::<String>(&line).unwrap(), text);
    }
}
