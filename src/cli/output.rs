//! The one place that writes to standard output and standard error.
//!
//! Text of traces is untrusted: what goes to a terminal passes [`printable`], so that no answer of an agent can move
//! the cursor, change the title or hide a line.

use std::io::{self, BufWriter, StdoutLock, Write};

use serde::Serialize;

use super::failure::Failure;
use crate::domain::text::printable;

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
