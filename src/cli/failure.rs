//! How a command ends: its exit code, and the one message of a failure.

use std::error::Error;
use std::io;
use std::process::ExitCode;

pub(super) use crate::telemetry::logs::causes as chain;

use super::output;

/// A command that did its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exit {
    /// Done, or the checked thing passed.
    Done,
    /// The checked thing failed.
    Failed,
    /// There is not enough evidence to tell.
    NotEnough,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Done => Self::SUCCESS,
            Exit::Failed => Self::from(1),
            Exit::NotEnough => Self::from(3),
        }
    }
}

/// A command that could not do its work.
#[derive(Debug)]
pub(super) enum Failure {
    /// Arguments or settings are wrong: says which, and what to do.
    Usage(String),
    /// Input, output or network failed: says what, why, and what to do.
    CouldNot(String),
    /// Whoever read our output has gone, which is no fault of anyone.
    ReaderGone,
}

impl Failure {
    /// `cannot {action}: {error with its causes}`.
    pub(super) fn could_not(action: impl std::fmt::Display, error: &dyn Error) -> Self {
        Self::CouldNot(format!("cannot {action}: {}", chain(error)))
    }

    /// A write to standard output or to a file that failed.
    pub(super) fn write(to: impl std::fmt::Display, error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::ReaderGone,
            _ => Self::could_not(format_args!("write {to}"), error),
        }
    }

    /// Says what went wrong on standard error.
    pub(super) fn report(&self) -> ExitCode {
        match self {
            Self::Usage(message) => {
                output::warn(&format!("error: {message}"));
                ExitCode::from(2)
            }
            Self::CouldNot(message) => {
                output::warn(&format!("error: {message}"));
                ExitCode::from(4)
            }
            Self::ReaderGone => ExitCode::SUCCESS,
        }
    }
}
