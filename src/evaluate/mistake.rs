//! What is wrong in an evaluator's files: all of it at once, each with its place and what to do.

use std::fmt;

/// One thing to correct in one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The file, as the user would open it.
    pub file: String,
    /// Line, from 1, where it is known.
    pub line: Option<usize>,
    /// What is wrong.
    pub problem: String,
    /// What to do about it.
    pub remedy: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.file)?;
        if let Some(line) = self.line {
            write!(formatter, ":{line}")?;
        }
        write!(formatter, ": {}; {}", self.problem, self.remedy)
    }
}

/// Evaluators that cannot be loaded: every mistake in every file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct InvalidEvaluators(pub Vec<Mistake>);

/// Line, from 1, of a byte offset in a text.
pub(crate) fn line_of_offset(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}

/// Line, from 1, of the first line that sets `key` or opens the table `[key]`.
pub(crate) fn line_of_key(text: &str, key: &str) -> Option<usize> {
    let sets_key = |line: &str| {
        let line = line.trim_start();
        line.strip_prefix(key).is_some_and(|rest| rest.trim_start().starts_with('='))
            || line
                .strip_prefix('[')
                .and_then(|rest| rest.split_once(']'))
                .is_some_and(|(table, _)| table.trim() == key)
    };
    text.lines().position(sets_key).map(|index| index + 1)
}
