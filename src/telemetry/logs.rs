//! Logs, as lines for a person on a terminal and as JSON anywhere else.
//!
//! A message says on its own what happened, and its fields can be searched. A failure is logged once, where it is
//! handled. Text of traces, prompts and answers is never logged.

use std::error::Error;
use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

const FILTER_VARIABLE: &str = "DRIFTLINE_LOG";

/// Sends this process's logs to standard error, from `level` up unless the environment variable `DRIFTLINE_LOG`
/// holds other directives. A second call changes nothing.
pub fn start(level: &str) {
    let filter = EnvFilter::try_from_env(FILTER_VARIABLE).unwrap_or_else(|_| EnvFilter::new(level));
    let registry = tracing_subscriber::registry().with(filter);
    let is_terminal = std::io::stderr().is_terminal();
    // What cannot be logged, because the disk is full, is dropped: to tell of that would panic for the same reason.
    let lines =
        tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(false).log_internal_errors(false);
    let _already_started = if is_terminal {
        registry.with(lines).try_init().is_err()
    } else {
        registry.with(lines.json().flatten_event(true)).try_init().is_err()
    };
}

/// An error and its causes, each once, separated by colons.
#[must_use]
pub fn causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.ends_with(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text
}
