//! Named places where a test lets the process die, as `kill -9` would. They are in no release build.
//!
//! There is one before and one after every commit, acknowledgement and send. `tests/it/fleet/crash_points.rs` finds them
//! in the code and dies at each.

/// Dies here when `DRIFTLINE_CRASH_AT` names this point.
pub(crate) fn crash_point(name: &str) {
    if cfg!(debug_assertions) && std::env::var("DRIFTLINE_CRASH_AT").is_ok_and(|at| at == name) {
        std::process::abort();
    }
}

/// Dies here when `DRIFTLINE_CRASH_AT` names this point and the message holds the text of `DRIFTLINE_CRASH_ON`, which
/// any message does when there is none.
pub(crate) fn crash_point_in(name: &str, message: &[u8]) {
    if cfg!(debug_assertions) {
        let on = std::env::var("DRIFTLINE_CRASH_ON").unwrap_or_default();
        if on.is_empty() || message.windows(on.len()).any(|window| window == on.as_bytes()) {
            crash_point(name);
        }
    }
}
