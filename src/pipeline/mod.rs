//! What happens to a trace.

pub mod judgment;
